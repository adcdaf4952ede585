"""What whoever publishes next reads: never anything that was not signed, whatever lies there."""

import json
from collections.abc import Callable

import pytest

from compiler.errors import TrustError
from compiler.repository.trust import (
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    target_of_bytes,
)
from compiler.repository.trust.published import read_published
from compiler.repository.trust.root import next_root, sign_root
from tests.repository.trust.lab import (
    ARTIFACTS,
    DAY,
    HELD,
    INDEX,
    NOW,
    Attacker,
    Client,
    Owner,
    Signed,
    keys,
    later,
    policy,
    targets_of,
)

CHANGED = "somebody may have changed it"


def refusal(owner: Owner) -> str:
    """Fail to publish; returns why."""
    with pytest.raises(TrustError) as caught:
        owner.publish(artifacts={"a.tar": "2"})
    return str(caught.value)


def poison(signed: Signed) -> None:
    """Be the next version, in which b.tar is something else."""
    signed.version += 1
    signed.targets["b.tar"] = signed.targets.pop("a.tar")


def test_a_place_without_metadata_is_begun(owner: Owner) -> None:
    assert read_published(lambda _name: None, owner.root) is None


def test_everything_that_is_signed_is_read(owner: Owner) -> None:
    published = owner.published()
    assert published is not None

    assert dict(published.all_targets()) == targets_of(INDEX) | targets_of(ARTIFACTS)


def test_what_has_expired_is_read_and_made_good_by_the_next_publication(
    owner: Owner, client: Client
) -> None:
    later_on = NOW + 360 * DAY

    owner.publish(artifacts={"a.tar": "2"}, now=later_on)

    assert client.visit(later_on).require("b.tar") == target_of_bytes(b"1")


@pytest.mark.parametrize(
    ("forge", "file"),
    [
        (lambda attacker: attacker.forge(TIMESTAMP, later, "thief"), "timestamp.json"),
        (lambda attacker: attacker.forge(TIMESTAMP, later), "timestamp.json"),
        (
            lambda attacker: attacker.name_snapshot(
                attacker.forge(SNAPSHOT, later, TIMESTAMP), TIMESTAMP
            ),
            "2.snapshot.json",
        ),
        (
            lambda attacker: attacker.name_targets(
                "bin-00", attacker.forge("bin-00", later, SNAPSHOT), SNAPSHOT, TIMESTAMP
            ),
            "2.bin-00.json",
        ),
        (
            lambda attacker: attacker.name_targets(
                TARGETS, attacker.forge(TARGETS, later, SNAPSHOT), SNAPSHOT, TIMESTAMP
            ),
            "2.targets.json",
        ),
    ],
)
def test_what_other_keys_have_signed_is_not_built_upon(
    owner: Owner, attacker: Attacker, forge: Callable[[Attacker], object], file: str
) -> None:
    forge(attacker)
    before = attacker.copy()

    assert refusal(owner) == f"{file}: is not signed by the keys that the root names ({CHANGED})"
    assert attacker.copy() == before


@pytest.mark.parametrize("role", [SNAPSHOT, TARGETS, "bin-00"])
def test_what_was_changed_after_it_was_signed_is_not_built_upon(
    owner: Owner, attacker: Attacker, role: str
) -> None:
    attacker.write(role, attacker.newest(role).read_bytes() + b" ")

    assert refusal(owner) == f"1.{role}.json: is not the one that is named as the newest"


@pytest.mark.parametrize("role", [SNAPSHOT, TARGETS, "bin-00"])
def test_what_is_missing_is_told(owner: Owner, attacker: Attacker, role: str) -> None:
    attacker.newest(role).unlink()

    assert refusal(owner) == f"1.{role}.json: is missing, although it is named as the newest"


