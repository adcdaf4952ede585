"""The command lines `cos-agent`, `cos-setup`, `yip`, `cos-upgrade` and so on: the name decides.

What installs and upgrades systems is in `compiler.agent.life`, which is loaded when it is called:
`cos-setup` runs many times at each boot.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from compiler.agent import setup
from compiler.agent.cloudconfig.load import Loaded, LoadFaults, load
from compiler.agent.cloudconfig.machine import Machine, Outside
from compiler.agent.cloudconfig.order import layers
from compiler.agent.cloudconfig.schema import schema_text
from compiler.agent.cloudconfig.source import Inputs, sources
from compiler.agent.cloudconfig.stage import Runner
from compiler.agent.cloudconfig.written import written
from compiler.agent.log import Level, Log
from compiler.agent.root import Root
from compiler.errors import CompilerError, ExitCode, UsageError

_ADDRESS = "COS_METADATA_"

Command = Callable[[argparse.Namespace, Log], int]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that is called, and leave with its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    name = Path(sys.argv[0]).name
    log = Log(_say, Level.named(os.environ.get("LOGLEVEL", "info")))
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


def _say(text: str) -> None:
    sys.stderr.write(f"{text.encode('utf-8', 'backslashreplace').decode()}\n")
    sys.stderr.flush()


def _parse(name: str, given: list[str]) -> argparse.Namespace:
    """Read the words of a command line; files and flags may stand in any order."""
    if name in _PARSERS:
        return _PARSERS[name]().parse_intermixed_args(given)
    parser = argparse.ArgumentParser(
        prog="cos-agent",
        description="Runs boot stages, and installs and upgrades systems.",
        epilog="\n".join(f"{each:<12} {text}" for each, (text, _) in _COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="COMMAND", choices=_COMMANDS)
    command = parser.parse_args(given[:1]).command
    text, describe = _COMMANDS[command]
    inner = argparse.ArgumentParser(prog=f"cos-agent {command}", description=f"{text}.")
    describe(inner)
    return inner.parse_intermixed_args(given[1:])


def _yip_parser() -> argparse.ArgumentParser:
    """Describe `yip`, with the flags that the executor always had."""
    parser = argparse.ArgumentParser(prog="yip", description="Runs a stage of what is given.")
    parser.add_argument("-s", "--stage", default="default", metavar="STAGE")
    parser.add_argument("-e", "--executor", default="default", help=argparse.SUPPRESS)
    _add_inputs(parser)
    _add_analyze(parser)
    parser.set_defaults(call=_run_stage)
    return parser


def _setup_parser() -> argparse.ArgumentParser:
    """Describe `cos-setup`."""
    parser = argparse.ArgumentParser(prog="cos-setup", description="Runs a stage of the system.")
    _add_stage(parser)
    return parser


def _life_parser(name: str, command: str) -> argparse.ArgumentParser:
    """Describe a life-cycle command that is called by a name of its own."""
    parser = argparse.ArgumentParser(prog=name, description=f"{_LIFE[command]}.")
    _describe_life(command, parser)
    return parser


def _describe_life(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the flags of a life-cycle command."""
    module: Any = importlib.import_module("compiler.agent.life.cli")
    module.describe(command, parser)


_LIFE: Mapping[str, str] = {
    "install": "Install a system on a disk",
    "upgrade": "Upgrade the system, or the recovery system",
    "reset": "Bring everything to the state of the recovery system",
    "deploy": "Put a system on a disk that has only a recovery system",
    "rebrand": "Give the boot menu its title",
    "feature": "List, enable or disable features",
    "status": "Tell what runs, and what is installed",
    "suc-upgrade": "Upgrade the machine around this container",
}
_LINKS = {"cos-installer": "install", "suc-upgrade": "suc-upgrade",
          **{f"cos-{each}": each for each in _LIFE}}  # fmt: skip
"""What life-cycle commands are called by, besides `cos-agent COMMAND`."""

_PARSERS: Mapping[str, Callable[[], argparse.ArgumentParser]] = {
    "yip": _yip_parser,
    "cos-setup": _setup_parser,
    **{name: partial(_life_parser, name, command) for name, command in _LINKS.items()},
}


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="what counts as /"
    )


def _add_stage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", metavar="STAGE")
    parser.add_argument(
        "--strict", action="store_true", help="fail if a step did; a boot goes on whatever fails"
    )
    _add_root(parser)
    parser.set_defaults(call=_setup)


