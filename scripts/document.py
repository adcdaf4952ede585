"""Writes what is made from the code in docs: commands and schema; with --check only compares."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from compiler.agent.cloudconfig.schema import schema_text
from compiler.cli import COMMANDS

DOCS = Path(__file__).resolve().parents[1] / "docs"
TARGET = DOCS / "cli.md"
SCHEMA = DOCS / "cloud-config.schema.json"
BEGIN = "<!-- made by `make docs` from the commands themselves -->\n"
END = "<!-- end -->\n"


@dataclass(frozen=True)
class Row:
    """An argument or an option: the words for it, and what it means."""

    names: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Command:
    """A command as its page shows it."""

    name: str
    help: str
    rows: tuple[Row, ...]


PASSED_ON = {"tree images": "images", "tree graph": "graph"}
"""Commands that only hand their words to a command of another module."""


def commands() -> Iterator[Command]:
    """Give every command with the words that call it, in the order of `cos --help`."""
    graphs = children_of(application("compiler.cli.graphs"))
    for name, (module, _) in COMMANDS.items():
        app = application(module)
        for words, command in flat(name, children_of(app).get(name, app)):
            yield described(words, graphs.get(PASSED_ON.get(words, ""), command))


def application(module: str) -> object:
    """Load the commands of a module."""
    return typer.main.get_command(importlib.import_module(module).app)


def children_of(command: object) -> dict[str, object]:
    """List the subcommands of a command, none if it is not a group."""
    return dict(getattr(command, "commands", {}))


def flat(name: str, command: object) -> Iterator[tuple[str, object]]:
    """Go through a command, or through all below it if it is a group."""
    children = children_of(command)
    for child, each in children.items():
        if not getattr(each, "hidden", False):
            yield from flat(f"{name} {child}", each)
    if not children:
        yield name, command


def described(name: str, command: object) -> Command:
    """Take out of typer's command what its page shows; typer names no public types for it."""
    parameters = getattr(command, "params", [])
    rows = tuple(row(each) for each in parameters if not getattr(each, "hidden", False))
    return Command(name, str(getattr(command, "help", None) or "").strip(), rows)


def row(parameter: object) -> Row:
    """Take out of typer's argument or option the words for it, and what it means."""
    text = str(getattr(parameter, "help", None) or "").replace("|", "\\|").replace("\n", " ")
    if getattr(parameter, "param_type_name", "") == "argument":
        word = getattr(parameter, "metavar", None) or getattr(parameter, "name", "")
        return Row((str(word).upper(),), text)
    return Row((*getattr(parameter, "opts", ()), *getattr(parameter, "secondary_opts", ())), text)


def section(command: Command) -> Iterator[str]:
    """Lay out one command: what it does, its arguments and its options."""
    yield f"## cos {command.name}\n\n{command.help}\n\n"
    if command.rows:
        yield "| argument or option | meaning |\n|---|---|\n"
        for each in command.rows:
            names = ", ".join(f"`{name}`" for name in each.names)
            yield f"| {names} | {each.text} |\n"
        yield "\n"


def written(current: str) -> str:
    """Put the sections between the marks of `current`."""
    before, _, rest = current.partition(BEGIN)
    after = rest.partition(END)[2]
    made = "".join(part for command in commands() for part in section(command))
    return f"{before}{BEGIN}\n{made}{END}{after}"


def main() -> int:
    """Write or compare; returns the exit code."""
    made = {TARGET: written(TARGET.read_text(encoding="utf-8")), SCHEMA: schema_text()}
    for path, new in made.items():
        if "--check" not in sys.argv:
            path.write_text(new, encoding="utf-8")
        elif not path.exists() or new != path.read_text(encoding="utf-8"):
            print(f"{path.name} is not up to date: run `make docs`", file=sys.stderr)  # noqa: T201  (a program of its own)
            return 1
    return 0


sys.exit(main())
