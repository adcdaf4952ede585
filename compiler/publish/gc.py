"""Garbage collection of docker repositories: decides what nobody can ask for any more, removes it.

Kept are the current index, the last snapshots, and all that they list; signatures, attestations
and other referrers live as long as what they are about. A package that no index ever listed may be
one that is being published right now, so it stays; so does whatever is not of our making. Of
signed metadata only what is older than the last versions that its timestamp and snapshot name goes:
whoever may push can make up tags of any number, so those alone say nothing.

What a snapshot or an index of images that cannot be read needs is not known. It is named, and until
it is mended or gone everything stays that it may need.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from compiler.errors import CompilerError, Interrupted, RegistryError
from compiler.oci import INDEXES, Digest, Reference, parse_digest, platforms_of
from compiler.publish.state import CLAIM, State, Window, read_state, tagged
from compiler.registry import Registry
from compiler.repository import index as texts
from compiler.repository.oci import tag_of, tags_of
from compiler.repository.trust import superseded, tag
from compiler.repository.trust.places import RegistryPlace
from compiler.repository.trust.published import named_versions
from compiler.store.images import host_platform

Item = TypeVar("Item")
Result = TypeVar("Result")

_AT_ONCE = 16
_ATTACHED = re.compile(r"sha256-([0-9a-f]{64})(?:\.(?:sig|att|sbom))?")
_CONTENT_NAMED = re.compile(r"[0-9a-f]{12}-.+")
_SNAPSHOT = f"-{texts.REPOSITORY}"
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Line:
    """What becomes of one tag, and why; `digest` is what it names."""

    tag: str
    digest: Digest
    removed: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What a repository holds: its tags by digest, its current state, and its snapshots by tag.

    `parts` gives for the digest of an index the images in it. `signed` tells the newest versions
    of signed metadata by role; None if the repository does not say, and then all of it stays.
    `broken` says of tags that cannot be read why not.
    """

    tags: Mapping[str, Digest]
    current: State
    snapshots: Mapping[str, State]
    parts: Mapping[Digest, tuple[Digest, ...]] = field(default_factory=dict)
    signed: Mapping[str, int] | None = None
    broken: Mapping[str, str] = field(default_factory=dict)


def decide(holdings: Holdings, *, keep: int, window: Window) -> tuple[Line, ...]:
    """Say of every tag whether it stays; of the snapshots the last `keep` do.

    Claims in `window` stay: their publications may be under way.
    """
    newest = sorted(
        holdings.snapshots, key=lambda name: _age(holdings.snapshots[name]), reverse=True
    )
    kept = [holdings.current, *(holdings.snapshots[name] for name in newest[:keep])]
    gone = [holdings.snapshots[name] for name in newest[keep:]]
    listed = {name for state in kept for name in _listed(state)}
    once = {name for state in gone for name in _listed(state)}
    live = {texts.REPOSITORY, *newest[:keep], *listed}
    known = _Sorted(
        live=live,
        once=once,
        dropped=[name for name in newest[keep:] if not _is_needed(name, holdings, live)],
        snapshots=_snapshots(holdings.tags),
        window=window,
        old=_old_metadata(holdings),
        broken=holdings.broken,
    )
    lines = {name: _line(name, digest, known) for name, digest in holdings.tags.items()}
    used = {line.digest for line in lines.values() if not line.removed}
    used |= {part for digest in used for part in holdings.parts.get(digest, ())}
    unsure = ", ".join(sorted(holdings.broken)[:_SHOWN])
    return tuple(_with_attached(lines[name], used, unsure) for name in sorted(lines))


def _is_needed(name: str, holdings: Holdings, live: Set[str]) -> bool:
    """Whether a snapshot that could go alone tells what can go once all can be read."""
    return bool(holdings.broken) and not set(_listed(holdings.snapshots[name])) <= live


def _snapshots(tags: Iterable[str]) -> list[str]:
    """Pick the snapshots out of tags: names that end like the index, and have no content's name."""
    return [
        name for name in tags if name.endswith(_SNAPSHOT) and not _CONTENT_NAMED.fullmatch(name)
    ]


