"""What clients keep of a repository's keys, and for how long that is good by itself."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from compiler.errors import OutsideError, TrustError
from compiler.repository.trust import ROLES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from compiler.repository.trust.kept import (
    holds,
    kept_root,
    read_root,
    seal_of,
    state_folder,
)
from tests.repository.trust.lab import DAY, NOW, Client, Owner, policy

SECOND = timedelta(seconds=1)


def test_a_root_that_was_kept_is_found_again(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_bytes(b"root")

    assert kept_root(tmp_path) == b"root"
    assert kept_root(tmp_path / "other") is None


def test_a_root_that_cannot_be_read_is_no_reason_to_go_on_without(tmp_path: Path) -> None:
    (tmp_path / "root.json").mkdir()

    with pytest.raises(TrustError) as caught:
        kept_root(tmp_path)

    assert str(caught.value) == (
        f"{tmp_path}/root.json: cannot be read: Is a directory"
        " (without its root, nothing of the repository is used)"
    )


@pytest.mark.parametrize("target", ["nowhere", "root.json"])
def test_a_root_that_leads_nowhere_is_no_reason_to_go_on_without(
    tmp_path: Path, target: str
) -> None:
    (tmp_path / "root.json").symlink_to(target)

    with pytest.raises(TrustError, match=r"root\.json: cannot be read"):
        kept_root(tmp_path)


def test_what_is_far_too_large_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "root").write_bytes(bytes(512_001))

    with pytest.raises(TrustError) as caught:
        read_root(tmp_path / "root")

    assert str(caught.value) == f"{tmp_path}/root: is no root of a repository"


def test_a_folder_for_what_was_seen_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"")

    with pytest.raises(OutsideError) as caught:
        state_folder(tmp_path)

    assert str(caught.value) == f"{tmp_path}/state: cannot be written: File exists"


def test_a_root_has_its_own_seal() -> None:
    seals = [seal_of(None), seal_of(b""), seal_of(b"one"), seal_of(b"two")]

    assert seals[0] == ""
    assert len(set(seals)) == 4
    assert seal_of(b"one") == seal_of(b"one")


def test_nothing_holds_where_nothing_was_seen(tmp_path: Path) -> None:
    assert not holds(tmp_path, NOW)
    assert not holds(tmp_path / "nowhere", NOW)


def test_what_was_seen_holds_until_the_first_of_its_ends(client: Client) -> None:
    client.visit()

    assert holds(client.state, NOW + 7 * DAY - SECOND)
    assert not holds(client.state, NOW + 7 * DAY)


@pytest.mark.parametrize(
    ("role", "names", "days"),
    [(SNAPSHOT, (TIMESTAMP,), 30), (TARGETS, (SNAPSHOT, TIMESTAMP), 90),
     (ROOT, (TARGETS, SNAPSHOT, TIMESTAMP), 365)],
)  # fmt: skip
def test_each_role_ends_what_was_seen(
    client: Client, owner: Owner, role: str, names: tuple[str, ...], days: int
) -> None:
    end = NOW + days * DAY
    owner.refresh(end - DAY, *names)
    client.visit(end - DAY)

    assert (holds(client.state, end - SECOND), holds(client.state, end)) == (True, False), role


def test_the_newest_root_is_the_one_that_counts(client: Client, owner: Owner) -> None:
    later = NOW + 364 * DAY
    owner.rotate({ROOT: policy(ROOT, "root-2")}, later)
    owner.publish(now=later)
    client.visit(later)

    assert holds(client.state, NOW + 366 * DAY)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"{}", b'{"signed":[]}', b'{"signed":{"expires":7}}', b"\xff",
     b'{"signed":{"expires":"soon"}}', b"[" * 9999],
)  # fmt: skip
def test_what_was_damaged_does_not_hold(client: Client, role: str, text: bytes) -> None:
    client.visit()

    (client.state / f"{role}.json").write_bytes(text)

    assert not holds(client.state, NOW)


@pytest.mark.parametrize("end", ["2026-03-02T00:00:00Z", "2026-03-02T00:00:00"])
def test_times_are_in_utc(client: Client, end: str) -> None:
    client.visit()
    (client.state / "timestamp.json").write_text(json.dumps({"signed": {"expires": end}}))

    assert holds(client.state, NOW + 11 * 3600 * SECOND)
    assert not holds(client.state, NOW + 13 * 3600 * SECOND)
