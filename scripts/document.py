"""Writes the part of docs/cli.md that is made from the commands; with --check only compares."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import typer

from compiler.cli import COMMANDS

TARGET = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
BEGIN = "<!-- made by `make docs` from the commands themselves -->\n"
END = "<!-- end -->\n"


class Parameter(Protocol):
    """What typer knows of an argument or an option."""

    name: str | None
    opts: list[str]
    secondary_opts: list[str]
    metavar: str | None

    @property
    def param_type_name(self) -> str:
        """Either `argument` or `option`."""


class Command(Protocol):
    """What typer knows of a command."""

    help: str | None

    @property
    def params(self) -> Sequence[Parameter]:
        """Its arguments and options, as written."""


def commands() -> Iterator[tuple[str, Command]]:
    """Give every command with the words that call it, in the order of `cos --help`."""
    for name, (module, _) in COMMANDS.items():
        app = typer.main.get_command(importlib.import_module(module).app)
        children = getattr(app, "commands", None)
        if children is None:
            yield name, app
        elif name in children:
            yield name, children[name]
        else:
            for child in children:
                yield f"{name} {child}", children[child]


def section(name: str, command: Command) -> Iterator[str]:
    """Describe one command: what it does, its arguments and its options."""
    yield f"## cos {name}\n\n"
    yield f"{(command.help or '').strip()}\n\n"
    rows = [row(parameter) for parameter in command.params if not getattr(parameter, "hidden", 0)]
    if rows:
        yield "| argument or option | meaning |\n|---|---|\n"
        yield from rows
        yield "\n"


def row(parameter: Parameter) -> str:
    """Describe one argument or option as a line of a table."""
    if parameter.param_type_name == "argument":
        names = f"`{(parameter.metavar or parameter.name or '').upper()}`"
    else:
        names = ", ".join(f"`{each}`" for each in [*parameter.opts, *parameter.secondary_opts])
    text = (getattr(parameter, "help", "") or "").replace("|", "\\|").replace("\n", " ")
    return f"| {names} | {text} |\n"


def written(current: str) -> str:
    """Put the sections between the marks of `current`."""
    before, _, rest = current.partition(BEGIN)
    after = rest.partition(END)[2]
    made = "".join(part for name, command in commands() for part in section(name, command))
    return f"{before}{BEGIN}\n{made}{END}{after}"


def main() -> int:
    """Write or compare; returns the exit code."""
    current = TARGET.read_text(encoding="utf-8")
    new = written(current)
    if "--check" not in sys.argv:
        TARGET.write_text(new, encoding="utf-8")
    elif new != current:
        print(f"{TARGET.name} is not up to date: run `make docs`", file=sys.stderr)  # noqa: T201
        return 1
    return 0


sys.exit(main())
