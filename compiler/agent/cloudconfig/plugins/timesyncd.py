"""`timesyncd`: where systemd-timesyncd gets the time from."""

import re
from collections.abc import Iterator, Mapping

from compiler.agent.cloudconfig.actions import Actions, Task, WriteFile
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Step
from compiler.errors import CompilerError

_PATH = "/etc/systemd/timesyncd.conf"
_SECTION = "Time"
_KEY = re.compile(r"([^=#;]+?)\s*=\s*(.*)")
_HEAD = re.compile(r"\[(.+)\]")

Lines = list[str | tuple[str, str]]


def tasks(step: Step) -> Iterator[Task]:
    """Merge the settings into the file."""
    yield lambda machine: _merge(step.timesyncd, machine)


def _merge(settings: Mapping[str, str], machine: Machine) -> Actions:
    for name, value in settings.items():
        if "\n" in value or not _KEY.fullmatch(f"{name}={value}"):
            raise CompilerError(f"{name!r} is no setting of one line")
    text = merged(machine.root.text(_PATH, ""), settings)
    yield WriteFile(path=_PATH, data=text.encode("utf-8", "surrogateescape"))


def merged(text: str, settings: Mapping[str, str]) -> str:
    """Set keys of the section `[Time]`; other keys, comments and sections stay."""
    sections = _sections(text)
    lines = sections.setdefault(_SECTION, [])
    left = dict(settings)
    for index, line in enumerate(lines):
        if isinstance(line, tuple) and line[0] in left:
            lines[index] = (line[0], left.pop(line[0]))
    lines += left.items()
    return "".join(_laid_out(name, each) for name, each in sections.items())


def _sections(text: str) -> dict[str, Lines]:
    """Cut a file into sections; what stands above the first is kept under no name."""
    sections: dict[str, Lines] = {}
    here: Lines = []
    for line in text.splitlines():
        head = _HEAD.fullmatch(line.strip())
        if head:
            here = sections.setdefault(head[1], [])
            continue
        if line.strip() and not here and not sections:
            here = sections.setdefault("", [])
        if line.strip():
            match = _KEY.fullmatch(line.strip())
            here.append((match[1], match[2]) if match else line.strip())
    return sections


def _laid_out(name: str, lines: Lines) -> str:
    """Write a section with its equal signs below each other, and a blank line after it."""
    width = max((len(line[0]) for line in lines if isinstance(line, tuple)), default=0)
    shown = [line if isinstance(line, str) else f"{line[0]:<{width}} = {line[1]}" for line in lines]
    head = [f"[{name}]"] if name else []
    return "".join(f"{line}\n" for line in (*head, *shown, ""))
