"""Plain values → the classes of `model.py`, noting every fault with its place.

Types are those that Go's YAML decoder takes: a number or `yes` is text where text is wanted, as it
was written, but text is never a number. null means unset, and unknown keys are only noted.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from compiler.spec.yaml import Fault, KeyPath, Place

_T = TypeVar("_T")

_KEYS: dict[type[Any], dict[str, tuple[str, Any]]] = {}
_MOST = 50
_NUMBERS = range(2**32)
_WORDS: Mapping[type, str] = {str: "text", int: "a whole number", bool: "true or false"}
_NAMES: Mapping[type, str] = {
    bool: "a boolean",
    int: "a number",
    float: "a fraction",
    str: "text",
    list: "a list",
    dict: "a map",
    type(None): "nothing",
}


class Reader:
    """Reads values into models; `places` tells where they were written, and is asked when needed.

    `faults` keep a file from being used, `unknown` are keys that have no effect.
    """

    def __init__(self, places: Callable[[], Mapping[KeyPath, Place]]) -> None:
        self.faults: list[Fault] = []
        self.unknown: list[Fault] = []
        self._places = places

    def read(self, model: type[_T], value: object, path: KeyPath = ()) -> _T:
        """Read a map into a class of `model.py`."""
        if value is None:
            return model()
        if not isinstance(value, dict):
            self._note_type(path, "a map", value)
            return model()
        known = keys_of(model)
        given: dict[str, object] = {}
        for name, item in value.items():
            if name not in known:
                self._note_unknown((*path, name), known)
            elif item is not None:
                field_name, kind = known[name]
                given[field_name] = self._value(kind, item, (*path, name))
        return model(**given)

    def _value(self, kind: Any, value: object, path: KeyPath) -> object:  # noqa: ANN401  (a type)
        """Read a value of any kind that a model has."""
        if kind in _WORDS:
            return self._single(kind, value, path)
        origin = get_origin(kind)
        if origin is tuple:
            inner = get_args(kind)[0]
            return tuple(self._value(inner, *each) for each in self._items(value, path))
        if origin is dict:
            inner = get_args(kind)[1]
            return {k: self._value(inner, v, (*path, k)) for k, v in self._pairs(value, path)}
        return self.read(inner_model(kind), value, path)

    def _single(self, kind: type, value: object, path: KeyPath) -> object:
        if value is None:
            return kind()
        if kind is str:
            return self._text(value, path)
        if type(value) is not kind:
            hint = "write it without quotes" if isinstance(value, str) else None
            self._note_type(path, _WORDS[kind], value, hint)
            return kind()
        if kind is int and value not in _NUMBERS:
            self._note(path, f"{_subject(path)} must be a number from 0 to 4294967295")
        return value

    def _text(self, value: object, path: KeyPath) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, bool | int | float):
            place = self._places().get(path)
            return place.text if place else str(value).lower()
        self._note_type(path, "text", value)
        return ""

    def _items(self, value: object, path: KeyPath) -> Iterator[tuple[object, KeyPath]]:
        if isinstance(value, list):
            yield from ((item, (*path, index)) for index, item in enumerate(value))
        elif value is not None:
            self._note_type(path, "a list", value)

    def _pairs(self, value: object, path: KeyPath) -> Iterator[tuple[str, object]]:
        if isinstance(value, dict):
            yield from ((str(name), item) for name, item in value.items())
        elif value is not None:
            self._note_type(path, "a map", value)

    def _note_type(
        self, path: KeyPath, wanted: str, value: object, hint: str | None = None
    ) -> None:
        got = _NAMES.get(type(value), "something else")
        self._note(path, f"{_subject(path)} must be {wanted}, not {got}", hint)

    def _note(self, path: KeyPath, message: str, hint: str | None = None) -> None:
        if len(self.faults) < _MOST:
            self.faults.append(Fault(*self.position(path), message, hint))

    def _note_unknown(self, path: KeyPath, known: Mapping[str, object]) -> None:
        if len(self.unknown) < _MOST:
            near = closest(str(path[-1]), known)
            hint = f"did you mean {near!r}?" if near else None
            place = self._places().get(path)
            line, column = place.key if place else (1, 1)
            self.unknown.append(Fault(line, column, f"unknown key {path[-1]!r} is ignored", hint))

    def position(self, path: KeyPath) -> tuple[int, int]:
        """Tell where a value was written, or what it is part of."""
        places = self._places()
        while path and path not in places:
            path = path[:-1]
        return places[path].value if path in places else (1, 1)


def keys_of(model: type[Any]) -> dict[str, tuple[str, Any]]:
    """List the keys of a model: the name and the type of the field of each."""
    if model not in _KEYS:
        _KEYS[model] = {
            str(each.metadata.get("key", each.name)): (each.name, each.type)
            for each in fields(model)
        }
    return _KEYS[model]


def inner_model(kind: Any) -> type:  # noqa: ANN401  (a type)
    """Return the model of a field that may be left out, or that is one."""
    chosen = get_args(kind)[0] if isinstance(kind, UnionType) else kind
    assert isinstance(chosen, type)  # noqa: S101  (for the type checker)
    return chosen


def _subject(path: KeyPath) -> str:
    """Name a value: its key, or the key of the list that it stands in."""
    names = [step for step in path if isinstance(step, str)]
    if not path:
        return "the file"
    if isinstance(path[-1], str):
        return repr(path[-1])
    return f"an entry of {names[-1]!r}" if names else "an entry"


def closest(name: str, known: Iterable[str]) -> str | None:
    """Find the known word that was probably meant: one letter more, less, other or swapped."""
    return next((each for each in known if _near(_plain(name), _plain(each))), None)


def _plain(word: str) -> str:
    return word.replace("-", "_").lower()


def _near(left: str, right: str) -> bool:
    """Whether two words differ by at most two places after their common ends are cut off."""
    if left == right:
        return True
    start = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), None)
    if start is None:
        return abs(len(left) - len(right)) == 1
    left, right = left[start:], right[start:]
    while left and right and left[-1] == right[-1]:
        left, right = left[:-1], right[:-1]
    return max(len(left), len(right)) == 1 or (len(left) == 2 and left[::-1] == right)  # noqa: PLR2004  (two letters)
