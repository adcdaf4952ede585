"""`delete_entities`: rows of account files that must not be there."""

from collections.abc import Iterator

from compiler.agent.cloudconfig.accounts import without, without_name
from compiler.agent.cloudconfig.actions import Actions, Task, WriteFile
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Entity, Step
from compiler.agent.cloudconfig.plugins.entities import Row, parsed, shadow_row, user_row


def tasks(step: Step) -> Iterator[Task]:
    """Take each out of its file."""

    def delete(entity: Entity) -> Task:
        return lambda machine: _delete(entity, machine)

    yield from map(delete, step.delete_entities)


def _delete(entity: Entity, machine: Machine) -> Actions:
    row, path = parsed(entity, machine)
    old = machine.root.text(path)
    new = _without(row, old, machine.today)
    if new != old:
        yield WriteFile(path=path, data=new.encode("utf-8", "surrogateescape"))


def _without(row: Row, text: str, today: int) -> str:
    """Take groups out by their names; users and passwords only if the whole row is the same."""
    match row.kind:
        case "user":
            return without(text, user_row(row))
        case "shadow":
            return without(text, shadow_row(row, row.password, today))
        case "gshadow":
            return without_name(text, row.name)
        case _:
            return without_name(text, row.group_name)
