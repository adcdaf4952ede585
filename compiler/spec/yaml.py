"""YAML text → plain values, read as Go's yaml.v2 reads it, with the line of everything.

libyaml (through PyYAML's C parser) does the grammar: it is what yaml.v2 was translated from, so it
accepts the same texts, tabs as separating white space among them. Positions are looked up in a
second pass, which only texts with a fault ever need.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from yaml import MappingNode, Node, ScalarNode, SequenceNode
from yaml.cyaml import CParser  # type: ignore[attr-defined] # its stub exports nothing
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import (
    Event,
    MappingEndEvent,
    MappingStartEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from compiler.spec.scalars import HINTS, resolve

MAX_DEPTH = 128
"""How deep lists and maps may nest: libyaml's composer recurses on the C stack."""
MAX_EXPANDED = 1_000_000
"""How many values a text may stand for after its aliases are written out."""
MAX_FAULTS = 50
"""How many faults of one text are told."""

KeyPath = tuple[str | int, ...]

_DEEP_BLOCK = re.compile(rf"(?m)^[ \t?:-]{{{MAX_DEPTH // 2}}}")
_PLAIN = "plain"
_QUOTED = "quoted"
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong with a text; lines and columns count from 1."""

    line: int
    column: int
    message: str
    hint: str | None = None


class YamlFaults(Exception):  # noqa: N818  (several faults, not one error)
    """Everything that is wrong with one text."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(faults)
        self.faults = tuple(sorted(faults))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value and its key were written, as (line, column); a list's items have no key."""

    key: tuple[int, int]
    value: tuple[int, int]
    text: str = ""
    """A single value as it was written, without its quotes."""


def parse(text: str, *, typed_keys: bool = True) -> object:
    """Give the first document of `text` as plain values; raises `YamlFaults`.

    Values are text, int, float, bool, None, lists and dicts; the same list or dict stands at every
    place that names it by an alias. Keys of inner maps are as Go types them, `true` for `y`, or
    without `typed_keys` text, as where Go reads maps with text keys.
    """
    root = _compose(text)
    builder = (_AliasBuilder if "*" in text else _Builder)(root, typed_keys=typed_keys)
    value = None if root is None else builder.build(root)
    if builder.faults:
        raise YamlFaults(*builder.faults)
    return value


def places(text: str, *, typed_keys: bool = True) -> dict[KeyPath, Place]:
    """Tell where everything in `text` was written, by its path of keys, as `parse`, and indexes."""
    root = _compose(text)
    found: dict[KeyPath, Place] = {}
    if root is not None:
        found[()] = Place(_position(root), _position(root))
        reader = _Builder(root, typed_keys=typed_keys)
        for path, place in _walk(root, (), frozenset(), reader):
            found.setdefault(path, place)
            if len(found) > MAX_EXPANDED:
                break
    return found


class _Composer(CParser):
    """libyaml's composer; the tag is `_PLAIN` or `_QUOTED` for scalars that were given none."""

    def resolve(self, _kind: type[Node], _value: str, implicit: object) -> str:
        return _PLAIN if not isinstance(implicit, tuple) or implicit[0] else _QUOTED

    def descend_resolver(self, _parent: Node | None, _index: object) -> None:
        """Do nothing: there are no resolvers that depend on the path."""

    def ascend_resolver(self) -> None:
        """Do nothing: there are no resolvers that depend on the path."""


def _compose(text: str) -> Node | None:
    _check_depth(text)
    try:
        composer = _Composer(text)
        # only the first document is read, as by Go: what follows it does not have to be YAML
        return composer.get_node() if composer.check_node() else None
    except MarkedYAMLError as error:
        raise YamlFaults(_marked_fault(text, error)) from None
    except (YAMLError, UnicodeEncodeError) as error:
        raise YamlFaults(_reader_fault(text, error)) from None


