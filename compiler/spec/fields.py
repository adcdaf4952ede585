"""Plain values → models: the types that luet's JSON decoding wants, and every fault with its place.

Keys match in any case, as Go's decoder does it; null means unset; unknown keys are noted and
dropped. Models check nothing that is not checked here first, so their own messages never show.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice
from typing import TypeVar, cast

from compiler.spec.package import (
    BuildSpec,
    CopySource,
    Definition,
    Finalizer,
    Requirement,
    SpecModel,
    Subpackage,
)
from compiler.spec.yaml import KeyPath

MAX_IDENTITY = 200
"""Bytes that name, category and version may have together: they make up file names."""

MAX_NOTES = 100
"""How many things of one kind are told about one file."""

_IDENTITY = ("category", "name", "version")
_COPY_FIELD = "copy_"
_INTERNAL = frozenset(
    ("state", "id", "path", "treedir", "buildtimestamp", "dockerfile", "package", "build_options")
)
"""Keys that luet writes for itself; they have no effect, and nobody is told about them."""


_Model = TypeVar("_Model", bound=SpecModel)

WRITTEN = "\0"
"""Stands in a hint for the value as it was written, which its place knows."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something about one value of a file, before anybody has looked up where it was written."""

    path: KeyPath
    message: str
    hint: str | None = None
    at_key: bool = False


