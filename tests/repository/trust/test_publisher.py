"""What publishers sign: the same each time, as much as changed, and nothing that clients miss."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as some
from tuf.api.metadata import Metadata, Timestamp

from compiler.errors import NotFoundError, TrustError
from compiler.repository.trust import (
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Files,
    Target,
    limit_of,
    role_of,
    superseded,
    target_of_bytes,
    version_of,
)
from compiler.repository.trust.client import TrustedRepository
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.published import Published, read_published
from compiler.repository.trust.publisher import (
    HISTORY,
    Contents,
    differences,
    refresh,
    rotate,
    sign_contents,
    start,
)
from compiler.repository.trust.root import RolePolicy, first_root, next_root, sign_root
from compiler.signing.keys import PrivateKey
from tests.repository.trust.lab import DAY, DAYS, HELD, NOW, keys, policy, targets_of

SIGNING = Signing(keys(*HELD), NOW)
NAMES = [f"{letter}.tar" for letter in "abcdefgh"]


def root_of(policies: dict[str, RolePolicy] | None = None) -> bytes:
    made = {role: policy(role, role) for role in DAYS} | (policies or {})
    return sign_root(first_root(made, NOW), keys(*HELD))


class Memory:
    """A repository whose files are kept in memory."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self.files: Files = {}

    def write(self, files: Files) -> None:
        self.files |= files
        newest = {role_of(name): version_of(name) for name in files}
        for name in superseded(self.files, newest):
            del self.files[name]

    def fetch(self, name: str, limit: int) -> tuple[bytes]:
        if name not in self.files:
            raise NotFoundError(name)
        assert len(self.files[name]) <= limit
        return (self.files[name],)

    @property
    def published(self) -> Published:
        found = read_published(self.files.get, self.root)
        assert found is not None
        return found

    def seen(self, folder: Path) -> TrustedRepository:
        client = TrustedRepository(self.root, folder, self.fetch, name="main")
        client.refresh(NOW)
        return client


def begun(contents: Contents, *, bins: int = 2, root: bytes | None = None) -> Memory:
    """Make a repository of some contents."""
    memory = Memory(root or root_of())
    memory.write(start(memory.root, contents, SIGNING, bins=bins))
    return memory


def contents_of(index: dict[str, str], artifacts: dict[str, str | None]) -> Contents:
    there = targets_of({name: text for name, text in artifacts.items() if text is not None})
    return Contents(index=targets_of(index), artifacts={n: there.get(n) for n in artifacts})


INDEXES = some.dictionaries(
    some.sampled_from(["repository.yaml", "tree.tar.gz"]), some.text("12", min_size=1, max_size=2),
    min_size=1,
)  # fmt: skip
CHANGES = some.dictionaries(some.sampled_from(NAMES), some.none() | some.text("12", max_size=2))


@settings(deadline=None, max_examples=40)
@given(history=some.lists(some.tuples(INDEXES, CHANGES), min_size=1, max_size=6))
def test_clients_see_what_there_is_after_any_changes(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[dict[str, str], dict[str, str]]]
) -> None:
    (index, artifacts), *more = history
    memory = begun(contents_of(index, dict(artifacts)))
    expected = dict(artifacts)
    folder = tmp_path_factory.mktemp("client")
    memory.seen(folder)

    for index, changes in more:
        expected |= changes
        memory.write(sign_contents(memory.published, contents_of(index, dict(changes)), SIGNING))

        client = memory.seen(folder)
        found = {name: client.target(name) for name in (*NAMES, *index)}
        there = {name: text for name, text in expected.items() if text is not None}
        assert found == dict.fromkeys(NAMES) | targets_of(there) | targets_of(index)


@settings(deadline=None, max_examples=40)
@given(index=INDEXES, before=CHANGES, changes=CHANGES)
def test_the_same_input_is_signed_to_the_same_bytes_in_whatever_order(
    index: dict[str, str], before: dict[str, str | None], changes: dict[str, str | None]
) -> None:
    def run(*, back: bool) -> Files:
        order = (lambda items: dict(reversed(items.items()))) if back else dict
        memory = begun(contents_of(order(index), order(before)))
        files = sign_contents(memory.published, contents_of(order(index), order(changes)), SIGNING)
        memory.write(files)
        return memory.files

    one, two = run(back=False), run(back=True)

    assert one == two
    assert list(one) == list(two)


