"""Unpacked layers: `layers/<hex>/` with `diff/`, `entries`, `meta.json` and more."""

import ctypes
import errno
import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from compiler.archive import Clamp, Compression, Entry, Kind
from compiler.archive.compress import compressed_file
from compiler.archive.scan import collector_paused, entries_of
from compiler.archive.tar import Content, Source, folder_content, write_layer
from compiler.errors import ArchiveError, StoreError
from compiler.oci import LAYER_ZSTD, Descriptor, Digest, hex_of, parse_digest
from compiler.store.files import read_record, remove_tree, write_file, write_record

_ROOT_MODE = 0o755
_AS_THEY_ARE = Clamp(epoch=0, after=2**62)
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_EMPTY = hashlib.sha256().hexdigest()
_KINDS = {kind.value: kind for kind in Kind}


class _Hashing:
    """A sink that hashes what it is given."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, data: bytes | bytearray, /) -> None:
        """Take `data` into the hash."""
        self.hash.update(data)


class _Digesting:
    """Hashes each file while the archive of all is hashed, large ones in a second thread."""

    def __init__(self, content: Content, pool: ThreadPoolExecutor) -> None:
        self.digests: dict[str, str] = {}
        self._content = content
        self._pool = pool

    def __call__(self, entry: Entry) -> bytes | Source:
        """Give the content of a file, and keep its digest."""
        data = self._content(entry)
        if isinstance(data, bytes):
            self.digests[entry.path] = hashlib.sha256(data).hexdigest()
            return data
        return _DigestingSource(data, entry.path, self)

    def submit(self, function: "hashlib._Hash", data: bytes) -> Future[None]:
        """Hash a piece in the second thread."""
        return self._pool.submit(function.update, data)


class _DigestingSource:
    """A large file that is hashed while it is read; the hash is one piece behind at most."""

    def __init__(self, source: Source, path: str, owner: _Digesting) -> None:
        self._source, self._path, self._owner = source, path, owner
        self._hash = hashlib.sha256()
        self._running: Future[None] | None = None

    def read(self, size: int, /) -> bytes | None:
        """Read a piece, and hash it while the caller works on it."""
        data = self._source.read(size)
        self._wait()
        if data:
            self._running = self._owner.submit(self._hash, data)
        return data

    def close(self) -> None:
        """Keep the digest."""
        self._wait()
        self._owner.digests[self._path] = self._hash.hexdigest()
        self._source.close()

    def _wait(self) -> None:
        if self._running is not None:
            self._running.result()


def measure(folder: Path, clamp: Clamp) -> tuple[Digest, tuple[Entry, ...]]:
    """Return the DiffID of a folder in overlay form, and its entries with their digests."""
    found = entries_of(folder, clamp)
    sink = _Hashing()
    with ThreadPoolExecutor(1, thread_name_prefix="hash") as pool:
        content = _Digesting(folder_content(folder), pool)
        write_layer(found, content, sink)
    digests = content.digests
    with collector_paused():
        entries = tuple(
            entry._replace(digest=digests.get(entry.path, _EMPTY))
            if entry.kind is Kind.FILE
            else entry
            for entry in found
        )
    return Digest(f"sha256:{sink.hash.hexdigest()}"), entries


def settle(folder: Path, entries: Sequence[Entry]) -> None:
    """Give the files of a folder the times of their entries, so that both forms agree."""
    root = os.fspath(folder)
    for entry in entries:
        if entry.kind not in {Kind.WHITEOUT, Kind.HARDLINK}:
            times = (entry.mtime * 10**9, entry.mtime * 10**9)
            os.utime(f"{root}/{entry.path}", ns=times, follow_symlinks=False)
    folder.chmod(_ROOT_MODE)
    os.utime(folder, (0, 0))


def entries_text(entries: Sequence[Entry]) -> bytes:
    """Write entries as JSON, one list each, short enough to load fast."""
    rows = [
        [
            entry.path,
            entry.kind.value,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.size,
            entry.mtime,
            entry.target,
            entry.digest,
            entry.opaque,
            list(entry.device) if any(entry.device) else 0,
            {name: value.hex() for name, value in entry.xattrs.items()} or 0,
        ]
        for entry in entries
    ]
    return json.dumps(rows, separators=(",", ":")).encode()


def parse_entries(data: bytes) -> tuple[Entry, ...]:
    """Read what `entries_text` wrote; raises `ValueError` or `TypeError` for anything else."""
    none: dict[str, bytes] = {}
    return tuple(
        Entry(
            path,
            _KINDS[kind],
            mode,
            uid,
            gid,
            size,
            mtime,
            target,
            (device[0], device[1]) if device else (0, 0),
            {name: bytes.fromhex(text) for name, text in xattrs.items()} if xattrs else none,
            digest,
            opaque,
        )
        for (
            path, kind, mode, uid, gid, size, mtime, target, digest, opaque, device, xattrs,
        ) in json.loads(data)
    )  # fmt: skip


def sync_disk(folder: Path) -> None:
    """Bring everything of the file system that holds `folder` to the disk (syncfs(2))."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(handle)


