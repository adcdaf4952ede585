"""YAML text that Go's parsers and ours read alike, written fast and always with the same bytes."""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Self, overload

import yaml

from compiler.errors import CompilerError

Plain = str | int | bool | None
"""A scalar that `dump` writes."""

MOST_BYTES = 256 << 20
"""The largest text that is read: more than the file list of any system image takes."""

# Plain scalars that every YAML version reads as text: a slash, or a letter first and no number in
# sight; YAML 1.1 of Go takes `y` and `on` for truth, and `1e3` or `1_0` for numbers.
_SAFE = re.compile(r"[A-Za-z/_][A-Za-z0-9/_.+@-]*(?: [A-Za-z0-9/_.+@-]+)*")
_WORDS = frozenset(["true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"])
# The lines of a list of texts as `dump` writes them, and JSON reads those in quotes.
_LINES = re.compile(
    rf"(?:- (?:(?!(?i:{'|'.join(sorted(_WORDS))})\n)"
    r"[A-Za-z/_][A-Za-z0-9/_.+@-]*+(?: [A-Za-z0-9/_.+@-]++)*+"
    r'|"(?:[^"\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]'
    r'|\\["\\bfnrt]|\\u(?!d[89a-f])[0-9a-f]{4})*+")\n)++'
)
# The same of paths only, all of them plain: what most lists of files are made of.
_PATHS = re.compile(r"(?:- [A-Za-z_][A-Za-z0-9_.+@-]*+/[A-Za-z0-9/_.+@-]*+\n)++")
_TOGETHER = 200
"""How many texts of a list are looked at together."""
_DEEPEST = 100
_MANY = 2000
_DEEP_LINE = re.compile(rf"^[ ?:-]{{{_DEEPEST}}}", re.MULTILINE)
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


class Texts(Sequence[str]):
    """A long list of texts, kept as the lines of YAML that it was read from.

    A repository's index repeats the file lists of all artifacts, and mostly nobody looks at them.
    """

    __slots__ = ("_lines",)

    def __init__(self, lines: str) -> None:
        self._lines = lines

    @classmethod
    def read(cls, lines: str) -> Self | None:
        """Take the lines of a list, however indented; None if they need a YAML parser."""
        indent = lines[: lines.find("-")]
        if indent:
            lines = lines.removeprefix(indent).replace(f"\n{indent}- ", "\n- ")
        return cls(lines) if _LINES.fullmatch(lines) else None

    def written(self, indent: str) -> str:
        """Give the lines as they stand in a list that is indented."""
        return f"{indent}{self._lines[:-1].replace(chr(10), chr(10) + indent)}\n"

    def __iter__(self) -> Iterator[str]:
        for line in self._lines.splitlines():
            yield json.loads(line[2:]) if line[2] == '"' else line[2:]

    def __len__(self) -> int:
        return self._lines.count("\n")

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


def dump(value: Mapping[str, object]) -> str:
    """Write a mapping of scalars, lists and mappings as block YAML."""
    return "".join(_mapping(value, ""))


def load(text: str, source: str) -> dict[str, object]:
    """Read a mapping that luet or `dump` wrote; raises `CompilerError` naming `source`.

    Aliases are refused, since a few lines of them can mean gigabytes, and so is deep nesting.
    """
    try:
        if _is_doubtful(text):
            _check_events(text, source)
        value = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CompilerError(f"{source}: is not YAML: {_one_line(error)}") from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise CompilerError(f"{source}: does not hold a mapping of names to values")
    return value


def scalar(value: Plain) -> str:
    """Write one scalar so that its type survives."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else _text(value)


def _text(value: str) -> str:
    """Write a string plain if that cannot be misread, else in double quotes, or as bytes."""
    if _SAFE.fullmatch(value) and ("/" in value or value.lower() not in _WORDS):
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        raw = value.encode("utf-8", "surrogateescape")
        return f"!!binary {base64.b64encode(raw).decode()}"
    quoted = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)


def _mapping(value: Mapping[str, object], indent: str) -> Iterator[str]:
    """Write the lines of a mapping, keys in the order given."""
    for key, item in value.items():
        yield f"{indent}{_text(key)}:"
        yield from _value(item, indent)


def _value(item: object, indent: str) -> Iterator[str]:
    """Write what follows a key or a dash: on its line, or in lines of its own."""
    if isinstance(item, Mapping) and item:
        yield "\n"
        yield from _mapping(item, indent + "  ")
    elif isinstance(item, Texts):
        yield f"\n{item.written(indent)}"
    elif isinstance(item, (list, tuple)) and item:
        yield "\n"
        yield from _sequence(item, indent)
    else:
        yield f" {_leaf(item)}\n"


def _sequence(items: Sequence[object], indent: str) -> Iterator[str]:
    """Write the lines of a list; each mapping in it starts on the line of its dash."""
    if len(items) > _TOGETHER and isinstance(items[0], str):
        yield from _long(items, indent)
        return
    for item in items:
        if isinstance(item, str):
            yield f"{indent}- {_text(item)}\n"
        elif isinstance(item, Mapping) and item:
            lines = "".join(_mapping(item, indent + "  "))
            yield f"{indent}- {lines[len(indent) + 2 :]}"
        else:
            yield f"{indent}-"
            yield from _value(item, indent + "  ")


def _long(items: Sequence[object], indent: str) -> Iterator[str]:
    """Write a long list of texts: many at once where all of them are plain paths."""
    between = f"\n{indent}- "
    for start in range(0, len(items), _TOGETHER):
        part = items[start : start + _TOGETHER]
        if all(isinstance(item, str) for item in part):
            texts = [str(item) for item in part]
            lines = "\n- ".join(texts)
            if _PATHS.fullmatch(f"- {lines}\n"):
                yield f"{indent}- {between.join(texts)}\n"
                continue
        yield from _sequence(part, indent)


def _leaf(item: object) -> str:
    """Write a scalar or an empty collection."""
    if isinstance(item, Mapping):
        return "{}"
    if isinstance(item, (list, tuple)):
        return "[]"
    if isinstance(item, float):
        return repr(item).replace("inf", ".inf").replace("nan", ".nan")
    if isinstance(item, date):
        return item.isoformat()
    if item is None or isinstance(item, (str, int, bool)):
        return scalar(item)
    raise TypeError(f"{type(item).__name__} has no place in these files")


def _is_doubtful(text: str) -> bool:
    """Tell whether a text could hold aliases or nest deeply; exactly is slow to tell."""
    opened = text.count("[") + text.count("{") - text.count("[]") - text.count("{}")
    return opened > _MANY or ("&" in text and "*" in text) or bool(_DEEP_LINE.search(text))


def _check_events(text: str, source: str) -> None:
    """Refuse aliases, and nesting that libyaml's composer, recursing in C, does not survive."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise CompilerError(f"{source}: YAML aliases are not allowed here")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise CompilerError(f"{source}: nests more than {_DEEPEST} levels deep")


def _one_line(error: BaseException) -> str:
    """Shorten a parser's message to one line."""
    return " ".join(str(error).split())[:300]
