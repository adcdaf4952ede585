"""The commands about cloud-config: they run stages, and check, show and describe files."""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from compiler.agent import setup
from compiler.agent.cloudconfig.load import Loaded, LoadFaults, load
from compiler.agent.cloudconfig.machine import Machine, Outside
from compiler.agent.cloudconfig.order import layers
from compiler.agent.cloudconfig.schema import schema_text
from compiler.agent.cloudconfig.source import Inputs, sources
from compiler.agent.cloudconfig.stage import Runner
from compiler.agent.cloudconfig.written import written
from compiler.agent.log import Log
from compiler.agent.root import Root
from compiler.errors import CompilerError, ExitCode, UsageError

_ADDRESS = "COS_METADATA_"


def describe(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the words and flags of a command."""
    _COMMANDS[command](parser)


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


def _add_yip(parser: argparse.ArgumentParser) -> None:
    """Add the flags that the executor always had."""
    parser.add_argument("-s", "--stage", default="default", metavar="STAGE")
    parser.add_argument("-e", "--executor", default="default", help=argparse.SUPPRESS)
    _add_inputs(parser)
    _add_analyze(parser)
    parser.set_defaults(call=_run_stage)


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
    lint = importlib.import_module("compiler.agent.cloudconfig.lint").lint
    configs = tuple(_loaded(options, log))
    for loaded in configs:
        for note in (*loaded.unknown, *loaded.warnings):
            log.warning(str(note))
    for found in lint(configs):
        log.warning(str(found))
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


_COMMANDS: Mapping[str, Callable[[argparse.ArgumentParser], None]] = {
    "run-stage": _add_stage_of_inputs,
    "setup": _add_stage,
    "validate": _add_checked,
    "show": _add_shown,
    "schema": _add_schema,
    "yip": _add_yip,
}
