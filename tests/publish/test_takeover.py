"""What a publication signs of the packages of others: what they say they pushed, and no more."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compiler.errors import ImageError, RegistryError, TrustError
from compiler.oci import (
    CONFIG,
    MANIFEST,
    Descriptor,
    Digest,
    Platform,
    canonical_json,
    descriptor_json,
    digest_of,
    platforms_of,
)
from compiler.publish.state import CLAIM, WHOLE, parse_pushed, pushed_text, tagged
from compiler.publish.takeover import Offer, joined
from compiler.publish.trusted import open_target
from compiler.registry.manifests import read_links
from compiler.registry.memory import MemoryRegistry
from compiler.signing.images import pinned, sign_image
from tests.publish.registries import Interrupting, Meeting, Unsigning
from tests.publish.shop import AMD64, ARM64, NOW, TARGET, Shop
from tests.publish.test_platforms import Publisher
from tests.publish.test_trusted import ONLINE, ROOT_FILE, Reader, begin, publish

OLD, NEW, OTHER = (Digest(f"sha256:{digit * 64}") for digit in "012")


@pytest.fixture
def registry(tmp_path: Path) -> Unsigning:
    made = Unsigning()
    begin(made, tmp_path / "begin")
    return made


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.build("b", "VULNERABLE")
    return made


@pytest.fixture
def other(tmp_path: Path) -> Shop:
    """Another owner of the keys, who knows nothing of `b`."""
    made = Shop(tmp_path / "other")
    made.build("c")
    return made


def signed(registry: MemoryRegistry, folder: Path) -> Mapping[str, Digest]:
    """Ask what is signed, by tag."""
    return open_target(registry, TARGET, ROOT_FILE, (ONLINE,), folder=folder).signed()


def stop_publishing(shop: Shop, registry: Unsigning, *names: str) -> None:
    """Publish, but stop just before anything is signed."""
    registry.stops = True
    with pytest.raises(RegistryError, match="the line is dead"):
        publish(shop, registry, shop.options(now=NOW + 30), names=names)
    registry.stops = False


def move(registry: MemoryRegistry, tag: str, digest: Digest) -> None:
    """Let a tag name another image, as anybody can who may push."""
    found = registry.manifest(pinned(TARGET, digest))
    registry.put_manifest(tagged(TARGET, tag), found.data, found.descriptor.media_type)


def named(registry: MemoryRegistry, tag: str) -> Digest:
    """Tell what a tag names."""
    return registry.manifest(tagged(TARGET, tag)).descriptor.digest


def test_an_older_build_that_is_put_under_the_tag_is_not_signed_for_the_newer_one(
    registry: Unsigning, shop: Shop, other: Shop, tmp_path: Path
) -> None:
    publish(shop, registry)
    vulnerable = named(registry, "b-t-1")
    shop.build("b", "MENDED", time=9)
    stop_publishing(shop, registry, "b-1")
    mended = named(registry, "b-t-1")
    move(registry, "b-t-1", vulnerable)

    publish(other, registry, other.options(now=NOW + 60))

    assert mended != vulnerable
    assert signed(registry, tmp_path)["b-t-1"] == mended
    assert named(registry, "b-t-1") == mended
    assert Reader(registry, tmp_path / "client").packages() == ["t/b-1", "t/c-1"]


def test_the_image_of_another_package_that_is_put_under_the_tag_is_not_signed(
    registry: Unsigning, shop: Shop, other: Shop, tmp_path: Path
) -> None:
    publish(other, registry)
    stop_publishing(shop, registry, "b-1")
    own = named(registry, "b-t-1")
    move(registry, "b-t-1", named(registry, "c-t-1"))
    other.build("d")

    publish(other, registry, other.options(now=NOW + 60))

    assert signed(registry, tmp_path)["b-t-1"] == own
    assert Reader(registry, tmp_path / "client").packages() == ["t/b-1", "t/c-1", "t/d-1"]


def test_what_another_took_over_and_did_not_sign_is_taken_over_once_more(
    registry: Unsigning, shop: Shop, other: Shop, tmp_path: Path
) -> None:
    stop_publishing(shop, registry, "b-1")
    own = named(registry, "b-t-1")
    stop_publishing(other, registry, "c-1")
    third = Shop(tmp_path / "third")
    third.build("d")

    publish(third, registry, third.options(now=NOW + 60))

    assert signed(registry, tmp_path)["b-t-1"] == own
    assert Reader(registry, tmp_path / "client").packages() == ["t/b-1", "t/c-1", "t/d-1"]


def test_what_was_pushed_and_is_gone_is_not_signed(
    registry: Unsigning, shop: Shop, other: Shop
) -> None:
    stop_publishing(shop, registry, "b-1")
    (image,) = read_links(registry.manifest(tagged(TARGET, "b-t-1")).data).manifests
    registry.delete(pinned(TARGET, image.digest))

    with pytest.raises(TrustError, match=r"b-t-1: .* was published for it, and is gone \(publish"):
        publish(other, registry, other.options(now=NOW + 60))


def test_of_a_claim_that_does_not_say_what_it_pushed_nothing_is_signed(
    registry: Unsigning, shop: Shop, other: Shop
) -> None:
    stop_publishing(shop, registry, "b-1")
    (claim,) = [each for each in registry.tags(TARGET) if each.startswith(CLAIM)]
    unlabel(registry, claim)

    with pytest.raises(TrustError) as caught:
        publish(other, registry, other.options(now=NOW + 60))

    assert str(caught.value) == (
        "registry.test/team/repo:b-t-1: is listed, and no publication says that it pushed it "
        "(publish t/b-1 again with --force-push)"
    )


def unlabel(registry: MemoryRegistry, claim: str) -> None:
    """Leave a claim, signed, as publishers did that did not say what they pushed."""
    manifest = json.loads(registry.manifest(tagged(TARGET, claim)).data)
    config = json.loads(registry.content(TARGET, manifest["config"]["digest"]))
    config["config"] = {}
    data = canonical_json(config)
    blob = Descriptor(CONFIG, digest_of(data), len(data))
    registry.put_blob(TARGET, data, blob)
    changed = canonical_json({**manifest, "config": descriptor_json(blob)})
    registry.put_manifest(tagged(TARGET, claim), changed, MANIFEST)
    sign_image(registry, tagged(TARGET, claim), ONLINE)


def test_an_image_that_says_it_is_of_another_package_is_not_taken_over_at_the_beginning(
    shop: Shop, other: Shop, tmp_path: Path
) -> None:
    registry = MemoryRegistry()
    shop.publish(registry)
    other.publish(registry)
    begin(registry, tmp_path / "begin")
    for name in registry.tags(TARGET):
        if not name.startswith("trust-"):
            sign_image(registry, tagged(TARGET, name), ONLINE)
    move(registry, "b-t-1", named(registry, "c-t-1"))
    other.build("d")

    with pytest.raises(TrustError, match=r"t/b-1: its image says .*title='t/c', not 't/b'"):
        publish(other, registry, other.options(now=NOW + 60))


def owners(registry: MemoryRegistry, folder: Path) -> list[Callable[[], None]]:
    """Let two owners publish one package, for a platform each."""

    def owner(platform: Platform) -> Callable[[], None]:
        shop = Shop(folder / platform.architecture)
        shop.build("z")
        publisher = Publisher(shop, registry, has_root=True, keys=(ONLINE,))
        return lambda: publisher.publish(platform, "z-1")

    return [owner(AMD64), owner(ARM64)]


@pytest.mark.parametrize("point", [CLAIM, "trust-timestamp", "repository.yaml"])
def test_two_owners_who_publish_for_two_platforms_at_once_lose_none(
    tmp_path: Path, point: str
) -> None:
    registry = Meeting()
    begin(registry, tmp_path)
    registry.meet_before(point)

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(each) for each in owners(registry, tmp_path)]:
            done.result()

    assert named(registry, "z-t-1") == signed(registry, tmp_path)["z-t-1"]
    assert platforms_in(registry, "z-t-1") == ["amd64", "arm64"]


@pytest.mark.parametrize(
    "point", ["z-t-1", "z-t-1.metadata", CLAIM, "trust-", "trust-timestamp", "repository.yaml"]
)
def test_an_owner_who_publishes_while_another_does_loses_nothing(
    tmp_path: Path, point: str
) -> None:
    registry = Interrupting()
    begin(registry, tmp_path)
    first, second = owners(registry, tmp_path)
    registry.before(point, second)

    first()

    assert named(registry, "z-t-1") == signed(registry, tmp_path)["z-t-1"]
    assert platforms_in(registry, "z-t-1") == ["amd64", "arm64"]


def platforms_in(registry: MemoryRegistry, tag: str) -> list[str]:
    """Name the architectures that a tag has images for."""
    found = registry.manifest(tagged(TARGET, tag))
    return sorted(each.architecture for each in platforms_of(found.data, tag))


def test_images_that_were_built_as_listed_come_before_those_built_otherwise() -> None:
    offers = [
        Offer({"t": {"linux/amd64": NEW, "linux/riscv64": OLD}}, is_as_listed=False),
        Offer({"t": {"linux/amd64": OTHER}}, is_as_listed=True),
        Offer({"t": {"linux/amd64": OLD, "linux/arm64": OLD}}, is_as_listed=False),
    ]

    assert joined("t", offers) == {
        "linux/amd64": OTHER, "linux/arm64": OLD, "linux/riscv64": OLD
    }  # fmt: skip
    assert joined("t", offers[::2]) == {}
    assert joined("t", [Offer({"t": {WHOLE: OLD}}, is_as_listed=True), *offers[1:2]]) == {
        "linux/amd64": OTHER
    }
    assert joined("t", [Offer({"t": {WHOLE: OLD}}, is_as_listed=True)]) == {WHOLE: OLD}


def test_what_a_publication_pushed_is_read_as_it_was_written() -> None:
    pushed = {"b-t-1": {"linux/arm64/v8": OLD}, "b-t-1.metadata.yaml": {WHOLE: NEW}}

    assert parse_pushed(pushed_text(pushed)) == pushed
    with pytest.raises(ImageError, match="is not a sha256 digest"):
        parse_pushed('{"b-t-1": {"linux/arm64": "../../etc"}}')
