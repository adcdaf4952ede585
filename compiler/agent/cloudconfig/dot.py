"""Dot notation, as the kernel command line has it: words like `stages.boot[0].hostname=name`."""

import re
import shlex

from compiler.spec.scalars import resolve
from compiler.spec.yaml import KeyPath, Place

_WORD = re.compile(r"(?P<path>[^=\s]+)(?:=(?P<value>.*))?", re.DOTALL)
_PART = re.compile(r"(?P<name>[^.\[\]]+)(?P<indexes>(?:\[[0-9]{1,6}\])*)(?:\.|$)")
_ROOTS = ("name", "stages")

Tree = dict[str | int, object]


def tree_of(text: str) -> tuple[object, dict[KeyPath, Place]]:
    """Read words into the tree that the same configuration has as YAML, and how values are written.

    What is no path of a configuration has no effect: a command line says much else. Entries of
    lists are in the order of their numbers, which may leave some out.
    """
    tree: Tree = {}
    for word in _words(text):
        match = _WORD.fullmatch(word)
        path = _path(match["path"]) if match else ()
        if match and path and path[0] in _ROOTS:
            value = "true" if match["value"] is None else match["value"]
            _put(tree, path, value)
    written: dict[KeyPath, Place] = {}
    return _plain(tree, (), written), written


def _words(text: str) -> list[str]:
    """Split as a shell does; where quotes do not match, at every blank."""
    try:
        return shlex.split(text, comments=False)
    except ValueError:
        return text.split()


def _path(text: str) -> tuple[str | int, ...]:
    """Read `a.b[0].c`; nothing if it is no such path.

    The name of a stage may have a dot: `stages.boot.after[0].commands[0]`.
    """
    parts: list[str | int] = []
    position = 0
    while position < len(text):
        match = _PART.match(text, position)
        if match is None:
            return ()
        parts.append(match["name"])
        parts += [int(each) for each in re.findall(r"[0-9]+", match["indexes"])]
        position = match.end()
    return _with_stage(parts)


def _with_stage(parts: list[str | int]) -> tuple[str | int, ...]:
    """Join the names before the first number after `stages` to the name of one stage."""
    if parts[:1] != ["stages"]:
        return tuple(parts)
    names = []
    for each in parts[1:]:
        if isinstance(each, int):
            break
        names.append(each)
    return ("stages", ".".join(names), *parts[1 + len(names) :]) if names else ()


def _put(tree: Tree, path: tuple[str | int, ...], value: str) -> None:
    """Put a value in its place, unless something else than a map or list is on the way."""
    *folders, last = path
    here = tree
    for step in folders:
        below = here.setdefault(step, {})
        if not isinstance(below, dict):
            return
        here = below
    if not isinstance(here.get(last), dict):
        here[last] = value


def _plain(value: object, path: KeyPath, written: dict[KeyPath, Place]) -> object:
    """Turn maps of numbers into lists, and words into what YAML takes them for."""
    if isinstance(value, str):
        written[path] = Place((0, 0), (0, 0), value)
        return _single(value)
    if not isinstance(value, dict):
        return value
    if value and all(isinstance(each, int) for each in value):
        entries = enumerate(sorted(value))
        return [_plain(value[number], (*path, index), written) for index, number in entries]
    return {str(each): _plain(item, (*path, str(each)), written) for each, item in value.items()}


def _single(text: str) -> object:
    """Read a number or boolean where it is one, all else is text."""
    value = resolve(text)
    return value if type(value) in (int, bool) else text
