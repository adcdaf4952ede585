"""Roots that follow each other: what clients take for the next one, and what they miss."""

from pathlib import Path

import pytest

from compiler.repository.trust import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, target_of_bytes
from compiler.repository.trust.root import next_root, sign_root
from tests.repository.trust.lab import DAY, NOW, Attacker, Client, Owner, keys, policy

OTHERS = (
    "the keys that its root names have to sign; is the root of another repository, or has somebody "
    "else written this?"
)
FOLLOW = "it has to follow the one before"


def two_of_three(place: Path) -> Owner:
    """Make an owner of whose root keys two have to sign."""
    place.mkdir()
    made = Owner(place, {ROOT: policy(ROOT, "root", "root-2", "root-3", threshold=2)})
    made.publish()
    return made


def offer(owner: Owner, root: bytes, version: int = 2) -> None:
    """Put a root where clients look for the next one."""
    owner.place.write({f"{version}.root.json": root})


def test_a_root_that_is_held_back_is_missed(
    client: Client, owner: Owner, attacker: Attacker
) -> None:
    owner.rotate({ROOT: policy(ROOT, "root-2")})

    (attacker.folder / "2.root.json").unlink()

    assert client.refusal() == (
        "main: 2.root.json is missing, root 2 is the newest"
        " (the repository, or somebody on the way, holds it back)"
    )


def test_a_root_that_is_held_back_while_keys_changed_is_missed(
    client: Client, owner: Owner, attacker: Attacker
) -> None:
    owner.rotate({TIMESTAMP: policy(TIMESTAMP, "timestamp-2")})

    (attacker.folder / "2.root.json").unlink()

    assert client.refusal() == (
        f"main: timestamp.json is signed by other keys than those that its root names ({OTHERS})"
    )


def test_a_root_that_was_seen_once_needs_not_be_shown_again(
    client: Client, owner: Owner, attacker: Attacker
) -> None:
    owner.rotate({ROOT: policy(ROOT, "root-2")})
    client.visit()

    (attacker.folder / "2.root.json").unlink()

    assert client.visit().require("a.tar") == target_of_bytes(b"1")


@pytest.mark.parametrize(
    ("signers", "why"),
    [
        (("root",), "is signed by other keys than those that its root names"),
        (("root-2",), "is signed by other keys than those that its root names"),
        (("thief", "targets"), "has no signature"),  # theirs are not even added
    ],
)
def test_a_root_that_only_one_side_signed_is_refused(
    client: Client, owner: Owner, signers: tuple[str, ...], why: str
) -> None:
    root = next_root(owner.first, {ROOT: policy(ROOT, "root-2")}, NOW)

    offer(owner, sign_root(root, keys(*signers), owner.first))

    assert client.refusal() == f"main: 2.root.json {why} ({OTHERS})"


@pytest.mark.parametrize(
    ("signers", "enough"),
    [
        (("root", "root-2", "root-4", "root-5"), "both"),
        (("root", "root-2", "root-3", "root-4"), "the old ones"),
        (("root", "root-4", "root-5", "root-6"), "the new ones"),
    ],
)
def test_a_root_needs_the_threshold_of_the_old_keys_and_of_the_new_ones(
    tmp_path: Path, signers: tuple[str, ...], enough: str
) -> None:
    owner = two_of_three(tmp_path / "repository")
    client = Client(tmp_path / "client", owner)
    others = policy(ROOT, "root-4", "root-5", "root-6", threshold=2)
    root = next_root(owner.first, {ROOT: others}, NOW)

    offer(owner, sign_root(root, keys(*signers), owner.first))

    if enough == "both":
        assert client.visit().require("a.tar") == target_of_bytes(b"1")
    else:
        assert client.refusal() == (
            f"main: 2.root.json is signed by 1 of the 2 keys that are needed ({OTHERS})"
        )


@pytest.mark.parametrize("threshold", [1, 3])
def test_a_threshold_that_changes_counts_from_the_root_that_says_so(
    tmp_path: Path, threshold: int
) -> None:
    owner = two_of_three(tmp_path / "repository")
    client = Client(tmp_path / "client", owner)
    names = ("root", "root-2", "root-3")
    owner.rotate({ROOT: policy(ROOT, *names, threshold=threshold)})

    third = next_root(owner.root, {}, NOW)
    offer(owner, sign_root(third, keys(*names[: threshold - 1])), 3)
    found = client.refusal()
    offer(owner, sign_root(third, keys(*names[:threshold])), 3)

    counts = f"is signed by {threshold - 1} of the {threshold} keys that are needed"
    assert (
        found == f"main: 3.root.json {counts if threshold > 1 else 'has no signature'} ({OTHERS})"
    )
    assert client.visit().require("a.tar") == target_of_bytes(b"1")


def test_a_root_that_skips_a_version_is_refused(client: Client, owner: Owner) -> None:
    skipped = next_root(sign_root(next_root(owner.first, {}, NOW), keys("root")), {}, NOW)

    offer(owner, sign_root(skipped, keys("root")))

    assert client.refusal() == f"main: 2.root.json holds another version of the root ({FOLLOW})"


def test_an_old_root_that_is_shown_as_the_next_one_is_refused(client: Client, owner: Owner) -> None:
    offer(owner, owner.first)

    assert client.refusal() == f"main: 2.root.json holds another version of the root ({FOLLOW})"


def test_the_roots_of_a_thief_are_not_followed(client: Client, owner: Owner) -> None:
    stolen = next_root(owner.first, {ROOT: policy(ROOT, "thief")}, NOW)

    offer(owner, sign_root(stolen, keys("thief", TARGETS, SNAPSHOT, TIMESTAMP), owner.first))

    assert client.refusal() == (
        f"main: 2.root.json is signed by other keys than those that its root names ({OTHERS})"
    )


def test_a_root_on_the_way_may_have_expired_but_the_last_may_not(
    client: Client, owner: Owner
) -> None:
    late = NOW + 800 * DAY
    owner.rotate(now=NOW + 400 * DAY)
    owner.rotate(now=late)
    owner.publish(now=late)

    assert client.visit(late).require("a.tar") == target_of_bytes(b"1")
    assert client.refusal(late + 365 * DAY).startswith("main: root.json has expired")


def test_a_new_first_root_is_the_beginning_whatever_was_seen_under_the_old_one(
    client: Client, owner: Owner, tmp_path: Path
) -> None:
    for _ in range(3):
        owner.publish(artifacts={"a.tar": "2"})
        owner.rotate()
    client.visit()
    new = {role: policy(role, f"{role}-3") for role in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)}
    (tmp_path / "new").mkdir()
    again = Owner(tmp_path / "new", new)
    again.publish()

    moved = Client(tmp_path / "client", again)

    assert moved.state == client.state
    assert moved.visit().require("a.tar") == target_of_bytes(b"1")
    assert (moved.state / "root.json").read_bytes() == again.root
