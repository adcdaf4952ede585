"""Removes from a docker repository what garbage collection said.

What refers to an image goes with it. Where a registry has no API for that, the list of it lies
under a tag, which whoever may push can write; so each is looked at, and goes only if it says itself
that it is about an image that goes.
"""

from collections.abc import Collection, Iterable, Mapping

from compiler.errors import NotFoundError, RegistryError
from compiler.oci import Digest, Reference
from compiler.publish.gc import Holdings, Line, attached_to, staying
from compiler.publish.push import each_at_once
from compiler.publish.state import CLAIM, tagged
from compiler.registry import Registry
from compiler.registry.manifests import read_links
from compiler.repository import index as texts
from compiler.signing.images import pinned

_BATCH = 20
"""How many images are removed before a look at what others do."""
_NESTED = 8
"""How long a chain of referrers is followed."""


def with_referrers(
    registry: Registry, target: Reference, holdings: Holdings, lines: Iterable[Line]
) -> tuple[Line, ...]:
    """Add to what `decide` said a line for everything that refers to an image that goes."""
    decided = tuple(lines)
    stays = staying(decided, holdings)
    found: dict[Digest, Line] = {}
    asked: Collection[Digest] = _doomed(decided, holdings)
    known = {*asked}
    for _ in range(_NESTED):
        listed = each_at_once(lambda each: registry.referrers(pinned(target, each)), asked)
        pairs = [
            (each.digest, subject)
            for subject, referrers in zip(asked, listed, strict=True)
            for each in referrers
            if each.digest not in known
        ]
        judged = each_at_once(lambda pair: _judged(registry, target, pair, stays), pairs)
        for line in filter(None, judged):
            if line.removed or line.digest not in found:
                found[line.digest] = line
        asked = [each for each, line in found.items() if line.removed and each not in known]
        known.update(asked)
    return (*decided, *found.values())


def _judged(
    registry: Registry, target: Reference, pair: tuple[Digest, Digest], stays: set[Digest]
) -> Line | None:
    """Decide about what is listed as a referrer of an image that goes; None if it is not there."""
    digest, subject = pair
    if digest in stays:
        why = f"is kept, whatever the list of referrers of {subject} says"
        return Line("", digest, removed=False, reason=why)
    try:
        links = read_links(registry.manifest(pinned(target, digest)).data)
    except NotFoundError:
        return None
    if links.subject != subject:
        why = f"is not about {subject}, whose list of referrers names it"
        return Line("", digest, removed=False, reason=why)
    return Line(
        "", digest, removed=True, reason=f"about {subject}, which is not kept", about=subject
    )


def remove(registry: Registry, target: Reference, holdings: Holdings, lines: Iterable[Line]) -> int:
    """Remove what `lines` say from the repository `target`; returns how many manifests went.

    Looks again before every few of them whether somebody publishes. Raises `RegistryError` then,
    and for a registry that forbids removal.
    """
    decided = tuple(lines)
    stays = staying(decided, holdings)
    named = {line.digest for line in decided}
    removed = 0
    order = _inside_out(_doomed(decided, holdings), _below(decided, holdings))
    for number, digest in enumerate(order):
        if number % _BATCH == 0:
            _check_unchanged(registry, target, holdings)
        place = pinned(target, digest)
        if digest in named or not _is_about(registry, place, stays):
            registry.delete(place)
            removed += 1
    return removed


def _check_unchanged(registry: Registry, target: Reference, holdings: Holdings) -> None:
    """Raise `RegistryError` if somebody published, or began to, since the survey.

    A publication leaves its claim before it moves any name that clients follow.
    """
    now = registry.head(tagged(target, texts.REPOSITORY))
    claims = [tag for tag in registry.tags(target, after=CLAIM) if tag.startswith(CLAIM)]
    if (
        now is None
        or now.digest != holdings.current.index.digest
        or not holdings.tags.keys() >= set(claims)
    ):
        raise RegistryError(f"{target}: was published to meanwhile", hint="run the command again")


def _is_about(registry: Registry, part: Reference, stays: set[Digest]) -> bool:
    """Tell whether an image that only an index names is about one that stays.

    Indexes may name anything that is in the repository.
    """
    try:
        return read_links(registry.manifest(part).data).subject in stays
    except NotFoundError:
        return False


def _doomed(lines: Iterable[Line], holdings: Holdings) -> tuple[Digest, ...]:
    """List the manifests that go: those that no tag which stays names, directly or in an index."""
    decided = tuple(lines)
    stays = staying(decided, holdings)
    goes: dict[Digest, None] = {}
    for line in decided:
        if line.removed:
            for digest in (line.digest, *_parts(line, holdings)):
                if digest not in stays:
                    goes[digest] = None
    return tuple(goes)


def _parts(line: Line, holdings: Holdings) -> Iterable[Digest]:
    """List the images in the index that a tag names; what is in a list of referrers is not its."""
    return () if attached_to(line.tag) else holdings.parts.get(line.digest, ())


def _below(lines: Iterable[Line], holdings: Holdings) -> Mapping[Digest, list[Digest]]:
    """Tell what has to go before each image: what is about it, and what is in it."""
    below: dict[Digest, list[Digest]] = {}
    for line in lines:
        below.setdefault(line.digest, []).extend(_parts(line, holdings))
        subject = line.about or attached_to(line.tag)
        if subject is not None:
            below.setdefault(subject, []).append(line.digest)
    return below


def _inside_out(
    goes: Iterable[Digest], below: Mapping[Digest, Iterable[Digest]]
) -> tuple[Digest, ...]:
    """Order what goes so that everything follows what is about it, and what is in it.

    Whoever finds an image there after it was put there again finds all that belongs to it, too.
    """
    wanted = tuple(goes)
    inside = frozenset(wanted)
    done: dict[Digest, None] = {}
    seen: set[Digest] = set()
    stack = [(each, False) for each in reversed(wanted)]
    while stack:
        digest, is_open = stack.pop()
        if is_open:
            done[digest] = None
        elif digest not in seen:
            seen.add(digest)
            stack.append((digest, True))
            stack.extend((each, False) for each in below.get(digest, ()) if each in inside)
    return tuple(done)
