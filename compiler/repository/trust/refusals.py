"""Why signed metadata was refused, in words: which file, what is wrong, what it may mean."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    UnsignedMetadataError,
)
from tuf.api.serialization import DeserializationError

from compiler.errors import ContentError, TrustError
from compiler.repository.trust import ROOT, SNAPSHOT, TIMESTAMP, limit_of, role_of

_COUNTS = re.compile(r"signed by (\d+)/(\d+) keys")
_HOLD = "somebody may be showing an old state; or nobody has signed it again: `cos repo refresh`"
_CHANGING = "the repository may be changing just now; if this stays, do not trust it"
_ODD: Mapping[type[Exception], tuple[str, str]] = {
    DownloadLengthMismatchError: ("is longer than it may be", "it was not read to its end"),
    LengthOrHashMismatchError: (
        "is not the one that is named as the newest: files of several states",
        _CHANGING,
    ),
    DeserializationError: ("is no signed metadata", "it is damaged, or something else"),
}


@dataclass(slots=True)
class Received:
    """The file that came last."""

    name: str = ""
    data: bytearray = field(default_factory=bytearray)

    def begin(self, name: str) -> None:
        """Expect another file."""
        self.name = name
        self.data.clear()

    def add(self, piece: bytes) -> None:
        """Take a piece, as long as that may be."""
        if len(self.data) <= limit_of(self.name):
            self.data.extend(piece)


def refusal(repository: str, error: Exception, received: Received) -> TrustError:
    """Say why what was received is refused; a `ContentError` where asking once more may help."""
    message, hint = _reason(error, received)
    kind = ContentError if hint == _CHANGING else TrustError
    return kind(f"{repository}: {message}", hint=hint)


def _reason(error: Exception, received: Received) -> tuple[str, str]:
    """Return what is wrong, and what that may mean."""
    name, text = received.name or "what was kept", str(error)
    match error:
        case DownloadHTTPError():
            found = _missing(name, text)
        case UnsignedMetadataError():
            found = _unsigned(name, text, bytes(received.data))
        case ExpiredMetadataError():
            found = f"{_expired(text)} has expired", f"is the clock right? {_HOLD}"
        case BadVersionNumberError():
            found = _version(name)
        case DownloadLengthMismatchError() | LengthOrHashMismatchError() | DeserializationError():
            what, hint = _ODD[type(error)]
            found = f"{name} {what}", hint
        case _:
            found = f"{name} is not as it has to be: {text}", "the repository may be damaged"
    return found


def _missing(name: str, answer: str) -> tuple[str, str]:
    """Explain that a file is not there, where `answer` says what was asked for, and what came."""
    if name == "timestamp.json":
        return (
            f"is not signed, although its root is known: {answer}",
            "are its address and type right? `cos repo get` shows them; nothing unsigned is taken, "
            "and its owner's `cos repo refresh` brings a timestamp back that was lost",
        )
    return f"{name} is missing, although it is named as the newest", _CHANGING


def _version(name: str) -> tuple[str, str]:
    """Explain a wrong version."""
    role = role_of(name)
    if role == ROOT:
        return f"{name} holds another version of the root", "it has to follow the one before"
    if role in {TIMESTAMP, SNAPSHOT}:
        hint = "somebody may be showing an old state"
        return f"{name} is older than what was seen before, or names older files", hint
    return f"{name} is of another version than the snapshot says", "do not trust it if this stays"


def _expired(text: str) -> str:
    """Name the file that has expired."""
    found = re.search(r"root|timestamp|snapshot|targets|bin-[0-9a-f]+", text)
    return f"{found[0]}.json" if found else "its metadata"


def _unsigned(name: str, text: str, data: bytes) -> tuple[str, str]:
    """Explain which signatures are missing."""
    counts = _COUNTS.search(text)
    good, needed = (int(counts[1]), int(counts[2])) if counts else (0, 1)
    hint = (
        "the keys that its root names have to sign; is the root of another repository, or has "
        "somebody else written this?"
    )
    if good:
        return f"{name} is signed by {good} of the {needed} keys that are needed", hint
    if not _signatures(data):
        return f"{name} has no signature", hint
    return f"{name} is signed by other keys than those that its root names", hint


def _signatures(data: bytes) -> int:
    """Count the signatures in a file, good or not."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return 0
    found = value.get("signatures") if isinstance(value, Mapping) else None
    return len(found) if isinstance(found, Sequence) else 0
