"""Installs the boot loader anew on an installed machine."""

import os
from pathlib import Path

from compiler.agent.life import bootloader
from compiler.agent.life.firmware import add_entry
from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.life.site import Site, menu_labels
from compiler.layout import Label


def reinstall(site: Site, tree: Path | None = None) -> None:
    """Install GRUB on the disk of the state partition, with the menu of `tree`.

    Without a tree it is that of the running system. Raises `LifeError`.
    """
    disk = site.state_device.disk
    if not disk:
        raise LifeError(f"{site.state_device.name} is on no disk", Phase.BOOTLOADER)
    site.host.log.info("Installing GRUB..")
    places = bootloader.Places(
        disk=disk,
        firmware=site.firmware,
        state=site.state,
        efi=site.efi,
        labels=menu_labels(site.settings),
    )
    machine = os.uname().machine
    bootloader.install(site.host, places, tree=tree or site.host.root, machine=machine)
    efi = site.device(Label.GRUB) if site.efi is not None else None
    add_entry(site.host, site.settings, efi.name if efi else None)