def test_another_kind_of_metadata_is_not_built_upon(owner: Owner, attacker: Attacker) -> None:
    attacker.write(TIMESTAMP, attacker.newest(SNAPSHOT).read_bytes())

    assert refusal(owner) == "timestamp.json: holds another kind of metadata"


def test_what_is_no_metadata_is_not_built_upon(owner: Owner, attacker: Attacker) -> None:
    attacker.write(TIMESTAMP, b"[]")

    assert refusal(owner) == "timestamp.json: cannot be read: Failed to deserialize JSON"


@pytest.mark.parametrize("role", [SNAPSHOT, TARGETS, "bin-00"])
def test_a_version_that_does_not_fit_its_name_is_not_built_upon(
    owner: Owner, attacker: Attacker, role: str
) -> None:
    meta = attacker.forge(role, later, *HELD)
    path = attacker.folder / f"2.{role}.json"
    meta.version = 3
    path.rename(attacker.folder / f"3.{role}.json")
    if role == SNAPSHOT:
        attacker.name_snapshot(meta, *HELD)
    else:
        attacker.name_targets(role, meta, *HELD)

    assert refusal(owner) == f"3.{role}.json: is of another version, 2"


def test_a_bin_that_the_snapshot_does_not_name_is_not_built_upon(
    owner: Owner, attacker: Attacker
) -> None:
    def drop(signed: Signed) -> None:
        signed.version += 1
        del signed.meta["bin-00.json"]

    attacker.name_snapshot(attacker.forge(SNAPSHOT, drop, SNAPSHOT), TIMESTAMP)

    assert refusal(owner) == "the snapshot does not name bin-00.json"


def test_a_root_that_the_owner_does_not_know_and_has_not_signed_is_not_followed(
    owner: Owner, attacker: Attacker
) -> None:
    change = {ROOT: policy(ROOT, "thief"), TIMESTAMP: policy(TIMESTAMP, "thief")}
    stolen = sign_root(next_root(owner.root, change, NOW), keys("thief"), owner.root)
    (attacker.folder / "2.root.json").write_bytes(stolen)

    published = owner.published()

    assert published is not None
    assert published.root_data == owner.root
    assert list(published.warnings()) == [
        "2.root.json does not follow the root that counts, and machines refuse the repository "
        "until `cos repo rotate` writes the next root in its place"
    ]


def test_a_root_that_is_newer_than_the_one_at_home_is_followed(owner: Owner) -> None:
    first = owner.root
    owner.rotate({TIMESTAMP: policy(TIMESTAMP, "timestamp-2")})

    published = read_published(owner.place.read, first)

    assert published is not None
    assert published.root.version == 2


def test_a_root_that_was_taken_away_is_known_at_home(owner: Owner, attacker: Attacker) -> None:
    owner.rotate({TIMESTAMP: policy(TIMESTAMP, "timestamp-2")})

    (attacker.folder / "2.root.json").unlink()

    published = owner.published()
    assert published is not None
    assert published.root.version == 2


def test_entries_that_were_signed_with_stolen_keys_end_with_a_new_beginning(
    owner: Owner, attacker: Attacker, client: Client
) -> None:
    attacker.name_targets("bin-00", attacker.forge("bin-00", poison, TARGETS), SNAPSHOT, TIMESTAMP)
    assert client.visit().target("a.tar") is None

    owner.restart({each: policy(each, f"{each}-2") for each in (TARGETS, SNAPSHOT, TIMESTAMP)})

    assert client.visit().require("a.tar") == target_of_bytes(b"1")


def test_extra_files_change_nothing(owner: Owner, attacker: Attacker, client: Client) -> None:
    text = json.loads(attacker.newest(TARGETS).read_bytes())
    text["signed"]["version"] = 9
    (attacker.folder / "9.targets.json").write_text(json.dumps(text))
    (attacker.folder / "evil.json").write_text("{}")

    owner.publish(artifacts={"a.tar": "2"})

    assert client.visit().require("a.tar") == target_of_bytes(b"2")