@pytest.mark.parametrize(
    "key",
    [
        PrivateKey(ec.generate_private_key(ec.SECP256R1())),
        PrivateKey(ec.generate_private_key(ec.SECP384R1())),
        PrivateKey(ec.generate_private_key(ec.SECP521R1())),
        PrivateKey(rsa.generate_private_key(65537, 2048)),
        *keys("any"),
    ],
    ids=["p256", "p384", "p521", "rsa", "ed25519"],
)
def test_keys_of_all_kinds_sign_the_same_bytes_again_and_clients_believe_them(
    key: PrivateKey, tmp_path: Path
) -> None:
    policies = {role: RolePolicy(keys=(key.public,), days=DAYS[role]) for role in DAYS}
    contents = contents_of({"repository.yaml": "1"}, {"a.tar": "1"})
    made = []

    for _ in range(2):
        memory = Memory(sign_root(first_root(policies, NOW), [key]))
        memory.write(start(memory.root, contents, Signing((key,), NOW), bins=2))
        made.append(memory.files)

    assert made[0] == made[1]
    assert memory.seen(tmp_path / "client").require("a.tar") == target_of_bytes(b"1")


@settings(deadline=None, max_examples=10)
@given(
    total=some.sampled_from([10, 100, 1000]),
    bins=some.sampled_from([2, 16, 64]),
    changed=some.integers(0, 5),
)
def test_as_many_files_are_signed_as_packages_changed_whatever_else_there_is(
    total: int, bins: int, changed: int
) -> None:
    artifacts: dict[str, str | None] = {f"p{number}.tar": "1" for number in range(total)}
    memory = begun(contents_of({"repository.yaml": "1"}, artifacts), bins=bins)
    changes: dict[str, str | None] = {f"p{number}.tar": "2" for number in range(changed)}

    files = sign_contents(memory.published, contents_of({"repository.yaml": "2"}, changes), SIGNING)

    kinds = [role_of(name) for name in files]
    assert kinds[-3:] == [TARGETS, SNAPSHOT, TIMESTAMP]
    assert len(files) <= changed + 3
    assert all(kind.startswith("bin-") for kind in kinds[:-3])


def test_where_nothing_changed_only_the_timestamp_is_signed() -> None:
    contents = contents_of({"repository.yaml": "1"}, {"a.tar": "1"})
    memory = begun(contents)

    files = sign_contents(memory.published, contents, SIGNING)

    assert list(files) == ["timestamp.json"]


def test_files_are_named_in_the_order_in_which_they_may_be_seen() -> None:
    files = start(root_of(), contents_of({"repository.yaml": "1"}, {}), SIGNING, bins=2)

    assert list(files) == [
        "1.bin-00.json", "1.bin-01.json", "1.targets.json", "1.snapshot.json", "1.root.json",
        "timestamp.json",
    ]  # fmt: skip


@pytest.mark.parametrize("bins", [-1, 0, 1, 3, 12, 512])
def test_only_a_power_of_two_is_a_number_of_bins(bins: int) -> None:
    with pytest.raises(TrustError) as caught:
        start(root_of(), Contents(index={}), SIGNING, bins=bins)

    assert str(caught.value) == f"{bins} is no number of bins: a power of two, 2 to 256"


@pytest.mark.parametrize("bins", [2, 4, 8, 16, 32, 64, 128, 256])
def test_every_name_has_its_bin_however_many_there_are(bins: int) -> None:
    published = begun(Contents(index={}), bins=bins).published

    found = {published.bin_of(f"p{number}.tar") for number in range(bins * 20)}

    assert found == set(published.bins) == {f"bin-{number:02x}" for number in range(bins)}


def test_files_of_the_last_publications_stay_signed(tmp_path: Path) -> None:
    memory = begun(contents_of({"1-repository.yaml": "x", "repository.yaml": "1"}, {}))

    for number in range(2, HISTORY + 2):
        index = {f"{number}-repository.yaml": "x", "repository.yaml": str(number)}
        memory.write(sign_contents(memory.published, contents_of(index, {}), SIGNING))

    client = memory.seen(tmp_path / "client")
    found = [client.target(f"{n}-repository.yaml") is not None for n in range(1, HISTORY + 2)]
    assert found == [False] + [True] * HISTORY