def _old_metadata(holdings: Holdings) -> Set[str] | None:
    """Pick the tags of signed metadata that nobody can ask for; None if that is not known."""
    if holdings.signed is None:
        return None
    names = [each.removeprefix(tag("")) for each in holdings.tags if each.startswith(tag(""))]
    return {tag(name) for name in superseded(names, holdings.signed)}


def _age(state: State) -> tuple[int, int]:
    """Order states by time, and those of one second by revision."""
    info = state.repository.info
    return int(info.last_update) if info.last_update.isdecimal() else 0, info.revision


def _listed(state: State) -> Iterator[str]:
    """Name the tags that a state needs: its packages, their metadata, and its files."""
    for artifact in state.repository.index.artifacts:
        yield from tags_of(artifact.id)
    for file in state.repository.info.repo_files.values():
        yield tag_of(file.filename)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sorted:
    """Tags by what is known of them: `once` were listed by snapshots that go.

    `old` is signed metadata that can go; None if it is not known what is the newest. `broken` says
    of tags that cannot be read why not.
    """

    live: Set[str]
    once: Set[str]
    dropped: Sequence[str]
    snapshots: Sequence[str]
    window: Window
    old: Set[str] | None
    broken: Mapping[str, str]

    def owner(self, name: str) -> str:
        """Return the snapshot whose name a tag begins with, the longest one; "" for none."""
        found = [each for each in self.snapshots if name.startswith(_prefix(each))]
        return max(found, key=len, default="")


def _prefix(snapshot: str) -> str:
    """Return what the names of a snapshot's files begin with."""
    return snapshot.removesuffix(texts.REPOSITORY)


def _line(name: str, digest: Digest, sorted_out: _Sorted) -> Line:
    """Decide about one tag, as if it were no signature."""
    if name in sorted_out.live:
        return Line(name, digest, removed=False, reason="the index or a snapshot kept names it")
    if name in sorted_out.broken:
        why = f"cannot be read: {sorted_out.broken[name]}"
        return Line(name, digest, removed=False, reason=why)
    why = _reason_to_go(name, sorted_out)
    if why:
        return Line(name, digest, removed=True, reason=why)
    return Line(name, digest, removed=False, reason=_reason_to_stay(name, sorted_out))


def _reason_to_stay(name: str, known: _Sorted) -> str:
    """Say why a tag that nothing kept names stays."""
    if name.startswith(CLAIM):
        return "may be that of a publication under way"
    if name.startswith(tag("")):
        unknown = ", whose newest versions cannot be read"
        return f"signed metadata{unknown if known.old is None else ''}"
    if name in known.once:
        return f"may be listed by {min(known.broken)}, which cannot be read"
    if known.broken and (name in known.snapshots or known.owner(name)):
        return f"tells what can go once {min(known.broken)} can be read"
    return "is not known to be unused"


def _reason_to_go(name: str, known: _Sorted) -> str:
    """Say why a tag that nothing kept names can go; "" if it is not certain that it can.

    What snapshots list, or are called, says nothing of signed metadata: anybody may make them up.
    """
    if name.startswith(tag("")):
        return "signed metadata older than the last versions" if name in (known.old or ()) else ""
    if name in known.dropped:
        return "a snapshot older than those that are kept"
    if name.startswith(CLAIM):
        if name < known.window.since:
            return "the claim of a publication that ended long ago"
        return "" if name < known.window.until else "the claim of a time that is to come"
    if name in known.once:
        return "" if known.broken else "only snapshots that go list it"
    owner = known.owner(name)
    return f"belongs to {owner}, which goes" if owner in known.dropped else ""


