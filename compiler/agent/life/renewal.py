"""Makes a state partition anew that is damaged: a reset puts all that it held there again."""

from compiler.agent.life import disk
from compiler.agent.life.detect import Device, labelled
from compiler.agent.life.host import Host
from compiler.agent.life.partition import Part
from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.life.settings import Settings
from compiler.agent.life.site import label_of, lost_partition, own_disk
from compiler.layout import STATE, Label

_LEFT = 4
"""In the exit code of e2fsck: there are errors that it could not correct (e2fsck(8))."""


def renew_state(host: Host, settings: Settings) -> bool:
    """Make the state partition anew if it has no file system that can be used; tells whether.

    It is that of the disk that was booted, found by its name or place where its label is gone. What
    can be mended is mended. Raises `LifeError`.
    """
    devices = host.devices()
    ours = own_disk(host, settings, devices)
    label = label_of(settings, Label.STATE)
    lost = lost_partition(settings, devices, Label.STATE, ours)
    broken = lost or labelled(devices, label, ours)
    if broken is None or (lost is None and _is_usable(host, broken)):
        return False
    if broken.filesystem not in {"", *disk.GRUB_READS}:
        message = f"{broken.name} should be the state partition, and holds {broken.filesystem}"
        raise LifeError(message, Phase.ABSENT, hint="what it holds is not ours: look at it")
    if broken.mounts or broken.read_only:
        raise LifeError(f"{broken.name} is damaged, and in use or read-only", Phase.DEVICE)
    host.log.warning(
        f"THE STATE PARTITION {broken.name} IS DAMAGED AND IS MADE ANEW: both systems and the "
        "variables of the boot menu are written again; what the owner keeps is on others"
    )
    part = Part(name="state", label=Label.STATE, size=0, filesystem=STATE.filesystem)
    disk.make_filesystem(host, broken.name, part, label)
    host.settle()
    return True


def _is_usable(host: Host, device: Device) -> bool:
    """Whether a file system can be written to, after it was mended if that was needed."""
    if device.mounts:
        return True
    # One that another mount namespace still has is not checked, and not damaged either.
    checks = device.filesystem in disk.GRUB_READS and host.has("e2fsck")
    if checks and host.attempt("e2fsck", "-fy", device.name).code & _LEFT:
        return False
    try:
        with host.mounted(device.name, "state"):
            return True
    except LifeError as error:
        host.log.debug(str(error))
        return False
