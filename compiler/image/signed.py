"""The signed programs of secure boot: out of a root tree, into the EFI partition of its image."""

from collections.abc import Mapping
from pathlib import Path

from compiler.archive import Entry, Kind
from compiler.errors import ImageError
from compiler.image.place import place_files
from compiler.image.tree import Tree
from compiler.processors import Processors
from compiler.secureboot import Chain, chain_files, chain_places


def signed_files(
    root: Tree, processors: Processors, script: str, scratch: Path
) -> Mapping[str, bytes]:
    """Say what an EFI system partition has for secure boot: nothing, if the tree has no chain.

    `script` is what GRUB runs first; `scratch` is a new folder to work in. Raises `ImageError` for
    a chain that could not boot.
    """
    entries = [_find(root, places) for places in chain_places(processors)]
    found = [each.path for each in entries if each is not None]
    if len(found) < len(entries):
        return {}
    copies = {path: scratch / str(number) for number, path in enumerate(found)}
    place_files(root, copies)
    try:
        chain = Chain(*(copy.read_bytes() for copy in copies.values()))
        return chain_files(chain, processors, script)
    except ImageError as error:
        raise ImageError(f"{root.name}: {error.message}", hint=error.hint) from error


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files into a folder, by path; what is there already stays."""
    for path, data in files.items():
        place = folder / path
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)


def _find(root: Tree, places: tuple[str, ...]) -> Entry | None:
    found = (root.resolve(each) for each in places)
    return next((each for each in found if each is not None and each.kind is Kind.FILE), None)
