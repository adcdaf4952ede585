"""Every error that a person can put right, with the place where and the hint how."""

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """What the `cos` process tells its caller, as documented in docs/cli.md."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    OUTSIDE = 3
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a file that a person wrote; lines and columns count from 1, 0 means unknown."""

    path: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """Print as editors and compilers do: `path:line:column`, without the unknown parts."""
        parts = [self.path]
        if self.line:
            parts.append(str(self.line))
            if self.column:
                parts.append(str(self.column))
        return ":".join(parts)


class CompilerError(Exception):
    """Something that the user can put right: what is wrong, where, and what to try."""

    exit_code: int = ExitCode.FAILED

    def __init__(
        self, message: str, *, location: Location | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.location = location
        self.hint = hint

    def __str__(self) -> str:
        """Print as one line: `file:line:column: what is wrong (hint)`."""
        place = f"{self.location}: " if self.location else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.message}{hint}"


class SpecError(CompilerError):
    """A file of a tree, or a values file, says something that it cannot mean."""


class TemplateError(SpecError):
    """A Go template does not parse, or failed while it ran."""


class VersionError(CompilerError):
    """A version or a selector that cannot be used where it stands."""


class UsageError(CompilerError):
    """The command line asks for something that cannot be."""

    exit_code = ExitCode.USAGE


class InputError(CompilerError):
    """A file or folder that was named is not there, or is not one that can be read."""


class ResolutionError(CompilerError):
    """No set of packages satisfies what is asked for; `chain` tells who wanted what, and where."""

    def __init__(
        self,
        message: str,
        *,
        chain: Sequence[str] = (),
        location: Location | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, location=location, hint=hint)
        self.chain = tuple(chain)

    def __str__(self) -> str:
        """Print the message, then the chain of who wanted what, one requirement a line."""
        return "\n  ".join((super().__str__(), *self.chain))


class CycleError(ResolutionError):
    """Packages that need each other in a ring; `chain` is the path around it."""


class EngineError(CompilerError):
    """A step failed, or the engine cannot run at all; names the step and its log file."""

    def __init__(
        self,
        message: str,
        *,
        step: str = "",
        log: str = "",
        output: Sequence[str] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.log = log
        self.output = tuple(output)

    def __str__(self) -> str:
        """Print the message, the last lines of output, and where the whole log is."""
        tail = [f"    {line}" for line in self.output]
        return "\n".join((super().__str__(), *tail, *([f"log: {self.log}"] if self.log else [])))


class ImageError(CompilerError):
    """A base image that is not in the store, or whose source cannot be read."""


class ArchiveError(CompilerError):
    """An archive or a folder that cannot be packed or unpacked as it stands."""


class StoreError(CompilerError):
    """The store cannot be read or written: no space, no permission, damaged content."""

    exit_code = ExitCode.OUTSIDE


class OutsideError(CompilerError):
    """Something outside failed: the disk, the network, a program that is missing."""

    exit_code = ExitCode.OUTSIDE


class RegistryError(OutsideError):
    """A registry cannot be reached, or does not do what is asked; names the reference."""


class UnansweredError(RegistryError):
    """A registry gave no good answer, however often it was asked: what it holds is not known."""


class SilentError(UnansweredError):
    """Nobody was there who could be asked, or nobody said a word: asking again costs as long."""


class NotFoundError(RegistryError):
    """A name or content that the registry does not have."""


class TooLongError(OutsideError):
    """A file of a repository has more bytes than are taken of it."""


class DeniedError(RegistryError):
    """A registry wants credentials, or refuses those that it got."""


class ConflictError(CompilerError):
    """Packages want the same path of a system, or one that something else already has."""


class TrustError(CompilerError):
    """Something is not signed as it has to be, or is not what was signed."""


class ExpiredError(TrustError):
    """What was signed has expired, and who has newer signatures does not answer."""

    exit_code = ExitCode.OUTSIDE


class ContentError(TrustError):
    """A content is another than was signed; it may be changing just now, so ask once more."""


class Interrupted(CompilerError):  # noqa: N818  (the word users know from Ctrl-C)
    """The run was asked to stop by a signal."""

    exit_code = ExitCode.INTERRUPTED


class Faults(ExceptionGroup[CompilerError]):
    """All faults of a tree at once, sorted by location."""

    @classmethod
    def of(cls, errors: Iterable[CompilerError]) -> Self:
        """Sort `errors` by where they are, dropping exact repetitions."""
        unique = {str(error): error for error in errors}
        ordered = sorted(
            unique.values(), key=lambda error: (error.location or Location(""), str(error))
        )
        return cls(f"{len(ordered)} faults", ordered)


_NOT_GIVEN = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EACCES, errno.ENAMETOOLONG}
)


def unreadable(path: object, error: OSError, hint: str | None = None) -> CompilerError:
    """Say why a file that a person named cannot be read.

    Returns an `InputError` if another name or other rights would help, and an `OutsideError` if
    the disk failed.
    """
    kind = InputError if error.errno in _NOT_GIVEN else OutsideError
    return kind(f"{path}: cannot be read: {error.strerror or error}", hint=hint)


def unwritable(path: object, error: OSError) -> OutsideError:
    """Say that a file or folder cannot be written, and what helps."""
    message = f"{path}: cannot be written: {error.strerror or error}"
    return OutsideError(message, hint=room_hint(error))


def room_hint(error: OSError, hint: str = "make room on its disk") -> str | None:
    """Say what helps, if a disk is full."""
    return hint if error.errno in {errno.ENOSPC, errno.EDQUOT} else None
