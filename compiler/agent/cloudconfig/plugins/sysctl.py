"""`sysctl`: settings of the kernel."""

from collections.abc import Iterator

from compiler.agent.cloudconfig.actions import Actions, Task, WriteFile
from compiler.agent.cloudconfig.model import Step


def tasks(step: Step) -> Iterator[Task]:
    """Write each setting."""

    def put(name: str, value: str) -> Task:
        return lambda _machine: _put(name, value)

    yield from (put(name, value) for name, value in step.sysctl.items())


def _put(name: str, value: str) -> Actions:
    yield WriteFile(path=path_of(name), data=value.encode())


def path_of(name: str) -> str:
    """Tell which file of the kernel a setting is (sysctl(8))."""
    return f"/proc/sys/{name.replace('.', '/')}"
