"""`dns`: what the resolver is told."""

from collections.abc import Iterator

from compiler.agent.cloudconfig.actions import Action, Actions, Task, WriteFile
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Dns, Step

_PATH = "/etc/resolv.conf"


def tasks(step: Step) -> Iterator[Task]:
    """Replace the file, if there is any name server to put in it."""

    def write(_machine: Machine) -> Actions:
        yield written(step.dns)

    if step.dns.nameservers:
        yield write


def written(dns: Dns) -> Action:
    """Make the file (resolv.conf(5)); the domain `.` alone would say nothing."""
    lines = []
    search = " ".join(dns.search)
    if search.strip() not in {"", "."}:
        lines.append(f"search {search}")
    lines += [f"nameserver {each}" for each in dns.nameservers]
    if dns.options:
        lines.append(f"options {' '.join(dns.options)}")
    text = "".join(f"{line}\n" for line in lines)
    return WriteFile(path=dns.path or _PATH, data=text.encode())
