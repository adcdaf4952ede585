"""Fills the transition image: what upgrade, reset and deploy have in common."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from compiler.agent.assessment import Step
from compiler.agent.life import record, slots
from compiler.agent.life.hooks import Hooks
from compiler.agent.life.inventory import Inventory, check_system
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.life.relabel import relabel
from compiler.agent.life.settings import Settings
from compiler.agent.life.site import Site
from compiler.agent.life.snapshots import make_room
from compiler.agent.life.source import Kind, System, Wanted, parse_wanted, without_check
from compiler.agent.life.steps import probe
from compiler.layout import TRANSITION_IMAGE
from compiler.store.images import host_platform

_ROOM = 16 << 20
"""Bytes beside the image: the record, and blocks that only tell where others are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A system that is to be put on a machine, checked, with the hooks around it."""

    site: Site
    system: System
    hooks: Hooks
    inventory: Inventory
    place: Path | None = None
    """Where the image is mounted while it is filled."""


def wanted_source(settings: Settings) -> Wanted:
    """Say where a system comes from: flags, then IMAGE, then what files say; raises `LifeError`."""
    if settings.text("SYSTEM"):
        return parse_wanted(settings.text("SYSTEM"))
    kind, name = settings.text("SOURCE_KIND"), settings.text("SOURCE_NAME")
    if kind and not name:
        raise LifeError("name what to take", Phase.NO_SOURCE, hint="it follows the flags")
    if kind:
        return Wanted(Kind(kind), name)
    image = name or settings.text("IMAGE") or settings.text("UPGRADE_IMAGE")
    channel = bool(name) or settings.flag("CHANNEL_UPGRADES")
    return Wanted(Kind.CHANNEL if channel else Kind.IMAGE, image)


def tell_source(site: Site, wanted: Wanted) -> None:
    """Say where the system comes from, and loudly if nobody vouches for it."""
    said = {
        Kind.CHANNEL: "Upgrading from release channel",
        Kind.IMAGE: f"Upgrading from container image: {wanted.name}",
        Kind.FOLDER: f"Upgrading from local folder: {wanted.name}",
        Kind.FILE: f"Upgrading from local file: {wanted.name}",
    }
    site.host.log.info(said[wanted.kind])
    warning = without_check(site.settings)
    if warning and wanted.kind is not Kind.FOLDER:
        site.host.log.warning(warning)


def checked(system: System) -> Inventory:
    """List a system, and check that it can run and boot here; raises `LifeError`."""
    with during(Phase.UNPACK, system.origin):
        inventory = system.inventory()
    check_system(inventory, system.origin, host_platform().architecture)
    return inventory


def size_of(inventory: Inventory, settings: Settings) -> slots.Size:
    """Decide on the size of the image of a system."""
    return slots.image_size(
        inventory,
        reserve=settings.number("IMAGE_RESERVE"),
        fixed=settings.number("DEFAULT_IMAGE_SIZE"),
    )


def fill(change: Change, action: str) -> record.Image:
    """Make the transition image; returns what the record is to say of it. Raises `LifeError`."""
    site, system = change.site, change.system
    size = size_of(change.inventory, site.settings)
    labels = site.settings.pairs("SNAPSHOT_LABELS")
    make_room(site, change.inventory.size + _ROOM, "the new system")
    change.hooks.before()
    path = site.state / TRANSITION_IMAGE
    with ExitStack() as stack:
        tree = stack.enter_context(slots.new_image(site.host, path, "", size, change.place))
        with during(Phase.COPY, system.origin):
            system.fill(tree)
        slots.add_mount_points(tree)
        relabel(site.host, tree)
        change.hooks.after_chroot(tree, site.mounts_in_tree())
        change.hooks.after()
    return record.Image(
        source=system.origin,
        digest=system.digest,
        label="",
        filesystem="ext2",
        action=action,
        date=record.now(),
        uuid=probe(site.host, path).get("UUID", ""),
        labels=labels,
    )


def take_over(site: Site, image: record.Image, steps: tuple[Step, ...]) -> None:
    """Make the transition image what is booted; the record is right after each step."""
    site.write_record({"transition": record.entry(image)})
    site.images.carry_out(steps)
    site.write_record({})
