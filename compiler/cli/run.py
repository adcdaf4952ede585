"""Runs the typer application of one command, so that its errors come out as ours do."""

from types import ModuleType

import typer

from compiler.cli.settings import Settings
from compiler.errors import ExitCode


def run(module: ModuleType, arguments: list[str], settings: Settings) -> int:
    """Run `arguments` (the command's own name first) with the `app` of `module`.

    A module may hold several commands in one `app`; then their names are the subcommands that the
    person sees as commands of `cos` itself.
    """
    app: typer.Typer = module.app
    name, *rest = arguments
    own = {command.name for command in app.registered_commands}
    prefix = "cos" if name in own and len(own) > 1 else f"cos {name}"
    try:
        app(
            args=arguments if prefix == "cos" else rest,
            prog_name=prefix,
            obj=settings,
        )
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # typer makes it a failure
            raise stop.__context__ from None
        return stop.code if isinstance(stop.code, int) else ExitCode.DONE
    return ExitCode.DONE
