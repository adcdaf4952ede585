"""What clients take from a signed repository: only what its keys signed, and no more of it."""

import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from compiler.errors import ContentError, NotFoundError, OutsideError, TrustError
from compiler.oci import Digest
from compiler.repository.trust import (
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Target,
    limit_of,
    target_of_bytes,
)
from compiler.repository.trust.client import TrustedRepository
from tests.repository.trust.lab import (
    ARTIFACTS,
    DAY,
    HELD,
    INDEX,
    NOW,
    Attacker,
    Client,
    Owner,
    later,
    policy,
    targets_of,
)

OTHERS = (
    "the keys that its root names have to sign; is the root of another repository, or has somebody "
    "else written this?"
)
CHANGING = "the repository may be changing just now; if this stays, do not trust it"


def test_what_was_signed_is_known_by_length_and_hash(client: Client) -> None:
    repository = client.visit()

    found = {name: repository.target(name) for name in (*INDEX, *ARTIFACTS, "other")}

    assert found == {**targets_of(INDEX), **targets_of(ARTIFACTS), "other": None}


def test_the_first_question_brings_everything_up_to_date(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    (tmp_path / "repository").mkdir()
    owner = Owner(tmp_path / "repository", now=now)
    owner.publish(now=now)
    client = Client(tmp_path / "client", owner)
    client.visit(now)
    owner.publish(artifacts={"a.tar": "2"}, now=now)

    repository = TrustedRepository(client.root, client.state, client.fetch, name="main")

    assert repository.require("a.tar") == target_of_bytes(b"2")


def test_a_target_is_named_by_registries_through_its_digest() -> None:
    assert Target(1, "ab" * 32).digest == Digest("sha256:" + "ab" * 32)


def test_a_repository_that_is_not_signed_is_refused_where_its_root_is_known(
    client: Client, attacker: Attacker
) -> None:
    attacker.put_back({})

    assert client.refusal() == (
        "main: is not signed, although its root is known: "
        f"{attacker.folder}/timestamp.json: there is no such file"
        " (are its address and type right? `cos repo get` shows them; nothing unsigned is taken,"
        " and its owner's `cos repo refresh` brings a timestamp back that was lost)"
    )


@pytest.mark.parametrize("role", [TIMESTAMP, SNAPSHOT, TARGETS])
def test_a_file_whose_signatures_were_removed_is_refused(
    client: Client, attacker: Attacker, role: str
) -> None:
    forged = attacker.forge(role, later)
    if role == SNAPSHOT:
        attacker.name_snapshot(forged, *HELD)
    elif role == TARGETS:
        attacker.name_targets(role, forged, *HELD)

    name = "timestamp.json" if role == TIMESTAMP else f"2.{role}.json"
    assert client.refusal() == f"main: {name} has no signature ({OTHERS})"


@pytest.mark.parametrize(
    "thief", ["thief", ROOT, SNAPSHOT, TARGETS, "timestamp-2"]
)  # the keys of other roles are no better than made up ones
def test_a_timestamp_by_another_key_is_refused(
    client: Client, attacker: Attacker, thief: str
) -> None:
    attacker.forge(TIMESTAMP, later, thief)

    assert client.refusal() == (
        f"main: timestamp.json is signed by other keys than those that its root names ({OTHERS})"
    )


def test_a_snapshot_by_the_key_of_the_timestamp_is_refused(
    client: Client, attacker: Attacker
) -> None:
    attacker.name_snapshot(attacker.forge(SNAPSHOT, later, TIMESTAMP), TIMESTAMP)

    assert client.refusal() == (
        f"main: 2.snapshot.json is signed by other keys than those that its root names ({OTHERS})"
    )


@pytest.mark.parametrize("role", [TARGETS, "bin-00", "bin-01"])
def test_targets_by_the_keys_of_snapshot_and_timestamp_are_refused(
    client: Client, attacker: Attacker, role: str
) -> None:
    stolen = (SNAPSHOT, TIMESTAMP)
    attacker.name_targets(role, attacker.forge(role, later, *stolen), *stolen)

    found = client.refusal() if role == TARGETS else _refusals(client, *ARTIFACTS)
    assert found == (
        f"main: 2.{role}.json is signed by other keys than those that its root names ({OTHERS})"
    )


def _refusals(client: Client, *names: str) -> str:
    """Ask for several targets, of which one is refused."""
    repository = client.visit()
    found = []
    for name in names:
        try:
            repository.require(name)
        except TrustError as error:
            found.append(str(error))
    (only,) = found
    return only


def test_a_good_signature_of_something_else_is_refused(client: Client, attacker: Attacker) -> None:
    text = attacker.newest(TIMESTAMP).read_bytes()

    attacker.write(TIMESTAMP, text.replace(b'"version":1}', b'"version":2}'))

    assert client.refusal() == (
        f"main: timestamp.json is signed by other keys than those that its root names ({OTHERS})"
    )


def _owner_of_three(place: Path, role: str) -> Owner:
    """Make an owner who has three keys for a role, two of which have to sign."""
    place.mkdir()
    return Owner(place, {role: policy(role, role, f"{role}-2", f"{role}-3", threshold=2)})


@pytest.mark.parametrize("role", [TIMESTAMP, SNAPSHOT, TARGETS])
@pytest.mark.parametrize("thieves", [(), ("thief",), ("thief", "thief-2")])
def test_one_stolen_key_of_two_that_have_to_sign_is_not_enough(
    tmp_path: Path, role: str, thieves: tuple[str, ...]
) -> None:
    owner = _owner_of_three(tmp_path / "repository", role)
    owner.publish()
    attacker = Attacker(owner.folder)
    forged = attacker.forge(role, later, f"{role}-2", *thieves)
    others = tuple(name for name in HELD if not name.startswith(role))
    if role == SNAPSHOT:
        attacker.name_snapshot(forged, *others)
    elif role == TARGETS:
        attacker.name_targets(role, forged, *others)

    found = Client(tmp_path / "client", owner).refusal()

    name = "timestamp.json" if role == TIMESTAMP else f"2.{role}.json"
    assert found == f"main: {name} is signed by 1 of the 2 keys that are needed ({OTHERS})"


@pytest.mark.parametrize("role", [TIMESTAMP, SNAPSHOT, TARGETS])
def test_any_two_of_three_keys_are_enough(tmp_path: Path, role: str) -> None:
    owner = _owner_of_three(tmp_path / "repository", role)
    owner.publish()

    owner.refresh(NOW + 80 * DAY, *(name for name in HELD if name != role))

    client = Client(tmp_path / "client", owner)
    assert client.visit(NOW + 80 * DAY).require("a.tar") == target_of_bytes(b"1")


def test_a_signature_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    owner = _owner_of_three(tmp_path / "repository", TIMESTAMP)
    owner.publish()
    attacker = Attacker(owner.folder)
    attacker.forge(TIMESTAMP, later, "timestamp-2")
    text = attacker.newest(TIMESTAMP).read_bytes()
    start, end = text.index(b'{"keyid"'), text.index(b"]")
    again = text[start:end]

    attacker.write(TIMESTAMP, text[:end] + b"," + again + text[end:])

    assert Client(tmp_path / "client", owner).refusal() == (
        "main: timestamp.json is no signed metadata (it is damaged, or something else)"
    )


@pytest.mark.parametrize(
    "text",
    [b"", b"null", b"[]", b"{}", b"<html>", b"\xff", b"[" * 10_000, b'{"signed":{},"signatures":3}',
     b'{"signatures":[],"signed":{"_type":"timestamp","version":-1}}'],
)  # fmt: skip
def test_what_is_no_metadata_is_refused(client: Client, attacker: Attacker, text: bytes) -> None:
    attacker.write(TIMESTAMP, text)

    assert client.refusal() == (
        "main: timestamp.json is no signed metadata (it is damaged, or something else)"
    )


def test_metadata_of_another_kind_is_refused(client: Client, attacker: Attacker) -> None:
    attacker.write(TIMESTAMP, attacker.newest(TARGETS).read_bytes())

    assert client.refusal() == (
        "main: timestamp.json is not as it has to be: Expected 'timestamp', got 'targets'"
        " (the repository may be damaged)"
    )


def test_a_name_that_is_not_signed_is_refused(client: Client) -> None:
    assert client.refusal_of("c.tar") == (
        "main: c.tar is not signed (only what its publishers have signed is used; `cos repo"
        " update` asks for the newest index)"
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"2", "another checksum"), (b"", "0 bytes instead of 1"), (b"1\n", "2 bytes instead of 1")],
)
def test_a_content_that_is_not_what_was_signed_is_refused(
    client: Client, tmp_path: Path, content: bytes, what: str
) -> None:
    repository = client.visit()
    (tmp_path / "file").write_bytes(content)

    for given in (content, tmp_path / "file"):
        with pytest.raises(ContentError) as caught:
            repository.check("a.tar", given)

        assert str(caught.value) == f"main: a.tar is not what was signed: {what} ({CHANGING})"


