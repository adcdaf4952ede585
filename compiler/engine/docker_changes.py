"""Fetches what a container changed, in overlay form.

Where the engine's files are ours to read, the folder that overlayfs wrote the changes to is taken
as it is, which loses nothing. Elsewhere the container becomes an image, and of what the engine
saves of it the topmost layer is unpacked. That has whole seconds only, sparse files come out full,
and of extended attributes some engines (Docker 20.10 is one) keep `security.capability` alone.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import IO, Any, cast
from uuid import uuid4

from docker import APIClient

from compiler.archive.safety import Devices
from compiler.archive.tar import CHUNK
from compiler.archive.unpack import unpack_layer
from compiler.engine.docker_container import Container
from compiler.engine.docker_daemon import Facts, remove_image
from compiler.engine.docker_images import PASSING, diff_ids_of
from compiler.engine.merge import put_over
from compiler.errors import OutsideError

_OVERLAYS = {"overlay2", "overlay"}
_SMALL = 16 << 20


def fetch(
    api: APIClient,
    container: Container,
    changes: Path,
    *,
    readable: bool,
    scratch: Callable[[], AbstractContextManager[Path]],
) -> None:
    """Put what an ended container changed into the empty folder `changes`.

    `readable` is whether the engine's own folders are there for us to look at.
    """
    upper = _upper(container) if readable else None
    if upper is not None:
        put_over(upper, changes)
        return
    with scratch() as place, _committed(api, container) as image:
        if diff_ids_of(api, image) != diff_ids_of(api, container.inspect()["Image"]):
            unpack_layer(_topmost(api, image, place), changes, devices=Devices.MAKE)


def move_times(changes: Path, facts: Facts) -> None:
    """Give what a late clock dated before the run began the times that it would have here."""
    for folder, folders, files in os.walk(changes):
        for name in (*folders, *files):
            status = os.lstat(path := f"{folder}/{name}")
            if status.st_mtime >= facts.since:
                later = status.st_mtime_ns + facts.late * 10**9
                os.utime(path, ns=(later, later), follow_symlinks=False)


def _upper(container: Container) -> Path | None:
    """Find the folder that overlayfs writes to, if there is one and we can see it."""
    driver = container.inspect().get("GraphDriver") or {}
    upper = (driver.get("Data") or {}).get("UpperDir")
    if driver.get("Name") not in _OVERLAYS or not upper or not Path(upper).is_dir():
        return None
    return Path(upper)


@contextmanager
def _committed(api: APIClient, container: Container) -> Iterator[str]:
    """Make an image of a container, while the context lasts."""
    tag = uuid4().hex
    api.commit(container.id, repository=PASSING, tag=tag)
    try:
        yield f"{PASSING}:{tag}"
    finally:
        remove_image(api, f"{PASSING}:{tag}")


def _topmost(api: APIClient, image: str, place: Path) -> Path:
    """Save the topmost layer of an image as a file.

    Engines save all layers of an image. Of those below nothing is kept, unless the engine names
    and packs them so that they cannot be told apart before its last word.
    """
    diff_ids = diff_ids_of(api, image)
    names: Sequence[str] = ()
    kept: dict[str, Path] = {}
    below = {each.removeprefix("sha256:") for each in diff_ids[:-1]}
    with tarfile.open(fileobj=_stream(api.get_image(image)), mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is None or below.intersection(member.name.replace(".", "/").split("/")):
                continue
            if member.name == "manifest.json":
                names = json.loads(content.read(_SMALL))[0]["Layers"]
            elif not member.name.endswith(".json"):
                file = place / str(len(kept))
                digest = _copy(content, file)
                kept[member.name] = file
                if digest in below:
                    file.unlink()
                    del kept[member.name]
    if len(names) != len(diff_ids) or names[-1] not in kept:
        raise OutsideError("the Docker engine saved an image with other layers than it has")
    return kept[names[-1]]


def _copy(content: IO[bytes], file: Path) -> str:
    """Copy a file; returns its digest."""
    found = hashlib.sha256()
    with file.open("wb") as target:
        while data := content.read(CHUNK):
            found.update(data)
            target.write(data)
    return found.hexdigest()


def _stream(pieces: Iterator[bytes]) -> IO[bytes]:
    """Read pieces as a file."""
    return cast("IO[bytes]", BufferedReader(_Pieces(pieces), CHUNK))


class _Pieces(RawIOBase):
    """Pieces one after the other."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401  (whatever is a buffer)
        """Fill a buffer with what comes next."""
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        target = memoryview(buffer)
        size = min(len(target), len(self._rest))
        target[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
