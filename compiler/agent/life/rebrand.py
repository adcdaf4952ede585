"""`cos-rebrand`: the boot menu gets the title that is configured."""

from compiler.agent.life import bootloader
from compiler.agent.life.detect import labelled
from compiler.agent.life.host import Host
from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.life.settings import Settings


def rebrand(host: Host, settings: Settings) -> None:
    """Write the title; raises `LifeError`."""
    host.need_root()
    with host.alone():
        state = labelled(host.devices(), settings.text("STATE_LABEL"))
        if state is None:
            raise LifeError("State partition cannot be found", Phase.ABSENT)
        with host.used(state, "state") as folder:
            title = bootloader.rebrand(folder, settings.text("GRUB_ENTRY_NAME"))
    host.log.info(f"The boot menu says {title}")
