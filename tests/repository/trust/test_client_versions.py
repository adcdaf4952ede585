"""What clients refuse although good keys have signed it once: old states, and states mixed."""

from datetime import timedelta
from pathlib import Path

import pytest

from compiler.repository.trust import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, target_of_bytes
from tests.repository.trust.lab import (
    DAY,
    DAYS,
    HELD,
    NOW,
    Attacker,
    Client,
    Owner,
    Signed,
    later,
    policy,
)

OLD = "somebody may be showing an old state"
HELD_BACK = f"{OLD}; or nobody has signed it again: `cos repo refresh`"
CHANGING = "the repository may be changing just now; if this stays, do not trust it"
OTHERS = (
    "the keys that its root names have to sign; is the root of another repository, or has somebody "
    "else written this?"
)
STOLEN = (SNAPSHOT, TIMESTAMP)


def test_an_old_state_is_refused_by_who_saw_a_newer_one(
    client: Client, owner: Owner, attacker: Attacker
) -> None:
    old = attacker.copy()
    owner.publish(artifacts={"a.tar": "2"})
    client.visit()

    attacker.put_back(old)

    assert client.refusal() == (
        f"main: timestamp.json is older than what was seen before, or names older files ({OLD})"
    )


def test_an_old_state_is_refused_also_after_a_visit_that_found_nothing_new(
    client: Client, owner: Owner, attacker: Attacker
) -> None:
    old = attacker.copy()
    owner.publish(artifacts={"a.tar": "2"})
    client.visit()
    client.visit()
    attacker.put_back(old)
    client.refusal()

    assert client.refusal() == (
        f"main: timestamp.json is older than what was seen before, or names older files ({OLD})"
    )


def test_an_old_snapshot_under_a_new_timestamp_is_refused(
    client: Client, owner: Owner, attacker: Attacker
) -> None:
    old = attacker.forge(SNAPSHOT, lambda _signed: None, SNAPSHOT)
    owner.publish(artifacts={"a.tar": "2"})
    client.visit()

    attacker.name_snapshot(old, TIMESTAMP)

    assert client.refusal() == (
        f"main: timestamp.json is older than what was seen before, or names older files ({OLD})"
    )


@pytest.mark.parametrize("role", [TARGETS, "bin-00"])
def test_old_targets_under_a_new_snapshot_are_refused(
    client: Client, owner: Owner, attacker: Attacker, role: str
) -> None:
    old = attacker.forge(role, lambda _signed: None, TARGETS)
    owner.publish({"repository.yaml": "2"}, {"a.tar": "2"})
    client.visit().require("a.tar")

    attacker.name_targets(role, old, *STOLEN)

    assert client.refusal() == (
        f"main: 3.snapshot.json is older than what was seen before, or names older files ({OLD})"
    )


def test_a_snapshot_that_no_longer_names_a_bin_is_refused(
    client: Client, attacker: Attacker
) -> None:
    client.visit()

    def drop(signed: Signed) -> None:
        signed.version += 1
        del signed.meta["bin-01.json"]

    attacker.name_snapshot(attacker.forge(SNAPSHOT, drop, SNAPSHOT), TIMESTAMP)

    assert client.refusal() == (
        "main: 2.snapshot.json is not as it has to be: New snapshot is missing info for"
        " 'bin-01.json' (the repository may be damaged)"
    )


@pytest.mark.parametrize(
    ("role", "signing"),
    [
        (TIMESTAMP, ()),
        (SNAPSHOT, (TIMESTAMP,)),
        (TARGETS, (SNAPSHOT, TIMESTAMP)),
        (ROOT, (TARGETS, SNAPSHOT, TIMESTAMP)),
    ],
)
def test_what_nobody_signs_again_is_good_until_its_day_and_no_longer(
    client: Client, owner: Owner, role: str, signing: tuple[str, ...]
) -> None:
    end = NOW + DAYS[role] * DAY
    if signing:
        owner.refresh(end - DAY, *signing)

    assert client.visit(end - timedelta(seconds=1)).require("a.tar") == target_of_bytes(b"1")
    assert client.refusal(end) == (
        f"main: {role}.json has expired (is the clock right? {HELD_BACK})"
    )


