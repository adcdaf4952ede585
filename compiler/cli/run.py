"""Runs the typer application of one command, so that its errors come out as ours do."""

from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import typer

from compiler.cli.settings import Settings
from compiler.errors import ExitCode

_ANSWERS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
"""What Go's flags understand (strconv.ParseBool)."""


def run(module: ModuleType, arguments: list[str], settings: Settings) -> int:
    """Run `arguments` (the command's own name first) with the `app` of `module`.

    A module may hold several commands in one `app`; then their names are the subcommands that the
    person sees as commands of `cos` itself.
    """
    app: typer.Typer = module.app
    name, *rest = arguments
    own = {command.name for command in app.registered_commands}
    prefix = "cos" if name in own and len(own) > 1 else f"cos {name}"
    app.rich_markup_mode = None  # help is text: brackets in it are brackets
    command = typer.main.get_command(app)
    words = arguments if prefix == "cos" else rest
    try:
        command(args=list(_without_answers(command, words)), prog_name=prefix, obj=settings)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # typer makes it a failure
            raise stop.__context__ from None
        return stop.code if isinstance(stop.code, int) else ExitCode.DONE
    return ExitCode.DONE


def _without_answers(command: Any, words: Sequence[str]) -> Iterator[str]:  # noqa: ANN401  (typer names no type for it)
    """Say `--flag=false` as typer takes it; scripts written for luet say so, as for all of Go."""
    flags = _flags(command)
    rest = iter(words)
    for word in rest:
        name, equals, text = word.partition("=")
        answer = _ANSWERS.get(text.lower()) if equals and name in flags else None
        if word == "--":
            yield word
            yield from rest
        elif answer is not None:
            said = name if answer else flags[name]
            yield from [said] if said else []
        else:
            command = getattr(command, "commands", {}).get(word, command)
            flags = _flags(command)
            yield word


def _flags(command: Any) -> Mapping[str, str]:  # noqa: ANN401  (typer names no type for it)
    """List the flags of a command, each with the word for its contrary, if there is one."""
    return {
        name: next(iter(each.secondary_opts), "")
        for each in command.params
        if getattr(each, "is_flag", False)
        for name in each.opts
    }
