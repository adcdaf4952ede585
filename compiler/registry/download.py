"""Fetches a blob into a file: hashed while it is written, resumed where it broke, then renamed."""

import fcntl
import hashlib
import os
import queue
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from compiler.errors import RegistryError, room_hint
from compiler.oci import Descriptor, Reference, hex_of
from compiler.registry import Progress
from compiler.registry.failure import SPOILED, Doubtful, Passing
from compiler.registry.site import Call, Site
from compiler.registry.transport import Stream

_PARTIAL = 206
_WANTED = frozenset({200, 206, 416})
_UNSATISFIABLE = 416
_AHEAD = 32
_LARGE = 1 << 21
"""From how many bytes on a thread of its own hashes what another one receives."""
_ENOUGH = 1 << 20
"""How much has to arrive for an attempt to count as one that got further."""
_BLOCK = 1 << 20
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class _Hash(Protocol):
    """What `hashlib` makes."""

    def update(self, data: bytes, /) -> None:
        """Take further bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes."""


def blob_call(repository: Reference, blob: Descriptor, start: int = 0) -> Call:
    """Make the request for a blob, from a byte on."""
    headers = {"Range": f"bytes={start}-"} if start else {}
    return Call(
        repository=repository,
        what=f"fetch {blob.digest}",
        path=f"blobs/{blob.digest}",
        headers=headers,
        wanted=_WANTED if start else frozenset({200}),
        limit=blob.size,
    )


def fetch(
    site: Site,
    repository: Reference,
    blob: Descriptor,
    target: Path,
    progress: Progress | None = None,
) -> None:
    """Fetch a blob into `target`, by way of `target.part`, which stays when a transfer breaks."""
    part = target.with_name(f"{target.name}.part")
    try:
        with _open(part) as file:
            _Download(site, repository, blob, file, progress).run(part)
            os.fsync(file)
            part.rename(target)
            _sync_folder(target.parent)
    except OSError as error:
        with suppress(OSError):  # what is there may be why the disk is full
            part.unlink()
        reason = error.strerror or str(error)
        message = f"{repository}: cannot write {target}: {reason}"
        raise RegistryError(
            message, hint=room_hint(error) or "check the folder and its rights"
        ) from error


class _Download:
    """One blob on its way into an open file."""

    def __init__(
        self,
        site: Site,
        repository: Reference,
        blob: Descriptor,
        file: int,
        progress: Progress | None,
    ) -> None:
        self._site = site
        self._repository = repository
        self._blob = blob
        self._file = file
        self._progress = progress
        self._told = 0
        self._done = 0
        self._hash: _Hash = hashlib.sha256()

    def run(self, part: Path) -> None:
        """Fetch until all is there and right; what is wrong does not stay."""
        call = blob_call(self._repository, self._blob)
        retries = self._site.retries(call)
        self._take_up()
        while True:
            before = self._done
            try:
                if self._done < self._blob.size or not self._blob.size:
                    self._receive()
                self._check()
            except Doubtful as fault:
                self._restart()
                try:
                    self._site.suspect(call)
                    retries.again(fault)
                except RegistryError:
                    part.unlink(missing_ok=True)
                    raise
            except Passing as fault:
                if self._done >= before + _ENOUGH:
                    retries.progressed()
                retries.again(fault)
            else:
                return

    def _take_up(self) -> None:
        """Hash what an earlier run left."""
        left = os.fstat(self._file).st_size
        if left > self._blob.size:
            self._restart()
            return
        while block := os.read(self._file, _BLOCK):
            self._hash.update(block)
            self._done += len(block)
        self._tell()

    def _restart(self) -> None:
        """Forget what is there."""
        os.ftruncate(self._file, 0)
        self._hash = hashlib.sha256()
        self._done = 0

    def _receive(self) -> None:
        """Make one request, and write what it brings."""
        with self._site.once(blob_call(self._repository, self._blob, self._done)) as stream:
            if stream.status != _PARTIAL and self._done:
                self._restart()
                if stream.status == _UNSATISFIABLE:
                    raise Doubtful(f"{stream.host} has fewer bytes than it had before")
            self._check_length(stream)
            os.lseek(self._file, self._done, os.SEEK_SET)
            if self._blob.size - self._done < _LARGE:
                for block in stream.blocks():
                    self._write(block)
                    self._hash.update(block)
                    self._tell()
                return
            with _hashing(self._hash) as ahead:
                for block in stream.blocks():
                    ahead.put(block)
                    self._write(block)
                    self._tell()

    def _write(self, block: bytes) -> None:
        """Write the next bytes, unless there are too many."""
        if self._done + len(block) > self._blob.size:
            raise Doubtful(f"the registry sends more than {self._blob.size} bytes")
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._done += len(block)

    def _tell(self) -> None:
        """Report what was not reported before."""
        if self._progress is not None and self._done > self._told:
            self._progress(self._done - self._told)
            self._told = self._done

    def _check_length(self, stream: Stream) -> None:
        """Refuse an answer that says beforehand that it is not what was asked for."""
        left = self._blob.size - self._done
        if stream.status == _PARTIAL:
            match = _RANGE.fullmatch(stream.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != self._done or int(match[2]) >= self._blob.size:
                raise Doubtful(f"{stream.host} sends another range than the one asked for")
        length = stream.length()
        if length is not None and (length > left or (stream.status != _PARTIAL and length != left)):
            raise Doubtful(f"{stream.host} has {length} bytes under this name, not {left}")

    def _check(self) -> None:
        """Compare the whole with what it has to be."""
        if self._done < self._blob.size:
            raise Passing(f"only {self._done} of {self._blob.size} bytes came", hint=SPOILED)
        if self._hash.hexdigest() != hex_of(self._blob.digest):
            raise Doubtful("what came has another digest")


@contextmanager
def _hashing(digest: _Hash) -> Iterator["queue.Queue[bytes]"]:
    """Hash blocks in a thread of its own; when the context ends, all of them are hashed."""
    blocks: queue.Queue[bytes] = queue.Queue(_AHEAD)

    def work() -> None:
        while block := blocks.get():
            digest.update(block)

    thread = threading.Thread(target=work, name="hash", daemon=True)
    thread.start()
    try:
        yield blocks
    finally:
        blocks.put(b"")
        thread.join()


@contextmanager
def _open(part: Path) -> Iterator[int]:
    """Open the unfinished file, which nobody else may be writing."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(part, flags, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            hint = "wait until it has ended, and run the same command again"
            raise RegistryError(f"{part}: another process is writing it", hint=hint) from error
        yield file
    finally:
        os.close(file)


def _sync_folder(folder: Path) -> None:
    """Make the new name last."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
