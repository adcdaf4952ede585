"""The files of one package folder → the packages that they describe."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import CompilerError, Faults, Location, SpecError
from compiler.spec.collection import entries
from compiler.spec.fields import Note, Reader
from compiler.spec.finalizer import finalizer_of
from compiler.spec.load import read_text
from compiler.spec.package import BuildSpec, Definition, Finalizer, PackageId, PackageSpec
from compiler.spec.template import NO_VALUE, Rendered, Source, Templates
from compiler.spec.written import Places, Writing, fault_errors, note_errors
from compiler.spec.yaml import KeyPath, YamlFaults, parse

DEFINITION = "definition.yaml"
COLLECTION = "collection.yaml"
BUILD = "build.yaml"
FINALIZE = "finalize.yaml"

_KNOWN = frozenset(Definition.model_fields)
_VALUE = re.compile(r"\.Values\.([A-Za-z0-9_.]+)")

Recorded = Mapping[PackageId, Mapping[str, object]]
"""The values that packages were built with where they were published."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder as reached from the `--tree` argument, and which spec files it holds."""

    path: str
    files: frozenset[str]

    def file(self, name: str) -> str:
        """Give the path of one of its files."""
        return name if self.path == "." else f"{self.path}/{name}"


@dataclass(frozen=True, slots=True)
class _Built:
    """What a rendered `build.yaml` says, with what is doubtful about it."""

    spec: BuildSpec
    doubts: tuple[CompilerError, ...]
    warnings: tuple[CompilerError, ...]


class FolderReader:
    """Reads package folders, keeping all faults; what has one is left out of the result."""

    def __init__(
        self,
        templates: Templates,
        overrides: Mapping[str, object],
        recorded: Recorded | None = None,
    ) -> None:
        """Render with `overrides`, over what is `recorded` of packages that were published."""
        self._templates = templates
        self._overrides = overrides
        self._recorded = recorded
        self.faults: list[CompilerError] = []

    def definition(self, folder: Folder) -> list[PackageSpec]:
        """Read the package of `definition.yaml`, and its subpackages."""
        rendered = self._read(folder.file(DEFINITION))
        value = self._parse(rendered)
        if rendered is None or value is None:
            return []
        reader = Reader()
        definition = reader.definition(value)
        if self._refused(reader, rendered) or not isinstance(value, dict):
            return []
        writing = Writing(rendered.source.path)
        values = {str(key): item for key, item in value.items()}
        warnings = self._unused_warnings(reader, rendered, folder)
        return self._packages(folder, definition, values, (writing, warnings))

    def collection(self, folder: Folder) -> list[PackageSpec]:
        """Read the packages of `collection.yaml`, and their subpackages."""
        rendered = self._read(folder.file(COLLECTION))
        value = self._parse(rendered)
        if rendered is None or value is None:
            return []
        reader = Reader()
        found = [
            (reader.definition(entry, path), values, path)
            for entry, values, path in entries(value, reader)
        ]
        if self._refused(reader, rendered):
            return []
        result = []
        warnings = self._unused_warnings(reader, rendered, folder)
        for definition, values, path in found:
            writing = Writing(rendered.source.path, path)
            result += self._packages(folder, definition, values, (writing, warnings))
            warnings = ()
        return result

    def _packages(
        self,
        folder: Folder,
        definition: Definition,
        values: Mapping[str, object],
        written: tuple[Writing, tuple[CompilerError, ...]],
    ) -> list[PackageSpec]:
        writing, warnings = written
        build_writing = None
        built: _Built | None = None
        recorded = None if self._recorded is None else self._recorded.get(definition.id, {})
        if BUILD in folder.files:
            given = {**recorded, **self._overrides} if recorded else self._overrides
            merged = {**values, **given} if given else values
            build_writing = Writing(folder.file(BUILD), (), self._templates, merged)
            built = self._build(build_writing)
            if built is None:
                return []
        path = Path(folder.path)
        spec = PackageSpec(
            definition=definition,
            build=built.spec if built else None,
            folder=path,
            definition_file=path / (COLLECTION if writing.part else DEFINITION),
            build_file=path / BUILD if BUILD in folder.files else None,
            finalize_file=path / FINALIZE if FINALIZE in folder.files else None,
            collection=bool(writing.part),
            values={key: values[key] for key in values if key not in _KNOWN},
            recorded=recorded,
            places=Places(writing, build_writing),
            doubts=built.doubts if built else (),
            warnings=(*warnings, *(built.warnings if built else ())),
        )
        return [spec, *_subpackages(spec)]

    def _build(self, writing: Writing) -> _Built | None:
        try:
            rendered = writing.render()
        except SpecError as error:
            self.faults.append(error)
            return None
        try:
            value = parse(rendered.text)
        except YamlFaults as error:
            self.faults += fault_errors(error.faults, rendered)
            return None
        reader = Reader()
        spec = reader.build(value)
        if self._refused(reader, rendered):
            return None
        doubts = note_errors(reader.doubts, rendered)
        if NO_VALUE in rendered.text:
            doubts += _no_values(value, rendered, writing.values)
        return _Built(spec, tuple(doubts), tuple(note_errors(reader.warnings, rendered)))

    def _read(self, path: str) -> Rendered | None:
        try:
            text = read_text(path)
        except SpecError as error:
            self.faults.append(error)
            return None
        return Rendered(text, Source(path, text))

    def _parse(self, rendered: Rendered | None) -> object:
        if rendered is None:
            return None
        try:
            value = parse(rendered.text)
        except YamlFaults as error:
            self.faults += fault_errors(error.faults, rendered)
            return None
        if value is None:
            location = Location(rendered.source.path)
            self.faults.append(SpecError("is empty", location=location, hint="give it a 'name'"))
        return value

    def _refused(self, reader: Reader, rendered: Rendered) -> bool:
        self.faults += note_errors(reader.faults, rendered)
        return bool(reader.faults)

    def _unused_warnings(
        self, reader: Reader, rendered: Rendered, folder: Folder
    ) -> tuple[CompilerError, ...]:
        """Warn of keys that look like slips, unless the template of the folder uses them."""
        if not reader.warnings:
            return ()
        try:
            template = read_text(folder.file(BUILD)) if BUILD in folder.files else ""
        except SpecError:
            template = ""
        notes = [note for note in reader.warnings if f".{note.path[-1]}" not in template]
        return tuple(note_errors(notes, rendered))


