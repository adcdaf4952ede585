"""Garbage collection of docker repositories: decides what nobody can ask for any more, removes it.

Kept are the current index, the last snapshots, and all that they list; signatures, attestations
and other referrers live as long as what they are about. A package that no index ever listed may be
one that is being published right now, so it stays; so does whatever is not of our making. Of
signed metadata only what is older than the last versions that its timestamp and snapshot name goes:
whoever may push can make up tags of any number, so those alone say nothing.

Where a repository has signed metadata, all that is signed stays, whatever the tags say; and nothing
goes unless the index that its tag names is the one that is signed.

What a snapshot or an index of images that cannot be read needs is not known. It is named, and until
it is mended or gone everything stays that it may need.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from compiler.oci import Digest, parse_digest
from compiler.publish.state import CLAIM, State, Window
from compiler.repository import index as texts
from compiler.repository.oci import tag_of, tags_of
from compiler.repository.trust import ROOT, name_in, role_of, superseded, tag, version_of

_ATTACHED = re.compile(r"sha256-([0-9a-f]{64})(?:\.(?:sig|att|sbom))?")
_CONTENT_NAMED = re.compile(r"[0-9a-f]{12}-.+")
_SNAPSHOT = f"-{texts.REPOSITORY}"
_NESTED = 8
_SHOWN = 3

SHARED = "names the same as a tag that is kept"
"""Why a tag stays that nothing else needs."""

SIGNED = "is signed still"
"""Why a tag stays that not even another tag needs."""


@dataclass(frozen=True, slots=True)
class Line:
    """What becomes of one tag, and why; `digest` is what it names.

    What refers to an image that goes has a line of its own, and no tag but `about`, which is that
    image.
    """

    tag: str
    digest: Digest
    removed: bool
    reason: str
    about: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What a repository holds: its tags by digest, its current state, and its snapshots by tag.

    `parts` gives for the digest of an index the images in it. `subjects` tells of images without
    tags, which something is attached to, what they are themselves about. `signed` tells the newest
    versions of signed metadata by role; None if the repository does not say, and then all of it
    stays. `metadata` are the images that it names for its files, `vouched` is all that is signed.
    `broken` says of tags that cannot be read why not. `claims` are the states of publications that
    may be under way. `published` numbers the tags of snapshots by the publication that last had
    them, where that is signed and verified.
    """

    tags: Mapping[str, Digest]
    current: State
    snapshots: Mapping[str, State]
    parts: Mapping[Digest, tuple[Digest, ...]] = field(default_factory=dict)
    subjects: Mapping[Digest, Digest] = field(default_factory=dict)
    signed: Mapping[str, int] | None = None
    broken: Mapping[str, str] = field(default_factory=dict)
    metadata: frozenset[Digest] = frozenset()
    vouched: frozenset[Digest] = frozenset()
    claims: Mapping[str, State] = field(default_factory=dict)
    published: Mapping[str, int] = field(default_factory=dict)


def decide(holdings: Holdings, *, keep: int, window: Window) -> tuple[Line, ...]:
    """Say of every tag whether it stays; of the snapshots the last `keep` do.

    Claims in `window` stay: their publications may be under way.
    """
    newest = _newest(holdings)
    gone = [holdings.snapshots[name] for name in newest[keep:]]
    once = {name for state in gone for name in _listed(state)}
    live = _live(holdings, newest[:keep])
    known = _Sorted(
        live=live,
        once=once,
        dropped=[name for name in newest[keep:] if not _is_needed(name, holdings, live)],
        snapshots=snapshots_of(holdings.tags),
        window=window,
        old=_old_metadata(holdings),
        made_up=_made_up_metadata(holdings, window),
        broken=holdings.broken,
    )
    lines = {name: _line(name, digest, known) for name, digest in holdings.tags.items()}
    used = staying(lines.values(), holdings)
    unsure = ", ".join(sorted(holdings.broken)[:_SHOWN])
    unsigned = replace(holdings, vouched=frozenset(), metadata=frozenset())
    by_tags = staying(lines.values(), unsigned)
    decided = (_with_attached(lines[name], used, unsure) for name in sorted(lines))
    return tuple(_with_shared(line, used, by_tags) for line in decided)


def needed(holdings: Holdings, *, keep: int) -> frozenset[str]:
    """Name the tags that have to stay signed for what `decide` keeps."""
    snapshots = _newest(holdings)[:keep]
    own = tuple(map(_prefix, snapshots))
    return frozenset(_live(holdings, snapshots)) | {
        name for name in holdings.tags if name.startswith(own)
    }


