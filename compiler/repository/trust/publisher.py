"""Signs what repositories hold: pure functions from a state and its changes to the next files.

The index stands in the top of the targets. Artifacts are divided among a fixed number of *bins* by
the hash of their names (delegations by `path_hash_prefixes`, TUF specification, section 4.5), so
that a publication writes as many files as it has changed packages, whatever else there is. The same
input always gives the same bytes.
"""

from collections.abc import Mapping, Set
from copy import deepcopy
from dataclasses import dataclass, field

from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from compiler.errors import TrustError
from compiler.repository.index import REPOSITORY
from compiler.repository.trust import (
    AT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Files,
    Target,
)
from compiler.repository.trust.draft import ROOT_FILE, Draft, is_due, signing_for
from compiler.repository.trust.keys import Signing, too_few, tuf_key
from compiler.repository.trust.published import Published, publication_of
from compiler.repository.trust.root import check_root

BINS = 32
"""Among how many roles artifacts are divided, unless a repository is begun with another number."""

HISTORY = 20
"""For how many publications files of the index, and in registries artifacts that only snapshots
list, stay signed: for those who name a snapshot."""

_MOST_BINS = 256
_DIGIT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a publication has: all files of its index, and the artifacts (None: no longer there).

    Artifacts that are not named stay as they are. `page` names the file of the index that clients
    read in place of `repository.yaml`; "" where that is signed itself. With `retires` artifacts
    that the index drops stay signed for as long as the index that listed them.
    """

    index: Mapping[str, Target]
    artifacts: Mapping[str, Target | None] = field(default_factory=dict)
    page: str = ""
    retires: bool = False


def start(root: bytes, contents: Contents, signing: Signing, *, bins: int = BINS) -> Files:
    """Sign a repository from nothing, under a root that is signed already.

    Raises `TrustError` if too few keys have signed the root, or are given for the other roles.
    """
    signed = check_root(root).signed
    draft = Draft(signed, signing, Snapshot(meta={}), Timestamp(), version=0)
    top = Targets(delegations=_divided(signed.roles[TARGETS], signed, bins))
    divided: dict[str, dict[str, Target]] = {name: {} for name in _roles_of(top)}
    for name, target in contents.artifacts.items():
        if target is not None:
            divided[_bin_of(top, name)][name] = target
    for name, targets in divided.items():
        draft.bin(name, _with(Targets(), targets), top)
    draft.top(_paged(_with(top, contents.index, publication=1), contents.page))
    return draft.finish({f"{signed.version}.{ROOT_FILE}": root})


def sign_contents(published: Published, contents: Contents, signing: Signing) -> Files:
    """Sign a publication on top of what there is; raises `TrustError` for too few keys."""
    draft = Draft.after(published, published.root, signing)
    changed: dict[str, dict[str, Target | None]] = {}
    for name, target in contents.artifacts.items():
        changed.setdefault(published.bin_of(name), {})[name] = target
    top = _paged(_with_index(published.targets, contents.index), contents.page)
    listed = _last(published.targets) if contents.retires else 0
    for name in sorted(changed):
        before = published.role(name)
        after = _unexpired(_retired(_with(deepcopy(before), changed[name]), before, listed), top)
        if after != before:
            draft.bin(name, after, published.targets)
    if top != published.targets or is_due(top, published.root, TARGETS, signing.now):
        draft.top(top)
    return draft.finish()


def differences(
    published: Published, artifacts: Mapping[str, Target | None]
) -> dict[str, Target | None]:
    """Return the artifacts that changed, given all that there are; reads all bins."""
    known = {
        path: _target(target)
        for name in published.bins
        for path, target in published.role(name).targets.items()
    }
    gone = {name: None for name in known if name not in artifacts}
    return {**{name: each for name, each in artifacts.items() if known.get(name) != each}, **gone}


def remaining(published: Published, needed: Set[str]) -> Mapping[str, Targets]:
    """Leave signed what is listed now, what the last publication has, and what is needed.

    Returns the targets of all roles; reads all bins.
    """
    last = _last(published.targets)
    left = {name: deepcopy(published.role(name)) for name in (TARGETS, *published.bins)}
    for targets in left.values():
        targets.targets = {
            name: each
            for name, each in targets.targets.items()
            if name in needed or publication_of(each) in {0, last}
        }
    return left


def sign_remaining(published: Published, left: Mapping[str, Targets], signing: Signing) -> Files:
    """Sign what is left by `remaining`; nothing if that is all that was signed."""
    changed = {name: each for name, each in left.items() if each != published.role(name)}
    if not changed:
        return {}
    draft = Draft.after(published, published.root, signing)
    for name in sorted(changed.keys() - {TARGETS}):
        draft.bin(name, changed[name], published.targets)
    if TARGETS in changed:
        draft.top(changed[TARGETS])
    return draft.finish()


def refresh(published: Published, signing: Signing) -> Files:
    """Sign the timestamp again, and what else is half way to its end if its keys are there."""
    draft = Draft.after(published, published.root, signing)
    top, root = published.targets, published.root
    if is_due(top, root, TARGETS, signing.now) and signing_for(root.roles[TARGETS], signing):
        draft.top(deepcopy(top))
    return draft.finish()


def rotate(published: Published, root: bytes, signing: Signing) -> Files:
    """Publish the next root, and sign anew what its keys have to sign.

    Of a state that is under that root already the timestamp is signed again. Raises `TrustError` if
    too few keys have signed the root, or are given for roles that it changes.
    """
    if published.root_data == root:
        return refresh(published, signing)
    signed = check_root(root, published.root_data).signed
    draft = Draft.after(published, signed, signing)
    named = {f"{signed.version}.{ROOT_FILE}": root}
    changed = {name for name, role in signed.roles.items() if _differ(role, published, name)}
    if TARGETS in changed:
        top = deepcopy(published.targets)
        top.delegations = _divided(signed.roles[TARGETS], signed, len(published.bins))
        for name in published.bins:
            draft.bin(name, _unexpired(deepcopy(published.role(name)), top), top)
        draft.top(top)
    needs = changed & {TARGETS, SNAPSHOT, TIMESTAMP}
    roles = (signed.roles[SNAPSHOT], signed.roles[TIMESTAMP])
    if not needs and not all(signing_for(role, signing) for role in roles):
        return named
    return draft.finish(named, all_anew=True)


def check_signing(published: Published, signing: Signing) -> None:
    """Raise `TrustError` unless enough keys are given to sign a publication."""
    for name in (TARGETS, SNAPSHOT, TIMESTAMP):
        role = published.root.roles[name]
        if not signing_for(role, signing):
            given = {tuf_key(key.public).keyid for key in signing.keys} & set(role.keyids)
            raise too_few(name, role, len(given))


def _divided(role: Role, root: Root, bins: int) -> Delegations:
    """Divide all names among `bins` roles, by the first digits of their hashes."""
    if bins not in {2**power for power in range(1, _MOST_BINS.bit_length())}:
        raise TrustError(f"{bins} is no number of bins: a power of two, 2 to {_MOST_BINS}")
    digits = 1 if bins <= _DIGIT else 2
    prefixes = [f"{number:0{digits}x}" for number in range(_DIGIT**digits)]
    each = len(prefixes) // bins
    roles = {}
    for number in range(bins):
        name = f"bin-{number:02x}"
        own = prefixes[number * each : (number + 1) * each]
        roles[name] = DelegatedRole(
            name, list(role.keyids), role.threshold, terminating=True, path_hash_prefixes=own
        )
    return Delegations({keyid: root.keys[keyid] for keyid in role.keyids}, roles=roles)


def _roles_of(top: Targets) -> tuple[str, ...]:
    """Name the bins."""
    return tuple((top.delegations.roles if top.delegations else None) or ())


def _bin_of(top: Targets, name: str) -> str:
    """Name the bin that is responsible for a target."""
    delegations = top.delegations
    return next(role for role, _ in (delegations.get_roles_for_target(name) if delegations else ()))


def _with(targets: Targets, changed: Mapping[str, Target | None], publication: int = 0) -> Targets:
    """Change some entries."""
    more = {"custom": {"publication": publication}} if publication else {}
    for name, target in sorted(changed.items()):
        targets.targets.pop(name, None)
        if target is not None:
            hashes = {"sha256": target.sha256}
            targets.targets[name] = TargetFile(target.length, hashes, name, dict(more))
    return targets


def _paged(top: Targets, page: str) -> Targets:
    """Say which file clients read in place of `repository.yaml`."""
    known = top.targets.get(REPOSITORY)
    if page and known is not None:
        known.unrecognized_fields["custom"] = {**(known.custom or {}), AT: page}
    return top


def _with_index(top: Targets, index: Mapping[str, Target]) -> Targets:
    """Put a new index in place of the one before, whose other files stay signed for a while."""
    if all(name in top.targets and _target(top.targets[name]) == index[name] for name in index):
        return deepcopy(top)
    publication = 1 + _last(top)
    kept = deepcopy(top)
    kept.targets = {
        name: each
        for name, each in kept.targets.items()
        if publication_of(each) > publication - HISTORY
    }
    return _with(kept, index, publication)


def _retired(bin_: Targets, before: Targets, listed: int) -> Targets:
    """Keep what a bin had before and no longer has, with the publication that listed it last."""
    if listed:
        for name in before.targets.keys() - bin_.targets.keys():
            kept = deepcopy(before.targets[name])
            if not publication_of(kept):
                kept.unrecognized_fields["custom"] = {"publication": listed}
            bin_.targets[name] = kept
    return bin_


def _unexpired(bin_: Targets, top: Targets) -> Targets:
    """Drop from a bin what only indexes list that are no longer signed in the top."""
    oldest = _last(top) - HISTORY
    bin_.targets = {
        name: each for name, each in bin_.targets.items() if not 0 < publication_of(each) <= oldest
    }
    return bin_


def _last(top: Targets) -> int:
    """Return the number of the last publication."""
    return max((publication_of(each) for each in top.targets.values()), default=0)


def _target(target: TargetFile) -> Target:
    """Return what is signed of a name."""
    return Target(target.length, target.hashes.get("sha256", ""))


def _differ(role: Role, published: Published, name: str) -> bool:
    """Tell whether a role has other keys than before."""
    before = published.root.roles[name]
    return set(role.keyids) != set(before.keyids) or role.threshold != before.threshold
