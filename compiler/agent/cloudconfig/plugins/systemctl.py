"""`systemctl`: what systemd is told about units."""

import shlex
from collections.abc import Iterator

from compiler.agent.cloudconfig.actions import Actions, Run, Task, Warn, WriteFile
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Override, Step
from compiler.agent.programs import Program
from compiler.errors import CompilerError

_FOLDER = "/etc/systemd/system"
_NAME = "override-yip.conf"
_MODE = 0o644
_PARENTS = 0o755
_SUFFIXES = (
    ".service", ".socket", ".device", ".mount", ".automount", ".swap", ".target", ".path",
    ".timer", ".slice", ".scope",
)  # fmt: skip


def tasks(step: Step) -> Iterator[Task]:
    """Go through the verbs in their order, unit by unit; then write the drop-in files."""

    def tell(verb: str, unit: str) -> Task:
        return lambda _machine: _tell(verb, unit)

    def override(each: Override) -> Task:
        return lambda machine: _override(each, machine)

    told = step.systemctl
    for verb, units in (
        ("enable", told.enable),
        ("disable", told.disable),
        ("mask", told.mask),
        ("start", told.start),
    ):
        yield from (tell(verb, unit) for unit in units)
    yield from map(override, told.overrides)


def _tell(verb: str, unit: str) -> Actions:
    """Call systemctl; several words are several units, quoted as for a shell."""
    try:
        words = shlex.split(unit)
    except ValueError as error:
        raise CompilerError(f"{unit!r} names no unit: {error}") from error
    yield Run(Program(argv=("systemctl", verb, *words)))


def _override(override: Override, _machine: Machine) -> Actions:
    if not override.service or not override.content:
        yield Warn("an override of systemctl needs a service and a content: it is left out")
        return
    for each in (override.service, override.name):
        if "/" in each or each in {".", ".."}:
            raise CompilerError(f"{each!r} must not hold '/'")
    data = override.content.encode("utf-8", "surrogateescape")
    yield WriteFile(path=path_of(override), data=data, mode=_MODE, parents=_PARENTS)


def path_of(override: Override) -> str:
    """Tell where a drop-in file goes (systemd.unit(5))."""
    unit = override.service
    if not unit.endswith(_SUFFIXES):
        unit += ".service"
    name = override.name or _NAME
    return f"{_FOLDER}/{unit}.d/{name if name.endswith('.conf') else f'{name}.conf'}"