def _with_attached(line: Line, used: set[Digest], unsure: str) -> Line:
    """Decide about what is about another image: it stays for as long as that one does.

    `unsure` names what cannot be read, and may hold that image.
    """
    match = _ATTACHED.fullmatch(line.tag)
    if match is not None:
        subject = parse_digest(f"sha256:{match[1]}")
        if subject in used:
            return replace(line, removed=False, reason=f"about {subject}, which is kept")
        if unsure:
            why = f"about {subject}, which may be in {unsure}, which cannot be read"
            return replace(line, removed=False, reason=why)
        return replace(line, removed=True, reason=f"about {subject}, which is not kept")
    if line.removed and line.digest in used:
        return replace(line, removed=False, reason="names the same as a tag that is kept")
    return line


def remove(registry: Registry, target: Reference, holdings: Holdings, lines: Iterable[Line]) -> int:
    """Remove what `decide` said from the repository `target`; returns how many manifests went.

    Raises `RegistryError` if something was published meanwhile, and for a registry that forbids
    removal.
    """
    now = registry.head(tagged(target, texts.REPOSITORY))
    if now is None or now.digest != holdings.current.index.digest:
        raise RegistryError(f"{target}: was published to meanwhile", hint="run the command again")
    doomed = _doomed(lines, holdings)
    for digest in doomed:
        place = replace(target, tag="", digest=digest)
        for referrer in registry.referrers(place):
            registry.delete(replace(place, digest=referrer.digest))
        registry.delete(place)
    return len(doomed)


def _doomed(lines: Iterable[Line], holdings: Holdings) -> tuple[Digest, ...]:
    """List the manifests that go: those that no tag which stays names, directly or in an index."""
    stays = {line.digest for line in lines if not line.removed}
    stays |= {part for digest in stays for part in holdings.parts.get(digest, ())}
    goes: dict[Digest, None] = {}
    for line in lines:
        if line.removed:
            for digest in (line.digest, *holdings.parts.get(line.digest, ())):
                if digest not in stays:
                    goes[digest] = None
    return tuple(goes)


def survey(registry: Registry, target: Reference, folder: Path) -> Holdings:
    """Ask a repository for everything that it holds; `folder` is for what is fetched.

    Raises `RegistryError` for a repository without an index.
    """

    def state(tag: str) -> State | None:
        place = folder / uuid4().hex
        place.mkdir()
        return read_state(registry, tagged(target, tag), place)

    def parts(digest: Digest) -> tuple[Digest, ...]:
        return _parts(registry, target, digest)

    current = state(texts.REPOSITORY)
    if current is None:
        raise RegistryError(f"{target}: has no {texts.REPOSITORY}: it is no repository of packages")
    tags = registry.tags(target)
    found = _each(tags, lambda tag: registry.head(tagged(target, tag)))
    digests = {tag: each.digest for tag, each in found.items() if each is not None}
    indexes = {each.digest for each in found.values() if each and each.media_type in INDEXES}
    snapshots, broken = _readable(_each(_snapshots(digests), _or_error(state)))
    images, unread = _readable(_each(sorted(indexes), _or_error(parts)))
    return Holdings(
        tags=digests,
        current=current,
        snapshots={tag: held for tag, held in snapshots.items() if held is not None},
        parts=images,
        signed=_signed(registry, target, folder),
        broken={tag: unread[each] for tag, each in digests.items() if each in unread} | broken,
    )


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


def _signed(registry: Registry, target: Reference, folder: Path) -> Mapping[str, int] | None:
    """Ask for the newest versions of signed metadata; None if they cannot be read."""
    place = RegistryPlace(registry, target, host_platform(), folder)
    try:
        return named_versions(place.read)
    except CompilerError:
        return None


def _parts(registry: Registry, target: Reference, index: Digest) -> tuple[Digest, ...]:
    """List the images of an index."""
    place = replace(target, tag="", digest=index)
    images = platforms_of(registry.manifest(place).data, str(place))
    return tuple(image.digest for image in images.values())


def _each(items: Iterable[Item], ask: Callable[[Item], Result]) -> dict[Item, Result]:
    """Ask for many things at the same time."""
    asked = list(items)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="gc") as pool:
        return dict(zip(asked, pool.map(ask, asked), strict=True))
