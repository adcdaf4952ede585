"""The signed programs of secure boot, copied from a system to the EFI system partition."""

from contextlib import suppress
from pathlib import Path

from compiler.agent.life.host import Host, write_whole
from compiler.errors import ImageError
from compiler.links import follow
from compiler.processors import Processors
from compiler.secureboot import Chain, chain_files, chain_places, fallback_place

_MODE = 0o755
"""FAT has no modes, and refuses any but what all its files are shown with."""


def copy_chain(host: Host, tree: Path, efi: Path, processors: Processors, script: str) -> bool:
    """Copy the chain of a tree over what GRUB's installer has written; false if it has none.

    `script` is what GRUB runs first. What the firmware starts comes last. Raises `OSError`.
    """
    programs = [_find(tree, places) for places in chain_places(processors)]
    found = [each.read_bytes() for each in programs if each is not None]
    if len(found) < len(programs):
        return False
    try:
        files = chain_files(Chain(*found), processors, script)
    except ImageError as error:
        host.log.warning(f"{error}: this machine will not start with secure boot")
        return False
    for path in sorted(files, key=lambda path: path == processors.loader):
        (efi / path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(efi / path, files[path], _MODE)
    with suppress(FileNotFoundError):
        (efi / fallback_place(processors)).unlink()
    return True


def _find(tree: Path, places: tuple[str, ...]) -> Path | None:
    """Find the first file of these that is in a tree, its links followed inside of it."""

    def link_at(path: str) -> str | None:
        place = tree / path
        return str(place.readlink()) if place.is_symlink() else None

    found = (tree / follow(each, link_at, ring=ImageError) for each in places)
    return next((each for each in found if each.is_file()), None)
