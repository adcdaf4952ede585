"""The recovery system is replaced by one rename; until then the old one stays."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from compiler.agent.booted import Booted
from compiler.agent.journal import checkpoint
from compiler.agent.life import record, slots
from compiler.agent.life.hooks import Hooks
from compiler.agent.life.host import free_bytes, need_room, sync_file
from compiler.agent.life.install import hooks_of
from compiler.agent.life.inventory import Inventory
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.life.relabel import relabel
from compiler.agent.life.site import Site
from compiler.agent.life.source import Kind, System, Tree, Wanted, open_system
from compiler.agent.life.steps import probe
from compiler.agent.life.transition import checked, size_of, tell_source, wanted_source
from compiler.layout import RECOVERY_IMAGE, RECOVERY_SQUASHFS, Label

_BESIDE = {RECOVERY_SQUASHFS: "cOS/transition.squashfs", RECOVERY_IMAGE: "cOS/transition.img"}
_INNER = "recovery.squashfs"
_COMPRESSIONS = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
_MAGIC = b"hsqs"
_MEMORY = "128M"
"""What mksquashfs may take for its work; it takes a quarter of the machine's if it is not told."""


def upgrade(site: Site) -> None:
    """Replace the recovery system; raises `LifeError`."""
    host = site.host
    host.log.info("Upgrading recovery partition..")
    if site.booted is Booted.RECOVERY:
        message = "the recovery system runs, and cannot replace itself"
        raise LifeError(message, Phase.RECOVERY, hint="boot the installed system first")
    device = site.device(Label.RECOVERY)
    if device is None:
        raise LifeError("Recovery partition cannot be found", Phase.ABSENT)
    wanted = _wanted(site)
    tell_source(site, wanted)
    hooks = hooks_of(host, site.settings, "upgrade")
    with host.used(device, "recovery") as folder:
        _tidy(folder)
        with open_system(wanted, site.opening()) as system, _inner(site, system) as found:
            whole, inventory = found
            hooks.before()
            image = _put(site, folder, whole, inventory, hooks)
            contents = system.contents
        _note(site, folder, image)
        site.settle("recovery", contents)
        hooks.post()


def _wanted(site: Site) -> Wanted:
    """Say where the recovery system comes from: RECOVERY_IMAGE where nothing else is named."""
    settings = site.settings
    named = settings.text("SYSTEM") or settings.text("SOURCE_NAME") or settings.text("IMAGE")
    if named:
        return wanted_source(settings)
    kind = Kind.CHANNEL if settings.flag("CHANNEL_UPGRADES") else Kind.IMAGE
    return Wanted(kind, settings.text("RECOVERY_IMAGE"))


def _tidy(folder: Path) -> None:
    with during(Phase.RECOVERY):
        for name in (*_BESIDE.values(), "cOS/transition.img.new"):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "tmp", ignore_errors=True)


@contextmanager
def _inner(site: Site, system: System) -> Iterator[tuple[System, Inventory]]:
    """Return a system that can be installed: itself, or the squashed one that is all it holds."""
    with during(Phase.UNPACK, system.origin):
        inventory = system.inventory()
    if not inventory.has(_INNER) or inventory.has("boot"):
        yield system, checked(system)
        return
    with _scratch(site, inventory.size) as scratch:
        with during(Phase.UNPACK, system.origin):
            system.fill(scratch)
        squashed = scratch / _INNER
        with site.host.mounted(str(squashed), "inner", "loop,ro") as folder:
            tree = Tree(host=site.host, folder=folder, origin=system.origin, digest=system.digest)
            yield tree, checked(tree)


@contextmanager
def _scratch(site: Site, size: int) -> Iterator[Path]:
    """Lend a folder on the partition that has the most room."""
    places = [each for each in (site.persistent, site.state) if each is not None]
    folder = max(places, key=free_bytes) / ".cos-upgrade" / "recovery"
    shutil.rmtree(folder, ignore_errors=True)
    with during(Phase.COPY):
        folder.mkdir(parents=True)
    try:
        need_room(folder, size, "the recovery system")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(
    site: Site, folder: Path, system: System, inventory: Inventory, hooks: Hooks
) -> record.Image:
    image = record.Image(
        source=system.origin,
        digest=system.digest,
        label="",
        filesystem="squashfs",
        action="upgrade-recovery",
        date=record.now(),
    )
    if (folder / RECOVERY_SQUASHFS).exists():
        _put_squashed(site, folder, system, inventory, hooks)
        return image
    label = site.settings.text("SYSTEM_LABEL")
    uuid = _put_image(site, folder, system, inventory, hooks)
    return replace(image, filesystem="ext2", label=label, uuid=uuid)


def _put_squashed(
    site: Site, folder: Path, system: System, inventory: Inventory, hooks: Hooks
) -> None:
    """Squash the system as the one is that it replaces: the boot menu could read that."""
    place, beside = folder / RECOVERY_SQUASHFS, folder / _BESIDE[RECOVERY_SQUASHFS]
    with during(Phase.RECOVERY), place.open("rb") as file:
        options = squash_options(file.read(96))
    need_room(folder, inventory.size // 2, "the squashed recovery system")
    with _scratch(site, inventory.size) as tree:
        with during(Phase.COPY, system.origin):
            system.fill(tree)
        slots.add_mount_points(tree)
        relabel(site.host, tree)
        hooks.after_chroot(tree, site.mounts_in_tree())
        hooks.after()
        with during(Phase.RECOVERY, "the recovery system cannot be squashed"):
            site.host.call("mksquashfs", str(tree), str(beside), "-noappend", "-no-progress",
                           "-mem", _MEMORY, *options)  # fmt: skip
    with during(Phase.RECOVERY):
        sync_file(beside)
    slots.rename(beside, place)
    checkpoint(folder)


def squash_options(header: bytes) -> list[str]:
    """Read how a squashfs was made out of its superblock, as the kernel's squashfs_fs.h has it."""
    if header[:4] != _MAGIC or len(header) < 22:  # noqa: PLR2004  (up to the compression)
        raise LifeError("the recovery system is no squashfs", Phase.RECOVERY)
    block = int.from_bytes(header[12:16], "little")
    compression = _COMPRESSIONS.get(int.from_bytes(header[20:22], "little"), "gzip")
    return ["-b", str(block), "-comp", compression]


def _put_image(site: Site, folder: Path, system: System, inventory: Inventory, hooks: Hooks) -> str:
    """Make an image; returns the UUID of its file system."""
    place, beside = folder / RECOVERY_IMAGE, folder / _BESIDE[RECOVERY_IMAGE]
    need_room(folder, inventory.size, "the recovery system")
    label = site.settings.text("SYSTEM_LABEL")
    size = size_of(inventory, site.settings)
    with slots.new_image(site.host, beside, label, size) as tree:
        with during(Phase.COPY, system.origin):
            system.fill(tree)
        slots.add_mount_points(tree)
        relabel(site.host, tree)
        hooks.after_chroot(tree, site.mounts_in_tree())
        hooks.after()
    uuid = probe(site.host, beside).get("UUID", "")
    slots.rename(beside, place)
    checkpoint(folder)
    return uuid


def _note(site: Site, folder: Path, image: record.Image) -> None:
    site.write_record({"recovery": record.entry(image)})
    record.write(folder, record.read(site.state))
