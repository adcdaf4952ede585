"""The store on this machine: an OCI image layout with unpacked layers and records beside it.

    oci-layout index.json blobs/sha256/*   images, their compressed layers: any OCI tool reads them
    layers/<hex>/diff/                     an unpacked layer in overlay form, named by its DiffID
    layers/<hex>/entries                   what is in it, with digests; a JSON list of lists
    layers/<hex>/meta.json                 its size, and the start of the machine that wrote it
    layers/<hex>/blob.json                 its compressed form in blobs/, once that is made
    layers/<hex>/synced                    its files are known to have reached the disk whole
    nodes/<key>.json content/ latest/      what was built; pointers to it by content and by package
    artifacts/ overlaps/ keep/ logs/       packed archives, learnt overlaps, needed nodes, logs
    scratch/                               one folder for each process, removed when that is gone
    lock index.lock                        flock(2): every user shares `lock`, collecting takes it

Whatever has its final name is complete: it was made in `scratch/` and renamed. What a build makes
is not synced to the disk: after a power failure a lost record costs a rebuild, a torn one counts as
lost, and a layer is read and compared with its digest before it is used the first time after the
machine was started. Images are synced before they get their name.
"""

import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Self

from compiler.archive import Clamp, Entry
from compiler.errors import ImageError, StoreError
from compiler.keys import ArtifactKey, LayerKey
from compiler.oci import Descriptor, Digest, Image, hex_of, parse_reference
from compiler.store import ArtifactRecord, NodeRecord, Removed
from compiler.store.collect import collect, find_faults
from compiler.store.files import (
    Lock,
    Workspace,
    file_name,
    keep_young,
    outside,
    read_record,
    remove_stale,
    write_file,
    write_record,
)
from compiler.store.images import LAYOUT, ImageConfig, Images, config_json
from compiler.store.layers import Layers, sync_disk
from compiler.store.records import (
    artifact_from_json,
    artifact_to_json,
    node_from_json,
    node_to_json,
    texts,
)

_FOLDERS = (
    "blobs/sha256",
    "layers",
    "nodes",
    "content",
    "latest",
    "artifacts",
    "overlaps",
    "keep",
    "logs",
    "scratch",
)
_BACKGROUND = 10


def default_store_path(tree: Path | None) -> Path:
    """Return `.cos/store` beside the git root that holds `tree`, else in the current folder."""
    start = (tree or Path()).absolute()
    for folder in (start, *start.parents):
        if (folder / ".git").exists():
            return folder / ".cos" / "store"
    return Path.cwd() / ".cos" / "store"