def _newest(holdings: Holdings) -> list[str]:
    """Order the snapshots, the newest first."""
    return sorted(holdings.snapshots, key=lambda name: _age(name, holdings), reverse=True)


def _live(holdings: Holdings, snapshots: Sequence[str]) -> set[str]:
    """Name what the index, these snapshots and publications under way need, and themselves."""
    kept = [holdings.current, *(holdings.snapshots[name] for name in snapshots)]
    kept += holdings.claims.values()
    return {texts.REPOSITORY, *snapshots, *(name for state in kept for name in _listed(state))}


def staying(lines: Iterable[Line], holdings: Holdings) -> set[Digest]:
    """Name the images that stay: those that are signed, those of tags that stay, what is in them.

    What is about such images stays as well.
    """
    stays = {line.digest for line in lines if not line.removed}
    stays |= holdings.vouched | holdings.metadata
    stays |= {part for digest in stays for part in holdings.parts.get(digest, ())}
    for _ in range(_NESTED):  # what is about an image may itself have something about it
        stays |= {each for each, subject in holdings.subjects.items() if subject in stays}
    return stays


def attached_to(name: str) -> Digest | None:
    """Name the image that what a tag names is about, or lists the referrers of; None for others."""
    match = _ATTACHED.fullmatch(name)
    return parse_digest(f"sha256:{match[1]}") if match else None


def _is_needed(name: str, holdings: Holdings, live: Set[str]) -> bool:
    """Whether a snapshot that could go alone tells what can go once all can be read."""
    return bool(holdings.broken) and not set(_listed(holdings.snapshots[name])) <= live


def snapshots_of(tags: Iterable[str]) -> list[str]:
    """Pick the snapshots out of tags: names that end like the index, and have no content's name."""
    return [
        name for name in tags if name.endswith(_SNAPSHOT) and not _CONTENT_NAMED.fullmatch(name)
    ]


def _old_metadata(holdings: Holdings) -> Set[str] | None:
    """Pick the tags of signed metadata that nobody can ask for; None if that is not known."""
    if holdings.signed is None:
        return None
    names = [name for name in map(name_in, holdings.tags) if name]
    return {tag(name) for name in superseded(names, holdings.signed)}


def _made_up_metadata(holdings: Holdings, window: Window) -> Set[str]:
    """Pick the tags of signed metadata of a time to come: whoever may push can make up any."""
    named = ((name, name_in(name)) for name in holdings.tags)
    return {
        name for name, file in named if role_of(file) != ROOT and version_of(file) > window.last
    }


def _age(name: str, holdings: Holdings) -> tuple[int, int, int]:
    """Order snapshots by publication where that is signed; others are older than those.

    They are ordered by the time that they name, and those of one second by revision. Anybody who
    may push can name any time, and must not make signed snapshots look old.
    """
    info = holdings.snapshots[name].repository.info
    named = int(info.last_update) if info.last_update.isdecimal() else 0
    return holdings.published.get(name, 0), named, info.revision


def _listed(state: State) -> Iterator[str]:
    """Name the tags that a state needs: its packages, their metadata, and its files."""
    for artifact in state.repository.index.artifacts:
        yield from tags_of(artifact.id)
    for file in state.repository.info.repo_files.values():
        yield tag_of(file.filename)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sorted:
    """Tags by what is known of them: `once` were listed by snapshots that go.

    `old` is signed metadata that can go; None if it is not known what is the newest. `made_up` is
    such that nobody signed yet. `broken` says of tags that cannot be read why not.
    """

    live: Set[str]
    once: Set[str]
    dropped: Sequence[str]
    snapshots: Sequence[str]
    window: Window
    old: Set[str] | None
    made_up: Set[str]
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
    if name_in(name):
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
    if name_in(name):
        made_up = "signed metadata of a time to come" if name in known.made_up else ""
        is_old = name in (known.old or ())
        return "signed metadata older than the last versions" if is_old else made_up
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
    subject = attached_to(line.tag)
    if subject is not None:
        if subject in used:
            return replace(line, removed=False, reason=f"about {subject}, which is kept")
        if unsure:
            why = f"about {subject}, which may be in {unsure}, which cannot be read"
            return replace(line, removed=False, reason=why)
        return replace(line, removed=True, reason=f"about {subject}, which is not kept")
    return line


def _with_shared(line: Line, used: set[Digest], by_tags: set[Digest]) -> Line:
    """Let a tag stay whose image does: for other tags, which name `by_tags`, or as it is signed.

    What is about another image has been decided about by that.
    """
    if not line.removed or line.digest not in used or attached_to(line.tag) is not None:
        return line
    shared = line.digest in by_tags
    return replace(line, removed=False, reason=SHARED if shared else SIGNED)