def _marked_fault(text: str, error: MarkedYAMLError) -> Fault:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    if line > text.count("\n") + 1:  # libyaml counts a line that ends without a line feed
        line, column = _line_and_column(text, len(text))
    problem = error.problem or error.context or "cannot be parsed"
    context = f" {error.context}" if error.context and error.problem else ""
    return Fault(line, column, f"is not YAML: {problem}{context}", _syntax_hint(problem))


def _syntax_hint(problem: str) -> str | None:
    if "mapping values are not allowed" in problem:
        return "quote text that holds ': '"
    if "cannot start any token" in problem:
        return "quote text that starts with @, `, %, or indent with spaces instead of tabs"
    if "did not find expected" in problem:
        return "check the indentation and the quotes of this line and the one before"
    return None


def _reader_fault(text: str, error: Exception) -> Fault:
    found = next((i for i, letter in enumerate(text) if not _is_allowed(letter)), None)
    if found is None:
        return Fault(1, 1, f"is not YAML: {error}")
    line, column = _line_and_column(text, found)
    message = f"holds the control character U+{ord(text[found]):04X}"
    return Fault(line, column, message, "is this a text file?")


def _is_allowed(letter: str) -> bool:
    """Whether YAML 1.1 lets a character stand in a text (its production c-printable)."""
    if letter < "\xa0":
        return letter in "\t\n\r\x85" or " " <= letter <= "~"
    return not "\ud800" <= letter <= "\udfff" and letter not in "\ufffe\uffff"