def test_a_content_that_is_what_was_signed_is_taken(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    repository = client.visit()

    repository.check("a.tar", b"1")
    repository.check("a.tar", tmp_path / "file")


class Endless:
    """Gives a file without end, and remembers how much of it was taken."""

    piece = bytes(1 << 16)

    def __init__(self, client: Client, name: str) -> None:
        self._fetch = client.fetch
        self._name = name
        self.taken = 0

    def __call__(self, name: str, limit: int) -> Iterator[bytes]:
        """Give a file."""
        if name != self._name:
            yield from self._fetch(name, limit)
            return
        while True:
            self.taken += len(self.piece)
            yield self.piece


@pytest.mark.parametrize(
    "name", ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.bin-00.json"]
)
def test_a_file_without_end_is_left_off_at_its_limit(client: Client, name: str) -> None:
    endless = client.fetch = Endless(client, name)

    tracemalloc.start()
    try:
        found = _first_refusal(client)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found == f"main: {name} is longer than it may be (it was not read to its end)"
    assert endless.taken <= limit_of(name) + len(endless.piece)
    assert most < 3 * limit_of(name) + (4 << 20)


def _first_refusal(client: Client) -> str:
    """Do everything that a client does; returns why it is refused."""
    with pytest.raises(TrustError) as caught:
        _see_everything(client)
    return str(caught.value)


def _see_everything(client: Client) -> None:
    repository = client.visit()
    for name in ARTIFACTS:
        repository.require(name)


def test_a_file_that_its_source_never_ends_is_refused_there(
    client: Client, attacker: Attacker, owner: Owner
) -> None:
    attacker.write(TIMESTAMP, bytes(20_000))

    with pytest.raises(OutsideError) as caught:
        client.visit()

    path = owner.folder / "trust/timestamp.json"
    assert str(caught.value) == f"{path}: is larger than 16384 bytes"


@pytest.mark.parametrize("name", ["1.snapshot.json", "1.targets.json", "1.bin-00.json"])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text[:-1], "is not the one that is named as the newest: files of several"
                                 f" states ({CHANGING})"),
        (lambda text: text + b"\n", "is longer than it may be (it was not read to its end)"),
        (lambda text: text.replace(b'"sha256"', b'"sha257"'), "is not the one that is named as the"
                                    f" newest: files of several states ({CHANGING})"),
    ],
)  # fmt: skip
def test_a_file_of_another_length_or_hash_is_refused(
    client: Client, attacker: Attacker, name: str, change: Callable[[bytes], bytes], why: str
) -> None:
    path = attacker.folder / name
    path.write_bytes(change(path.read_bytes()))

    assert _first_refusal(client) == f"main: {name} {why}"


