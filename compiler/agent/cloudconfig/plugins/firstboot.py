"""`systemd_firstboot`: what systemd-firstboot sets up."""

from collections.abc import Iterator

from compiler.agent.cloudconfig.actions import Actions, Run, Task
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Step
from compiler.agent.programs import Program


def tasks(step: Step) -> Iterator[Task]:
    """Call it once, with all keys in their order."""

    def call(_machine: Machine) -> Actions:
        flags = (flag(key, value) for key, value in sorted(step.systemd_firstboot.items()))
        yield Run(Program(argv=("systemd-firstboot", *flags)))

    yield call


def flag(key: str, value: str) -> str:
    """Write a flag: `true` needs no value."""
    name = key.lower().replace("_", "-")
    return f"--{name}" if value == "true" else f"--{name}={value}"
