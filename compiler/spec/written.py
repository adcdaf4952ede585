"""Where the fields of a package were written; looked up again only when somebody asks."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from compiler.errors import CompilerError, Location, SpecError
from compiler.spec.fields import MAX_NOTES, WRITTEN, Note
from compiler.spec.load import read_text
from compiler.spec.template import Rendered, Source, Templates
from compiler.spec.yaml import Fault, KeyPath, Place, YamlFaults, places


def fault_errors(faults: Iterable[Fault], rendered: Rendered) -> list[CompilerError]:
    """Turn what is wrong with a text's YAML into errors at the places as written."""
    return [
        SpecError(fault.message, location=rendered.place(fault.line, fault.column), hint=fault.hint)
        for fault in faults
    ]


def note_errors(notes: Iterable[Note], rendered: Rendered) -> list[CompilerError]:
    """Turn notes about values into errors at the places as written."""
    held = list(islice(notes, MAX_NOTES))
    if not held:
        return []
    found = places(rendered.text)
    return [_note_error(note, found, rendered) for note in held]


def _note_error(note: Note, found: Mapping[KeyPath, Place], rendered: Rendered) -> CompilerError:
    path = note.path
    while path and path not in found:
        path = path[:-1]
    place = found.get(path, Place((1, 1), (1, 1)))
    line, column = place.key if note.at_key else place.value
    hint = note.hint.replace(WRITTEN, place.text) if note.hint else None
    return SpecError(note.message, location=rendered.place(line, column), hint=hint)


@dataclass(frozen=True, slots=True)
class Writing:
    """How to come to the text of a file again, and to the part of it that is one package."""

    path: str
    part: KeyPath = ()
    templates: Templates | None = None
    values: Mapping[str, object] = field(default_factory=dict)

    def render(self) -> Rendered:
        """Read the file again, and render it if it is a template; raises `SpecError`."""
        source = Source(self.path, read_text(self.path))
        if self.templates is None:
            return Rendered(source.text, source)
        return self.templates.render(source, self.values)

    def locations(self) -> dict[str, Location]:
        """Tell where each field was written, by dotted names such as `requires.0.version`."""
        try:
            rendered = self.render()
            found = places(rendered.text)
        except (SpecError, YamlFaults):
            return {}  # the file changed since it was loaded; errors then do without a place
        size = len(self.part)
        return {
            ".".join(str(step).lower() for step in path[size:]): rendered.place(*place.value)
            for path, place in found.items()
            if path[:size] == self.part
        }


class Places(Mapping[str, Location]):
    """Where the fields of one package were written: `steps`, `requires.0`, `definition.requires.1`.

    Names without `definition.` are those of `build.yaml`; of a package that has none, those of its
    definition. Files are read again on the first look-up: most packages are never asked.
    """

    __slots__ = ("_build", "_definition", "_found")

    def __init__(self, definition: Writing, build: Writing | None = None) -> None:
        self._definition = definition
        self._build = build
        self._found: dict[str, Location] | None = None

    def __getitem__(self, key: str) -> Location:
        return self._locations()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._locations())

    def __len__(self) -> int:
        return len(self._locations())

    def _locations(self) -> dict[str, Location]:
        if self._found is None:
            own = self._definition.locations()
            named = {f"definition.{name}" if name else "definition": own[name] for name in own}
            built = own if self._build is None else self._build.locations()
            self._found = {**built, **named}
        return self._found