def _has_digest(file: Path, digest: Digest) -> bool:
    """Whether a file is there and what its digest says."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == hex_of(digest)
    except FileNotFoundError:
        return False


class Layers:
    """The layers of one store, by digest.

    A layer is complete when its folder has its name. One that was written before the machine last
    started may have lost contents in a power failure, so it is read again before it is used, once
    (`synced`).
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / "layers"
        self.blobs = root / "blobs" / "sha256"
        self._sound: set[Digest] = set()
        self._boot = _BOOT.read_text().strip()

    def path(self, layer: Digest) -> Path:
        """Where a layer's folder is, or would be."""
        return self.folder / hex_of(parse_digest(layer))

    def has(self, layer: Digest) -> bool:
        """Whether a layer is there and whole."""
        if layer in self._sound:
            return True
        if self._is_sound(layer):
            self._sound.add(layer)
            return True
        return False

    def diff(self, layer: Digest) -> Path:
        """Return the unpacked folder of a layer; raises `StoreError` if it is not there."""
        if not self.has(layer):
            raise StoreError(f"the store has no layer {layer}")
        return self.path(layer) / "diff"

    def entries(self, layer: Digest) -> tuple[Entry, ...]:
        """List what a layer changes."""
        file = self.diff(layer).with_name("entries")
        try:
            with collector_paused():
                return parse_entries(file.read_bytes())
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{file}: damaged", hint="remove the layer's folder") from error

    def add(self, changes: Path, clamp: Clamp, *, work: Path) -> Digest:
        """Move a folder in; `work` is an empty folder of this process on the same disk."""
        layer, entries = measure(changes, clamp)
        if self.has(layer):
            remove_tree(changes)
            return layer
        settle(changes, entries)
        prepared = work / "layer"
        prepared.mkdir(mode=0o700)
        changes.rename(prepared / "diff")
        write_file(prepared / "entries", entries_text(entries), beside=work)
        size = sum(entry.size for entry in entries)
        meta = {"boot": self._boot, "size": size, "entries": len(entries)}
        write_record(prepared / "meta.json", meta, beside=work)
        self._publish(prepared, layer, work)
        return layer

    def size(self, layer: Digest) -> int:
        """Return the bytes of a layer's files."""
        meta = read_record(self.path(layer) / "meta.json") or {}
        size = meta.get("size")
        return size if isinstance(size, int) else 0

    def mark_synced(self, layer: Digest) -> None:
        """Note that a layer's files have reached the disk, if it is still there."""
        with suppress(FileNotFoundError):
            (self.path(layer) / "synced").touch()

    def forget(self) -> None:
        """Look at every layer again before it is used: some may go."""
        self._sound.clear()

    def blob_named(self, layer: Digest) -> Descriptor | None:
        """Return what is known of the layer's compressed form, whole or not."""
        record = read_record(self.path(layer) / "blob.json") or {}
        digest, size = record.get("digest"), record.get("size")
        if not isinstance(digest, str) or not isinstance(size, int):
            return None
        return Descriptor(LAYER_ZSTD, parse_digest(digest), size)

    def blob(self, layer: Digest) -> Descriptor | None:
        """Return the layer's compressed form, if it is known to be there and whole."""
        record = read_record(self.path(layer) / "blob.json") or {}
        blob = self.blob_named(layer)
        if blob is None or record.get("boot") != self._boot:
            return None
        return blob if (self.blobs / hex_of(blob.digest)).exists() else None

    def make_blob(self, layer: Digest, *, work: Path, threads: int) -> Descriptor:
        """Write the layer's compressed form into the OCI layout; the same bytes on any machine."""
        known = self.blob_named(layer)
        if known is None or not _has_digest(self.blobs / hex_of(known.digest), known.digest):
            known = self._compress(layer, work, threads)
        record = {"digest": known.digest, "size": known.size, "boot": self._boot}
        write_record(self.path(layer) / "blob.json", record, beside=work)
        return known

    def _compress(self, layer: Digest, work: Path, threads: int) -> Descriptor:
        """Write the layer's archive, compressed, into `blobs/`."""
        file = work / "blob"
        try:
            with compressed_file(file, Compression.ZSTD, threads=threads, sync=False) as sink:
                write_layer(self.entries(layer), folder_content(self.diff(layer)), sink)
        except FileNotFoundError as error:
            raise ArchiveError(f"{error.filename}: removed while it was being packed") from error
        file.replace(self.blobs / sink.sha256)
        return Descriptor(LAYER_ZSTD, Digest(f"sha256:{sink.sha256}"), sink.size)

    def _publish(self, prepared: Path, layer: Digest, work: Path) -> None:
        """Give a prepared layer its name, unless another process was faster."""
        while True:
            try:
                prepared.rename(self.path(layer))
            except OSError as error:
                if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                    raise
                if self.has(layer):
                    return
                self.path(layer).rename(work / "damaged")
            else:
                self._sound.add(layer)
                return

    def _is_sound(self, layer: Digest) -> bool:
        """Whether a layer can be used; reads it again if a power failure may have hurt it."""
        folder = self.path(layer)
        if (folder / "synced").exists():
            return True
        meta = read_record(folder / "meta.json")
        if meta is None:
            return False
        if meta.get("boot") == self._boot:
            return True
        if not self._is_whole(layer):
            return False
        with suppress(PermissionError):  # another user's store: read again the next time
            self.mark_synced(layer)
        return True

    def _is_whole(self, layer: Digest) -> bool:
        """Read a layer and compare it with its name."""
        folder = self.path(layer)
        try:
            digest, entries = measure(folder / "diff", _AS_THEY_ARE)
            known = parse_entries((folder / "entries").read_bytes())
        except (OSError, ValueError, TypeError, KeyError, ArchiveError):
            return False
        return digest == layer and entries == known
