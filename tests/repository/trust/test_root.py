"""Root files: made, carried, signed by several people, and refused."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tuf.api.metadata import Metadata, Root

from compiler.errors import TrustError
from compiler.repository.trust import ROLES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from compiler.repository.trust.root import (
    RolePolicy,
    check_root,
    days_of,
    first_root,
    make_policy,
    next_root,
    parse_root,
    policy_of,
    sign_root,
)
from compiler.signing.keys import PrivateKey
from tests.repository.trust.lab import DAY, NOW, Owner, keys, policy

ADD = "`cos repo sign-root` adds a signature"
ONE, TWO, THREE = keys("root", "root-2", "root-3")
PUBLICS = [each.public for each in (ONE, TWO, THREE)]
ONLINE = keys("online")


def made(threshold: int = 1) -> bytes:
    names = [each.public for each in ONLINE]
    return first_root(make_policy(PUBLICS, names, root_threshold=threshold), NOW)


def test_the_usual_policy_has_keys_for_the_root_and_others_for_the_rest() -> None:
    found = make_policy(PUBLICS, [ONLINE[0].public], root_threshold=2)

    assert {role: (len(each.keys), each.threshold, each.days) for role, each in found.items()} == {
        ROOT: (3, 2, 365), TARGETS: (1, 1, 90), SNAPSHOT: (1, 1, 90), TIMESTAMP: (1, 1, 7)
    }  # fmt: skip


def test_people_sign_one_after_the_other_in_any_order() -> None:
    root = made(2)

    one = sign_root(sign_root(root, [ONE]), [THREE])
    two = sign_root(sign_root(root, [THREE]), [ONE])

    assert check_root(one).signed == check_root(two).signed
    assert parse_root(one).signatures == parse_root(two).signatures


def test_signing_twice_changes_nothing() -> None:
    once = sign_root(made(2), [ONE])

    assert sign_root(once, [ONE]) == once


def test_keys_that_may_not_sign_a_root_add_nothing() -> None:
    root = made()

    assert sign_root(root, [*ONLINE, *keys("thief")]) == root


@pytest.mark.parametrize(("signers", "count"), [((), 0), ((ONE,), 1), ((ONE, ONE), 1)])
def test_a_root_without_enough_signatures_is_refused(
    signers: tuple[PrivateKey, ...], count: int
) -> None:
    with pytest.raises(TrustError) as caught:
        check_root(sign_root(made(2), signers))

    assert str(caught.value) == (f"root 1 is not signed by enough keys: {count} of 2 own ({ADD})")


def test_the_next_root_has_to_be_signed_by_both_sides() -> None:
    first = sign_root(made(2), [ONE, TWO])
    new = policy(ROOT, "root-4", "root-5", threshold=2)
    second = sign_root(next_root(first, {ROOT: new}, NOW), [ONE, *keys("root-4", "root-5")], first)

    with pytest.raises(TrustError) as caught:
        check_root(second, first)

    assert str(caught.value) == (
        f"root 2 is not signed by enough keys: 2 of 2 own, 1 of 2 earlier ({ADD})"
    )
    assert check_root(sign_root(second, [TWO], first), first).signed.version == 2


def test_a_root_that_does_not_follow_is_refused() -> None:
    first = sign_root(made(), [ONE])
    third = sign_root(next_root(next_root(first, {}, NOW), {}, NOW), [ONE])

    with pytest.raises(TrustError) as caught:
        check_root(third, first)

    assert str(caught.value) == (
        "root 3 does not follow root 1 (make it anew from the root that is published now)"
    )


@pytest.mark.parametrize("data", [b"", b"{}", b"-----BEGIN PUBLIC KEY-----", b"[" * 9999, b"\xff"])
def test_what_is_no_root_is_told(data: bytes) -> None:
    with pytest.raises(TrustError) as caught:
        parse_root(data)

    assert str(caught.value) == "this is no root file (`cos repo init-trust` makes one)"


def test_other_metadata_is_no_root(owner: Owner) -> None:
    data = owner.place.read("timestamp.json")
    assert data is not None

    with pytest.raises(TrustError) as caught:
        parse_root(data)

    assert str(caught.value) == "this is a timestamp file, not a root file"


@pytest.mark.parametrize(
    ("role", "change", "message"),
    [
        ("owner", {}, "'owner' is no role (roles are root, targets, snapshot, timestamp)"),
        (TARGETS, {"days": 0}, "targets: 0 is no number of days, 1 to 3650"),
        (TARGETS, {"days": 3651}, "targets: 3651 is no number of days, 1 to 3650"),
        (TARGETS, {"threshold": 0}, "targets: 0 signatures cannot come from 3 keys"
                                    " (give as many different keys as have to sign)"),
        (ROOT, {"threshold": 4}, "root: 4 signatures cannot come from 3 keys"
                                 " (give as many different keys as have to sign)"),
        (ROOT, {"keys": (PUBLICS[0], PUBLICS[0]), "threshold": 2},
         "root: 2 signatures cannot come from 1 keys"
         " (give as many different keys as have to sign)"),
        (ROOT, {"keys": ()}, "root: 1 signatures cannot come from 0 keys"
                             " (give as many different keys as have to sign)"),
    ],
)  # fmt: skip
def test_a_policy_that_nobody_could_fulfil_is_refused(
    role: str, change: dict[str, object], message: str
) -> None:
    good = RolePolicy(keys=tuple(PUBLICS), days=30)
    first = sign_root(made(), [ONE])

    with pytest.raises(TrustError) as caught:
        next_root(first, {role: replace(good, **change)}, NOW)  # type: ignore[arg-type]

    assert str(caught.value) == message


def test_a_policy_is_read_back_from_a_root() -> None:
    first = made(2)

    found = policy_of(first, ROOT)

    assert {each.pem for each in found.keys} == {each.pem for each in PUBLICS}
    assert (found.threshold, found.days) == (2, 365)
    assert policy_of(first, ROOT, [TWO.public]).keys == (TWO.public,)


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1()),
     ec.generate_private_key(ec.SECP521R1()), rsa.generate_private_key(65537, 2048),
     keys("any")[0].part],
    ids=["p256", "p384", "p521", "rsa", "ed25519"],
)  # fmt: skip
def test_keys_of_all_kinds_are_read_back_and_sign(key: ec.EllipticCurvePrivateKey) -> None:
    private = PrivateKey(key)
    policies = make_policy([private.public], [private.public])

    root = sign_root(first_root(policies, NOW), [private])

    assert check_root(root).signed.version == 1
    assert [policy_of(root, role).keys for role in ROLES] == [(private.public,)] * len(ROLES)


def test_what_changes_is_changed_and_the_rest_stays() -> None:
    first = sign_root(made(), [ONE])

    second = next_root(first, {TIMESTAMP: policy(TIMESTAMP, "timestamp-2")}, NOW + DAY)

    for role in (ROOT, TARGETS, SNAPSHOT):
        assert policy_of(second, role) == policy_of(first, role)
    assert policy_of(second, TIMESTAMP) == policy(TIMESTAMP, "timestamp-2")
    assert parse_root(second).signed.version == 2
    assert parse_root(second).signed.expires == NOW + 366 * DAY


def test_keys_that_no_role_has_any_more_are_gone_from_the_root() -> None:
    first = sign_root(made(), [ONE])

    second = parse_root(next_root(first, {ROOT: policy(ROOT, "root-2")}, NOW)).signed

    used = {keyid for role in second.roles.values() for keyid in role.keyids}
    assert set(second.keys) == used


def test_the_period_of_a_root_is_its_own() -> None:
    policies = make_policy(PUBLICS, [ONLINE[0].public])
    policies[ROOT] = replace(policies[ROOT], days=30)

    root = parse_root(first_root(policies, NOW + timedelta(microseconds=7))).signed

    assert root.expires == NOW + 30 * DAY


@pytest.mark.parametrize("days", [None, 0, -3, 3651, "7", 1.5, [7]])
def test_a_period_that_cannot_be_is_the_usual_one(days: object) -> None:
    metadata = Metadata[Root].from_bytes(made())
    role = metadata.signed.roles[TIMESTAMP]
    role.unrecognized_fields["x-cos-toolkit-days"] = days

    assert days_of(role, TIMESTAMP) == 7
