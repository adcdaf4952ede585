"""`files`: files with a given content."""

import base64
import binascii
import zlib
from collections.abc import Iterator

from compiler.agent.cloudconfig.accounts import GROUP, PASSWD, owner_named
from compiler.agent.cloudconfig.actions import Actions, Change, Task, Warn, WriteFile
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import File, Step
from compiler.agent.root import Owner
from compiler.errors import CompilerError

_BASE64 = ("b64", "base64")
_GZIP = ("gz", "gzip")
ENCODINGS = {
    "": (),
    **dict.fromkeys(_BASE64, ("base64",)),
    **dict.fromkeys(_GZIP, ("gzip",)),
    **{f"{gz}+{b64}": ("base64", "gzip") for gz in _GZIP for b64 in _BASE64},
}
"""How a content may be given, with what undoes it."""

_LARGEST = 64 << 20
_ANY_WINDOW = 47
_MODE = 0o777
_SEARCH = 0o100


def tasks(step: Step) -> Iterator[Task]:
    """Write each file."""

    def write(file: File) -> Task:
        return lambda machine: _write(file, machine)

    yield from map(write, step.files)


def _write(file: File, machine: Machine) -> Actions:
    if not file.path:
        raise CompilerError("a file needs a path")
    if file.encoding not in ENCODINGS:
        yield Warn(f"{file.path}: unknown encoding {file.encoding!r}: the content is taken as text")
    mode = file.permissions & _MODE
    fault: CompilerError | None = None
    try:
        data = templated(decoded(file.content, file.encoding), machine)
    except CompilerError as error:
        data, fault = b"", error
    yield WriteFile(
        path=file.path,
        data=data,
        mode=mode,
        owner=Owner(file.owner, file.group),
        parents=mode | _SEARCH,
    )
    if fault is not None:
        raise CompilerError(f"{file.path}: {fault}")
    if file.ownerstring:
        yield Change(path=file.path, mode=mode, owner=owner_of(file.ownerstring, machine))


def owner_of(owner: str, machine: Machine) -> Owner:
    """Look up an owner by name in the accounts of the root."""
    root = machine.root
    return owner_named(owner, root.text(PASSWD, ""), root.text(GROUP, ""))


def decoded(content: str, encoding: str) -> bytes:
    """Decode a content; raises `CompilerError`. An encoding that nobody knows is plain text."""
    data = content.encode("utf-8", "surrogateescape")
    for each in ENCODINGS.get(encoding, ()):
        data = _from_base64(data) if each == "base64" else _unpacked(data)
    return data


def templated(data: bytes, machine: Machine) -> bytes:
    """Render a content that is text and has a template in it."""
    if b"{{" not in data:
        return data
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return data
    return machine.render(text).encode("utf-8", "surrogateescape")


def _from_base64(data: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error as error:
        raise CompilerError(f"the content is not base64: {error}") from error


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(_ANY_WINDOW)
    try:
        plain = unpacker.decompress(data, _LARGEST)
    except zlib.error as error:
        raise CompilerError("the content is not gzip") from error
    if unpacker.unconsumed_tail:
        raise CompilerError(f"the content unpacks to more than {_LARGEST} bytes")
    if not unpacker.eof:
        raise CompilerError("the content is not all of a gzip")
    return plain
