"""Docker repositories with signed metadata: what clients see, and what is never taken over."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from compiler.errors import RegistryError, TrustError, UnansweredError
from compiler.events import Event, Noted, Reporter, silent
from compiler.oci import MANIFEST, Platform, Reference
from compiler.publish import Published, PublishOptions, Source, Surroundings, publish_repository
from compiler.publish.endorse import CosignEndorsement
from compiler.publish.front import claim_at
from compiler.publish.gc import snapshots_of
from compiler.publish.state import CLAIM, tagged
from compiler.publish.trusted import TrustedTarget
from compiler.registry import Manifest
from compiler.registry.memory import MemoryRegistry
from compiler.repository.cache import Cache
from compiler.repository.configured import RepositoryConfig
from compiler.repository.oci import tag_of
from compiler.repository.sources.opening import Opening, open_source
from compiler.repository.sync import SyncTools, sync
from compiler.repository.synced import Shelf, Synced
from compiler.repository.trust import superseded, tag
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.places import RegistryPlace
from compiler.repository.trust.publisher import HISTORY, Contents, start
from compiler.repository.trust.root import first_root, make_policy, sign_root
from compiler.repository.trust.sources import signed_source
from compiler.signing.images import pinned, sign_image
from compiler.signing.keys import PrivateKey, generate
from tests.publish.registries import Meeting, Stopping, together
from tests.publish.shop import AMD64, NOW, TARGET, Shop

ROOT, ONLINE, STRANGER = generate(), generate(), generate()
BEGUN = datetime.now(UTC)
POLICY = make_policy([ROOT.public], [ONLINE.public])
ROOT_FILE = sign_root(first_root(POLICY, BEGUN), [ROOT])


def begin(registry: MemoryRegistry, folder: Path) -> None:
    """Give the repository signed metadata, of nothing so far."""
    folder.mkdir(exist_ok=True)
    files = start(ROOT_FILE, Contents(index={}), Signing((ONLINE,), BEGUN))
    RegistryPlace(registry, TARGET, AMD64, folder).write(files)


def publish(  # noqa: PLR0913  (what a publication can be told)
    shop: Shop,
    registry: MemoryRegistry,
    options: PublishOptions | None = None,
    *,
    names: Sequence[str] | None = None,
    key: PrivateKey = ONLINE,
    older: bool = False,
    report: Reporter = silent,
) -> Published:
    """Publish packages of a shop and sign the repository, as `cos create-repo` does."""
    chosen = shop.packages.values() if names is None else [shop.packages[name] for name in names]
    trust = TrustedTarget(
        registry=registry,
        target=TARGET,
        root=ROOT_FILE,
        signing=Signing((key,), BEGUN),
        place=RegistryPlace(registry, TARGET, AMD64, shop.scratch),
        folder=shop.scratch,
        older=older,
        report=report,
    )
    around = Surroundings(
        registry=registry,
        folder=shop.scratch,
        pause=lambda _seconds: None,
        endorsements=(CosignEndorsement(registry, key),),
        trust=trust,
    )
    source = Source(packages=tuple(chosen), roots=(shop.tree,), artifacts=shop.artifacts)
    return publish_repository(source, TARGET, options or shop.options(), around)


@dataclass
class Reader:
    """A client that was given the root."""

    registry: MemoryRegistry
    folder: Path
    reference: str = ""

    def synced(self) -> Synced:
        """Bring up to date what it knows."""
        config = RepositoryConfig(
            name="main", type="docker", urls=(str(TARGET),), reference=self.reference
        )
        opening = Opening(registry=lambda _config: self.registry, platform=AMD64)
        state = self.folder / "state"
        self.source, trusted = signed_source(config, opening, state, ROOT_FILE)
        tools = SyncTools(shelf=Shelf(self.folder / "shelf"), pause=lambda _seconds: None)
        return sync(config, self.source, tools, trusted)

    @property
    def cache(self) -> Cache:
        """Where archives are kept."""
        return Cache(self.folder / "cache")

    def packages(self) -> list[str]:
        """List the packages, and fetch every one of them."""
        synced = self.synced()
        for package in synced.packages:
            assert self.source.fetch(synced.metadata(package), self.cache)
        return sorted(str(each) for each in synced.packages)

    def layers(self, package: str) -> list[bytes]:
        """Fetch what a package is made of."""
        synced = self.synced()
        (found,) = [each for each in synced.packages if str(each) == package]
        paths = self.source.fetch(synced.metadata(found), self.cache)
        return [path.read_bytes() for path in paths]


def test_a_client_with_the_root_gets_everything_that_is_published(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry)

    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1", "t/b-1"]


def test_before_the_first_publication_nothing_is_signed(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    with pytest.raises(TrustError, match=r"main: repository\.yaml is not signed"):
        Reader(registry, tmp_path / "client").synced()


def test_what_is_published_later_replaces_what_was_signed(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry)
    client = Reader(registry, tmp_path / "client")
    client.synced()
    shop.build("a", "changed", time=9)
    shop.build("c")

    made = publish(shop, registry, shop.options(now=NOW + 60))

    assert [str(each) for each in made.pushed] == ["t/a-1", "t/c-1"]
    assert client.packages() == ["t/a-1", "t/b-1", "t/c-1"]


def test_what_is_dropped_is_listed_no_more_and_can_be_had_from_a_snapshot_that_lists_it(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry)
    (first,) = snapshots_of(registry.tags(TARGET))

    for later in range(1, HISTORY):
        options = replace(shop.options(now=NOW + 60 * later), prune=True)
        shop.build("b", f"changed {later}", time=later)
        publish(shop, registry, options, names=["b-1"])

    assert Reader(registry, tmp_path / "client").packages() == ["t/b-1"]
    client = Reader(registry, tmp_path / "other", reference=first)
    snapshot = client.synced()
    package = next(each for each in snapshot.packages if each.name == "a")
    assert client.source.fetch(snapshot.metadata(package), client.cache)


def test_a_change_costs_the_same_in_a_small_and_in_a_large_repository(tmp_path: Path) -> None:
    costs = []
    for count in (3, 60):
        registry, shop = MemoryRegistry(), Shop(tmp_path / str(count))
        begin(registry, tmp_path / f"begin{count}")
        for number in range(count):
            shop.build(f"p{number}")
        publish(shop, registry)
        shop.build("p1", "changed", time=5)
        registry.forget_counts()

        publish(shop, registry)

        costs.append(sum(registry.requests.values()))
    assert costs[0] == costs[1]


def test_two_publishers_at_once_end_with_everything_signed(tmp_path: Path) -> None:
    registry = Meeting()
    begin(registry, tmp_path / "begin")
    registry.meet_before(CLAIM)
    shops = [Shop(tmp_path / name) for name in ("one", "two")]
    for shop, name in zip(shops, ("a", "b"), strict=True):
        shop.build(name)

    together(lambda shop: publish(shop, registry), shops)

    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1", "t/b-1"]


def test_wherever_a_publication_stops_clients_see_a_whole_state_and_the_next_one_mends_it(
    tmp_path: Path,
) -> None:
    stopped = True
    changes = 0
    while stopped:
        place = tmp_path / str(changes)
        registry, shop = Stopping(), Shop(place / "shop")
        begin(registry, place / "begin")
        shop.build("a")
        publish(shop, registry)
        client = Reader(registry, place / "client")
        assert client.packages() == ["t/a-1"]
        shop.build("b")

        registry.left = changes
        try:
            publish(shop, registry, shop.options(now=NOW + 60))
            stopped = False
        except RegistryError:
            stopped = True
        registry.left = 10**6

        assert client.packages() in (["t/a-1"], ["t/a-1", "t/b-1"])
        publish(shop, registry, shop.options(now=NOW + 90))
        assert client.packages() == ["t/a-1", "t/b-1"]
        changes += 3
    assert changes > 30


def test_an_index_that_somebody_put_in_place_of_the_signed_one_is_not_taken_over(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry, names=["a-1"])
    attacker = Shop(tmp_path / "attacker")
    attacker.build("evil")
    attacker.publish(registry, attacker.options(now=NOW + 30))

    publish(shop, registry, shop.options(now=NOW + 60))

    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1", "t/b-1"]
    assert not [each for each in _listed_tags(registry, tmp_path / "luet") if "evil" in each]


def test_claims_that_nobody_signed_are_not_even_read(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry, names=["a-1"])
    found = registry.manifest(tagged(TARGET, "a-t-1.metadata.yaml"))
    name = claim_at(time.time_ns(), "0123456789abcdef")
    registry.put_manifest(
        tagged(TARGET, name), found.data.replace(b"{", b'{"x":"y",', 1), found.descriptor.media_type
    )

    publish(shop, registry, shop.options(now=NOW + 60))

    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1", "t/b-1"]


FRONT = ("repository.yaml", tag("timestamp.json"))


def saved(registry: MemoryRegistry) -> dict[str, bytes]:
    """Keep what the names that clients ask for lead to, as anybody can who may read."""
    return {name: registry.manifest(tagged(TARGET, name)).data for name in FRONT}


def roll_back(registry: MemoryRegistry, before: dict[str, bytes]) -> None:
    """Put it back later, and move the claims made since to the old index."""
    claims = [name for name in registry.tags(TARGET) if name.startswith(CLAIM)]
    for name, data in [*before.items(), *((each, before["repository.yaml"]) for each in claims)]:
        registry.put_manifest(tagged(TARGET, name), data, MANIFEST)


def test_a_publication_after_an_older_state_was_put_back_goes_on_from_the_newest(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry, names=["a-1"])
    before = saved(registry)
    publish(shop, registry, shop.options(now=NOW + 30), names=["b-1"])
    client = Reader(registry, tmp_path / "client")
    assert client.packages() == ["t/a-1", "t/b-1"]
    roll_back(registry, before)
    shop.build("c")
    said: list[Event] = []

    publish(shop, registry, shop.options(now=NOW + 60), names=["c-1"], report=said.append)

    assert client.packages() == ["t/a-1", "t/b-1", "t/c-1"]
    (warning,) = [each.message for each in said if isinstance(each, Noted) and each.warning]
    assert re.match(
        r"registry\.test/team/repo: the timestamp names an older state than \d+\.snapshot\.json, "
        r"which is signed and counts instead \(somebody put an older timestamp back",
        warning,
    )


class Silent(MemoryRegistry):
    """A registry that does not answer for one tag."""

    def __init__(self) -> None:
        super().__init__()
        self.mute = ""

    def manifest(self, reference: Reference) -> Manifest:
        """Read a manifest, unless it is not answered for."""
        if self.mute and reference.tag == self.mute:
            raise UnansweredError(f"{reference}: the connection broke (tried 5 times)")
        return super().manifest(reference)


def test_an_older_state_does_not_count_because_the_newest_could_not_be_read(
    shop: Shop, tmp_path: Path
) -> None:
    registry = Silent()
    begin(registry, tmp_path / "begin")
    publish(shop, registry, names=["a-1"])
    before = saved(registry)
    publish(shop, registry, shop.options(now=NOW + 30), names=["b-1"])
    newest = max(each for each in registry.tags(TARGET) if each.endswith(".snapshot.json"))
    roll_back(registry, before)
    registry.mute = newest

    with pytest.raises(UnansweredError, match="the connection broke"):
        publish(shop, registry, shop.options(now=NOW + 60), names=["a-1"])


def test_snapshots_that_somebody_made_up_stop_publications_until_somebody_says_to_go_on(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry, names=["a-1"])
    data = registry.manifest(tagged(TARGET, "a-t-1.metadata.yaml")).data
    now = time.time_ns() // 1000
    registry.put_manifest(tagged(TARGET, tag(f"{now}.snapshot.json")), data, MANIFEST)
    said: list[Event] = []
    how = shop.options(now=NOW + 60)

    with pytest.raises(TrustError, match=rf"{now}\.snapshot\.json was made after it, or made up"):
        publish(shop, registry, how, names=["b-1"])
    publish(shop, registry, how, names=["b-1"], older=True, report=said.append)
    shop.build("c")
    publish(shop, registry, shop.options(now=NOW + 90), names=["c-1"], report=said.append)

    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1", "t/b-1", "t/c-1"]
    (warning,) = [each.message for each in said if isinstance(each, Noted) and each.warning]
    assert warning.startswith(
        f"registry.test/team/repo: {now}.snapshot.json is newer than the state that counts, and is "
        "not whole and signed"
    )


def test_snapshots_of_a_time_to_come_are_not_even_asked_for(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry, names=["a-1"])
    data = registry.manifest(tagged(TARGET, "a-t-1.metadata.yaml")).data
    registry.forget_counts()
    publish(shop, registry, shop.options(now=NOW + 30), names=["b-1"])
    usual = registry.requests["manifest"]
    shop.build("c")
    for number in range(300):
        version = time.time_ns() // 1000 + 10**12 + number
        registry.put_manifest(tagged(TARGET, tag(f"{version}.snapshot.json")), data, MANIFEST)
    registry.forget_counts()

    publish(shop, registry, shop.options(now=NOW + 60), names=["c-1"])

    assert registry.requests["manifest"] <= usual + 2
    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1", "t/b-1", "t/c-1"]


def test_a_package_whose_tag_looks_like_one_of_signed_metadata_is_taken_as_it_was_signed(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    shop.build("trust", "good")
    publish(shop, registry)
    good = Reader(registry, tmp_path / "before").layers("t/trust-1")
    registry.put_manifest(
        tagged(TARGET, "trust-t-1"), registry.manifest(tagged(TARGET, "a-t-1")).data, MANIFEST
    )

    assert Reader(registry, tmp_path / "after").layers("t/trust-1") == good


def test_an_old_index_that_gets_the_tag_of_a_new_claim_brings_nothing_back(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry)
    old = registry.manifest(tagged(TARGET, "repository.yaml"))
    publish(shop, registry, replace(shop.options(now=NOW + 30), prune=True), names=["b-1"])
    name = claim_at(time.time_ns() + 60 * 10**9, "deadbeef" * 2)
    registry.put_manifest(tagged(TARGET, name), old.data, old.descriptor.media_type)
    shop.build("c")

    publish(shop, registry, shop.options(now=NOW + 60), names=["c-1"])

    assert Reader(registry, tmp_path / "client").packages() == ["t/b-1", "t/c-1"]


def test_where_the_index_that_is_signed_is_gone_nothing_is_lost_without_a_word(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry)
    gone = registry.manifest(tagged(TARGET, "repository.yaml")).descriptor
    registry.delete(pinned(TARGET, gone.digest))

    with pytest.raises(RegistryError, match=r"is signed is gone \(bring it back; --prune begins"):
        publish(shop, registry, names=["b-1"])

    publish(shop, registry, replace(shop.options(now=NOW + 30), prune=True), names=["b-1"])
    assert Reader(registry, tmp_path / "client").packages() == ["t/b-1"]


def test_a_new_beginning_brings_nothing_back_and_counts_on(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry)
    pruned = replace(shop.options(now=NOW + 30), prune=True)
    publish(shop, registry, pruned, names=["a-1"])
    gone = registry.manifest(tagged(TARGET, "repository.yaml")).descriptor
    registry.delete(pinned(TARGET, gone.digest))
    begun = replace(shop.options(now=NOW + 60), prune=True)

    made = publish(shop, registry, begun, names=["a-1"])

    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1"]
    assert made.repository.info.revision == 3
    shop.build("c")
    publish(shop, registry, shop.options(now=NOW + 90), names=["c-1"])
    assert Reader(registry, tmp_path / "later").packages() == ["t/a-1", "t/c-1"]


def _listed_tags(registry: MemoryRegistry, folder: Path) -> list[str]:
    """List what a client without keys sees."""
    config = RepositoryConfig(name="main", type="docker", urls=(str(TARGET),))
    opening = Opening(registry=lambda _config: registry, platform=Platform("linux", "amd64"))
    plain = open_source(config, opening)
    tools = SyncTools(shelf=Shelf(folder), pause=lambda _seconds: None)
    return [each.fingerprint for each in sync(config, plain, tools).packages]


def test_a_repository_that_was_published_unsigned_is_not_signed_by_surprise(
    shop: Shop, tmp_path: Path
) -> None:
    registry = MemoryRegistry()
    shop.publish(registry, names=["a-1"])
    begin(registry, tmp_path / "begin")

    with pytest.raises(TrustError) as caught:
        publish(shop, registry, names=["b-1"])

    assert str(caught.value) == (
        "registry.test/team/repo:repository.yaml: is not signed with a key of this repository "
        "(`cos sign` it if all that it lists is yours; --prune publishes without it)"
    )


@pytest.mark.parametrize("mtree", [False, True], ids=["plain", "mtree"])
def test_a_repository_is_taken_over_once_its_index_and_packages_are_signed(
    shop: Shop, tmp_path: Path, *, mtree: bool
) -> None:
    registry = MemoryRegistry()
    shop.mtree = mtree
    shop.build("a")
    shop.publish(registry, names=["a-1"])
    begin(registry, tmp_path / "begin")
    sign_image(registry, tagged(TARGET, "repository.yaml"), ONLINE)

    with pytest.raises(TrustError, match="a-t-1: is listed, and not signed with a key"):
        publish(shop, registry, names=["b-1"])
    for name in ("a-t-1", "a-t-1.metadata.yaml"):
        sign_image(registry, tagged(TARGET, tag_of(name)), ONLINE)
    publish(shop, registry, names=["b-1"])

    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1", "t/b-1"]


def test_metadata_that_says_something_else_than_the_index_is_not_taken_over(
    shop: Shop, tmp_path: Path
) -> None:
    registry = MemoryRegistry()
    shop.publish(registry, names=["a-1"])
    begin(registry, tmp_path / "begin")
    old = registry.manifest(tagged(TARGET, "a-t-1.metadata.yaml"))
    shop.build("a", "changed", time=9)
    shop.publish(registry, names=["a-1"])
    moved = tagged(TARGET, "a-t-1.metadata.yaml")
    registry.put_manifest(moved, old.data, old.descriptor.media_type)
    for name in registry.tags(TARGET):
        sign_image(registry, tagged(TARGET, name), ONLINE)

    with pytest.raises(TrustError, match="t/a-1 is listed with other metadata than was signed"):
        publish(shop, registry, names=["b-1"])


def test_a_key_that_the_root_does_not_name_cannot_publish(
    registry: MemoryRegistry, shop: Shop
) -> None:
    before = registry.tags(TARGET)

    with pytest.raises(TrustError, match="targets: 1 of the keys that the root names have to sign"):
        publish(shop, registry, key=STRANGER)

    assert registry.tags(TARGET) == before


def test_old_signed_metadata_can_be_collected_and_roots_stay() -> None:
    names = [f"{number}.snapshot.json" for number in range(1, 7)]
    names += ["1.root.json", "2.root.json", "timestamp.json", "9.bin-0a.json", "stranger"]

    newest = {"snapshot": 6, "bin-0a": 9, "root": 2}

    assert superseded(names, newest) == ("1.snapshot.json", "2.snapshot.json", "3.snapshot.json")
    assert superseded(names, newest | {"snapshot": 4}) == ("1.snapshot.json",)
    assert superseded(names, {}) == ()


def test_the_digest_that_is_signed_is_that_of_the_index_which_luet_reads(
    registry: MemoryRegistry, shop: Shop
) -> None:
    publish(shop, registry)

    named = registry.head(tagged(TARGET, "repository.yaml"))
    assert named is not None
    assert registry.head(tagged(TARGET, tag("timestamp.json"))) is not None
    assert registry.manifest(pinned(TARGET, named.digest)).descriptor == named