def _line_and_column(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH and not _DEEP_BLOCK.search(text):
        return
    depth = 0
    try:
        for event in _events(text):
            if isinstance(event, MappingStartEvent | SequenceStartEvent):
                depth += 1
            elif isinstance(event, MappingEndEvent | SequenceEndEvent):
                depth -= 1
            if depth > MAX_DEPTH:
                message = f"nests lists and maps more than {MAX_DEPTH} deep"
                raise YamlFaults(Fault(*_position(event), message))
    except (YAMLError, UnicodeEncodeError):
        return  # composing reports it, and stops at the same place


def _events(text: str) -> Iterator[Event]:
    parser = CParser(text)
    while (event := parser.get_event()) is not None:
        yield event


class _Builder:
    """Builds values out of nodes, noting every fault."""

    def __init__(self, root: Node | None, *, typed_keys: bool) -> None:
        self.faults: list[Fault] = []
        self._root = root
        self._typed_keys = typed_keys

    def build(self, node: Node) -> object:
        """Give the value of `node`, and of everything in it."""
        kind = type(node)
        if kind is ScalarNode:
            tag = node.tag
            if tag is _PLAIN:
                text: str = node.value
                # most scalars are words: resolve() would say the same
                return resolve(text) if not text or text[0] in HINTS else text
            return node.value if tag is _QUOTED else self._tagged(node)
        if kind is MappingNode:
            return self._mapping(node)
        build = self.build
        return [build(item) for item in node.value]

    def _mapping(self, node: Node) -> dict[str | int, object]:
        result: dict[str | int, object] = {}
        merged: list[Node] = []
        build = self.build
        key_of = self.key_of(node)
        for key_node, value_node in node.value:
            if key_node.tag is _PLAIN and key_node.value == "<<":
                merged.append(value_node)
                continue
            key = key_of(key_node)
            if key in result:
                self._note_duplicate(node, key_node, key_of)
            result[key] = build(value_node)
        for value_node in merged:
            self._merge(result, value_node)
        return result

    def key_of(self, node: Node) -> Callable[[Node], str | int]:
        """Return what reads the keys of a map."""
        return self._key if self._typed_keys and node is not self._root else self._text_key

    def _text_key(self, node: Node) -> str | int:
        """Read a key as text, as Go does for the outermost map, and where it knows the map."""
        if type(node) is ScalarNode:
            text: str = node.value
            return text
        return self._key(node)

    def _key(self, node: Node) -> str | int:
        """Read a key of an inner map: typed, so that `y: 1` has the key `true`."""
        if type(node) is not ScalarNode:
            self._note(node, "a key must be a single value, not a list or a map")
            return ""
        text: str = node.value
        if node.tag is _PLAIN and text and text[0] in HINTS:
            value = resolve(text)
            if isinstance(value, bool):
                return "true" if value else "false"
            return value if isinstance(value, int) else text
        return text

    def _merge(self, result: dict[str | int, object], node: Node) -> None:
        value = self.build(node)
        for source in value if isinstance(value, list) else [value]:
            if not isinstance(source, dict):
                self._note(node, "'<<' needs a map, or a list of maps")
                return
            for key, item in source.items():
                result.setdefault(key, item)

    def _tagged(self, node: Node) -> object:
        text: str = node.value
        kind = node.tag.removeprefix(_TAG)
        if kind == "binary":
            return self._binary(node)
        wanted = _TAG_TYPES.get(kind)
        if wanted is None:
            return text
        value = resolve(text)
        if type(value) not in wanted:
            self._note(node, f"{text!r} is not what its tag !!{kind} says")
        return value

    def _binary(self, node: Node) -> str:
        try:
            return base64.b64decode(node.value).decode()
        except (binascii.Error, ValueError):
            self._note(node, "!!binary needs base64 of UTF-8 text")
            return ""

    def _note(self, node: Node, message: str, hint: str | None = None) -> None:
        self.faults.append(Fault(*_position(node), message, hint))
        if len(self.faults) >= MAX_FAULTS:
            raise YamlFaults(*self.faults)

    def _note_duplicate(self, node: Node, again: Node, key_of: Callable[[Node], str | int]) -> None:
        key = key_of(again)
        first = next(item for item, _ in node.value if key_of(item) == key)
        line, column = _position(first)
        self._note(again, f"key {again.value!r} is given twice", f"first at {line}:{column}")


class _AliasBuilder(_Builder):
    """Builds a text with aliases: every node once, with a bound on what they stand for."""

    def __init__(self, root: Node | None, *, typed_keys: bool) -> None:
        super().__init__(root, typed_keys=typed_keys)
        self._done: dict[int, tuple[object, int]] = {}
        self._open: set[int] = set()
        self._size = 0

    def build(self, node: Node) -> object:
        """Give the value of `node`, the same one again when it comes back as an alias."""
        if type(node) is ScalarNode:
            self._size += 1
            return super().build(node)
        known = self._done.get(id(node))
        if known is not None:
            self._size += known[1]
            self._check_size(node)
            return known[0]
        return self._build_new(node)

    def _build_new(self, node: Node) -> object:
        if id(node) in self._open:
            fault = Fault(*_position(node), "an anchor's value contains itself")
            raise YamlFaults(fault)
        self._open.add(id(node))
        before = self._size
        value = super().build(node)
        self._open.discard(id(node))
        self._size += 1
        self._done[id(node)] = (value, self._size - before)
        self._check_size(node)
        return value

    def _check_size(self, node: Node) -> None:
        if self._size > MAX_EXPANDED:
            message = f"aliases stand for more than {MAX_EXPANDED} values"
            raise YamlFaults(Fault(*_position(node), message))


_TAG_TYPES: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "null": (type(None),),
}


def _position(item: Node | Event) -> tuple[int, int]:
    mark = item.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _place(key: Node, value: Node) -> Place:
    text = value.value if isinstance(value, ScalarNode) else ""
    return Place(_position(key), _position(value), text)


def _walk(
    node: Node, path: KeyPath, above: frozenset[int], reader: _Builder
) -> Iterator[tuple[KeyPath, Place]]:
    if id(node) in above:
        return
    above = above | {id(node)}
    if isinstance(node, MappingNode):
        key_of = reader.key_of(node)
        for key_node, value_node in node.value:
            step = (*path, key_of(key_node))
            yield step, _place(key_node, value_node)
            yield from _walk(value_node, step, above, reader)
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            step = (*path, index)
            yield step, _place(item, item)
            yield from _walk(item, step, above, reader)
