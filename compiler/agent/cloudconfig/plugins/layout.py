"""`layout`: partitions that are added to a disk, and the last one that grows."""

from collections.abc import Iterator

from compiler.agent.cloudconfig.actions import Actions, RunTool, Task, Warn
from compiler.agent.cloudconfig.disks import probe
from compiler.agent.cloudconfig.disks.filesystems import Kind, grown, kind_of, made
from compiler.agent.cloudconfig.disks.table import Entry, Table, added, expanded, partition_node
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Expand, Layout, Partition, Step
from compiler.agent.programs import Program
from compiler.errors import CompilerError

_LEAST_FREE = 32
_LOOP = "/dev/loop"
_LINUX, _EFI = "8300", "EF00"


def tasks(step: Step) -> Iterator[Task]:
    """Add the partitions, then expand the last one."""
    if step.layout.device or step.layout.add_partitions or step.layout.expand:
        yield lambda machine: _change(step.layout, machine)


def _change(layout: Layout, machine: Machine) -> Actions:
    kinds = [kind_of(each.filesystem, each.fs_label) for each in layout.add_partitions]
    disk = probe.disk_of(layout.device, machine)
    if probe.ends_early(disk, machine):
        yield _sgdisk(disk, machine, "-e")
    free = probe.table_of(disk, machine).free_mib
    if free < _LEAST_FREE:
        yield Warn(f"{disk}: only {free} MiB are free: its partitions stay as they are")
        return
    for partition, kind in zip(layout.add_partitions, kinds, strict=True):
        yield from _add(disk, partition, kind, machine)
    if layout.expand is not None:
        yield from _expand(disk, layout.expand, machine)


def _add(disk: str, partition: Partition, kind: Kind | None, machine: Machine) -> Actions:
    table = probe.table_of(disk, machine)
    if _is_there(partition, table, machine):
        machine.log.info(f"{disk}: {partition.fs_label or partition.p_label} is there already")
        return
    number = table.next_number
    yield _sgdisk(disk, machine, *addition(partition, number, added(table, partition.size)))
    yield from _shown(disk, machine)
    if kind is None:
        return
    if probe.is_file(disk, machine):
        entry = next(each for each in probe.table_of(disk, machine).entries
                     if each.number == number)  # fmt: skip
        yield from _format_inside(disk, entry, table.sector, (kind, partition), machine)
        return
    node = partition_node(disk, number)
    probe.await_node(node, machine)
    yield RunTool(Program(argv=made(kind, partition.fs_label, node)))
    yield from _shown(disk, machine)


def _is_there(partition: Partition, table: Table, machine: Machine) -> bool:
    """Whether a partition has one of the labels already, on this disk or another."""
    names = {each.name for each in table.entries}
    labels = [each for each in (partition.fs_label, partition.p_label) if each]
    return partition.p_label in names - {""} or any(
        probe.labelled(each, machine) for each in labels
    )


def addition(partition: Partition, number: int, sectors: tuple[int, int]) -> tuple[str, ...]:
    """Write the flags of sgdisk that add a partition."""
    code = _EFI if partition.bootable else _LINUX
    name = (f"-c={number}:{partition.p_label}",) if partition.p_label else ()
    return (f"-n={number}:{sectors[0]}:{sectors[1]}", f"-t={number}:{code}", *name)


def _expand(disk: str, expand: Expand, machine: Machine) -> Actions:
    table = probe.table_of(disk, machine)
    last, entry = expanded(table, expand.size), table.end
    if entry is None or last <= entry.last:
        return
    path = probe.sgdisk_path(disk, machine)
    info = probe.answer(machine, "sgdisk", "-i", str(entry.number), path)
    yield _sgdisk(disk, machine, *expansion(entry, last, info))
    yield from _shown(disk, machine)
    if probe.is_file(disk, machine):
        return
    node = partition_node(disk, entry.number)
    probe.await_node(node, machine)
    kind = probe.answer(machine, "blkid", "-o", "value", "-s", "TYPE", node)
    if kind:
        where = probe.answer(machine, "findmnt", "-no", "TARGET", "--source", node).split("\n")[0]
        for words in grown(kind, node, where):
            yield RunTool(Program(argv=words))


def expansion(entry: Entry, last: int, info: str) -> tuple[str, ...]:
    """Write the flags of sgdisk that put a longer partition in the place of one.

    It keeps its name, type and number, and the ids of both, that `sgdisk -i` printed.
    """
    number = entry.number
    ids = dict(line.split(": ", 1) for line in info.splitlines() if ": " in line)
    kind = ids.get("Partition GUID code", "").split(" ")[0] or entry.code
    own = ids.get("Partition unique GUID", "").strip()
    return (
        f"-d={number}",
        f"-n={number}:{entry.first}:{last}",
        f"-t={number}:{kind}",
        *((f"-c={number}:{entry.name}",) if entry.name else ()),
        *((f"-u={number}:{own}",) if own else ()),
    )


def _sgdisk(disk: str, machine: Machine, *flags: str) -> RunTool:
    return RunTool(Program(argv=("sgdisk", *flags, probe.sgdisk_path(disk, machine))))


def _shown(disk: str, machine: Machine) -> Actions:
    """Let the kernel see the changed table; an image in a file has nobody who looks at it."""
    if probe.is_file(disk, machine):
        return
    words: tuple[str, ...] = ("partprobe",)
    if disk.startswith(_LOOP) or not machine.programs.has_tool("partprobe"):
        words = ("partx", "--update")  # for loop devices, and it is everywhere
    yield RunTool(Program(argv=(*words, machine.programs.path_for(words[0], disk))))
    if machine.programs.has_tool("udevadm"):
        yield RunTool(Program(argv=("udevadm", "settle", "--timeout=10")))


def _format_inside(
    disk: str, entry: Entry, sector: int, what: tuple[Kind, Partition], machine: Machine
) -> Actions:
    """Format a partition of an image in a file."""
    kind, partition = what
    first, size = entry.first * sector, (entry.last - entry.first + 1) * sector
    path = machine.programs.path_for(kind.program, disk)
    if kind.offset:
        words = made(kind, partition.fs_label, path)
        extra = ("-F", "-E", f"offset={first}")
        yield RunTool(Program(argv=(words[0], *extra, *words[1:], f"{size // 1024}k")))
        return
    where = machine.programs.path_for("losetup", disk)
    span = ("--offset", str(first), "--sizelimit", str(size))
    loop = probe.answer(machine, "losetup", "--find", "--show", *span, where)
    if not loop:
        raise CompilerError(f"{disk}: no loop device for a partition of it")
    try:
        yield RunTool(Program(argv=made(kind, partition.fs_label, loop)))
    finally:
        yield RunTool(Program(argv=("losetup", "--detach", loop)))
