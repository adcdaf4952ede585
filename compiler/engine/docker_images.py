"""Brings stacks of layers into a Docker engine, as images (Docker Image Specification 1.2).

An image is named for the layers that it is made of, `cos-toolkit/stack:<hash>`, and stays: the
next root that starts alike sends only what comes above. Its layers are the store's, one to one, on
top of a *ground* that has the places which steps get mounted. Engines take at most 125 layers, so
of a higher stack neighbours are merged. `docker rmi $(docker images -q cos-toolkit/stack)`, or
`forget`, removes all of them; nothing but time is lost.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from docker import APIClient
from docker.errors import APIError

from compiler.archive import Clamp
from compiler.archive.pieces import END, file_member, json_member
from compiler.archive.scan import stream_entries
from compiler.archive.tar import folder_content, write_layer
from compiler.engine.buildroot import USUAL_PLACES, make_place
from compiler.engine.docker_daemon import (
    RUN_LABEL,
    Daemon,
    architecture,
    remove_image,
    said_by,
)
from compiler.engine.merge import put_over
from compiler.errors import OutsideError
from compiler.oci import Digest

STACKS = "cos-toolkit/stack"
PASSING = "cos-toolkit/passing"
"""Repositories of the images that stay, and of those that end with their container."""

HANDED = "/dev/cos"
"""Where steps find the files that we hand them: below /dev no layer keeps anything."""

MOST_LAYERS = 100
"""How many layers an image gets: engines take 125, and the ground and a container's are ours."""

Scratch = Callable[[], AbstractContextManager[Path]]

_AS_THEY_ARE = Clamp(epoch=0, after=2**62)
_GROUND = "ground 1"


@dataclass(frozen=True, slots=True)
class Part:
    """One layer to send: its name, and how its folder (in overlay form) is had.

    `folder` is given an empty place, in which it may make what it returns.
    """

    name: str
    folder: Callable[[Path], Path]


