"""`package_pins`: packages whose version the package manager must not change."""

import re
from collections.abc import Iterator

from compiler.agent.cloudconfig.actions import Action, Actions, Run, Task, WriteFile
from compiler.agent.cloudconfig.facts import os_release
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Step
from compiler.agent.cloudconfig.plugins.packages import manager_of
from compiler.agent.programs import Program
from compiler.errors import CompilerError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._:~-]*")
_FOLDER = "/etc/apt/preferences.d"
_PARENTS = 0o755
_PRIORITY = 1001
"""Enough for apt to go back to an older version (apt_preferences(5))."""


def tasks(step: Step) -> Iterator[Task]:
    """Lock each package."""

    def pin(name: str, version: str) -> Task:
        return lambda machine: _pin(name, version, machine)

    yield from (pin(name, version) for name, version in step.package_pins.items())


def _pin(name: str, version: str, machine: Machine) -> Actions:
    for each in (name, version.removesuffix("*")):
        if not _NAME.fullmatch(each):
            raise CompilerError(f"{each!r} is no name or version of a package")
    program = manager_of(os_release(machine.root)).refresh.split()[0]
    yield lock(program, name, version)


def lock(program: str, name: str, version: str) -> Action:
    """Lock a package in the way of its manager; raises `CompilerError` if that has none."""
    match program:
        case "apt-get":
            text = f"Package: {name}\nPin: version {version}\nPin-Priority: {_PRIORITY}\n"
            path = f"{_FOLDER}/cos-{name.replace(':', '_')}"
            return WriteFile(path=path, data=text.encode(), mode=0o644, parents=_PARENTS)
        case "dnf":
            return Run(Program(argv=("dnf", "versionlock", "add", f"{name}-{version}")))
        case "zypper":
            return Run(Program(argv=("zypper", "addlock", f"{name} = {version}")))
        case "apk":
            return Run(Program(argv=("apk", "add", "--no-cache", f"{name}={version}")))
        case _:
            raise CompilerError(f"{program} cannot lock the version of a package")
