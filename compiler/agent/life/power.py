"""What a machine does when a command is done: goes on, boots, or powers off."""

from compiler.agent.booted import has_word
from compiler.agent.life.host import Host
from compiler.agent.life.settings import Settings

_DELAY = 5.0
"""Seconds in which somebody can still stop it."""


def after(
    host: Host, settings: Settings, *, asked: bool, word: str = "cos.install.power_off=true"
) -> None:
    """Boot or power off, if the settings or `asked` want it; `word` is that of the kernel."""
    off = settings.flag("COS_INSTALL_POWER_OFF") or settings.flag("POWER_OFF")
    if not (asked or off or settings.flag("COS_INSTALL_REBOOT")):
        return
    off = off or has_word(host.text("/proc/cmdline"), word)
    host.log.info("Powering off in 5 seconds" if off else "Rebooting in 5 seconds")
    host.pause(_DELAY)
    host.call("systemctl", "poweroff" if off else "reboot")