class Stacks:
    """The images of one engine; `layer_path` finds the folder of a layer."""

    def __init__(
        self,
        daemon: Daemon,
        layer_path: Callable[[Digest], Path],
        scratch: Scratch,
    ) -> None:
        self._daemon = daemon
        self._layer_path = layer_path
        self._scratch = scratch
        self._lock = threading.Lock()
        self._known: set[str] | None = None

    @contextmanager
    def image(self, api: APIClient, root: Sequence[Digest], above: Sequence[Part]) -> Iterator[str]:
        """Name an image of a root and what lies above it, which lasts as long as the context."""
        parts = self._parts(root)
        with self._lock:  # two nodes that need one layer shall not both send it
            stack = self._stack(api, parts)
        if not above:
            yield stack
            return
        tag = f"{PASSING}:{uuid4().hex}"
        self._load(api, (*parts, *above), tag, after=(stack, len(parts)))
        try:
            yield tag
        finally:
            remove_image(api, tag)

    def _parts(self, root: Sequence[Digest]) -> tuple[Part, ...]:
        """Say what a root is sent as, bottom first."""
        layers = list(dict.fromkeys(reversed(root)))[::-1]
        size = -(-len(layers) // (MOST_LAYERS - 1)) or 1
        groups = [tuple(layers[at : at + size]) for at in range(0, len(layers), size)]
        return (Part(_GROUND, lay_ground), *map(self._part, groups))

    def _part(self, group: tuple[Digest, ...]) -> Part:
        folders = [self._layer_path(layer) for layer in group]
        return Part(" ".join(group), lambda place: _merged(folders, place))

    def _stack(self, api: APIClient, parts: Sequence[Part]) -> str:
        """Find the image of a root, or send what the engine lacks of it."""
        if self._known is None:
            self._known = set(_tags(api))
        tags, chain = [], ""
        for part in parts:
            chain = _chained(chain, part.name)
            tags.append(f"{STACKS}:{chain}")
        there = [number for number, tag in enumerate(tags, 1) if tag in self._known]
        if len(tags) not in there:
            after = (tags[there[-1] - 1], there[-1]) if there else ("", 0)
            self._load(api, parts, tags[-1], after=after)
            self._known.add(tags[-1])
        return tags[-1]

    def _load(
        self, api: APIClient, parts: Sequence[Part], tag: str, *, after: tuple[str, int]
    ) -> None:
        """Send an image; `after` names one that has the lowest parts already, and how many.

        Docker takes an archive that leaves out layers which it has; others want all of them.
        """
        known = diff_ids_of(api, after[0])[: after[1]] if after[1] else []
        label = {RUN_LABEL: self._daemon.run} if tag.startswith(PASSING) else {}
        shipment = _Shipment(parts, known, tag, label, self._scratch)
        said = _sent(api, shipment.pieces())
        if said and known:
            said = _sent(api, replace(shipment, known=()).pieces())
        if said:
            raise OutsideError(f"the Docker engine at {self._daemon.url} takes no image: {said}")


@dataclass(frozen=True, slots=True)
class _Shipment:
    """One archive as `docker save` writes it, made while it is read: one layer at a time."""

    parts: Sequence[Part]
    known: Sequence[str]
    tag: str
    labels: Mapping[str, str]
    scratch: Scratch

    def pieces(self) -> Iterator[bytes]:
        """Give the archive's bytes."""
        diff_ids = list(self.known)
        for number, part in enumerate(self.parts):
            if number >= len(self.known):
                with self.scratch() as place:
                    file, diff_id = _layer_file(part, place)
                    diff_ids.append(diff_id)
                    yield from file_member(f"{number}.tar", file)
        yield from json_member("config.json", _config(diff_ids, self.labels))
        names = [f"{number}.tar" for number in range(len(self.parts))]
        manifest = {"Config": "config.json", "RepoTags": [self.tag], "Layers": names}
        yield from json_member("manifest.json", [manifest])
        yield END


def forget(api: APIClient) -> tuple[str, ...]:
    """Remove all images that were kept for later runs; returns their names."""
    tags = tuple(sorted(_tags(api)))
    for tag in tags:
        remove_image(api, tag)
    return tags


def _tags(api: APIClient) -> Iterator[str]:
    """List the stacks that an engine has, whatever registry it puts before their names."""
    for image in api.images(filters={"reference": STACKS}):
        for tag in image["RepoTags"] or ():
            yield f"{STACKS}:{tag.rpartition(':')[2]}"


def diff_ids_of(api: APIClient, tag: str) -> list[str]:
    """Return the digests of an image's layers, bottom first."""
    found: dict[str, Any] = api.inspect_image(tag)  # type: ignore[no-untyped-call]  # stub
    return list(found["RootFS"]["Layers"])


def _chained(below: str, name: str) -> str:
    """Name a part together with all that it stands on."""
    return hashlib.sha256(f"{below}\n{name}".encode()).hexdigest()


def _merged(folders: Sequence[Path], place: Path) -> Path:
    """Make one layer of neighbours, bottom first."""
    if len(folders) == 1:
        return folders[0]
    for folder in folders:
        put_over(folder, place)
    return place


def lay_ground(place: Path) -> Path:
    """Make the layer at the bottom: what a root without these places would get otherwise."""
    for path, is_folder in (*USUAL_PLACES, (HANDED, True)):
        make_place(place, Path(path.lstrip("/")), is_folder)
    return place


def _layer_file(part: Part, place: Path) -> tuple[Path, str]:
    """Write the archive of a part into an empty folder; returns the file and its digest."""
    folder = place / "part"
    folder.mkdir(mode=0o755)
    file = place / "layer.tar"
    made = part.folder(folder)
    sink = _HashedFile(file)
    with sink.file:
        write_layer(stream_entries(made, _clamp(part)), folder_content(made), sink)
    return file, f"sha256:{sink.hash.hexdigest()}"


def _clamp(part: Part) -> Clamp:
    """Give the ground one time, so that it is the same layer wherever it is made."""
    return Clamp(epoch=0, after=0) if part.name == _GROUND else _AS_THEY_ARE


class _HashedFile:
    """A file that is hashed while it is written."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")
        self.hash = hashlib.sha256()

    def write(self, data: bytes | bytearray, /) -> None:
        """Write `data` to both."""
        self.hash.update(data)
        self.file.write(data)


def _config(diff_ids: Sequence[str], labels: Mapping[str, str]) -> dict[str, object]:
    """Make the config of an image that only engines see."""
    return {
        "architecture": architecture(os.uname().machine),
        "os": "linux",
        "config": {"Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": "cos"} for _ in diff_ids],
    }


def _sent(api: APIClient, pieces: Iterator[bytes]) -> str:
    """Send an image; returns what the engine has against it, "" for nothing."""
    try:
        answers = list(api.load_image(pieces, quiet=True))  # type: ignore[no-untyped-call]  # stub
    except APIError as error:
        return said_by(error)
    wrong = [each.get("error") or each.get("message") for each in answers if isinstance(each, dict)]
    return "; ".join(str(each) for each in wrong if each)
