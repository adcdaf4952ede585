"""`modules`: parts of the kernel that are loaded."""

from collections.abc import Iterator

from compiler.agent.cloudconfig.actions import Actions, Run, Task
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Step
from compiler.agent.programs import Program

_LOADED = "/proc/modules"


def tasks(step: Step) -> Iterator[Task]:
    """Load each that is not there yet."""

    def add(text: str) -> Task:
        return lambda machine: _load(text, machine)

    yield from map(add, step.modules)


def _load(text: str, machine: Machine) -> Actions:
    words = text.split()
    if words and not is_loaded(words[0], machine.root.text(_LOADED, "")):
        yield Run(Program(argv=("modprobe", "--", *words)))


def is_loaded(name: str, modules: str) -> bool:
    """Whether the kernel has a module; it writes `_` for `-`."""
    wanted = name.replace("-", "_")
    return any(line.split(" ", 1)[0] == wanted for line in modules.splitlines())