def test_a_frozen_state_is_refused_by_who_has_never_seen_another(
    tmp_path: Path, owner: Owner, attacker: Attacker
) -> None:
    old = attacker.copy()
    owner.publish(now=NOW + 30 * DAY)
    attacker.put_back(old)

    client = Client(tmp_path / "new", owner)

    assert client.refusal(NOW + 30 * DAY) == (
        f"main: timestamp.json has expired (is the clock right? {HELD_BACK})"
    )


def test_a_state_that_expired_meanwhile_is_no_hindrance(client: Client, owner: Owner) -> None:
    client.visit()
    owner.publish(artifacts={"a.tar": "2"}, now=NOW + 200 * DAY)

    assert client.visit(NOW + 200 * DAY).require("a.tar") == target_of_bytes(b"2")


def test_a_bin_that_has_expired_is_refused(client: Client, attacker: Attacker) -> None:
    def expire(signed: Signed) -> None:
        signed.version += 1
        signed.expires = NOW

    forged = attacker.forge("bin-00", expire, TARGETS)
    attacker.name_targets("bin-00", forged, *STOLEN)

    assert client.refusal_of("a.tar") == (
        f"main: bin-00.json has expired (is the clock right? {HELD_BACK})"
    )


@pytest.mark.parametrize(("role", "asked"), [(SNAPSHOT, ""), (TARGETS, ""), ("bin-00", "a.tar")])
def test_files_of_two_states_are_refused(
    client: Client, owner: Owner, attacker: Attacker, role: str, asked: str
) -> None:
    old = attacker.newest(role).read_bytes()
    owner.publish({"repository.yaml": "2"}, {"a.tar": "2"})

    attacker.write(role, old)

    found = client.refusal_of(asked) if asked else client.refusal()
    assert found == (
        f"main: 2.{role}.json is not the one that is named as the newest: files of several states"
        f" ({CHANGING})"
    )


@pytest.mark.parametrize(("role", "asked"), [(SNAPSHOT, ""), (TARGETS, ""), ("bin-00", "a.tar")])
def test_a_file_of_another_version_than_the_one_that_is_named_is_refused(
    client: Client, attacker: Attacker, role: str, asked: str
) -> None:
    forged = attacker.forge(role, lambda _signed: None, *HELD)
    forged.version += 1
    (attacker.folder / f"2.{role}.json").write_bytes(attacker.newest(role).read_bytes())
    if role == SNAPSHOT:
        attacker.name_snapshot(forged, *HELD)
    else:
        copy = (attacker.folder / f"1.{SNAPSHOT}.json").read_bytes()
        attacker.name_targets(role, forged, *HELD)
        (attacker.folder / f"1.{SNAPSHOT}.json").write_bytes(copy)

    found = client.refusal_of(asked) if asked else client.refusal()
    why = {
        SNAPSHOT: f"is older than what was seen before, or names older files ({OLD})",
        TARGETS: "is of another version than the snapshot says (do not trust it if this stays)",
    }
    assert found == f"main: 2.{role}.json {why.get(role, why[TARGETS])}"


def _far(signed: Signed) -> None:
    signed.version = 10**9


def _recovers(client: Client, owner: Owner, *roles: str) -> None:
    """Replace keys, and see that a client follows."""
    owner.publish(artifacts={"a.tar": "2"})
    owner.rotate({role: policy(role, f"{role}-2") for role in roles})
    assert client.visit().require("a.tar") == target_of_bytes(b"2")
    owner.publish(artifacts={"a.tar": "3"})
    assert client.visit().require("a.tar") == target_of_bytes(b"3")


