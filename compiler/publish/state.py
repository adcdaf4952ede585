"""What a docker repository holds right now, as its next publication sees it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from compiler.archive.members import Limits
from compiler.archive.unpack import unpack_layer, unpack_tar
from compiler.errors import ArchiveError, ImageError, NotFoundError, RegistryError
from compiler.oci import (
    Descriptor,
    Digest,
    Reference,
    canonical_json,
    json_object,
    parse_descriptor,
    parse_digest,
    parse_object,
)
from compiler.registry import Registry
from compiler.repository import index as texts
from compiler.repository.disk import Repository, read_repository
from compiler.repository.oci import tag_of

PUBLICATIONS = "io.cos-toolkit.publications"
"""The annotation of an index image that lists the publications which are part of it."""

CLAIM = "_publication-"
"""What the tags begin with that publishers leave for each other."""

PUSHED = "io.cos-toolkit.pushed"
"""The label of an index image that says which images its publication pushed: `pushed_text`.

It is in the config, which clients do not fetch: a first publication names very many.
"""

WHOLE = ""
"""Stands for a platform where an image is not divided by platforms."""

Pushed = Mapping[str, Mapping[str, Digest]]
"""Images by the tags that they were pushed for, and by platform (`linux/arm64`, or `WHOLE`)."""

_CLAIM = re.compile(re.escape(CLAIM) + r"[0-9]{20}-[0-9a-f]{16}")
_NOT_WHOLE = "publish it again from where it was built; --prune begins anew with what is there"
_LIMITS = Limits(size=2 << 30, members=1_000_000)
_LARGEST_BLOB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One published state: the repository, its compiler trees, and the publications it is made of.

    `trees` are the folders that the compiler tree's archive held. `index` is the image that has it,
    `images` what its publication says that it pushed.
    """

    repository: Repository
    trees: tuple[Path, ...]
    publications: frozenset[str]
    index: Descriptor
    images: Pushed


def tagged(target: Reference, tag: str) -> Reference:
    """Return the reference of a tag of a repository."""
    return replace(target, tag=tag, digest="")


def read_state(registry: Registry, reference: Reference, folder: Path) -> State | None:
    """Fetch the state that `reference` names into the empty `folder`; None if there is none.

    Raises `RegistryError` for a repository that is not whole, or that is none.
    """
    try:
        image = registry.manifest(reference)
    except NotFoundError:
        return None
    try:
        return _read(registry, reference, folder, image.data, image.descriptor)
    except (ArchiveError, ImageError, NotFoundError, UnicodeDecodeError) as error:
        message = f"{reference}: is no whole repository: {getattr(error, 'message', error)}"
        raise RegistryError(message, hint=_NOT_WHOLE) from error


def _read(
    registry: Registry, reference: Reference, folder: Path, image: bytes, index: Descriptor
) -> State:
    """Fetch the files that the index image names, and read them."""
    path, info = _read_info(registry, reference, folder, image)
    files = folder / "files"
    files.mkdir()
    path.replace(files / texts.REPOSITORY)
    for number, file in enumerate(info.repo_files.values()):
        place = tagged(reference, tag_of(file.filename))
        held = _fetch_layer(registry, place, registry.manifest(place).data, folder / f"f{number}")
        _regular(held / file.filename).replace(files / file.filename)
    return State(
        repository=read_repository(files),
        trees=_trees(info, files, folder / "trees"),
        publications=publications_of(image),
        index=index,
        images=_pushed_in(registry, reference, image),
    )


def read_revision(registry: Registry, reference: Reference, folder: Path) -> int:
    """Read the revision of an index, fetched into an empty folder; 0 for one that is gone."""
    try:
        image = registry.manifest(reference).data
        return _read_info(registry, reference, folder, image)[1].revision
    except NotFoundError:
        return 0


def _read_info(
    registry: Registry, reference: Reference, folder: Path, image: bytes
) -> tuple[Path, texts.RepositoryInfo]:
    """Fetch the file that names all others."""
    front = _fetch_layer(registry, reference, image, folder / "front")
    path = front / texts.REPOSITORY
    if not path.exists():  # a snapshot: the file has the name of its tag
        path = front / reference.tag
    text = _regular(path).read_text(encoding="utf-8")
    return path, texts.parse_repository(text, str(reference))


def _regular(path: Path) -> Path:
    """Return the path of a file that has to be in an image, and a plain file."""
    if path.is_symlink() or not path.is_file():
        raise ArchiveError(f"{path.name}: the image does not hold it")
    return path


def _fetch_layer(registry: Registry, reference: Reference, image: bytes, folder: Path) -> Path:
    """Unpack the one layer of a file's image into `folder`."""
    layers = parse_object(image, str(reference)).get("layers")
    if not isinstance(layers, list) or len(layers) != 1:
        raise ImageError(f"{reference}: is not the image of one file")
    blob = parse_descriptor(layers[0])
    if blob.size > _LARGEST_BLOB:
        raise ImageError(f"{reference}: is too large for a file of a repository")
    folder.mkdir()
    packed = folder.with_suffix(".layer")
    registry.fetch_blob(reference, blob, packed)
    unpack_layer(packed, folder, limits=_LIMITS)
    packed.unlink()
    return folder


def _trees(info: texts.RepositoryInfo, files: Path, folder: Path) -> tuple[Path, ...]:
    """Unpack the compiler trees, if there are any."""
    packed = info.repo_files.get(texts.COMPILER_TREE)
    if packed is None:
        return ()
    folder.mkdir()
    unpack_tar(files / packed.filename, folder, limits=_LIMITS)
    return tuple(sorted(path for path in folder.iterdir() if path.is_dir()))


def publications_of(image: bytes) -> frozenset[str]:
    """Read which publications are part of an index image."""
    annotations = json_object(parse_object(image, "the index image").get("annotations"))
    listed = str(annotations.get(PUBLICATIONS) or "").split(",")
    return frozenset(name for name in listed if _CLAIM.fullmatch(name))


def pushed_text(images: Pushed) -> str:
    """Write what a publication pushed, for the label of its index image."""
    return canonical_json({tag: dict(each) for tag, each in images.items()}).decode()


def parse_pushed(text: str) -> Pushed:
    """Read what a publication pushed; raises `ImageError`."""
    return {
        tag: {platform: parse_digest(str(image)) for platform, image in json_object(each).items()}
        for tag, each in parse_object(text.encode(), "what a publication pushed").items()
    }


def _pushed_in(registry: Registry, reference: Reference, image: bytes) -> Pushed:
    """Read what an index image says that was pushed; nothing if it says nothing, as luet's do."""
    blob = parse_descriptor(parse_object(image, str(reference)).get("config"))
    config = parse_object(registry.read_blob(reference, blob), str(reference))
    labels = json_object(json_object(config.get("config")).get("Labels"))
    return parse_pushed(str(labels.get(PUSHED) or "{}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Between which claims those are that may belong to a publication which is under way.

    Those before `since` are of publications that ended long ago; those from `until` on are of a
    time to come, which nobody can have made in good faith.
    """

    since: str
    until: str

    def holds(self, claim: str) -> bool:
        """Tell whether a claim counts."""
        return bool(_CLAIM.fullmatch(claim)) and self.since <= claim < self.until

    @property
    def last(self) -> int:
        """When the window ends, in microseconds: the versions of signed metadata are such times."""
        return int(self.until.removeprefix(CLAIM).partition("-")[0]) // 1000


def claims_of(tags: Iterable[str], window: Window) -> Iterator[str]:
    """Pick the claims that count out of tags."""
    return (tag for tag in tags if window.holds(tag))
