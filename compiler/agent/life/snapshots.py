"""Older systems of a machine: how many are wanted, and room at their cost."""

from compiler.agent import snapshots
from compiler.agent.assessment import Remove
from compiler.agent.booted import booted_image
from compiler.agent.life import record
from compiler.agent.life.host import free_bytes, need_room
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.life.settings import Settings
from compiler.agent.life.site import Site
from compiler.layout import snapshot_image

_MOST = 32
"""Systems that a machine may keep: the block that the menu reads has little room."""

_BLOCK = 512


def number_of(settings: Settings) -> int | None:
    """Say how many systems are to stay, of which the first two always do; None if nobody does.

    Raises `LifeError` for what is no such number.
    """
    if not settings.text("SNAPSHOTS"):
        return None
    found = settings.number("SNAPSHOTS")
    if found > _MOST:
        raise LifeError(f"SNAPSHOTS is at most {_MOST}, not {found}", Phase.CONFIG)
    return max(found, snapshots.BESIDES)


def check(settings: Settings) -> None:
    """Raise `LifeError` for settings of snapshots that mean nothing."""
    number_of(settings)
    settings.pairs("SNAPSHOT_LABELS")


def wanted_systems(site: Site) -> int | None:
    """Say how many systems are to stay: what is asked for, else what the machine has noted.

    Raises `LifeError` as `check`.
    """
    check(site.settings)
    asked = number_of(site.settings)
    systems = record.systems_of(record.read(site.state)) if asked is None else asked
    if systems is not None and systems > snapshots.BESIDES and not _is_offered(site):
        hint = "`cos-upgrade --bootloader` renews it"
        site.host.log.warning(f"the boot menu of this machine offers no older systems ({hint})")
    return systems


def _is_offered(site: Site) -> bool:
    """Whether the boot menu knows of snapshots, or is about to be one that does."""
    if site.settings.flag("UPGRADE_BOOTLOADER"):
        return True
    menus = [site.state / folder / "grub.cfg" for folder in ("grub2", "grub")]
    return any(snapshots.SNAPSHOTS in each.read_text(errors="replace")
               for each in menus if each.is_file())  # fmt: skip


def note_systems(site: Site) -> None:
    """Note in the record how many systems stay, if that was said; raises `LifeError`."""
    asked = number_of(site.settings)
    if asked is not None:
        record.write(site.state, record.with_systems(record.read(site.state), asked))


def running(site: Site) -> str:
    """Return the image that runs, by its path on the state partition."""
    return booted_image(site.host.text("/proc/cmdline")).removeprefix("/")


def make_room(site: Site, size: int, what: str) -> None:
    """See that the state partition has room for `size` bytes, at the cost of the oldest snapshots.

    Nothing is removed if all of them would not be enough, and the one that runs never is. Raises
    `LifeError` with numbers.
    """
    images = site.images
    lacking = size - free_bytes(site.state)
    oldest = [snapshot_image(number) for number in reversed(images.snapshots())]
    with during(Phase.SIZE):
        gains = {path: _gain(site, path) for path in oldest if path != running(site)}
    if lacking > 0 and sum(gains.values()) >= lacking:
        for path, gain in gains.items():
            site.host.log.info(f"Removing {path}, which is the oldest system, to make room")
            images.carry_out((Remove(path),))
            lacking -= gain
            if lacking <= 0:
                break
    need_room(site.state, size, what)


def _gain(site: Site, path: str) -> int:
    """Say how many bytes are free without an image: none if it has another name."""
    status = (site.state / path).stat()
    return status.st_blocks * _BLOCK if status.st_nlink == 1 else 0
