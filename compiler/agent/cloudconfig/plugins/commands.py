"""`commands`: lines for the shell."""

from collections.abc import Iterator

from compiler.agent.cloudconfig.actions import Actions, Run, Task
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Step
from compiler.agent.programs import Program


def tasks(step: Step) -> Iterator[Task]:
    """Run each in a shell of its own."""

    def run(text: str) -> Task:
        return lambda machine: _run(text, machine)

    yield from map(run, step.commands)


def _run(text: str, machine: Machine) -> Actions:
    yield Run(Program(argv=("sh", "-c", machine.render(text))))