class Reader:
    """Reads values into models, and notes all that is wrong with them.

    `faults` stop the tree from being loaded, `doubts` a package from being built, `warnings`
    nothing. A `lenient` reader takes numbers and booleans for text, as luet does in those fields
    of `build.yaml` that only matter to the build.
    """

    def __init__(self) -> None:
        self.faults: list[Note] = []
        self.doubts: list[Note] = []
        self.warnings: list[Note] = []

    def definition(self, value: object, path: KeyPath = ()) -> Definition:
        """Read one package of a `definition.yaml` or a `collection.yaml`."""
        known = self._known(value, path, _DEFINITION)
        for key, name in self._unknown(value, _DEFINITION):
            near = closest(name, _DEFINITION_WORDS)
            if near:
                hint = f"did you mean {near!r}?"
                message = f"unknown key {key!r} is for templates only"
                self.warnings.append(Note((*path, key), message, hint, at_key=True))
        self._check_identity(known, path)
        return _made(Definition, known)

    def build(self, value: object) -> BuildSpec:
        """Read a rendered `build.yaml`."""
        known = self._closed(value, (), _BUILD)
        return _made(BuildSpec, known)

    def finalizer(self, value: object) -> Finalizer:
        """Read a rendered `finalize.yaml`."""
        return _made(Finalizer, self._closed(value, (), _FINALIZER))

    def text(self, value: object, path: KeyPath) -> str:
        """Take text, and nothing that only looks like it."""
        if isinstance(value, str):
            return value
        if value is not None:
            self._note_text(value, path)
        return ""

    def lenient_text(self, value: object, path: KeyPath) -> str:
        """Take text, or a number or boolean as luet prints it into the Dockerfile."""
        if isinstance(value, bool):
            value = "true" if value else "false"
        elif isinstance(value, int | float):
            value = f"{value:.15g}" if isinstance(value, float) else str(value)
        return self.text(value, path)

    def flag(self, value: object, path: KeyPath) -> bool:
        """Take true or false."""
        if not isinstance(value, bool) and value is not None:
            self._note_type(path, "true or false", value)
        return value is True

    def texts(self, value: object, path: KeyPath) -> tuple[str, ...]:
        """Take a list of texts."""
        return tuple(self.text(item, (*path, i)) for i, item in self._items(value, path, "strings"))

    def lenient_texts(self, value: object, path: KeyPath) -> tuple[str, ...]:
        """Take a list of texts, numbers or booleans."""
        return tuple(
            item if type(item) is str else self.lenient_text(item, (*path, i))
            for i, item in self._items(value, path, "strings")
        )

    def labels(self, value: object, path: KeyPath) -> dict[str, str]:
        """Take a map from text to text."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._note_type(path, "a map of strings", value)
            return {}
        return {str(key): self.text(item, (*path, key)) for key, item in value.items()}

    def requirements(self, value: object, path: KeyPath) -> tuple[Requirement, ...]:
        """Take a list of dependency stanzas."""
        return tuple(
            self._requirement(item, (*path, i))
            for i, item in self._items(value, path, "maps with name, category and version")
        )

    def subpackages(self, value: object, path: KeyPath) -> tuple[Subpackage, ...]:
        """Take the further packages that are cut out of one artifact."""
        result = []
        for index, item in self._items(value, path, "packages"):
            step = (*path, index)
            known = self._closed(item, step, _SUBPACKAGE)
            self._check_identity(known, step)
            result.append(_made(Subpackage, known))
        return tuple(result)

    def copies(self, value: object, path: KeyPath) -> tuple[CopySource, ...]:
        """Take the files that come from other packages or images."""
        return tuple(
            _made(CopySource, self._closed(item, (*path, index), _COPY))
            for index, item in self._items(value, path, "maps with source and destination")
        )

    def stanza(self, value: object, path: KeyPath) -> Requirement | None:
        """Take one dependency stanza."""
        return None if value is None else self._requirement(value, path)

    def _requirement(self, value: object, path: KeyPath) -> Requirement:
        known = self._closed(value, path, _STANZA)
        wanted: dict[str, object] = {key: known[key] for key in _IDENTITY if key in known}
        if isinstance(value, dict) and not wanted.get("name"):
            self.doubts.append(Note(path, "needs a 'name'", "name the package that is required"))
        return _made(Requirement, wanted)

    def _items(self, value: object, path: KeyPath, of: str) -> Iterator[tuple[int, object]]:
        if isinstance(value, list):
            return iter(enumerate(value))
        if value is not None:
            hint = "write it as a list: one line for each, starting with '- '"
            self._note_type(path, f"a list of {of}", value, hint)
        return iter(())

    def _closed(self, value: object, path: KeyPath, fields: "Fields") -> dict[str, object]:
        """Read the known keys of a map that has no free ones."""
        known = self._known(value, path, fields)
        for key, name in self._unknown(value, fields):
            near = closest(name, frozenset(fields))
            hint = f"did you mean {near!r}?" if near else None
            message = f"unknown key {key!r} is ignored"
            self.warnings.append(Note((*path, key), message, hint, at_key=True))
        return known

    def _known(self, value: object, path: KeyPath, fields: "Fields") -> dict[str, object]:
        result: dict[str, object] = {}
        for key, item in self._pairs(value, path):
            name = key
            read = fields.get(key)
            if read is None:
                name = key.lower()
                read = fields.get(name)
                if read is None:
                    continue
            if name in result:
                self._note_variant(value, path, key)
            if item is not None:
                result[name] = read(self, item, (*path, key))
        return result

    def _unknown(self, value: object, fields: "Fields") -> list[tuple[str, str]]:
        if not isinstance(value, dict):
            return []
        found = (
            (key, key.lower())
            for key in value
            if isinstance(key, str)
            and key not in fields
            and key.lower() not in fields
            and key not in _INTERNAL
        )
        return list(islice(found, MAX_NOTES))

    def _pairs(self, value: object, path: KeyPath) -> Iterator[tuple[str, object]]:
        if isinstance(value, dict):
            return ((str(key), item) for key, item in value.items())
        if value is not None:
            self._note_type(path, "a map of keys and values", value)
        return iter(())

    def _check_identity(self, known: Mapping[str, object], path: KeyPath) -> None:
        parts = {key: str(known.get(key, "")) for key in _IDENTITY}
        if not parts["name"]:
            if not any(note.path[: len(path)] == path for note in self.faults):
                self.faults.append(Note(path, "missing field 'name'"))
            return
        for key, text in parts.items():
            problem = _identity_problem(text, strict=key != "version")
            if problem:
                hint = "it becomes part of file names and image tags"
                self.faults.append(Note((*path, key), f"{key!r} {problem}", hint))
        size = len("".join(parts.values()).encode(errors="replace"))
        if size > MAX_IDENTITY:
            longest = max(parts, key=lambda key: len(parts[key]))
            message = f"{longest!r} is too long: {len(parts[longest])} characters"
            hint = f"name, category and version may have {MAX_IDENTITY} bytes together"
            self.faults.append(Note((*path, longest), message, hint))

    def _note_text(self, value: object, path: KeyPath) -> None:
        hint = None
        if isinstance(value, bool | int | float):
            key = f"{path[-1]}:" if isinstance(path[-1], str) else "-"
            hint = f'write {key} "{WRITTEN}"'
        elif isinstance(value, dict):
            hint = "quote text that holds ': '"
        self._note_type(path, "a string", value, hint)

    def _note_type(
        self, path: KeyPath, wanted: str, value: object, hint: str | None = None
    ) -> None:
        message = f"{_subject(path)} must be {wanted}, not {_kind(value)}"
        self.faults.append(Note(path, message, hint))

    def _note_variant(self, value: object, path: KeyPath, key: str) -> None:
        others = [str(other) for other in cast("dict[object, object]", value)]
        first = next(other for other in others if other.lower() == key.lower())
        message = f"key {key!r} is given twice"
        hint = f"keys match in any case: {first!r} says the same"
        self.faults.append(Note((*path, key), message, hint, at_key=True))


@lru_cache(maxsize=1024)
def closest(word: str, known: frozenset[str]) -> str | None:
    """Find the known word that `word` is most likely a slip of, if any is near."""
    limit = max(1, len(word) // 3)
    similar = [other for other in known if abs(len(other) - len(word)) <= limit]
    ranked = sorted((_distance(word.lower(), other), other) for other in similar)
    return ranked[0][1] if ranked and ranked[0][0] <= limit else None


def _distance(left: str, right: str) -> int:
    """Count the letters to change, add or drop (Levenshtein)."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def _made(model: type[_Model], values: Mapping[str, object]) -> _Model:
    """Make a model of values that were checked here; pydantic would only check them again."""
    update = {_COPY_FIELD if key == "copy" else key: item for key, item in values.items()}
    return cast("_Model", _empty(model).model_copy(update=update))


