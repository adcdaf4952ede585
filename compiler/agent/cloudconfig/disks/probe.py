"""Looks at disks: which one is meant, which partitions it has, and what is on them."""

import shlex
import stat

from compiler.agent.cloudconfig.disks.table import Table, parse_table
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Device
from compiler.agent.programs import Program
from compiler.errors import CompilerError

_SCRIPT = "script://"
_TRIES = 50
_PAUSE = 0.2


def answer(machine: Machine, *words: str) -> str:
    """Ask a tool for one thing; nothing if it does not know."""
    finished, text = machine.programs.ask_tool(Program(argv=words))
    return "" if finished.code else text.strip()


def disk_of(device: Device | None, machine: Machine) -> str:
    """Find the disk that is meant; raises `CompilerError` if there is none."""
    if device is not None and device.path:
        path = device_path(device.path, machine)
        status = machine.root.status(path)
        if status is None:
            raise CompilerError(f"there is no device {path}")
        if stat.S_ISDIR(status.st_mode):
            path = _mounted(path, machine)
        elif stat.S_ISREG(status.st_mode):
            return path
    elif device is not None and device.label:
        path = labelled(device.label, machine)
        if not path:
            raise CompilerError(f"no partition has the label {device.label!r}")
    else:
        raise CompilerError("a layout needs a device: its label or its path")
    return answer(machine, "lsblk", "-npo", "pkname", path).split("\n")[0].strip() or path


def device_path(text: str, machine: Machine) -> str:
    """Return the path of a device, or what a `script://` prints; raises `CompilerError`."""
    if not text.startswith(_SCRIPT):
        return text
    try:
        words = shlex.split(text.removeprefix(_SCRIPT))
    except ValueError as error:
        raise CompilerError(f"{text!r}: {error}") from error
    if not words:
        raise CompilerError(f"{text!r} names no script")
    finished, printed = machine.programs.ask(Program(argv=tuple(words)))
    if finished.code or not printed.strip():
        reason = f"failed with exit code {finished.code}" if finished.code else "printed nothing"
        raise CompilerError(f"the script {words[0]} {reason}, instead of printing a device")
    return printed.strip()


def labelled(label: str, machine: Machine) -> str:
    """Find the partition whose file system, or that itself, has a label; nothing if none has."""
    for kind in ("LABEL", "PARTLABEL"):
        match = f"{kind}={label}"
        found = answer(machine, "blkid", "-l", "--match-token", match, "-o", "device")
        if found:
            return found.split("\n")[0]
    return ""


def _mounted(folder: str, machine: Machine) -> str:
    found = answer(machine, "findmnt", "-no", "SOURCE", "--target", folder)
    if not found.startswith("/dev/"):
        raise CompilerError(f"{folder} is on no disk")
    return found.split("\n")[0].split("[")[0]


def is_file(disk: str, machine: Machine) -> bool:
    """Whether a disk is an image in a file."""
    return machine.root.is_file(disk)


def sgdisk_path(disk: str, machine: Machine) -> str:
    """Return the path by which sgdisk finds a disk."""
    return machine.programs.path_for("sgdisk", disk)


def table_of(disk: str, machine: Machine) -> Table:
    """Read the partition table of a disk; raises `CompilerError`."""
    path = sgdisk_path(disk, machine)
    finished, text = machine.programs.ask_tool(Program(argv=("sgdisk", "-p", path)))
    if finished.code:
        reason = finished.tail[-1] if finished.tail else text.strip().split("\n")[-1]
        raise CompilerError(f"{disk}: its partitions cannot be read: {reason}")
    return parse_table(text)


def ends_early(disk: str, machine: Machine) -> bool:
    """Whether the second table is not at the end of the disk, as after the disk grew."""
    path = sgdisk_path(disk, machine)
    _, text = machine.programs.ask_tool(Program(argv=("sgdisk", "--verify", path)))
    return "end of the disk" in text


def await_node(node: str, machine: Machine) -> None:
    """Wait a while until the kernel shows a partition; what is done with it next tells more."""
    for _ in range(_TRIES):
        if machine.root.exists(node):
            return
        machine.outside.pause(_PAUSE)
    machine.log.warning(f"{node} does not appear")
