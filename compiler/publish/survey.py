"""Finds out what a docker repository holds, for garbage collection to decide about."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from compiler.errors import CompilerError, Interrupted, NotFoundError, RegistryError, TrustError
from compiler.oci import INDEXES, Digest, Reference
from compiler.publish.gc import Holdings, attached_to, snapshots_of
from compiler.publish.state import State, Window, claims_of, read_state, tagged
from compiler.registry import Registry
from compiler.registry.manifests import read_links
from compiler.repository import index as texts
from compiler.repository.trust import Read, Target, name_in
from compiler.repository.trust.places import RegistryPlace
from compiler.repository.trust.published import (
    Published,
    publication_of,
    read_published,
)
from compiler.repository.trust.reading import named_targets, named_versions
from compiler.signing.images import pinned
from compiler.store.images import host_platform

Item = TypeVar("Item")
Result = TypeVar("Result")

_AT_ONCE = 16
_NESTED = 8
"""How long a chain of images is followed each of which is about the next."""


def survey(
    registry: Registry,
    target: Reference,
    folder: Path,
    window: Window,
    root: bytes | None = None,
) -> Holdings:
    """Ask a repository for everything that it holds; `folder` is for what is fetched.

    Publications whose claims are in `window` may be under way, so they are read, too.

    Its signed metadata is verified from `root`; without that it is taken as it is, and whoever may
    push may have replaced it: enough to explain, and not to remove anything by. Raises
    `RegistryError` for a repository without an index, and `TrustError` unless the index is the one
    that is signed.
    """

    def state(tag: str) -> State | None:
        place = folder / uuid4().hex
        place.mkdir()
        return read_state(registry, tagged(target, tag), place)

    def parts(digest: Digest) -> tuple[Digest, ...]:
        return _parts(registry, target, digest)

    current = state(texts.REPOSITORY)
    if current is None:
        message = f"{target}: has no {texts.REPOSITORY}: it is no repository of packages"
        raise RegistryError(
            message, hint="check its name; `cos create-repo --type docker` makes one"
        )
    tags = registry.tags(target)
    place = RegistryPlace(registry, target, host_platform(), folder)
    verified = None if root is None else _verified(place, root)
    signed = _targets(place.read, tags) if verified is None else dict(verified.all_targets())
    _check_signed(target, current.index.digest, signed)
    vouched = frozenset(each.digest for each in signed.values())
    found = _each(tags, lambda tag: registry.head(tagged(target, tag)))
    digests = {tag: each.digest for tag, each in found.items() if each is not None}
    unnamed = _each(
        sorted(vouched - {*digests.values()}), lambda each: registry.head(pinned(target, each))
    )
    seen = (*found.values(), *unnamed.values())
    indexes = {each.digest for each in seen if each and each.media_type in INDEXES}
    claims = set(claims_of(digests, window)) - current.publications
    named = (*snapshots_of(digests), *sorted(claims))
    states, broken = _readable(_each(named, _or_error(state)))
    images, unread = _readable(_each(sorted(indexes), _or_error(parts)))
    return Holdings(
        subjects=_subjects(registry, target, digests, images),
        tags=digests,
        vouched=vouched,
        metadata=frozenset() if verified is None else frozenset(verified.images.values()),
        current=current,
        snapshots={tag: held for tag, held in states.items() if held and tag not in claims},
        claims={tag: held for tag, held in states.items() if held and tag in claims},
        published={} if verified is None else _numbers(verified, digests),
        parts=images,
        signed=_signed(registry, target, folder),
        broken={tag: unread[each] for tag, each in digests.items() if each in unread} | broken,
    )


def has_metadata(tags: Iterable[str]) -> bool:
    """Tell whether there is signed metadata among tags, of whoever."""
    return any(name_in(name) for name in tags)


def _or_error(ask: Callable[[Item], Result]) -> Callable[[Item], Result | CompilerError]:
    """Let what cannot be read be returned: the others are asked for all the same."""

    def asked(item: Item) -> Result | CompilerError:
        try:
            return ask(item)
        except Interrupted:
            raise
        except CompilerError as error:
            return error

    return asked


def _readable(
    found: Mapping[Item, Result | CompilerError],
) -> tuple[dict[Item, Result], dict[Item, str]]:
    """Tell what could be read from what could not, and why not."""
    read = {key: each for key, each in found.items() if not isinstance(each, CompilerError)}
    return read, {key: str(each) for key, each in found.items() if isinstance(each, CompilerError)}


def _targets(read: Read, tags: Iterable[str]) -> Mapping[str, Target]:
    """Ask for all that is signed, by tag; nothing where there is no signed metadata.

    Raises `TrustError` if there is some that cannot be read: what has to stay is then not known.
    """
    if not has_metadata(tags):
        return {}
    with _all_stays():
        return named_targets(read)


def _verified(place: RegistryPlace, root: bytes) -> Published:
    """Read the state that is signed under a root.

    Raises `TrustError` if nothing is, or if it cannot be verified, or may not be the newest: what
    has to stay is then not known.
    """
    with _all_stays():
        published = read_published(place.read, root, place.names())
        if published is None:
            raise TrustError("there is none")
        for words in published.warnings():
            raise TrustError(words)
        tuple(published.all_targets())  # those that cannot be read are found here
        return published


@contextmanager
def _all_stays() -> Iterator[None]:
    """Say what becomes of a repository whose signed metadata does not count."""
    try:
        yield
    except TrustError as error:
        raise TrustError(
            f"what is signed cannot be read, so all of it stays: {error.message}",
            hint="publish it again with --sign and --root",
        ) from error


def _numbers(verified: Published, tags: Mapping[str, Digest]) -> dict[str, int]:
    """Number the tags that name what is signed in an index, by the publication that had them."""
    return {
        name: publication_of(each)
        for name, each in verified.targets.targets.items()
        if tags.get(name) == Target(each.length, each.hashes.get("sha256", "")).digest
    }


def _check_signed(target: Reference, named: Digest, signed: Mapping[str, Target]) -> None:
    """Raise `TrustError` unless the index that a tag names is the one that is signed."""
    index = signed.get(texts.REPOSITORY)
    if index is not None and index.digest != named:
        raise TrustError(
            f"{tagged(target, texts.REPOSITORY)}: names {named}, and {index.digest} is signed",
            hint="somebody is publishing right now, or moved the tag; publishing with --sign and "
            "--root puts it right",
        )


def _signed(registry: Registry, target: Reference, folder: Path) -> Mapping[str, int] | None:
    """Ask for the newest versions of signed metadata; None if they cannot be read."""
    place = RegistryPlace(registry, target, host_platform(), folder)
    try:
        return named_versions(place.read)
    except CompilerError:
        return None


def _parts(registry: Registry, target: Reference, index: Digest) -> tuple[Digest, ...]:
    """List the images of an index; raises `ImageError` for one that holds none."""
    place = replace(target, tag="", digest=index)
    return tuple(each.digest for each in read_links(registry.manifest(place).data).manifests)


def _subjects(
    registry: Registry,
    target: Reference,
    tags: Mapping[str, Digest],
    parts: Mapping[Digest, tuple[Digest, ...]],
) -> dict[Digest, Digest]:
    """Tell what images are about that have no tag, and that something is attached to.

    Such are SBOMs and other referrers, which may be signed themselves.
    """
    known = {*tags.values(), *(part for each in parts.values() for part in each)}
    named = (attached_to(name) for name in tags)
    asked = {each for each in named if each is not None} - known
    found: dict[Digest, Digest] = {}
    for _ in range(_NESTED):
        about = _each(sorted(asked), _subject_of(registry, target))
        found |= {each: subject for each, subject in about.items() if subject is not None}
        asked = {each for each in about.values() if each} - known - found.keys()
    return found


def _subject_of(registry: Registry, target: Reference) -> Callable[[Digest], Digest | None]:
    """Ask what an image says that it is about; None for one that is gone or says nothing."""

    def ask(digest: Digest) -> Digest | None:
        try:
            return read_links(registry.manifest(pinned(target, digest)).data).subject
        except NotFoundError:
            return None

    return ask


def _each(items: Iterable[Item], ask: Callable[[Item], Result]) -> dict[Item, Result]:
    """Ask for many things at the same time."""
    asked = list(items)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="gc") as pool:
        return dict(zip(asked, pool.map(ask, asked), strict=True))
