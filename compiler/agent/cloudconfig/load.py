"""A text → the steps that it asks for, whatever its notation; every fault with its place."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from compiler.agent.cloudconfig import cloudinit, dot
from compiler.agent.cloudconfig.model import Config, InitConfig
from compiler.agent.cloudconfig.reader import Reader
from compiler.agent.cloudconfig.source import Source
from compiler.errors import CompilerError, Location, SpecError
from compiler.spec.yaml import Fault, KeyPath, Place, YamlFaults, parse, places


@dataclass(frozen=True)
class Loaded:
    """A configuration with the text that it came from, and what is odd about it."""

    source: Source
    config: Config
    unknown: tuple[CompilerError, ...] = ()
    """Keys that have no effect."""
    warnings: tuple[CompilerError, ...] = ()
    """Why nothing of a `#cloud-config` has an effect."""

    @cached_property
    def _places(self) -> Mapping[KeyPath, Place]:
        if cloudinit.has_header(self.source.text):
            return {}  # its keys became steps, which nobody wrote in that place
        try:
            return places(self.source.text, typed_keys=False)
        except YamlFaults:
            return {}

    def location(self, path: KeyPath) -> Location:
        """Tell where a value was written, or what it is part of.

        The line is unknown if the text has no such place.
        """
        while path and path not in self._places:
            path = path[:-1]
        place = self._places.get(path)
        line, column = place.value if path and place else (0, 0)
        return Location(self.source.name, line, column)

    def written_modes(self, step: KeyPath) -> Iterator[tuple[KeyPath, str]]:
        """List the permissions of what a step makes, as they were written."""
        for path, place in self._places.items():
            if path[: len(step)] == step and path[-1] == "permissions":
                yield path, place.text


class LoadFaults(Exception):  # noqa: N818  (several faults, not one error)
    """Everything that keeps a text from being used."""

    def __init__(self, errors: tuple[CompilerError, ...]) -> None:
        super().__init__(errors)
        self.errors = errors


def load(source: Source, *, dots: bool = False) -> Loaded:
    """Read a text; raises `LoadFaults` with all that is wrong with it."""
    if dots:
        return _from_dots(source)
    try:
        value = parse(source.text, typed_keys=False)
    except YamlFaults as error:
        raise _faults(source, error.faults) from None
    reader = Reader(_Places(source.text))
    if cloudinit.has_header(source.text):
        return _from_cloud_init(source, value, reader)
    config = reader.read(Config, value)
    if reader.faults:
        raise _faults(source, reader.faults)
    return Loaded(source, config, _errors(source, reader.unknown))


def _from_cloud_init(source: Source, value: object, reader: Reader) -> Loaded:
    """Read a `#cloud-config`: one that is written for others only has no effect."""
    init = reader.read(InitConfig, value)
    if reader.faults:
        hint = "nothing of this #cloud-config takes effect"
        notes = [Fault(each.line, each.column, each.message, hint) for each in reader.faults]
        return Loaded(source, Config(), warnings=_errors(source, notes))
    try:
        config = cloudinit.stages_of(init)
    except ValueError as error:
        raise _faults(source, [Fault(1, 1, str(error))]) from None
    return Loaded(source, config, _errors(source, reader.unknown))


def _from_dots(source: Source) -> Loaded:
    tree, written = dot.tree_of(source.text)
    reader = Reader(lambda: written)
    config = reader.read(Config, tree)
    if reader.faults:
        raise _faults(source, [Fault(0, 0, each.message) for each in reader.faults])
    return Loaded(source, config)


class _Places:
    """Looks up where things were written, once, and only when somebody asks."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: Mapping[KeyPath, Place] | None = None

    def __call__(self) -> Mapping[KeyPath, Place]:
        if self._found is None:
            self._found = places(self._text, typed_keys=False)
        return self._found


def _faults(source: Source, faults: "list[Fault] | tuple[Fault, ...]") -> LoadFaults:
    return LoadFaults(_errors(source, sorted(faults)))


def _errors(source: Source, faults: "list[Fault] | tuple[Fault, ...]") -> tuple[CompilerError, ...]:
    return tuple(
        SpecError(each.message, location=_location(source, each), hint=each.hint) for each in faults
    )


def _location(source: Source, fault: Fault) -> Location:
    return Location(source.name, fault.line, fault.column)
