"""Does what was decided: the one place where a stage changes anything."""

import importlib
import socket
from typing import assert_never

from compiler.agent.cloudconfig.actions import (
    Action,
    Change,
    Fetch,
    MakeFolder,
    NameHost,
    Remove,
    Run,
    RunTool,
    Unpack,
    Warn,
    WriteFile,
)
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.programs import check
from compiler.errors import OutsideError


def perform(action: Action, machine: Machine) -> None:
    """Do one thing; raises `CompilerError`."""
    match action:
        case WriteFile() | MakeFolder() | Change() | Remove():
            _change_files(action, machine)
        case Run() | RunTool():
            _run(action, machine)
        case NameHost():
            _name_host(action.name, machine)
        case Fetch():
            machine.web.download(action, machine.root)
        case Unpack():
            module = importlib.import_module("compiler.agent.images")
            module.unpack_image(action.image, action.target, action.platform, machine)
        case Warn():
            machine.log.warning(action.text)
        case _:
            assert_never(action)


def _change_files(action: WriteFile | MakeFolder | Change | Remove, machine: Machine) -> None:
    root = machine.root
    match action:
        case WriteFile(path=path, data=data):
            root.write(path, data, mode=action.mode, owner=action.owner, parents=action.parents)
        case MakeFolder(path=path):
            root.make_folder(path, action.mode, action.owner, keep=action.keep)
        case Change(path=path):
            root.change(path, action.mode, action.owner)
        case Remove(path=path):
            root.remove(path)
        case _:
            assert_never(action)


def _run(action: Run | RunTool, machine: Machine) -> None:
    program = action.program
    machine.log.debug(f"runs `{program}`")
    programs = machine.programs
    start = programs.run if isinstance(action, Run) else programs.run_tool
    check(program, start(program, machine.log.info))


def _name_host(name: str, machine: Machine) -> None:
    """Name the running machine; another root only has its files changed."""
    if not machine.root.is_machine:
        return
    try:
        socket.sethostname(name)
    except OSError as error:
        raise OutsideError(f"the host name cannot be set: {error.strerror}") from error
