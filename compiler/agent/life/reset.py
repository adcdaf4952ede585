"""`cos-reset`: both systems become what the recovery system is, without a network."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compiler.agent.assessment import replace_steps
from compiler.agent.booted import Booted
from compiler.agent.life import bootloader, power
from compiler.agent.life.host import Host
from compiler.agent.life.install import hooks_of
from compiler.agent.life.loader import reinstall
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.life.renewal import renew
from compiler.agent.life.settings import Settings
from compiler.agent.life.site import Site, all_labels, open_site
from compiler.agent.life.source import System, Tree, open_system, parse_wanted
from compiler.agent.life.transition import Change, checked, fill, take_over, tell_source
from compiler.agent.snapshots import all_removed
from compiler.layout import RECOVERY_IMAGE, RECOVERY_SQUASHFS, Label

_KEPT = ("lost+found",)


def reset(host: Host, settings: Settings) -> None:
    """Reset; raises `LifeError` with the phase that failed."""
    host.need_root()
    with host.alone():
        if host.booted(host.devices()) is not Booted.RECOVERY:
            message = "cos-reset can be run only from recovery"
            hint = "choose `cOS recovery` in the boot menu"
            raise LifeError(message, Phase.REFUSED, hint=hint)
        renew(host, settings)
        with open_site(host, settings, persistent=False) as site:
            site.images.tidy()
            host.log.info("Resetting system..")
            _reset(site)
    host.log.info("Reset done, now you might want to reboot")
    power.after(host, settings, asked=False)


def _reset(site: Site) -> None:
    settings = site.settings
    hooks = hooks_of(site.host, settings, "reset")
    with _system(site) as system:
        change = Change(site=site, system=system, hooks=hooks, inventory=checked(system))
        image = fill(change, "reset")
        contents = system.contents
    take_over(site, image, (*all_removed(site.images.disk()), *replace_steps()))
    _wipe(site)
    reinstall(site)
    bootloader.write_labels(site.state, all_labels(settings))
    bootloader.rebrand(site.state, settings.text("GRUB_ENTRY_NAME"))
    site.settle("system", contents)
    hooks.post()


@contextmanager
def _system(site: Site) -> Iterator[System]:
    """Open what is put in place: what somebody names, else the recovery system itself."""
    named = site.settings.text("SYSTEM")
    if named:
        wanted = parse_wanted(named)
        tell_source(site, wanted)
        with open_system(wanted, site.opening()) as system:
            yield system
        return
    device = site.device(Label.RECOVERY)
    if device is None:
        raise LifeError("Recovery partition cannot be found", Phase.ABSENT)
    with _folder(site, device.name, device.mounts) as folder:
        path = next((folder / each for each in (RECOVERY_SQUASHFS, RECOVERY_IMAGE)
                     if (folder / each).is_file()), None)  # fmt: skip
        if path is None:
            raise LifeError(f"{folder} has no recovery system", Phase.NO_SOURCE)
        with site.host.mounted(str(path), "source", "loop,ro") as tree:
            yield Tree(host=site.host, folder=tree, origin=f"file:{path.name}")


@contextmanager
def _folder(site: Site, device: str, mounts: tuple[str, ...]) -> Iterator[Path]:
    """Find the recovery partition where it is mounted, or mount it to be read."""
    place = next((Path(each) for each in mounts if Path(each).is_dir()), None)
    if place is not None:
        yield place
        return
    with site.host.mounted(device, "recovery", "ro") as folder:
        yield folder


def _wipe(site: Site) -> None:
    """Empty what is to be emptied; the owner's settings stay unless that is asked for."""
    both = site.settings.flag("PERSISTENCE_RESET")
    if site.persistent is not None and (both or site.settings.flag("RESET_PERSISTENT")):
        _empty(site.persistent)
    if site.oem is not None:
        if both or site.settings.flag("RESET_OEM"):
            _empty(site.oem)
        bootloader.add_choices(site.oem)


def _empty(folder: Path) -> None:
    with during(Phase.COPY, f"{folder} cannot be emptied"), os.scandir(folder) as children:
        for child in children:
            if child.name in _KEPT:
                continue
            if child.is_dir(follow_symlinks=False):
                shutil.rmtree(child.path)
            else:
                Path(child.path).unlink()