def read_definition(path: Path) -> PackageSpec:
    """Read a `definition.yaml` by itself, whatever lies beside it; raises `Faults`."""
    reader = FolderReader(Templates(), {})
    found = reader.definition(Folder(str(path.parent), frozenset({DEFINITION})))
    if reader.faults:
        raise Faults.of(reader.faults)
    return found[0]


def read_finalizer(spec: PackageSpec) -> Finalizer:
    """Read `finalize.yaml` of a package, rendered with the known fields of its definition.

    Raises `SpecError` for the first fault of the file.
    """
    if spec.finalize_file is None:
        return Finalizer()
    values = spec.definition.model_dump(exclude_defaults=True)
    return finalizer_of(Writing(str(spec.finalize_file), (), Templates(), values).render())


def _subpackages(parent: PackageSpec) -> Iterator[PackageSpec]:
    """Give the further packages that are cut out of the artifact of `parent`."""
    if parent.build is None:
        return
    for each in parent.build.subpackages:
        yield PackageSpec(
            definition=each,
            build=None,
            folder=parent.folder,
            definition_file=parent.build_file or parent.definition_file,
            build_file=None,
            finalize_file=parent.finalize_file,
            collection=parent.collection,
            parent=parent.id,
            recorded=parent.recorded,
        )


def _no_values(
    value: object, rendered: Rendered, values: Mapping[str, object]
) -> list[CompilerError]:
    """Find the fields in which a template printed a value that is not there."""
    notes = [
        Note(path, f"{_field(path)} holds '{NO_VALUE}'")
        for path, text in _texts(value, ())
        if NO_VALUE in text
    ]
    return [_with_hint(error, rendered, values) for error in note_errors(notes, rendered)]


def _with_hint(
    error: CompilerError, rendered: Rendered, values: Mapping[str, object]
) -> CompilerError:
    """Name the values of the written line that are not set."""
    lines: Sequence[str] = rendered.source.text.split("\n")
    hint = "set the value in a --values file or in the definition"
    location = error.location
    if location and location.path == rendered.source.path and location.line:
        line = lines[min(location.line, len(lines)) - 1]
        missing = [name for name in _VALUE.findall(line) if not _has(values, name)]
        if missing:
            hint = f"set {', '.join(dict.fromkeys(missing))} in a --values file or the definition"
    return SpecError(error.message, location=location, hint=hint)


def _has(values: object, dotted: str) -> bool:
    for key in dotted.strip(".").split("."):
        if not isinstance(values, Mapping):
            return False
        values = values.get(key)
    return values is not None


def _field(path: KeyPath) -> str:
    names = [step for step in path if isinstance(step, str)]
    return repr(names[0]) if names else "the file"


def _texts(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """List all texts of a value with where they stand."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))
