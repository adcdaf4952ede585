"""Runs a stage: reads what it is given, orders the steps, and lets every plugin do its part."""

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from compiler.agent.cloudconfig.actions import Actions
from compiler.agent.cloudconfig.conditions import hindrance
from compiler.agent.cloudconfig.load import Loaded, LoadFaults, load
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Step
from compiler.agent.cloudconfig.order import Operation, Order, operations, ordered
from compiler.agent.cloudconfig.perform import perform
from compiler.agent.cloudconfig.source import Inputs, Source, sources
from compiler.errors import CompilerError, OutsideError

_PACKAGE = "compiler.agent.cloudconfig.plugins"

PLUGINS: Mapping[str, str] = {
    "dns": "dns",
    "downloads": "downloads",
    "git": "git",
    "ensure_entities": "entities",
    "directories": "directories",
    "files": "files",
    "commands": "commands",
    "delete_entities": "removals",
    "hostname": "hostname",
    "sysctl": "sysctl",
    "users": "users",
    "authorized_keys": "keys",
    "modules": "modules",
    "timesyncd": "timesyncd",
    "systemctl": "systemctl",
    "environment": "environment",
    "systemd_firstboot": "firstboot",
    "datasource": "datasource",
    "layout": "layout",
    "package_pins": "pins",
    "packages": "packages",
    "unpack_images": "images",
}
"""The keys of a step in the order in which they take effect, with the modules that know how."""

_NOTHING = Step()


@dataclass(frozen=True)
class Runner:
    """Runs stages on a machine; what fails is said at once, and stops nothing else."""

    machine: Machine
    inputs: Inputs
    dots: bool = False

    def run(self, stage: str, arguments: Sequence[str]) -> None:
        """Run a stage of every argument, one after another."""
        for argument in arguments:
            self.run_order(self.order(stage, argument))

    def order(self, stage: str, argument: str) -> Order:
        """Read one argument, and put the steps that it has for a stage in order."""
        order = ordered(operations(self._load(sources(argument, self.inputs)), stage))
        for note in order.notes:
            self.machine.log.warning(note)
        return order

    def run_order(self, order: Order) -> None:
        """Run steps whose order is known."""
        for operation in order.operations:
            with self.machine.log.about(partial(_place, operation)):
                _run_step(operation, self.machine)

    def run_text(self, stage: str, source: Source) -> None:
        """Run a stage of a text."""
        self.run_order(ordered(operations(self._load([source]), stage)))

    def _load(self, found: Iterable[Source | CompilerError]) -> Iterator[Loaded]:
        for source in found:
            if isinstance(source, CompilerError):
                self.machine.log.fail(source)
                continue
            try:
                loaded = load(source, dots=self.dots)
            except LoadFaults as faults:
                for error in faults.errors:
                    self.machine.log.fail(error)
                continue
            for note in loaded.unknown:
                self.machine.log.debug(str(note))
            for note in loaded.warnings:
                self.machine.log.warning(str(note))
            yield loaded


def _run_step(operation: Operation, machine: Machine) -> None:
    """Run one step: its conditions, then every key that it has."""
    step = operation.step
    try:
        reason = hindrance(step, machine)
    except CompilerError as error:
        machine.log.fail(_placed(error, operation))
        return
    if reason is not None:
        machine.log.info(f"{operation.name}: skipped, {reason}")
        return
    machine.log.info(f"{operation.name}: runs")
    for key, module in PLUGINS.items():
        if getattr(step, key) != getattr(_NOTHING, key):
            _run_plugin(module, operation, machine)


def _run_plugin(module: str, operation: Operation, machine: Machine) -> None:
    """Run all entries of one key; each fails on its own."""
    plugin = importlib.import_module(f"{_PACKAGE}.{module}")
    for task in plugin.tasks(operation.step):
        try:
            _drive(task(machine), machine)
        except CompilerError as error:
            machine.log.fail(_placed(error, operation))
        except OSError as error:
            failure = OutsideError(str(error))
            machine.log.fail(_placed(failure, operation))


def _drive(actions: Actions, machine: Machine) -> None:
    """Do what a task decides, and tell it what fails: it may have to clean up."""
    action = next(actions, None)
    while action is not None:
        try:
            perform(action, machine)
        except CompilerError as error:
            action = actions.throw(error)
        else:
            action = next(actions, None)


def _placed(error: CompilerError, operation: Operation) -> CompilerError:
    """Say of an error which step it is about, and where that was written."""
    return OutsideError(f"{_named(operation)}{error}", location=operation.location)


def _place(operation: Operation) -> str:
    """Say where a step was written, and what it is called."""
    return f"{operation.location}: {_named(operation)}".removesuffix(": ")


def _named(operation: Operation) -> str:
    return f"step {operation.step.name!r}: " if operation.step.name else ""