def _add_stage_of_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", metavar="STAGE")
    _add_inputs(parser)
    _add_analyze(parser)
    parser.set_defaults(call=_run_stage)


def _add_checked(parser: argparse.ArgumentParser) -> None:
    _add_inputs(parser)
    parser.set_defaults(call=_validate)


def _add_shown(parser: argparse.ArgumentParser) -> None:
    _add_inputs(parser)
    parser.set_defaults(call=_show)


def _add_schema(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_schema)


def _add_assess(parser: argparse.ArgumentParser) -> None:
    """Add the words of `assess`; its module is loaded when it is called."""
    module: Any = importlib.import_module("compiler.agent.assess")
    module.describe(parser)


_COMMANDS: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "run-stage": ("Run a stage of what is given", _add_stage_of_inputs),
    "setup": ("Run a stage of the system, as a boot does", _add_stage),
    "validate": ("Check files, and run nothing", _add_checked),
    "show": ("Print what files come to, as YAML", _add_shown),
    "schema": ("Print the JSON schema of cloud-config", _add_schema),
    **{name: (text, partial(_describe_life, name)) for name, text in _LIFE.items()},
    "assess": ("Tell the boot menu whether this system is well", _add_assess),
}


def _add_analyze(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-a", "--analyze", action="store_true", help="print the order of steps, run nothing"
    )


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    _add_root(parser)
    parser.add_argument(
        "-d", "--dotnotation", action="store_true", help="read dot notation, not YAML"
    )
    parser.add_argument("inputs", nargs="*", metavar="FILE|DIR|URL|TEXT|-")


def _run_stage(options: argparse.Namespace, log: Log) -> int:
    """Run a stage, or only show its order."""
    with _machine(options, log) as (machine, inputs):
        runner = Runner(machine, inputs, options.dotnotation)
        if not options.analyze:
            runner.run(options.stage, _given(options))
            return _code(log)
        for argument in _given(options):
            order = runner.order(options.stage, argument)
            for number, names in enumerate(layers(order, options.stage)):
                _print(f"{number}. {', '.join(names)}\n")
    return _code(log)


def _setup(options: argparse.Namespace, log: Log) -> int:
    """Run a stage of everything that the system has."""
    with _machine(options, log) as (machine, inputs):
        setup.run(options.stage, machine, inputs, os.environ)
    return _code(log) if options.strict else ExitCode.DONE


def _validate(options: argparse.Namespace, log: Log) -> int:
    """Say all that is wrong, and what has no effect."""
    for loaded in _loaded(options, log):
        for note in (*loaded.unknown, *loaded.warnings):
            log.warning(str(note))
    return _code(log)


def _show(options: argparse.Namespace, log: Log) -> int:
    """Print every file as stages, whatever its notation."""
    for loaded in _loaded(options, log):
        _print(f"---\n# {loaded.source.name}\n{written(loaded.config)}")
    return _code(log)


def _schema(_options: argparse.Namespace, _log: Log) -> int:
    _print(schema_text())
    return ExitCode.DONE


def _loaded(options: argparse.Namespace, log: Log) -> Iterator[Loaded]:
    """Load every file; what is wrong with one is said, and keeps back no other."""
    with _machine(options, log) as (_, inputs):
        for argument in _given(options):
            for source in sources(argument, inputs):
                if isinstance(source, CompilerError):
                    log.fail(source)
                    continue
                try:
                    yield load(source, dots=options.dotnotation)
                except LoadFaults as faults:
                    for error in faults.errors:
                        log.fail(error)


def _given(options: argparse.Namespace) -> Sequence[str]:
    inputs: Sequence[str] = options.inputs
    if not inputs:
        raise UsageError("nothing to run", hint="name a file, a folder or an address, or -")
    return inputs


@contextmanager
def _machine(options: argparse.Namespace, log: Log) -> Iterator[tuple[Machine, Inputs]]:
    addresses = {
        name.removeprefix(_ADDRESS).lower(): value
        for name, value in os.environ.items()
        if name.startswith(_ADDRESS)
    }
    with Root(options.root) as root:
        machine = Machine(root, log, Outside(addresses=addresses))
        yield machine, Inputs(root, machine.fetch, sys.stdin.buffer.read)


def _print(text: str) -> None:
    sys.stdout.write(text)


def _code(log: Log) -> int:
    return ExitCode.FAILED if log.errors else ExitCode.DONE
