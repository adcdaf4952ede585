"""`environment`: variables in a file for shells and services."""

import re
from collections.abc import Iterator, Mapping

from compiler.agent.cloudconfig.actions import Actions, MakeFolder, Task, Warn, WriteFile
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Step
from compiler.errors import CompilerError

_PATH = "/etc/environment"
_MODE = 0o644
_PARENTS = 0o744
_LINE = re.compile(r"(?:export\s+)?([^\s=:#'\"]+)\s*[=:](.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?[0-9]+")
_NAME = re.compile(r"[^\s=:#'\"]+")
_SPECIAL = re.compile(r'([\\"$`!])')


def tasks(step: Step) -> Iterator[Task]:
    """Merge the variables into the file."""
    if step.environment:
        yield lambda machine: _merge(step, machine)


def _merge(step: Step, machine: Machine) -> Actions:
    path = step.environment_file or _PATH
    folder = path.rpartition("/")[0]
    if folder:
        yield MakeFolder(path=folder, mode=_PARENTS, keep=True)
    old = parsed(machine.root.text(path, ""))
    if old is None:
        yield Warn(f"{path}: cannot be read as variables: what it holds is dropped")
    new = {name: quoted(machine.render(value)) for name, value in step.environment.items()}
    for name in new:
        if not _NAME.fullmatch(name):
            raise CompilerError(f"{name!r} is no name of a variable")
    yield WriteFile(path=path, data=laid_out({**(old or {}), **new}), mode=_MODE)


def laid_out(variables: Mapping[str, str]) -> bytes:
    """Write variables, their values quoted already, one a line and sorted."""
    lines = sorted(f"{name}={value}\n" for name, value in variables.items())
    return "".join(lines).encode("utf-8", "surrogateescape")


def quoted(value: str) -> str:
    """Write a whole number as it is, and anything else between double quotes."""
    if _NUMBER.fullmatch(value):
        return value
    escaped = _SPECIAL.sub(r"\\\1", value)
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'


def parsed(text: str) -> dict[str, str] | None:
    """Read the variables of a file, their values quoted anew; None if it is no such file."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        match = _LINE.fullmatch(bare)
        if match is None:
            return None
        found[match[1]] = _requoted(match[2].strip())
    return found


def _requoted(value: str) -> str:
    """Keep what a value means: `$` in double quotes is a variable, in single ones a letter."""
    single = re.fullmatch(r"'([^']*)'\s*(?:#.*)?", value)
    if single:
        return quoted(single[1])
    double = re.fullmatch(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?', value)
    if double:
        return double[1] if _NUMBER.fullmatch(double[1]) else f'"{double[1]}"'
    plain = re.sub(r"\s+#.*$", "", value)
    if _NUMBER.fullmatch(plain):
        return plain
    return '"' + plain.replace('"', '\\"') + '"'