class LocalStore:
    """A `Store` in a folder. It is made at the first write; until then it is merely empty.

    Close it, or use it as a context. `flush` at the end of a run waits for what is written in the
    background; what a stopped run did not get to is made when it is needed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._layers = Layers(self.root)
        self._images = Images(self.root)
        self._guard = threading.Lock()
        self._workspace: Workspace | None = None
        self._lock: Lock | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._blobs: dict[Digest, Future[Descriptor]] = {}
        with outside(self.root):
            self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store; what was not yet begun in the background is left out."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        if self._workspace is not None:
            self._workspace.close()
            self._workspace = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def flush(self) -> None:
        """Wait for what is written in the background; raises `StoreError` if it could not be."""
        with outside(self.root):
            for future in list(self._blobs.values()):
                future.result()

    def guarded(self) -> AbstractContextManager[None]:
        """Turn what the operating system refuses into a `StoreError`."""
        return outside(self.root)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Lend an empty folder on the store's file system; what is left in it is removed."""
        with outside(self.root):
            workspace = self._work()
        with workspace.lend() as folder:
            yield folder

    def log_path(self, key: LayerKey) -> Path:
        """Where the log of this node's steps is written; the folder exists."""
        with outside(self.root):
            self._work()
        return self.root / "logs" / f"{file_name(key)}.log"

    def add_layer(self, changes: Path, clamp: Clamp) -> Digest:
        """Move the folder `changes` (in overlay form) in as a layer, with canonical times."""
        with outside(self.root), self._work().lend() as work:
            return self._layers.add(changes, clamp, work=work)

    def layer_path(self, layer: Digest) -> Path:
        """Return the unpacked folder of a layer, in overlay form; raises `StoreError` if absent."""
        with outside(self.root):
            return self._layers.diff(layer)

    def entries(self, layer: Digest) -> Sequence[Entry]:
        """List what a layer changes, sorted by path; the digests of file contents included."""
        with outside(self.root):
            return self._layers.entries(layer)

    def blob(self, layer: Digest) -> Descriptor:
        """Return the layer's compressed form in `blobs/`, which is made if it is not there yet."""
        with outside(self.root):
            there = self._layers.blob(layer)
            return there if there is not None else self._compress(layer).result()

    def blob_path(self, blob: Digest) -> Path:
        """Where a compressed layer lies."""
        return self.root / "blobs" / "sha256" / hex_of(blob)

    def has_layer(self, layer: Digest) -> bool:
        """Tell whether a layer is there and whole."""
        with outside(self.root):
            return self._layers.has(layer)

    def present(self, keys: Iterable[LayerKey]) -> Set[LayerKey]:
        """Tell which of `keys` have a record whose layers are all there."""
        with outside(self.root):
            there = _names(self.root / "nodes")
            return frozenset(
                key
                for key in keys
                if f"{file_name(key)}.json" in there
                and (record := self.node(key)) is not None
                and all(self._layers.has(layer) for layer in record.layers)
            )

    def node(self, key: LayerKey) -> NodeRecord | None:
        """Return what was built for `key`."""
        value = self._read("nodes", key)
        try:
            return None if value is None else node_from_json(value)
        except (TypeError, ValueError, ImageError):
            return None

    def node_by_content(self, content: str) -> NodeRecord | None:
        """Return a node built earlier from the same content, whatever its key was."""
        return self._follow("content", content)

    def latest(self, package: str) -> NodeRecord | None:
        """Return what was built last for `package` (`category/name`), to explain a rebuild."""
        return self._follow("latest", package)

    def put_node(self, record: NodeRecord) -> None:
        """Keep a record; its layers must be there already. Becomes the latest of its package."""
        for layer in record.layers:
            self.layer_path(layer)
        self._write("nodes", record.key, node_to_json(record))
        self._write("content", record.content, {"key": record.key, "of": record.content})
        self._write("latest", record.package, {"key": record.key, "of": record.package})

    def artifact(self, key: ArtifactKey) -> ArtifactRecord | None:
        """Return what was packed for `key`."""
        value = self._read_used("artifacts", key)
        try:
            return None if value is None else artifact_from_json(value)
        except TypeError:
            return None

    def put_artifact(self, record: ArtifactRecord) -> None:
        """Keep the record of a packed archive."""
        self._write("artifacts", record.key, artifact_to_json(record))

    def overlaps(self, stack: str) -> tuple[str, ...] | None:
        """Return the paths learnt to clash in a stack, () for none, None if unknown."""
        value = self._read_used("overlaps", stack)
        try:
            return None if value is None else texts(value, "paths")
        except TypeError:
            return None

    def put_overlaps(self, stack: str, paths: tuple[str, ...]) -> None:
        """Remember what was learnt about a stack."""
        self._write("overlaps", stack, {"paths": list(paths), "of": stack})

    def image(self, name: str) -> Image | None:
        """Look a base image up by name, completed as container tools do."""
        with outside(self.root):
            return self._images.get(str(parse_reference(name)))

    def images(self) -> Sequence[Image]:
        """List the base images, sorted by name."""
        with outside(self.root):
            return self._images.all()

    def put_image(self, name: str, layers: Sequence[Digest], config: ImageConfig) -> Image:
        """Name a base image; its layers, bottom first, must be there already."""
        full = str(parse_reference(name))
        blobs = [self.blob(layer) for layer in layers]
        with outside(self.root), self._work().lend() as work:
            sync_disk(self.root)
            for layer in layers:
                self._layers.mark_synced(layer)
            data = config_json(config, layers)
            self._images.put(full, data, blobs, beside=work)
            image = self._images.get(full)
        if image is None:
            raise StoreError(f"{full}: removed by another process")
        return image

    def remove_image(self, name: str) -> None:
        """Forget the name of an image; its contents stay until the next collection."""
        full = str(parse_reference(name))
        with outside(self.root), self._work().lend() as work:
            if not self._images.remove(full, beside=work):
                raise ImageError(f"the store has no image {full}")

    def keep(self, run: str, keys: Iterable[LayerKey]) -> None:
        """Mark these nodes as the ones that `run` (a tree and its target) needs from now on."""
        self._write("keep", run, {"run": run, "keys": sorted(keys)})

    def collect(self, *, dry_run: bool) -> Sequence[Removed]:
        """Remove what neither an image nor a kept node needs; nobody else may use the store."""
        if not self.root.exists():
            return ()
        with outside(self.root), self._work().lend() as work, self._alone():
            wait(self._blobs.values())
            self._blobs.clear()
            self._layers.forget()
            return collect(self.root, self._layers, self._images, work=work, dry_run=dry_run)

    def verify(self) -> Sequence[str]:
        """Name every record that says something that is not there; an intact store has none."""
        with outside(self.root):
            return find_faults(self.root, self._layers, self._images)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the store alone; raises `StoreError` while another process has it open."""
        if self._lock is None or not self._lock.try_take():
            hint = "try again when the other `cos` has ended"
            raise StoreError(f"{self.root}: in use by another process", hint=hint)
        try:
            yield
        finally:
            self._lock.share()

    def _open(self) -> None:
        """Hold the store against collection, if it is there at all."""
        if self.root.is_dir() and self._lock is None:
            self._lock = Lock(self.root / "lock")
            self._lock.share()
            weakref.finalize(self, self._lock.close)

    def _work(self) -> Workspace:
        """Return this process's folder for unfinished work; makes the store if need be."""
        with self._guard:
            if self._workspace is None:
                for folder in _FOLDERS:
                    (self.root / folder).mkdir(parents=True, exist_ok=True)
                self._open()
                remove_stale(self.root / "scratch")
                self._workspace = Workspace(self.root / "scratch")
                for name, data in (("oci-layout", LAYOUT), (".gitignore", b"*\n")):
                    if not (self.root / name).exists():
                        write_file(self.root / name, data, beside=self._workspace.path, sync=True)
            return self._workspace

    def _compress(self, layer: Digest) -> Future[Descriptor]:
        """Have the layer's compressed form made in the background, once."""
        with self._guard:
            known = self._blobs.get(layer)
            if known is None or (known.done() and known.exception() is not None):
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(1, "compress", _stand_back)
                self._blobs[layer] = self._pool.submit(self._make_blob, layer)
            return self._blobs[layer]

    def _make_blob(self, layer: Digest) -> Descriptor:
        """Compress a layer, in the background."""
        with self._work().lend() as work:
            return self._layers.make_blob(layer, work=work, threads=os.cpu_count() or 1)

    def _follow(self, folder: str, name: str) -> NodeRecord | None:
        """Return the node that a pointer names."""
        value = self._read(folder, name)
        key = None if value is None else value.get("key")
        return self.node(LayerKey(key)) if isinstance(key, str) else None

    def _read(self, folder: str, name: str) -> dict[str, object] | None:
        """Read a record of the store."""
        with outside(self.root):
            return read_record(f"{self.root}/{folder}/{file_name(name)}.json")

    def _read_used(self, folder: str, name: str) -> dict[str, object] | None:
        """Read a record that collection keeps for as long as it is used."""
        value = self._read(folder, name)
        if value is not None:
            with suppress(OSError):  # in another user's store the time stays
                keep_young(self.root / folder / f"{file_name(name)}.json")
        return value

    def _write(self, folder: str, name: str, value: object) -> None:
        """Write a record of the store."""
        path = self.root / folder / f"{file_name(name)}.json"
        with outside(self.root):
            write_record(path, value, beside=self._work().path)


def _names(folder: Path) -> frozenset[str]:
    """List a folder; a missing one is empty."""
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208  (names only, of many files)
    except FileNotFoundError:
        return frozenset()


def _stand_back() -> None:
    """Let a thread run when nothing else wants to; on Linux every thread has a nice value.

    One that stands back further already stays there: only root may come forward again.
    """
    nice = max(_BACKGROUND, os.getpriority(os.PRIO_PROCESS, 0))
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
