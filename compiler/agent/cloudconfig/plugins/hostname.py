"""`hostname`: the name of the machine."""

from collections.abc import Iterator

from compiler.agent.cloudconfig.actions import Actions, NameHost, Task, WriteFile
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Step
from compiler.errors import CompilerError

_PATH = "/etc/hostname"
_HOSTS = "/etc/hosts"
_LOCAL = "127.0.0.1"
_LONGEST = 64


def tasks(step: Step) -> Iterator[Task]:
    """Give the machine its name."""
    yield lambda machine: renamed(step.hostname, machine)


def renamed(text: str, machine: Machine) -> Actions:
    """Name the kernel and the files; raises `CompilerError` for a name that is none."""
    name = machine.render(text).strip()
    if not name or len(name) > _LONGEST or not name.isprintable() or " " in name:
        raise CompilerError(f"{name[: 2 * _LONGEST]!r} is no name of a machine")
    yield NameHost(name)
    yield WriteFile(path=_PATH, data=f"{name}\n".encode())
    yield WriteFile(path=_HOSTS, data=hosts_with(machine.root.text(_HOSTS), name).encode())


def hosts_with(hosts: str, name: str) -> str:
    """Put the name in the lines of the machine's own address; all others stay."""
    return "\n".join(
        f"{_LOCAL} localhost {name}" if line.split()[:1] == [_LOCAL] else line
        for line in hosts.split("\n")
    )
