"""`directories`: folders with a given mode and owner."""

from collections.abc import Iterator

from compiler.agent.cloudconfig.actions import Actions, Change, MakeFolder, Task
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Folder, Step
from compiler.agent.cloudconfig.plugins.files import owner_of
from compiler.agent.root import Owner
from compiler.errors import CompilerError

_MODE = 0o777


def tasks(step: Step) -> Iterator[Task]:
    """Make each folder, or change the one that is there."""

    def make(folder: Folder) -> Task:
        return lambda machine: _make(folder, machine)

    yield from map(make, step.directories)


def _make(folder: Folder, machine: Machine) -> Actions:
    if not folder.path:
        raise CompilerError("a directory needs a path")
    mode = folder.permissions & _MODE
    yield MakeFolder(path=folder.path, mode=mode, owner=Owner(folder.owner, folder.group))
    if folder.ownerstring:
        yield Change(path=folder.path, mode=mode, owner=owner_of(folder.ownerstring, machine))