@cache
def _empty(model: type[SpecModel]) -> SpecModel:
    """Make a model in which nothing is set; copying it is faster than making another."""
    return model.model_construct(set())


def _subject(path: KeyPath) -> str:
    """Name a value: the key, or the key of the list that it stands in."""
    names = [step for step in path if isinstance(step, str)]
    if not path:
        return "the file"
    if isinstance(path[-1], str):
        return repr(path[-1])
    return f"an entry of {names[-1]!r}" if names else "an entry"


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "a map"


def _identity_problem(text: str, *, strict: bool) -> str | None:
    """Tell why a text cannot be part of a file name, if it cannot."""
    if "/" in text:
        return "must not hold '/'"
    if ".." in text and strict:
        return "must not hold '..'"
    if any(letter.isspace() for letter in text):
        return "must not hold white space"
    if not text.isprintable():
        return "must not hold control characters"
    return "must not start with '-'" if strict and text.startswith("-") else None


Fields = Mapping[str, Callable[[Reader, object, KeyPath], object]]

_STANZA: Fields = {
    "name": Reader.text,
    "category": Reader.text,
    "version": Reader.text,
    "requires": Reader.requirements,
    "conflicts": Reader.requirements,
    "provides": Reader.requirements,
    "hidden": Reader.flag,
    "labels": Reader.labels,
    "annotations": Reader.labels,
    "description": Reader.text,
    "license": Reader.text,
    "uri": Reader.texts,
    "use_flags": Reader.texts,
}
_DEFINITION: Fields = _STANZA
_DEFINITION_WORDS = frozenset(_DEFINITION)
_SUBPACKAGE: Fields = {
    **_STANZA,
    "includes": Reader.lenient_texts,
    "excludes": Reader.lenient_texts,
}
_COPY: Fields = {
    "package": Reader.stanza,
    "image": Reader.lenient_text,
    "source": Reader.lenient_text,
    "destination": Reader.lenient_text,
}
_BUILD: Fields = {
    "image": Reader.lenient_text,
    "requires": Reader.requirements,
    "conflicts": Reader.requirements,
    "provides": Reader.requirements,
    "prelude": Reader.lenient_texts,
    "steps": Reader.lenient_texts,
    "env": Reader.lenient_texts,
    "copy": Reader.copies,
    "retrieve": Reader.lenient_texts,
    "unpack": Reader.flag,
    "package_dir": Reader.lenient_text,
    "includes": Reader.lenient_texts,
    "excludes": Reader.lenient_texts,
    "requires_final_images": Reader.flag,
    "subpackages": Reader.subpackages,
    "join": Reader.requirements,
    "seed": Reader.lenient_text,
}
_FINALIZER: Fields = {
    "install": Reader.texts,
    "uninstall": Reader.texts,
    "shell": Reader.texts,
}
