"""What the documents have in common: JSON in pieces, times, and names made of the content."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID, uuid5

from compiler import __version__
from compiler.errors import CompilerError
from compiler.sbom import Contents, Inputs, Subject

TOOL = "cos-toolkit"
TOOL_VERSION = __version__
_NAMESPACE = UUID("8f0c7b5e-2f5b-5c0b-9f5e-6d1b1d9f7a10")
"""Chosen once, at random: what all identifiers of our documents are derived from."""
_AT_ONCE = 1024
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def time_text(epoch: int) -> str:
    """Write seconds since 1970 as the documents want it; raises `CompilerError` out of range."""
    try:
        return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, ValueError, OSError) as error:
        raise CompilerError(f"{epoch} is no time in seconds since 1970") from error


def identity(subject: Subject, contents: Contents, inputs: Inputs, epoch: int) -> UUID:
    """Name a document by all that it says, so that equal documents have equal names."""
    seen = hashlib.sha256(f"{TOOL_VERSION}\n{epoch}\n{subject!r}\n".encode())
    for each in contents.files:
        seen.update(f"{each!r}\n".encode())
    for package in contents.packages:
        seen.update(f"{package!r}\n".encode())
    rest = (contents.distro, contents.unread, inputs.tree, inputs.values, inputs.used)
    seen.update(f"{rest!r}{sorted(inputs.settings.items())!r}{inputs.builder}".encode())
    return uuid5(_NAMESPACE, seen.hexdigest())


def json_pieces(
    head: Mapping[str, object], lists: Mapping[str, Iterable[object]]
) -> Iterator[bytes]:
    """Write a JSON object in pieces: its small members, and then the lists that may be long.

    So a document of any length takes the memory of a few of its entries.
    """
    yield _ENCODER.encode(head)[:-1].encode()
    comma = "," if head else ""
    for name, items in lists.items():
        yield f'{comma}"{name}":['.encode()
        rest, between = iter(items), ""
        while batch := list(islice(rest, _AT_ONCE)):
            yield f"{between}{_ENCODER.encode(batch)[1:-1]}".encode()
            between = ","
        yield b"]"
        comma = ","
    yield b"}\n"


def shown(text: str) -> str:
    """Write a name of any bytes as plain text: those that are no UTF-8 as numbers."""
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
