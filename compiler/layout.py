"""Where an installed system keeps what: labels, files and sizes that all its parts share.

Other software finds them by these literal names: they are those of cOS-toolkit 0.5.
"""

import re
from dataclasses import dataclass
from enum import StrEnum, unique

MIB = 1 << 20


@unique
class Label(StrEnum):
    """Labels of file systems: those of partitions, and those inside of images."""

    LIVE = "COS_LIVE"
    GRUB = "COS_GRUB"
    OEM = "COS_OEM"
    STATE = "COS_STATE"
    RECOVERY = "COS_RECOVERY"
    PERSISTENT = "COS_PERSISTENT"
    ACTIVE = "COS_ACTIVE"
    PASSIVE = "COS_PASSIVE"
    SYSTEM = "COS_SYSTEM"


@unique
class Slot(StrEnum):
    """A system that the boot menu can choose; the value is its identifier there."""

    ACTIVE = "cos"
    PASSIVE = "fallback"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition of an installed disk: label, size in MiB (0: the rest), file system."""

    label: Label
    size: int
    filesystem: str
    mount: str | None = None
    """Where a running system has it."""


ESP = Partition(label=Label.GRUB, size=64, filesystem="vfat")
OEM = Partition(label=Label.OEM, size=64, filesystem="ext4", mount="/oem")
STATE = Partition(
    label=Label.STATE, size=15000, filesystem="ext4", mount="/run/initramfs/cos-state"
)
RECOVERY = Partition(label=Label.RECOVERY, size=8000, filesystem="ext4")
PERSISTENT = Partition(label=Label.PERSISTENT, size=0, filesystem="ext4", mount="/usr/local")

ACTIVE_IMAGE = "cOS/active.img"
PASSIVE_IMAGE = "cOS/passive.img"
TRANSITION_IMAGE = "cOS/transition.img"
FORMER_IMAGE = "cOS/former.img"
"""Images of the state partition, by path on it. The last two are there during an upgrade only."""

RECOVERY_IMAGE = "cOS/recovery.img"
RECOVERY_SQUASHFS = "cOS/recovery.squashfs"
"""The recovery system on its partition: one of the two."""

STATE_RECORD = "state.yaml"
"""On the state partition: what is installed, from where, since when."""

GRUB_MENU = "/etc/cos/grub.cfg"
BOOT_ARGUMENTS = "/etc/cos/bootargs.cfg"
KERNEL = "/boot/vmlinuz"
INITRD = "/boot/initrd"
"""Files of a root tree that can be booted."""

OWNER_CHOICES = "grubenv"
"""On the OEM partition: `next_entry` and `saved_entry`, which the owner of the machine sets."""

BOOT_ASSESSMENT = "boot_assessment"
"""On the state partition: what the boot menu knows of a system that has to prove itself."""

BOOT_SETTINGS = "grub_oem_env"
"""On the state partition: titles, labels and kernel arguments that were set."""

_SNAPSHOT = re.compile(r"cOS/snapshot-([1-9][0-9]{0,8})\.img")


def snapshot_image(number: int) -> str:
    """Return the image of an older system on the state partition."""
    return f"cOS/snapshot-{number}.img"


def snapshot_number(path: str) -> int | None:
    """Return the number of such an image; None for any other path."""
    found = _SNAPSHOT.fullmatch(path)
    return int(found[1]) if found else None
