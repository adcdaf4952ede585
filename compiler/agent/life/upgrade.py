"""`cos-upgrade`: a new system beside the running one, or a new recovery system."""

import sys
from pathlib import Path

from compiler.agent.assessment import upgrade_steps
from compiler.agent.booted import Booted
from compiler.agent.life import bootloader, power, recovery
from compiler.agent.life.host import Host
from compiler.agent.life.install import hooks_of
from compiler.agent.life.loader import reinstall
from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.life.settings import Settings
from compiler.agent.life.site import Site, open_site
from compiler.agent.life.snapshots import note_systems, running, wanted_systems
from compiler.agent.life.source import Kind, Wanted, open_system
from compiler.agent.life.transition import (
    Change,
    checked,
    fill,
    take_over,
    tell_source,
    wanted_source,
)
from compiler.agent.snapshots import keeping
from compiler.layout import Slot

_DONE = "Upgrade done, now you might want to reboot"
_UNPACKED = "tmp/rootfs"
"""On the persistent partition: where images have always been unpacked to."""

_CURRENT = {"active.img": Slot.ACTIVE, "passive.img": Slot.PASSIVE}
_OFF = "cos.upgrade.power_off=true"


def upgrade(host: Host, settings: Settings) -> None:
    """Upgrade; raises `LifeError` with the phase that failed."""
    host.need_root()
    with host.alone(), open_site(host, settings) as site:
        _tidy(site)
        if settings.flag("UPGRADE_RECOVERY"):
            recovery.upgrade(site)
        else:
            _system(site)
    asked = settings.text("INTERACTIVE").lower() == "false"
    if not asked:
        host.log.info(_DONE)
    power.after(host, settings, asked=asked, word=_OFF)


def _tidy(site: Site) -> None:
    if site.persistent is not None:
        site.host.unmount(site.persistent / _UNPACKED)
    site.images.tidy()


def _system(site: Site) -> None:
    host, settings = site.host, site.settings
    host.log.info("Upgrading system..")
    current = current_slot(site)
    systems = wanted_systems(site)
    host.log.info("-> Upgrade target: active.img")
    wanted = wanted_source(settings)
    tell_source(site, wanted)
    hooks = hooks_of(host, settings, "upgrade")
    with open_system(wanted, site.opening()) as system:
        change = Change(
            site=site,
            system=system,
            hooks=hooks,
            inventory=checked(system),
            place=_place(site, wanted),
        )
        image = fill(change, "upgrade")
        contents = system.contents
    note_systems(site)
    images = site.images
    disk = images.disk()
    steps = upgrade_steps(disk, images.record(), current)
    take_over(site, image, keeping(steps, disk, systems, running(site)))
    bootloader.rebrand(site.state, settings.text("GRUB_ENTRY_NAME"))
    if settings.flag("UPGRADE_BOOTLOADER"):
        reinstall(site)
    site.settle("system", contents)
    hooks.post()


def _place(site: Site, wanted: Wanted) -> Path | None:
    """Say where the image is mounted: that of a container image where people expect it."""
    if wanted.kind is not Kind.IMAGE or site.persistent is None:
        return None
    shown = f"/usr/local/{_UNPACKED}"
    site.host.log.info(f"Unpacking {wanted.name} to {shown}")
    return site.persistent / _UNPACKED


def current_slot(site: Site) -> Slot:
    """Say which system runs; where it is none of ours somebody has to say what is upgraded.

    Raises `LifeError` where nobody can be asked.
    """
    named = site.settings.text("CURRENT")
    if named and named not in _CURRENT:
        hint = "active.img or passive.img"
        raise LifeError(f"CURRENT cannot be {named[:40]!r}", Phase.CONFIG, hint=hint)
    if site.booted is Booted.ACTIVE:
        return Slot.ACTIVE
    if site.booted is Booted.PASSIVE:
        return Slot.PASSIVE
    if named:
        return _CURRENT[named]
    hint = "CURRENT=active.img says so without being asked"
    if not sys.stdin.isatty():
        raise LifeError("none of the installed systems runs", Phase.REFUSED, hint=hint)
    sys.stdout.write("Upgrade the installed active system? [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise LifeError("stopped: nothing was changed", Phase.REFUSED, hint=hint)
    return Slot.ACTIVE