def test_what_the_index_drops_stays_signed_for_as_long_as_the_index_that_listed_it() -> None:
    names = {"old.tar": "1", "other.tar": "1"}
    memory = begun(contents_of({"repository.yaml": "1"}, dict(names)))

    def sign(number: int, **artifacts: str | None) -> list[str]:
        changed = {f"{name}.tar": text for name, text in artifacts.items()}
        contents = contents_of({"repository.yaml": str(number)}, changed)
        memory.write(sign_contents(memory.published, replace(contents, retires=True), SIGNING))
        return sorted(name for name, _ in memory.published.all_targets() if name in names)

    assert sign(2, old=None) == ["old.tar", "other.tar"]
    for number in range(3, HISTORY + 1):
        assert sign(number, old=None) == ["old.tar", "other.tar"]
    # it was listed until 1; a name of the same bin has to change, else the bin is not written
    assert memory.published.bin_of("old.tar") == memory.published.bin_of("mate3.tar")
    assert sign(HISTORY + 1, mate3="1") == ["other.tar"]


def test_what_was_dropped_and_comes_back_is_listed_as_before() -> None:
    memory = begun(contents_of({"repository.yaml": "1"}, {"a.tar": "1"}))
    texts = (None, "2", *"3" * HISTORY)
    for number, text in enumerate(texts, start=2):
        contents = contents_of({"repository.yaml": str(number)}, {"a.tar": text})
        memory.write(sign_contents(memory.published, replace(contents, retires=True), SIGNING))

    found = dict(memory.published.all_targets())
    assert found["a.tar"] == target_of_bytes(b"3")


def test_differences_are_what_is_new_changed_or_gone() -> None:
    memory = begun(contents_of({}, {"same.tar": "1", "changed.tar": "1", "gone.tar": "1"}))
    there = targets_of({"same.tar": "1", "changed.tar": "2", "new.tar": "1"})

    found = differences(memory.published, there)

    assert found == {
        "changed.tar": there["changed.tar"], "new.tar": there["new.tar"], "gone.tar": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("role", "given", "message"),
    [
        (TIMESTAMP, (TARGETS, SNAPSHOT), "timestamp.json: 1 of the keys that the root names have to"
                                         " sign, none of them is given"),
        (SNAPSHOT, (TARGETS, TIMESTAMP, "snapshot-2"), "1.snapshot.json: 2 of the keys that the"
                                         " root names have to sign, 1 of them is given"),
        (TARGETS, (SNAPSHOT, TIMESTAMP), "bin-00.json: 2 of the keys that the root names have to"
                                         " sign, none of them is given"),
    ],
)  # fmt: skip
def test_too_few_keys_are_told(role: str, given: tuple[str, ...], message: str) -> None:
    several = {
        each: policy(each, each, f"{each}-2", f"{each}-3", threshold=2)
        for each in (TARGETS, SNAPSHOT)
    }
    needed = [f"{each}{number}" for each in given for number in ("", "-3")]
    signing = Signing(keys(*(name for name in needed if not name.startswith(role)), *given), NOW)

    with pytest.raises(TrustError) as caught:
        start(root_of(several), Contents(index={}), signing, bins=2)

    hint = "pass the private keys that `cos repo init-trust` or `rotate` were told of"
    assert str(caught.value) == f"{message} ({hint})"


def test_a_root_that_too_few_have_signed_begins_nothing() -> None:
    unsigned = first_root({role: policy(role, role) for role in DAYS}, NOW)

    with pytest.raises(TrustError) as caught:
        start(unsigned, Contents(index={}), SIGNING)

    assert str(caught.value) == (
        "root 1 is not signed by enough keys: 0 of 1 own (`cos repo sign-root` adds a signature)"
    )


