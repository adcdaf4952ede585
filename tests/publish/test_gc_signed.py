"""Garbage collection of signed metadata: nobody who pushes tags can make good versions go."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from compiler.errors import CompilerError, TrustError
from compiler.oci import MANIFEST
from compiler.publish.front import claim_at
from compiler.publish.gc import SIGNED, Holdings, Line, decide, needed, snapshots_of
from compiler.publish.removal import remove, with_referrers
from compiler.publish.state import Window, tagged
from compiler.publish.survey import survey
from compiler.publish.trusted import open_target
from compiler.registry.manifests import read_links
from compiler.registry.memory import MemoryRegistry
from compiler.repository.sources.registry import RegistrySource
from compiler.repository.trust import Target, tag, target_of_bytes, target_of_image
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.places import RegistryPlace
from compiler.repository.trust.published import read_published
from compiler.repository.trust.publisher import Contents, sign_contents, start
from compiler.repository.trust.root import first_root, make_policy, sign_root
from compiler.signing.keys import generate
from tests.publish.shop import AMD64, NOW, TARGET, Shop
from tests.publish.test_trusted import ONLINE as KEY
from tests.publish.test_trusted import ROOT_FILE as GIVEN
from tests.publish.test_trusted import Reader, begin, publish

ROOT, ONLINE = generate(), generate()
SIGNING = Signing((ONLINE,), datetime.now(UTC))
ROOT_FILE = sign_root(first_root(make_policy([ROOT.public], [ONLINE.public]), SIGNING.now), [ROOT])
HIGHEST = 10**18 - 1
FAR = Window(since=claim_at(2**63), until=claim_at(2**63))


class Signed:
    """A repository in a registry with six versions of its snapshot and targets."""

    def __init__(self, folder: Path) -> None:
        self.registry = MemoryRegistry()
        self.folder = folder
        self.shop = Shop(folder / "shop")
        self.shop.build("a")
        self.shop.publish(self.registry)
        self.place = RegistryPlace(self.registry, TARGET, AMD64, folder)
        self.place.write(start(ROOT_FILE, Contents(index={}), SIGNING, bins=2))
        for number in range(5):
            self.sign({"number": target_of_bytes(b"%d" % number)})

    def sign(self, more: Mapping[str, Target]) -> None:
        """Sign the index, and something more."""
        published = read_published(self.place.read, ROOT_FILE)
        assert published is not None
        index = self.registry.head(tagged(TARGET, "repository.yaml"))
        assert index is not None
        contents = Contents(index={"repository.yaml": target_of_image(index), **more})
        self.place.write(sign_contents(published, contents, SIGNING))

    def push(self, name: str, like: str = "repository.yaml") -> None:
        """Let a tag name what another one does, as anybody can who may push."""
        data = self.registry.manifest(tagged(TARGET, like)).data
        self.registry.put_manifest(tagged(TARGET, name), data, MANIFEST)

    def garbage(self, name: str) -> None:
        """Let a tag name something useless, of its own."""
        data = self.registry.manifest(tagged(TARGET, "repository.yaml")).data
        changed = data.replace(b'"schemaVersion":2', b'"schemaVersion":2,"x":"%s"' % name.encode())
        self.registry.put_manifest(tagged(TARGET, name), changed, MANIFEST)

    def collect(self, root: bytes | None = None) -> dict[str, Line]:
        """Collect garbage; returns what became of the tags."""
        place = self.folder / uuid4().hex
        place.mkdir()
        holdings = survey(self.registry, TARGET, place, FAR, root)
        decided = decide(holdings, keep=0, window=FAR)
        lines = with_referrers(self.registry, TARGET, holdings, decided)
        remove(self.registry, TARGET, holdings, lines)
        return {line.tag: line for line in lines}

    def left(self, role: str) -> list[str]:
        """List the tags of a role that are there."""
        return sorted(
            name.removeprefix(tag(""))
            for name in self.registry.tags(TARGET)
            if name.startswith(tag("")) and name.endswith(f".{role}.json")
        )


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    return Signed(tmp_path)


def versions(role: str, *numbers: int) -> list[str]:
    return [f"{number}.{role}.json" for number in numbers]


def test_the_last_versions_that_the_repository_names_stay(signed: Signed) -> None:
    lines = signed.collect()

    assert signed.left("snapshot") == versions("snapshot", 4, 5, 6)
    assert signed.left("targets") == versions("targets", 4, 5, 6)
    assert signed.left("bin-00") == versions("bin-00", 1)
    assert signed.left("root") == versions("root", 1)
    assert lines[tag("3.snapshot.json")].reason == "signed metadata older than the last versions"
    assert lines[tag("6.snapshot.json")].reason == "signed metadata"
    assert read_published(signed.place.read, ROOT_FILE) is not None


def test_versions_of_a_time_to_come_go_and_make_no_good_one_go(signed: Signed) -> None:
    for number in range(HIGHEST - 4, HIGHEST + 1):
        signed.garbage(tag(f"{number}.snapshot.json"))
        signed.garbage(tag(f"{number}.bin-00.json"))

    signed.collect()

    assert signed.left("snapshot") == versions("snapshot", 4, 5, 6)
    assert signed.left("bin-00") == versions("bin-00", 1)
    assert read_published(signed.place.read, ROOT_FILE) is not None


def _not_there(signed: Signed) -> None:
    signed.registry.delete(tagged(TARGET, tag("timestamp.json")))


def _something_else(signed: Signed) -> None:
    signed.push(tag("timestamp.json"))


def _another_kind(signed: Signed) -> None:
    signed.place.write({"timestamp.json": ROOT_FILE})


def _without_snapshot(signed: Signed) -> None:
    signed.registry.delete(tagged(TARGET, tag("6.snapshot.json")))


def _another_snapshot(signed: Signed) -> None:
    signed.push(tag("6.snapshot.json"), like=tag("1.snapshot.json"))


@pytest.mark.parametrize(
    "spoil", [_not_there, _something_else, _another_kind, _without_snapshot, _another_snapshot]
)
@pytest.mark.parametrize("root", [None, ROOT_FILE])
def test_nothing_goes_where_the_newest_metadata_cannot_be_read(
    signed: Signed, spoil: Callable[[Signed], None], root: bytes | None
) -> None:
    spoil(signed)
    before = signed.registry.tags(TARGET)

    with pytest.raises(
        CompilerError,
        match=r"what is signed cannot be read, so all of it stays|does not hold trust-",
    ):
        signed.collect(root)

    assert signed.registry.tags(TARGET) == before


@pytest.mark.parametrize("root", [None, ROOT_FILE])
def test_nothing_goes_where_the_tag_names_another_index_than_is_signed(
    signed: Signed, root: bytes | None
) -> None:
    good = signed.registry.head(tagged(TARGET, "repository.yaml"))
    attacker = Shop(signed.folder / "attacker")
    attacker.build("evil")
    attacker.publish(signed.registry, replace(attacker.options(now=NOW + 60), prune=True))
    before = signed.registry.tags(TARGET)
    assert good is not None

    with pytest.raises(TrustError) as caught:
        signed.collect(root)

    assert f"and {good.digest} is signed (somebody is publishing right now" in str(caught.value)
    assert signed.registry.tags(TARGET) == before


@pytest.mark.parametrize("root", [None, ROOT_FILE])
def test_what_is_signed_stays_though_the_index_no_longer_lists_it(
    signed: Signed, root: bytes | None
) -> None:
    image = signed.registry.head(tagged(TARGET, "a-t-1"))
    signed.shop.build("b")
    options = replace(signed.shop.options(now=NOW + 60), prune=True)
    signed.shop.publish(signed.registry, options, names=["b-1"])
    assert image is not None
    signed.sign({"a-t-1": target_of_image(image)})

    lines = signed.collect(root)

    part = read_links(signed.registry.manifest(tagged(TARGET, "a-t-1")).data).manifests[0]
    assert signed.registry.head(replace(TARGET, digest=part.digest)) is not None
    assert lines["a-t-1"].reason == SIGNED
    assert signed.registry.head(tagged(TARGET, "a-t-1.metadata.yaml")) is None


def test_metadata_that_another_root_signed_makes_nothing_go(signed: Signed) -> None:
    other = sign_root(
        first_root(make_policy([ONLINE.public], [ROOT.public]), SIGNING.now), [ONLINE]
    )

    with pytest.raises(TrustError, match="what is signed cannot be read"):
        signed.collect(other)


def test_no_snapshot_of_the_index_makes_signed_metadata_go(signed: Signed) -> None:
    front = signed.folder / "front"
    RegistrySource(signed.registry, TARGET, AMD64).bring("repository.yaml", front, 1 << 20)
    signed.place.write({"repository.yaml": front.read_bytes()})  # a snapshot called `trust-`

    lines = signed.collect()

    assert lines[tag("repository.yaml")].removed
    assert signed.left("snapshot") == versions("snapshot", 4, 5, 6)
    assert read_published(signed.place.read, ROOT_FILE) is not None


def test_what_is_signed_anew_leaves_as_many_snapshots_as_are_asked_for(tmp_path: Path) -> None:
    registry, shop = MemoryRegistry(), Shop(tmp_path / "shop")
    begin(registry, tmp_path / "begin")
    for number in range(3):
        shop.build("a", version=str(number))
        options = replace(shop.options(now=NOW + 60 * number), prune=True)
        publish(shop, registry, options, names=[f"a-{number}"])
    place = tmp_path / "place"
    trust = open_target(registry, TARGET, GIVEN, (KEY,), folder=tmp_path)

    def look() -> Holdings:
        folder = place / uuid4().hex
        folder.mkdir(parents=True)
        return survey(registry, TARGET, folder, FAR, GIVEN)

    before = look()
    oldest, middle, last = sorted(before.snapshots)
    stays = {line.tag: line.reason for line in decide(before, keep=2, window=FAR)}
    left = trust.left(needed(before, keep=2))
    trust.forget(needed(before, keep=2))

    holdings = look()
    remove(registry, TARGET, holdings, decide(holdings, keep=2, window=FAR))

    assert (stays[oldest], stays["a-t-0"]) == (SIGNED, SIGNED)
    assert holdings.vouched == left < before.vouched
    tags = registry.tags(TARGET)
    assert {middle, last, "a-t-1", "a-t-2"} <= {*tags}
    assert not {oldest, "a-t-0", "a-t-0.metadata.yaml"} & {*tags}
    assert Reader(registry, tmp_path / "now").packages() == ["t/a-2"]
    assert Reader(registry, tmp_path / "before", reference=middle).packages() == ["t/a-1"]


def test_an_image_that_signed_metadata_names_stays_whatever_tags_name_it(tmp_path: Path) -> None:
    registry, shop = MemoryRegistry(), Shop(tmp_path / "shop")
    begin(registry, tmp_path / "begin")
    for number in range(5):
        shop.build("a", version=str(number))
        publish(shop, registry, shop.options(now=NOW + 60 * number), names=[f"a-{number}"])
    tops = sorted(each for each in registry.tags(TARGET) if each.endswith(".targets.json"))
    oldest, newest = (registry.manifest(tagged(TARGET, tops[at])) for at in (0, -1))
    registry.put_manifest(tagged(TARGET, tops[0]), newest.data, MANIFEST)
    registry.put_manifest(tagged(TARGET, tops[-1]), oldest.data, MANIFEST)

    holdings = survey(registry, TARGET, tmp_path, FAR, GIVEN)
    lines = decide(holdings, keep=5, window=FAR)
    removed = remove(registry, TARGET, holdings, lines)

    assert removed > 0
    assert {line.tag: line.removed for line in lines}[tops[0]] is False
    assert len(Reader(registry, tmp_path / "now").packages()) == 5


def test_a_snapshot_that_nobody_signed_takes_no_place_of_one_that_is_signed(
    tmp_path: Path,
) -> None:
    registry, shop = MemoryRegistry(), Shop(tmp_path / "shop")
    begin(registry, tmp_path / "begin")
    shop.build("a")
    publish(shop, registry)
    index = registry.manifest(tagged(TARGET, "repository.yaml"))
    (signed,) = snapshots_of(registry.tags(TARGET))
    shop.publish(registry, shop.options(now=4_000_000_000))
    registry.put_manifest(tagged(TARGET, "repository.yaml"), index.data, MANIFEST)

    holdings = survey(registry, TARGET, tmp_path, FAR, GIVEN)

    (made_up,) = {*snapshots_of(registry.tags(TARGET))} - {signed}
    assert signed in needed(holdings, keep=1)
    assert made_up not in needed(holdings, keep=1)


def test_nothing_goes_where_an_older_state_was_put_back(signed: Signed) -> None:
    before = signed.registry.manifest(tagged(TARGET, tag("timestamp.json"))).data
    signed.sign({"number": target_of_bytes(b"newer")})
    signed.registry.put_manifest(tagged(TARGET, tag("timestamp.json")), before, MANIFEST)
    tags = signed.registry.tags(TARGET)

    with pytest.raises(TrustError, match=r"names an older state than 7\.snapshot\.json"):
        signed.collect(ROOT_FILE)

    assert signed.registry.tags(TARGET) == tags


def test_signing_anew_what_stays_writes_nothing_if_that_is_all(tmp_path: Path) -> None:
    registry, shop = MemoryRegistry(), Shop(tmp_path / "shop")
    begin(registry, tmp_path / "begin")
    shop.build("a")
    publish(shop, registry)
    registry.forget_counts()

    open_target(registry, TARGET, GIVEN, (KEY,), folder=tmp_path).forget(frozenset())

    assert not {name for name in registry.requests if name.startswith("put")}
