"""`cos-agent init`: makes a root tree one that boots, in the build of a container image.

What lacks of our files comes from the folder of defaults, which every system of ours has.
"""

import filecmp
import shutil
from collections.abc import Iterator
from pathlib import Path

from compiler.agent.life.host import Host
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.life.settings import Settings
from compiler.layout import INITRD, KERNEL
from compiler.version import sort

DEFAULTS = "/usr/share/cos/defaults"
"""Files of ours by their path below it, as tree/system/cos-root puts them there."""

_MODULES = "/usr/lib/modules"
_MAKE_INITRD = "/usr/libexec/cos/make-initrd"
_UNITS = "usr/lib/systemd/system"
_STARTED = "[Install]"


def init(host: Host, settings: Settings) -> None:
    """Add files, links to kernel and initrd, and units; raises `LifeError`.

    What is there stays, unless `FORCE` is set: then it is as we ship it, and the initrd made anew.
    """
    host.need_root()
    force = settings.flag("FORCE")
    defaults = host.path(DEFAULTS)
    if not defaults.is_dir():
        hint = f"COPY --from=A-SYSTEM-OF-OURS {DEFAULTS} {DEFAULTS}"
        raise LifeError(f"{DEFAULTS} is missing", Phase.NO_SOURCE, hint=hint)
    with during(Phase.COPY):
        for path, was_there in add_files(defaults, host.root, force=force):
            host.log.info(f"{'Replaced' if was_there else 'Added'} /{path}")
        has_changed = link_kernel(host.root)
        if has_changed:
            host.log.info(f"{KERNEL} leads to {host.path(KERNEL).readlink()}")
    if not settings.flag("NO_INITRD") and (force or has_changed or not host.path(INITRD).is_file()):
        host.log.info("Making the initrd..")
        with during(Phase.UNBOOTABLE, "the initrd cannot be made"):
            host.call(str(host.path(_MAKE_INITRD)))
    units = sorted(started(defaults / _UNITS))
    with during(Phase.COPY, "the units cannot be enabled"):
        host.call("systemctl", f"--root={host.root}", "--quiet", "enable", *units)


def add_files(defaults: Path, root: Path, *, force: bool) -> list[tuple[str, bool]]:
    """Copy what is not there, with `force` what is different, too; raises `OSError`.

    Returns what was copied, and whether something was in its place.
    """
    added = []
    for source in sorted(defaults.rglob("*")):
        path = source.relative_to(defaults)
        place = root / path
        is_folder = source.is_dir() and not source.is_symlink()
        was_there = place.exists() or place.is_symlink()
        if is_folder or (was_there and (not force or _is_same(source, place))):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        shutil.copy2(source, place, follow_symlinks=False)
        added.append((str(path), was_there))
    return added


def _is_same(one: Path, other: Path) -> bool:
    """Compare two files, or two links, with their modes."""
    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()
    same_mode = one.stat().st_mode == other.stat().st_mode
    return same_mode and filecmp.cmp(one, other, shallow=False)


def link_kernel(root: Path) -> bool:
    """Let /boot/vmlinuz lead to the newest kernel with modules; true if it did not.

    A link that leads to another kernel which has modules is somebody's choice. Raises `LifeError`
    if there is no kernel.
    """
    link, modules = root / KERNEL.lstrip("/"), root / _MODULES.lstrip("/")
    versions = [each.name for each in modules.iterdir()] if modules.is_dir() else []
    chosen = link.readlink().name.removeprefix("vmlinuz-") if link.is_symlink() else ""
    if chosen in versions and link.is_file():
        return False
    found = [each for each in versions if _image(root, each) is not None]
    if not found:
        message = f"no kernel is in /boot with its modules in {_MODULES}"
        raise LifeError(message, Phase.UNBOOTABLE, hint="install the distribution's package of one")
    newest = str(sort(found)[-1])
    image, place = _image(root, newest), root / f"boot/vmlinuz-{newest}"
    place.parent.mkdir(exist_ok=True)
    if image is not None and image != place:
        shutil.copy2(image, place)
    link.unlink(missing_ok=True)
    link.symlink_to(place.name)
    return True


def started(folder: Path) -> Iterator[str]:
    """Name the units of a folder that something wants at a boot."""
    for each in folder.iterdir() if folder.is_dir() else ():
        if each.is_file() and _STARTED in each.read_text(errors="replace").splitlines():
            yield each.name


def _image(root: Path, version: str) -> Path | None:
    """Find a kernel where distributions have it."""
    places = (root / f"boot/vmlinuz-{version}", root / f"usr/lib/modules/{version}/vmlinuz")
    return next((each for each in places if each.is_file()), None)
