"""Disks: which may be installed on, and how a plan becomes partitions with file systems."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.agent.life.detect import Device, installed_labels
from compiler.agent.life.host import Host
from compiler.agent.life.partition import Part, Plan, node, sfdisk_script
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.layout import Label

_DISKS = ("disk", "loop", "mpath", "raid0", "raid1", "raid5", "raid10", "dm")
_ZEROED = 1 << 20
_LABEL_FLAGS = {"xfs": "-L", "btrfs": "-L"}

GRUB_READS = ("ext2", "ext3", "ext4")
FILESYSTEMS = (*GRUB_READS, *_LABEL_FLAGS, "vfat")
"""What partitions can have."""


@dataclass(frozen=True, slots=True)
class Target:
    """A disk to install on: its device, and its size in bytes."""

    name: str
    size: int


def check_disk(name: str, devices: Sequence[Device], *, force: bool) -> Target:
    """Return the disk that may be installed on; raises `LifeError` for any other."""
    disk = _find(name, devices)
    parts = [each for each in devices if each.disk == disk.name]
    mounted = [each for each in (disk, *parts) if each.mounts]
    if mounted:
        where = ", ".join(f"{each.name} on {each.mounts[0]}" for each in mounted)
        hint = "unmount it, or choose another disk"
        raise LifeError(f"{name} is in use: {where}", Phase.DEVICE, hint=hint)
    labels = installed_labels(devices, disk.name)
    if labels and not force:
        message = f"{name} holds an installation already ({', '.join(labels)})"
        raise LifeError(message, Phase.INSTALLED, hint="--force overwrites it")
    if not force and (disk.filesystem or disk.table or parts):
        what = f"{len(parts)} partitions" if parts else disk.filesystem or f"a table {disk.table}"
        hint = "--force overwrites what is there"
        raise LifeError(f"{name} holds data already ({what})", Phase.INSTALLED, hint=hint)
    return Target(disk.name, disk.size)


def _find(name: str, devices: Sequence[Device]) -> Device:
    real = os.path.realpath(name)
    if not Path(real).is_block_device():
        message = f"You should use an available device. Device {name} does not exist."
        raise LifeError(message, Phase.DEVICE, hint="lsblk lists the disks")
    disk = next((each for each in devices if each.name == real), None)
    if disk is None or disk.kind not in _DISKS:
        kind = disk.kind if disk else "unknown"
        raise LifeError(f"{name} is no disk, but {kind}", Phase.DEVICE, hint="name the whole disk")
    if disk.read_only:
        raise LifeError(f"{name} is read-only", Phase.DEVICE)
    with during(Phase.DEVICE, f"{name} cannot be read"), Path(real).open("rb") as file:
        file.read(_ZEROED)
    return disk


def partition(host: Host, disk: Target, plan: Plan) -> dict[str, str]:
    """Write a table; returns the device of each partition by its label. Raises `LifeError`."""
    with during(Phase.PARTITION, f"{disk.name} cannot be partitioned"):
        _release(host, disk.name)
        host.call("wipefs", "--all", "--force", disk.name)
        with Path(disk.name).open("r+b") as file:
            file.write(bytes(_ZEROED))
            os.fsync(file.fileno())
        script = host.work / "table"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(sfdisk_script(plan))
        host.call("sh", "-c", 'sfdisk --wipe always --wipe-partitions always "$1" < "$2"', "sh",
                  disk.name, str(script))  # fmt: skip
        host.attempt("partx", "--update", disk.name)
        host.settle()
        nodes = {part.label or part.name: node(disk.name, number)
                 for number, part in enumerate(plan.parts, 1)}  # fmt: skip
        host.await_nodes(list(nodes.values()))
    return nodes


def _release(host: Host, disk: str) -> None:
    """Remove what the device mapper has made of a disk: a former system's volumes keep it busy."""
    if not host.has("dmsetup"):
        return
    names = host.answer("lsblk", "--list", "--noheadings", "--output", "NAME,TYPE", disk)
    for line in reversed(names.splitlines()):
        name, _, kind = line.strip().partition(" ")
        if kind.strip() in {"lvm", "crypt", "dm", "mpath"}:
            host.attempt("dmsetup", "remove", "--force", "--retry", name)


def make_filesystems(
    host: Host, plan: Plan, nodes: Mapping[str, str], labels: Mapping[str, str]
) -> None:
    """Make the file systems of all partitions, with their labels; raises `LifeError`.

    `labels` are other names of ours, where somebody wants others.
    """
    for part in plan.parts:
        if part.filesystem:
            device = nodes[part.label or part.name]
            make_filesystem(host, device, part, labels.get(part.label, part.label))
    host.settle()


def make_filesystem(host: Host, device: str, part: Part, label: str) -> None:
    """Make one file system; raises `LifeError`."""
    with during(Phase.FORMAT, f"{device} cannot be formatted"):
        host.call(*mkfs(part.filesystem, label, device, boot=part.label != Label.PERSISTENT))


def mkfs(filesystem: str, label: str, device: str, *, boot: bool) -> list[str]:
    """Say which program makes a file system, and what it is told.

    What the boot loader reads gets no feature that older ones do not know.
    """
    program = mkfs_program(filesystem)
    if filesystem == "vfat":
        return [program, "-F", "32", "-n", label, device]
    if filesystem in GRUB_READS:
        old = ["-O", "^metadata_csum_seed"] if boot and filesystem == "ext4" else []
        return [program, "-q", "-F", *old, *(["-L", label] if label else []), device]
    return [program, "-f", *([_LABEL_FLAGS[filesystem], label] if label else []), device]


def mkfs_program(filesystem: str) -> str:
    """Name the program that makes a file system of `FILESYSTEMS`."""
    return "mkfs.fat" if filesystem == "vfat" else f"mkfs.{filesystem}"
