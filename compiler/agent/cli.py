"""The command lines `cos-agent`, `cos-setup`, `yip`, `cos-upgrade` and so on: the name decides.

What does the work is loaded when it is called: commands of this run many times at each boot.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from compiler.agent.log import Level, Log
from compiler.errors import CompilerError, ExitCode

Command = Callable[[argparse.Namespace, Log], int]

_STAGES, _LIFE, _ASSESS = (
    "compiler.agent.stages",
    "compiler.agent.life.cli",
    "compiler.agent.assess",
)
"""Modules of commands: their `describe` adds the words and flags of one to a parser."""

_COMMANDS: Mapping[str, tuple[str, str]] = {
    "run-stage": (_STAGES, "Run a stage of what is given"),
    "setup": (_STAGES, "Run a stage of the system, as a boot does"),
    "validate": (_STAGES, "Check files, and run nothing"),
    "show": (_STAGES, "Print what files come to, as YAML"),
    "schema": (_STAGES, "Print the JSON schema of cloud-config"),
    "install": (_LIFE, "Install a system on a disk"),
    "upgrade": (_LIFE, "Upgrade the system, or the recovery system"),
    "reset": (_LIFE, "Bring everything to the state of the recovery system"),
    "deploy": (_LIFE, "Put a system on a disk that has only a recovery system"),
    "rebrand": (_LIFE, "Give the boot menu its title"),
    "feature": (_LIFE, "List, enable or disable features"),
    "status": (_LIFE, "Tell what runs, and what is installed"),
    "suc-upgrade": (_LIFE, "Upgrade the machine around this container"),
    "pull-image": (_LIFE, "Unpack an image into a folder, verified"),
    "init": (_LIFE, "Make a root tree one that boots, in the build of an image"),
    "assess": (_ASSESS, "Tell the boot menu whether this system is well"),
}

_OTHER = {"yip": (_STAGES, "Run a stage of what is given")}
"""Commands that have no other name."""

_NAMES = {
    "yip": "yip",
    "cos-setup": "setup",
    "cos-installer": "install",
    "suc-upgrade": "suc-upgrade",
    **{f"cos-{name}": name for name, (module, _) in _COMMANDS.items() if module == _LIFE},
}
"""What commands are called by, besides `cos-agent COMMAND`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that is called, and leave with its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    name = Path(sys.argv[0]).name
    log = _log(os.environ.get("LOGLEVEL", "info"))
    try:
        options = _parse(name, list(given))
        command: Command = options.call
        code = command(options, log)
        sys.stdout.flush()
    except CompilerError as error:
        log.fail(error)
        code = error.exit_code
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    sys.exit(int(code))


def _log(wanted: str) -> Log:
    """Make a log that says as much as is wanted."""
    try:
        return Log(_say, Level.named(wanted))
    except KeyError:
        log = Log(_say)
        levels = ", ".join(each.name.lower() for each in Level)
        log.warning(f"LOGLEVEL={wanted}: there is no such level, so it is info (one of {levels})")
        return log


def _say(text: str) -> None:
    sys.stderr.write(f"{text.encode('utf-8', 'backslashreplace').decode()}\n")
    sys.stderr.flush()


def _parse(name: str, given: list[str]) -> argparse.Namespace:
    """Read the words of a command line; files and flags may stand in any order."""
    if name in _NAMES:
        return _parser(_NAMES[name], name).parse_intermixed_args(given)
    parser = argparse.ArgumentParser(
        prog="cos-agent",
        description="Runs boot stages, and installs and upgrades systems.",
        epilog="\n".join(f"{each:<12} {text}" for each, (_, text) in _COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="COMMAND", choices=_COMMANDS)
    command = parser.parse_args(given[:1]).command
    return _parser(command, f"cos-agent {command}").parse_intermixed_args(given[1:])


def _parser(command: str, called: str) -> argparse.ArgumentParser:
    """Describe a command."""
    place, text = {**_COMMANDS, **_OTHER}[command]
    parser = argparse.ArgumentParser(prog=called, description=f"{text}.", allow_abbrev=False)
    module: Any = importlib.import_module(place)
    module.describe(command, parser)
    return parser
