"""Makes partitions anew that are damaged, where a reset empties them anyway."""

from compiler.agent.life import disk
from compiler.agent.life.detect import Device, labelled
from compiler.agent.life.host import Host
from compiler.agent.life.partition import Part
from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.life.settings import Settings
from compiler.agent.life.site import label_of, lost_partition, own_disk
from compiler.layout import OEM, PERSISTENT, STATE, Label, Partition

_LEFT = 4
"""In the exit code of e2fsck: there are errors that it could not correct (e2fsck(8))."""


def renew(host: Host, settings: Settings) -> None:
    """Make partitions anew that are to be emptied and have no file system that can be used.

    The state partition always is; the owner's are only if that is asked for. They are those of the
    disk that was booted, found by name or place where the label is gone. What can be mended is.
    Raises `LifeError`.
    """
    both = settings.flag("PERSISTENCE_RESET")
    for each in (STATE, PERSISTENT, OEM):
        asked = each is STATE or both or settings.flag(f"RESET_{each.label.name}")
        if asked and (device := _broken(host, settings, each.label)) is not None:
            _make(host, settings, each, device)


def _broken(host: Host, settings: Settings, label: Label) -> Device | None:
    devices = host.devices()
    ours = own_disk(host, settings, devices)
    lost = lost_partition(settings, devices, label, ours)
    if lost is not None:
        return lost
    found = labelled(devices, label_of(settings, label), ours)
    return None if found is None or _is_usable(host, found) else found


def _make(host: Host, settings: Settings, kind: Partition, device: Device) -> None:
    name = kind.label.name.lower()
    if device.filesystem not in {"", *disk.GRUB_READS}:
        message = f"{device.name} should be the {name} partition, and holds {device.filesystem}"
        raise LifeError(message, Phase.ABSENT, hint="what it holds is not ours: look at it")
    if device.mounts or device.read_only:
        raise LifeError(f"{device.name} is damaged, and in use or read-only", Phase.DEVICE)
    host.log.warning(f"THE {name.upper()} PARTITION {device.name} IS DAMAGED AND IS MADE ANEW")
    part = Part(name=name, label=kind.label, size=0, filesystem=kind.filesystem)
    disk.make_filesystem(host, device.name, part, label_of(settings, kind.label))
    host.settle()


def _is_usable(host: Host, device: Device) -> bool:
    """Whether a file system can be written to, after it was mended if that was needed."""
    if device.mounts:
        return True
    # One that another mount namespace still has is not checked, and not damaged either.
    checks = device.filesystem in disk.GRUB_READS and host.has("e2fsck")
    if checks and host.attempt("e2fsck", "-fy", device.name).code & _LEFT:
        return False
    try:
        with host.mounted(device.name, "looked-at"):
            return True
    except LifeError as error:
        host.log.debug(str(error))
        return False
