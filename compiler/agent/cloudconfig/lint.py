"""What a file says in vain: it can be read, and would have no effect, another one, or fail.

Everything here is found without a machine; what depends on one is told while a stage runs.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from compiler.agent.cloudconfig import template
from compiler.agent.cloudconfig.conditions import CHECKS, MANAGERS
from compiler.agent.cloudconfig.datasource.choose import NAMES
from compiler.agent.cloudconfig.load import Loaded
from compiler.agent.cloudconfig.model import Step
from compiler.agent.cloudconfig.order import Operation, operations
from compiler.agent.cloudconfig.plugins.entities import fault_of
from compiler.agent.cloudconfig.plugins.files import ENCODINGS, decoded
from compiler.agent.cloudconfig.reader import closest
from compiler.errors import CompilerError, SpecError
from compiler.spec.yaml import KeyPath

_BOOT = ("rootfs", "initramfs", "fs", "boot", "network", "reconcile")
_LIFE = ("install", "upgrade", "reset", "deploy")
STAGES: tuple[str, ...] = (
    *(f"{stage}{part}" for stage in _BOOT for part in ("", ".before", ".after")),
    *(f"before-{each}" for each in _LIFE),
    *(f"after-{each}{where}" for each in _LIFE for where in ("", "-chroot")),
)
"""The stages that something runs by itself; any other name is one for `run-stage`."""

_DECIMAL = re.compile(r"[1-7][0-7]{2,3}")
_PLAIN_MODES = 0o777
_PATTERNS = ("node", "only_os", "only_os_version", "only_arch")


@dataclass(frozen=True)
class Finding:
    """What is odd, and about which key below the step."""

    path: KeyPath
    message: str
    hint: str | None = None


def lint(configs: Sequence[Loaded]) -> Iterator[CompilerError]:
    """List what is odd in files that are given together, each with its place."""
    names = {each.name for loaded in configs for each in _all(loaded)}
    for loaded in configs:
        for stage in loaded.config.stages:
            near = closest(stage, STAGES)
            if near is not None and near != stage:
                message = f"nothing runs a stage {stage!r} by itself"
                yield _placed(loaded, ("stages", stage), message, f"did you mean {near!r}?")
        for operation in _all(loaded):
            top = ("stages", operation.stage, operation.index)
            for each in (*_step(operation.step), *_after(operation.step, names)):
                yield _placed(loaded, (*top, *each.path), each.message, each.hint)
            for path, text in loaded.written_modes(top):
                if _DECIMAL.fullmatch(text) and int(text) > _PLAIN_MODES:
                    message = f"the permissions {text} are decimal, the mode {int(text):04o}"
                    yield _placed(loaded, path, message, f"write 0{text}")


def _all(loaded: Loaded) -> Iterator[Operation]:
    for stage in loaded.config.stages:
        yield from operations([loaded], stage)


def _placed(loaded: Loaded, path: KeyPath, message: str, hint: str | None) -> CompilerError:
    return SpecError(message, location=loaded.location(path), hint=hint)


def _step(step: Step) -> Iterator[Finding]:
    for check_step in _CHECKS:
        yield from check_step(step)


def _after(step: Step, names: set[str]) -> Iterator[Finding]:
    hint = "it is FILE.STEP, by their names; files that go together are checked together"
    for index, each in enumerate(step.after):
        if each.name not in names:
            yield Finding(("after", index), f"no step here is called {each.name!r}", hint)


def _patterns(step: Step) -> Iterator[Finding]:
    """Check regular expressions."""
    for key in _PATTERNS:
        pattern: str = getattr(step, key)
        try:
            re.compile(pattern)
        except re.error as error:
            yield Finding((key,), f"{pattern!r} is no regular expression: {error}")


def _words(step: Step) -> Iterator[Finding]:
    """Check words that are one of a few."""
    manager = step.only_service_manager
    if manager and manager not in MANAGERS:
        yield _unknown(("only_service_manager",), "service manager", manager, MANAGERS)
    for each in step.if_files:
        if each not in CHECKS:
            yield _unknown(("if_files", each), "if_files check type", each, CHECKS)
    for index, each in enumerate(step.datasource.providers):
        if each not in NAMES:
            path = ("datasource", "providers", index)
            yield _unknown(path, "datasource provider", each, NAMES)


def _unknown(path: KeyPath, what: str, word: str, known: Iterable[str]) -> Finding:
    return Finding(path, f"unknown {what} {word!r}", f"one of {', '.join(known)}")


def _paths(step: Step) -> Iterator[Finding]:
    """Check that what is made has a path."""
    for key in ("files", "directories", "downloads"):
        for index, each in enumerate(getattr(step, key)):
            if not each.path:
                yield Finding((key, index), f"an entry of {key!r} has no path")
    for index, download in enumerate(step.downloads):
        if not download.url:
            yield Finding(("downloads", index), "an entry of 'downloads' has no url")


def _contents(step: Step) -> Iterator[Finding]:
    """Check that contents are in the encoding that they claim."""
    for index, file in enumerate(step.files):
        if file.encoding not in ENCODINGS:
            known = ", ".join(each for each in ENCODINGS if each)
            message = f"unknown encoding {file.encoding!r}: the content is taken as text"
            yield Finding(("files", index, "encoding"), message, f"one of {known}")
            continue
        try:
            decoded(file.content, file.encoding)
        except CompilerError as error:
            yield Finding(("files", index, "content"), error.message, error.hint)


def _entities(step: Step) -> Iterator[Finding]:
    """Check the texts of rows, except those that only a machine can render."""
    for key in ("ensure_entities", "delete_entities"):
        for index, each in enumerate(getattr(step, key)):
            fault = None if "{{" in each.entity else fault_of(each.entity)
            if fault is not None:
                yield Finding((key, index, "entity"), fault.message, fault.hint)


def _templates(step: Step) -> Iterator[Finding]:
    """Check what is rendered before it is used."""
    for path, text in _rendered(step):
        fault = template.fault_of(text) if "{{" in text else None
        if fault is not None:
            yield Finding(path, f"is no template, and is used as it is: {fault}")


def _rendered(step: Step) -> Iterator[tuple[KeyPath, str]]:
    yield ("if",), step.condition
    yield ("hostname",), step.hostname
    yield from ((("commands", index), text) for index, text in enumerate(step.commands))
    yield from ((("environment", name), text) for name, text in step.environment.items())
    for index, file in enumerate(step.files):
        if not ENCODINGS.get(file.encoding):
            yield ("files", index, "content"), file.content
    for key in ("ensure_entities", "delete_entities"):
        for index, each in enumerate(getattr(step, key)):
            yield (key, index, "entity"), each.entity


_CHECKS: tuple[Callable[[Step], Iterator[Finding]], ...] = (
    _patterns,
    _words,
    _paths,
    _contents,
    _entities,
    _templates,
)
