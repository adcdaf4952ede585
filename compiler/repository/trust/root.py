"""Root files: which keys may sign what, made and signed apart from any repository.

A root is made without signatures, carried to those who hold root keys, and published once enough of
them have signed. Everything here works on the bytes of such files.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from cryptography.hazmat.primitives.asymmetric import ed25519
from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Role, Root, VerificationResult

from compiler.errors import TrustError
from compiler.repository.trust import ROLES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from compiler.repository.trust.keys import add_signatures, tuf_key
from compiler.signing.keys import PrivateKey, PublicKey, parse_public_key

DAYS: Mapping[str, int] = {ROOT: 365, TARGETS: 90, SNAPSHOT: 90, TIMESTAMP: 7}
"""For how many days what a role signs is good, unless a policy says otherwise."""

LONGEST = 3650
"""How many days may be given at most."""

_DAYS = "x-cos-toolkit-days"
"""A field of each role in the root, signed with it: the period that publishers use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePolicy:
    """Who signs for a role: `threshold` of `keys`; and for how many days that is good."""

    keys: tuple[PublicKey, ...]
    threshold: int = 1
    days: int


def make_policy(
    root: Iterable[PublicKey], online: Iterable[PublicKey], *, root_threshold: int = 1
) -> dict[str, RolePolicy]:
    """Return the usual policy: some keys for the root, and one set of others for the rest."""
    keys = tuple(online)
    others = {
        role: RolePolicy(keys=keys, days=DAYS[role]) for role in (TARGETS, SNAPSHOT, TIMESTAMP)
    }
    first = RolePolicy(keys=tuple(root), threshold=root_threshold, days=DAYS[ROOT])
    return {ROOT: first, **others}


def first_root(policy: Mapping[str, RolePolicy], now: datetime) -> bytes:
    """Make the first root of a repository, without signatures; raises `TrustError`."""
    root = Root(expires=now.replace(microsecond=0))
    return _changed(root, policy, now)


def next_root(current: bytes, changes: Mapping[str, RolePolicy], now: datetime) -> bytes:
    """Make the root that follows `current`, without signatures.

    Roles that are in `changes` get exactly those keys. Raises `TrustError` for what cannot be.
    """
    root = parse_root(current).signed
    root.version += 1
    return _changed(root, changes, now)


def sign_root(data: bytes, keys: Iterable[PrivateKey], before: bytes | None = None) -> bytes:
    """Add the signatures of those keys that may sign a root; the earlier ones stay.

    `before` is the root that this one follows, whose keys have to sign, too.
    """
    metadata = parse_root(data)
    wanted = set(metadata.signed.roles[ROOT].keyids)
    if before is not None:
        wanted |= set(parse_root(before).signed.roles[ROOT].keyids)
    add_signatures(metadata, keys, wanted)
    return metadata.to_bytes()


def names_all(data: bytes, keys: Iterable[PrivateKey]) -> bool:
    """Tell whether a root names all of some keys among those that sign it."""
    named = set(parse_root(data).signed.roles[ROOT].keyids)
    return {tuf_key(each.public).keyid for each in keys} <= named


def check_root(data: bytes, before: bytes | None = None) -> Metadata[Root]:
    """Return a root that enough keys have signed, of its own and of the one that it follows.

    Raises `TrustError` that names what is missing.
    """
    metadata = parse_root(data)
    root, previous = metadata.signed, None
    if before is not None:
        previous = parse_root(before).signed
        if root.version != previous.version + 1:
            message = f"root {root.version} does not follow root {previous.version}"
            raise TrustError(message, hint="make it anew from the root that is published now")
    result = root.get_root_verification_result(previous, metadata.signed_bytes, metadata.signatures)
    if not result:
        raise TrustError(
            f"root {root.version} is not signed by enough keys: {_missing(result.second, 'own')}"
            + (f", {_missing(result.first, 'earlier')}" if previous else ""),
            hint="`cos repo sign-root` adds a signature",
        )
    return metadata


def parse_root(data: bytes) -> Metadata[Root]:
    """Read a root file, whoever signed it; raises `TrustError`."""
    try:
        metadata = Metadata[Root].from_bytes(data)
    except RepositoryError as error:
        raise TrustError("this is no root file", hint="`cos repo init-trust` makes one") from error
    if not isinstance(metadata.signed, Root):
        kind = cast("Metadata[Root]", metadata).signed.type
        raise TrustError(f"this is a {kind} file, not a root file")
    return metadata


def days_of(role: Role, name: str) -> int:
    """Return for how many days a role's signatures are good."""
    days = role.unrecognized_fields.get(_DAYS)
    return days if isinstance(days, int) and 0 < days <= LONGEST else DAYS[name]


def policy_of(data: bytes, role: str, keys: Iterable[PublicKey] | None = None) -> RolePolicy:
    """Return how a role is signed for under a root; with `keys`, by others from now on."""
    root = parse_root(data).signed
    found = root.roles[role]
    if keys is None:
        pems = (root.keys[keyid] for keyid in found.keyids)
        keys = (_public_key(each) for each in pems)
    return RolePolicy(keys=tuple(keys), threshold=found.threshold, days=days_of(found, role))


def _public_key(key: Key) -> PublicKey:
    """Return a key of metadata as ours; raises `TrustError`."""
    text = key.keyval["public"]
    if key.keytype == "ed25519":
        part = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
        return PublicKey(part)
    return parse_public_key(text.encode())


def _missing(result: VerificationResult, whose: str) -> str:
    """Say how many signatures there are."""
    return f"{len(result.signed)} of {result.threshold} {whose}"


def _changed(root: Root, changes: Mapping[str, RolePolicy], now: datetime) -> bytes:
    """Give roles of a root other keys, and the root a new period."""
    for role, policy in changes.items():
        _check(role, policy)
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        for key in policy.keys:
            root.add_key(tuf_key(key), role)
        root.roles[role].keyids.sort()
        root.roles[role].threshold = policy.threshold
        root.roles[role].unrecognized_fields[_DAYS] = policy.days
    days = days_of(root.roles[ROOT], ROOT)
    root.expires = (now + timedelta(days=days)).replace(microsecond=0)
    return Metadata(root).to_bytes()


def _check(role: str, policy: RolePolicy) -> None:
    """Refuse what nobody could sign for."""
    if role not in ROLES:
        raise TrustError(f"{role!r} is no role", hint=f"roles are {', '.join(ROLES)}")
    if not 0 < policy.days <= LONGEST:
        raise TrustError(f"{role}: {policy.days} is no number of days, 1 to {LONGEST}")
    count = len({tuf_key(key).keyid for key in policy.keys})
    if not 0 < policy.threshold <= count:
        message = f"{role}: {policy.threshold} signatures cannot come from {count} keys"
        raise TrustError(message, hint="give as many different keys as have to sign")


def check_restart(data: bytes, current: bytes) -> None:
    """Refuse to count from 1 again under keys by which clients have seen higher numbers.

    Raises `TrustError` if the root `data` leaves a role one of the keys that `current` gives it.
    """
    before, after = (parse_root(each).signed.roles for each in (current, data))
    for role in (TARGETS, SNAPSHOT, TIMESTAMP):
        if set(before[role].keyids) & set(after[role].keyids):
            message = f"--restart needs other keys for the {role}: clients would see an old state"
            raise TrustError(message, hint="--replace online=PUBLIC-KEY changes them")