@pytest.mark.parametrize("name", ["1.snapshot.json", "1.targets.json", "1.bin-00.json"])
def test_a_file_that_is_kept_from_clients_is_told(
    client: Client, attacker: Attacker, name: str
) -> None:
    (attacker.folder / name).unlink()

    assert _first_refusal(client) == (
        f"main: {name} is missing, although it is named as the newest ({CHANGING})"
    )


def test_a_repository_that_does_not_answer_is_not_called_hostile(
    client: Client, owner: Owner, tmp_path: Path
) -> None:
    owner.folder.rename(tmp_path / "elsewhere")

    with pytest.raises(OutsideError) as caught:
        client.visit()

    assert not isinstance(caught.value, NotFoundError)
    assert str(caught.value) == (
        f"{owner.folder}: there is no such folder (is the disk that has it mounted?)"
    )


def test_a_root_that_was_never_signed_is_no_beginning(client: Client, owner: Owner) -> None:
    client.root = owner.first.replace(b'"sig":"', b'"sig":"00')

    assert client.refusal() == (
        "main: root 1 is not signed by enough keys: 0 of 1 own"
        " (`cos repo sign-root` adds a signature)"
    )


def test_the_root_of_another_repository_opens_nothing(tmp_path: Path, client: Client) -> None:
    (tmp_path / "other").mkdir()
    other = Owner(tmp_path / "other", {TIMESTAMP: policy(TIMESTAMP, "thief")})

    client.root = other.first

    assert client.refusal() == (
        f"main: timestamp.json is signed by other keys than those that its root names ({OTHERS})"
    )


def test_only_what_changed_is_fetched_again(client: Client, owner: Owner) -> None:
    repository = client.visit()
    for name in ARTIFACTS:
        repository.require(name)
    owner.publish(artifacts={"a.tar": "2"})
    asked: list[str] = []
    fetch = client.fetch

    def listening(name: str, limit: int) -> Iterable[bytes]:
        asked.append(name)
        return fetch(name, limit)

    client.fetch = listening
    repository = client.visit()
    for name in ARTIFACTS:
        repository.require(name)

    assert asked == ["2.root.json", "timestamp.json", "2.snapshot.json", "2.bin-00.json"]