@pytest.mark.parametrize(
    ("days", "names", "files"),
    [
        (1, HELD, {"timestamp.json"}),
        (20, HELD, {"timestamp.json", "2.snapshot.json"}),
        (20, (TIMESTAMP,), {"timestamp.json"}),
        (50, HELD, {"timestamp.json", "2.snapshot.json", "2.targets.json"}),
        (50, (TIMESTAMP, SNAPSHOT), {"timestamp.json", "2.snapshot.json"}),
    ],
)
def test_what_is_half_way_to_its_end_is_signed_again_if_its_key_is_there(
    days: int, names: tuple[str, ...], files: set[str]
) -> None:
    memory = begun(contents_of({"repository.yaml": "1"}, {}))

    found = refresh(memory.published, Signing(keys(*names), NOW + days * DAY))

    assert set(found) == files


def test_a_refresh_needs_the_key_of_the_timestamp() -> None:
    memory = begun(contents_of({"repository.yaml": "1"}, {}))

    with pytest.raises(TrustError, match=r"timestamp\.json: 1 of the keys") as caught:
        refresh(memory.published, Signing(keys(TARGETS, SNAPSHOT), NOW))

    assert "none of them is given" in caught.value.message


def test_what_is_signed_is_good_for_the_days_that_the_root_says() -> None:
    memory = begun(
        Contents(index={}), root=root_of({TIMESTAMP: replace(policy(TIMESTAMP, TIMESTAMP), days=2)})
    )
    timestamp = Metadata[Timestamp].from_bytes(memory.files["timestamp.json"]).signed

    assert timestamp.expires == NOW + 2 * DAY
    assert memory.published.expires == {
        ROOT: NOW + 365 * DAY, TARGETS: NOW + 90 * DAY, SNAPSHOT: NOW + 30 * DAY,
        TIMESTAMP: NOW + 2 * DAY,
    }  # fmt: skip


def test_times_have_whole_seconds() -> None:
    signing = Signing(SIGNING.keys, NOW + timedelta(microseconds=5))

    assert start(root_of(), Contents(index={}), signing) == start(
        root_of(), Contents(index={}), SIGNING
    )


def test_a_rotation_signs_only_what_its_roles_sign() -> None:
    memory = begun(contents_of({"repository.yaml": "1"}, {"a.tar": "1"}))

    def files_after(*roles: str) -> set[str]:
        changes = {role: policy(role, f"{role}-2") for role in roles}
        root = sign_root(next_root(memory.root, changes, NOW), SIGNING.keys, memory.root)
        return set(rotate(memory.published, root, SIGNING))

    top = {"2.root.json", "2.snapshot.json", "timestamp.json"}
    assert files_after() == files_after(ROOT) == files_after(TIMESTAMP) == top
    assert files_after(TARGETS) == {*top, "2.targets.json", "2.bin-00.json", "2.bin-01.json"}


def test_a_root_alone_can_be_published_without_other_keys() -> None:
    memory = begun(contents_of({"repository.yaml": "1"}, {"a.tar": "1"}))
    change = {ROOT: policy(ROOT, "root-2")}
    root = sign_root(next_root(memory.root, change, NOW), SIGNING.keys, memory.root)

    assert list(rotate(memory.published, root, Signing((), NOW))) == ["2.root.json"]


@pytest.mark.parametrize("role", [TARGETS, SNAPSHOT, TIMESTAMP])
def test_a_rotation_without_the_new_keys_is_refused(role: str) -> None:
    memory = begun(contents_of({"repository.yaml": "1"}, {"a.tar": "1"}))
    change = {role: policy(role, f"{role}-2")}
    root = sign_root(next_root(memory.root, change, NOW), SIGNING.keys, memory.root)

    with pytest.raises(TrustError, match="none of them is given"):
        rotate(memory.published, root, Signing(keys(TARGETS, SNAPSHOT, TIMESTAMP), NOW))


def test_more_than_clients_would_read_is_not_signed() -> None:
    many = {f"a-package-with-a-long-name-{n}.tar": Target(n, f"{n:064}") for n in range(40_000)}

    with pytest.raises(TrustError) as caught:
        start(root_of(), Contents(index=many), SIGNING, bins=2)

    assert caught.value.message.startswith("targets.json: ")
    assert caught.value.message.endswith(f" bytes, clients read {limit_of('targets.json')}")
