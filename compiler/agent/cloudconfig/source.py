"""Where cloud-config comes from: files, folders, addresses, standard input, and text itself."""

import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from compiler.agent.root import LARGEST, SMALLER, Root
from compiler.errors import CompilerError, Location, OutsideError, SpecError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.")
_ENDINGS = (".yaml", ".yml")
_SHOWN = 60
_DEEPEST = 64

Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Source:
    """A text, and what messages call it."""

    name: str
    text: str


@dataclass(frozen=True)
class Inputs:
    """What is needed to read arguments: the root, the network and standard input."""

    root: Root
    fetch: Fetch
    stdin: Callable[[int], bytes]
    beside: bool = True
    """Whether paths that are not below the root are looked for beside it."""


def sources(argument: str, inputs: Inputs) -> Iterator[Source | CompilerError]:
    """Read what an argument names, in order; what cannot be read is given as its error.

    A path is looked for below the root first, then where we run.
    """
    if argument == "-":
        yield _decoded("standard input", inputs.stdin(LARGEST + 1))
    elif is_url(argument):
        yield _caught(argument, lambda: inputs.fetch(argument))
    else:
        yield from _found(argument, inputs)


def is_url(argument: str) -> bool:
    """Whether an argument is an address rather than a path or a text."""
    return "\n" not in argument and _SCHEME.match(argument) is not None


def _found(argument: str, inputs: Inputs) -> Iterator[Source | CompilerError]:
    """Find a path in the root, then where we run; what is neither is a text."""
    if argument.startswith("/") and inputs.root.exists(argument):
        yield from _at(argument, inputs.root)
        return
    if inputs.beside and argument and "\n" not in argument:
        with Root(Path("/")) as machine:
            path = str(Path(argument).absolute())
            if machine.exists(path):
                yield from _at(path, machine)
                return
    yield from _text(argument)


def _text(argument: str) -> Iterator[Source | CompilerError]:
    """Take an argument for the text itself, unless it can only be a path."""
    if ":" not in argument and "=" not in argument:
        shown = argument if len(argument) <= _SHOWN else f"{argument[:_SHOWN]}…"
        yield SpecError(f"{shown!r} is no file, folder or address, and no configuration")
    else:
        yield Source("argument", argument)


def _at(path: str, root: Root) -> Iterator[Source | CompilerError]:
    """Read a file, or the files of a folder."""
    status = root.status(path)
    if status is not None and stat.S_ISDIR(status.st_mode):
        for each in walk(root, path.rstrip("/") or "/"):
            yield _caught(each, partial(root.read, each))
    else:
        yield _caught(path, partial(root.read, path))


def walk(root: Root, folder: str, depth: int = 0) -> Iterator[str]:
    """List the cloud-config files below a folder, in the order of their names, folder by folder.

    Links to files are followed, links to folders are not.
    """
    for name in root.names(folder):
        path = f"{folder.rstrip('/')}/{name}"
        if root.is_folder(path):
            if depth < _DEEPEST and not root.is_link(folder, name):
                yield from walk(root, path, depth + 1)
        elif name.endswith(_ENDINGS):
            yield path


def _caught(name: str, read: Callable[[], bytes]) -> Source | CompilerError:
    try:
        return _decoded(name, read())
    except CompilerError as error:
        return error


def _decoded(name: str, data: bytes) -> Source | CompilerError:
    if len(data) > LARGEST:
        return OutsideError(f"{name}: is larger than {LARGEST} bytes", hint=SMALLER)
    try:
        return Source(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return SpecError("is not UTF-8 text", location=Location(name, line))