def test_after_a_timestamp_from_far_ahead_a_new_key_is_believed(
    client: Client, owner: Owner, attacker: Attacker
) -> None:
    honest = attacker.copy()
    attacker.forge(TIMESTAMP, _far, TIMESTAMP)
    client.visit()
    attacker.put_back(honest)
    owner.refresh(NOW, TIMESTAMP)
    assert client.refusal() == (
        f"main: timestamp.json is older than what was seen before, or names older files ({OLD})"
    )

    _recovers(client, owner, TIMESTAMP)


def test_after_a_snapshot_from_far_ahead_new_keys_are_believed(
    client: Client, owner: Owner, attacker: Attacker
) -> None:
    honest = attacker.copy()
    attacker.name_snapshot(attacker.forge(SNAPSHOT, _far, SNAPSHOT), TIMESTAMP)
    client.visit()
    attacker.put_back(honest)
    for text in ("8", "9"):  # twice: the attacker's timestamp has the version of the first one
        owner.publish(artifacts={"a.tar": text})
    assert client.refusal().endswith(f"or names older files ({OLD})")

    _recovers(client, owner, SNAPSHOT, TIMESTAMP)


@pytest.mark.parametrize("role", [TARGETS, "bin-00"])
def test_after_targets_from_far_ahead_new_keys_are_believed(
    client: Client, owner: Owner, attacker: Attacker, role: str
) -> None:
    honest = attacker.copy()
    attacker.name_targets(role, attacker.forge(role, _far, TARGETS), *STOLEN)
    client.visit().require("a.tar")
    attacker.put_back(honest)
    for text in ("8", "9"):  # twice: the attacker's timestamp has the version of the first one
        owner.publish(artifacts={"a.tar": text})
    assert client.refusal().endswith(f"or names older files ({OLD})")

    _recovers(client, owner, TARGETS, SNAPSHOT, TIMESTAMP)


def test_a_repository_that_counts_from_one_again_is_believed_under_new_keys(
    client: Client, owner: Owner, attacker: Attacker
) -> None:
    attacker.name_targets(TARGETS, attacker.forge(TARGETS, _far, TARGETS), *STOLEN)
    client.visit()

    owner.restart({role: policy(role, f"{role}-2") for role in (TARGETS, SNAPSHOT, TIMESTAMP)})

    assert client.visit().require("a.tar") == target_of_bytes(b"1")


def test_the_stolen_keys_are_worth_nothing_after_they_were_replaced(
    client: Client, owner: Owner, attacker: Attacker
) -> None:
    owner.rotate({role: policy(role, f"{role}-2") for role in (TARGETS, SNAPSHOT, TIMESTAMP)})

    attacker.forge(TIMESTAMP, later, TIMESTAMP)

    assert client.refusal() == (
        f"main: timestamp.json is signed by other keys than those that its root names ({OTHERS})"
    )


def test_an_old_state_under_the_new_root_is_refused_after_a_change_of_keys(
    client: Client, owner: Owner, attacker: Attacker
) -> None:
    client.visit()
    owner.rotate({TIMESTAMP: policy(TIMESTAMP, "timestamp-2")})
    old = attacker.copy()
    owner.publish(artifacts={"a.tar": "2"})
    client.visit()

    attacker.put_back(old)

    assert client.refusal() == (
        f"main: timestamp.json is older than what was seen before, or names older files ({OLD})"
    )


@pytest.mark.parametrize("days", [0, 1000])  # after 1000 all that was seen has expired
def test_who_sleeps_through_changes_of_all_keys_follows_them_one_by_one(
    client: Client, owner: Owner, days: int
) -> None:
    client.visit()
    now = NOW + days * DAY
    for number in ("-2", "-3", ""):
        owner.rotate({role: policy(role, f"{role}{number}") for role in DAYS}, now)
    owner.publish(artifacts={"a.tar": "2"}, now=now)

    assert client.visit(now).require("a.tar") == target_of_bytes(b"2")
    assert (client.state / "root.json").read_bytes() == owner.root
