"""Uploads a blob: in one piece if it is small, else in chunks that go on after a break.

OCI Distribution Specification, Pushing a blob monolithically and in chunks.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from compiler.errors import DeniedError, RegistryError
from compiler.oci import Descriptor, Digest, Reference
from compiler.registry import Progress
from compiler.registry.failure import Doubtful, Passing, words
from compiler.registry.site import Answer, Call, Site
from compiler.registry.transport import Slice, Stream

_OPENED = frozenset({202})
_MOUNTED = 201
_STORED = frozenset({201, 204})
_TOLD = frozenset({202, 204})
_GONE = frozenset({400, 404, 416})
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})")
_BYTES = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, slots=True)
class _Session:
    """An upload that the registry knows of: where it goes on, what is there, the least it takes."""

    location: str
    offset: int
    least: int = 0


class _ForgottenError(Passing):
    """The registry does not know the upload any more: it begins anew."""


class Upload:
    """A blob on its way into a repository."""

    def __init__(
        self,
        site: Site,
        repository: Reference,
        blob: Descriptor,
        *,
        chunk: int,
        progress: Progress | None = None,
    ) -> None:
        self._site = site
        self._blob = blob
        self._chunk = chunk
        self._progress = progress
        self._furthest = 0
        self._call = Call(
            repository=repository,
            what=f"upload {blob.digest}",
            path="blobs/uploads/",
            method="POST",
            actions="pull,push",
            wanted=_OPENED,
        )

    def run(self, source: Path | bytes) -> None:
        """Upload the blob, as often as it takes; the registry compares the digest at the end."""
        self._check(source)
        retries = self._site.retries(self._call)
        session: _Session | None = None
        while True:
            before = self._furthest
            try:
                session = self._resume(session)
                while session.offset < self._blob.size and self._blob.size > self._chunk:
                    session = self._send_chunk(session, source)
                self._finish(session, source)
            except Passing as fault:
                if self._furthest > before:
                    retries.progressed()
                retries.again(fault)
                if isinstance(fault, Doubtful | _ForgottenError) or self._blob.size <= self._chunk:
                    session = None
            else:
                self._tell(self._blob.size)
                return

    def _check(self, source: Path | bytes) -> None:
        """Refuse a file that is not as long as it is said to be."""
        try:
            size = len(source) if isinstance(source, bytes) else source.stat().st_size
        except OSError as error:
            raise _unreadable(self._call, source, error) from error
        if size != self._blob.size:
            what = "the content" if isinstance(source, bytes) else str(source)
            message = f"{self._call.subject}: {what} has {size} bytes, not {self._blob.size}"
            raise RegistryError(message, hint="it has changed meanwhile: run the command again")

    def _resume(self, session: _Session | None) -> _Session:
        """Begin an upload, or ask how far the one that broke has come."""
        if session is None:
            with self._site.once(self._call) as stream:
                least = stream.headers.get("OCI-Chunk-Min-Length", "")
                stream.read(self._call.limit)
                return replace(self._next(stream, 0), least=int(least) if least.isdecimal() else 0)
        status = replace(self._call, method="GET", path=session.location, wanted=_TOLD | _GONE)
        with self._site.once(status) as stream:
            stream.read(self._call.limit)
            if stream.status in _GONE:
                hint = "try again; if it stays, the registry's log says why"
                raise _ForgottenError("the registry forgot the upload", hint=hint)
            return replace(self._next(stream, None), least=session.least)

    def _send_chunk(self, session: _Session, source: Path | bytes) -> _Session:
        """Send the next chunk; returns how far the registry says that it has come."""
        length = min(max(self._chunk, session.least), self._blob.size - session.offset)
        end = session.offset + length
        chunk = replace(
            self._call,
            method="PATCH",
            path=session.location,
            headers={**_BYTES, "Content-Range": f"{session.offset}-{end - 1}"},
            body=lambda: self._slice(source, session.offset, length),
            wanted=_OPENED | _GONE,
        )
        with self._site.once(chunk) as stream:
            said = stream.read(self._call.limit)
            if stream.status in _GONE:
                reason = f"the registry does not go on with the upload{words(said)}"
                raise Passing(reason, hint="try again; if it stays, the registry's log says why")
            following = replace(self._next(stream, end), least=session.least)
        if not session.offset < following.offset <= end:
            raise Doubtful("the registry does not tell how much of the upload it has")
        self._tell(following.offset)
        return following

    def _finish(self, session: _Session, source: Path | bytes) -> None:
        """Give the upload its digest; what is small is sent with it."""
        mark = "&" if urlsplit(session.location).query else "?"
        rest = self._blob.size - session.offset
        last = replace(
            self._call,
            method="PUT",
            path=f"{session.location}{mark}digest={self._blob.digest}",
            headers=_BYTES,
            body=lambda: self._slice(source, session.offset, rest),
            wanted=_STORED | _GONE,
        )
        try:
            with self._site.once(last) as stream:
                said = stream.read(self._call.limit)
                if stream.status in _GONE:
                    raise Doubtful(_refusal(said))
                _check_digest(stream.headers, self._blob.digest)
        except Passing:
            if not has_blob(self._site, self._call.repository, self._blob.digest):
                raise

    def _slice(self, source: Path | bytes, start: int, length: int) -> Slice:
        """Open a part of the content."""
        try:
            return Slice(source, start, length)
        except OSError as error:
            raise _unreadable(self._call, source, error) from error

    def _next(self, stream: Stream, sent: int | None) -> _Session:
        """Read where an upload goes on, and from which byte; `sent` where nothing is said."""
        location = stream.headers.get("Location", "")
        if not location:
            raise Doubtful(f"{stream.host} does not say where to upload to")
        match = _RANGE.fullmatch(stream.headers.get("Range", ""))
        offset = sent
        if match is not None and sent != 0:
            offset = int(match[1]) + 1 if int(match[1]) else 0
        if offset is None or offset > self._blob.size:
            raise Doubtful(f"{stream.host} does not tell how much of the upload it has")
        return _Session(self._site.checked(stream.url, location), offset)

    def _tell(self, offset: int) -> None:
        """Report what was not reported before."""
        if offset > self._furthest:
            if self._progress is not None:
                self._progress(offset - self._furthest)
            self._furthest = offset


def has_blob(site: Site, repository: Reference, digest: Digest) -> bool:
    """Ask whether a repository has a blob."""
    call = Call(
        repository=repository,
        what=f"ask for {digest}",
        path=f"blobs/{digest}",
        method="HEAD",
        wanted=frozenset({200, 404}),
    )
    return site.ask(call).status != 404  # noqa: PLR2004  (Not Found)


def mount(site: Site, repository: Reference, digest: Digest, *, origin: Reference) -> bool:
    """Take a blob over from another repository (Distribution Specification, Mounting)."""
    call = Call(
        repository=repository,
        what=f"mount {digest}",
        path=f"blobs/uploads/?mount={digest}&from={origin.repository}",
        method="POST",
        actions="pull,push",
        origin=origin,
        wanted=_OPENED | _STORED,
    )
    try:
        answer = site.ask(call)
    except DeniedError:
        return False
    if answer.status == _MOUNTED:
        _check_digest(answer.headers, digest)
        return True
    if answer.headers.get("Location"):
        _cancel(site, call, answer)
    return False


def _cancel(site: Site, call: Call, answer: Answer) -> None:
    """Tell the registry that the upload that it began instead is not wanted."""
    try:
        location = site.checked(answer.url, answer.headers["Location"])
        with site.once(replace(call, method="DELETE", path=location)):
            pass
    except (Passing, RegistryError):
        return  # it is forgotten after a while, by the registry's own cleaning


def _check_digest(headers: Mapping[str, str], digest: Digest) -> None:
    """Compare what the registry says that it has stored."""
    said = headers.get("Docker-Content-Digest", digest)
    if said != digest:
        raise Doubtful(f"the registry stored it as {said[:80]}")


def _unreadable(call: Call, source: Path | bytes, error: OSError) -> RegistryError:
    """Say that what is to be uploaded cannot be read."""
    message = f"{call.subject}: cannot read {source!s}: {error.strerror}"
    return RegistryError(message, hint="is it still there, and may you read it?")


def _refusal(said: bytes) -> str:
    """Say why an upload was not taken."""
    return f"the registry did not take it{words(said)}"
