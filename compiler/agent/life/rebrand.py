"""`cos-rebrand`: the boot menu gets the title that is configured."""

from compiler.agent.life import bootloader
from compiler.agent.life.host import Host
from compiler.agent.life.settings import Settings
from compiler.agent.life.site import own_disk, state_of


def rebrand(host: Host, settings: Settings) -> None:
    """Write the title; raises `LifeError`."""
    host.need_root()
    with host.alone():
        devices = host.devices()
        state = state_of(settings, devices, own_disk(host, settings, devices))
        with host.used(state, "state") as folder:
            title = bootloader.rebrand(folder, settings.text("GRUB_ENTRY_NAME"))
    host.log.info(f"The boot menu says {title}")
