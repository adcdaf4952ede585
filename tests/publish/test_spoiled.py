"""What somebody who may push, and has no key, spoils: it keeps no owner from publishing."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.errors import RegistryError, TrustError
from compiler.events import Event, Noted
from compiler.oci import MANIFEST
from compiler.publish.state import tagged
from compiler.registry.memory import MemoryRegistry
from compiler.repository.trust import tag
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.places import RegistryPlace
from compiler.repository.trust.published import read_published
from compiler.repository.trust.publisher import refresh, rotate
from compiler.repository.trust.root import next_root, sign_root
from tests.publish.shop import AMD64, NOW, TARGET, Shop
from tests.publish.test_trusted import (
    BEGUN,
    ONLINE,
    ROOT,
    ROOT_FILE,
    Reader,
    publish,
)

SIGNING = Signing((ONLINE,), BEGUN, floor=2 * 10**15)


def place(registry: MemoryRegistry, folder: Path) -> RegistryPlace:
    """Open the place of the signed metadata."""
    return RegistryPlace(registry, TARGET, AMD64, folder)


def image(registry: MemoryRegistry, name: str) -> None:
    """Let a tag name an image that is something else."""
    data = registry.manifest(tagged(TARGET, "a-t-1.metadata.yaml")).data
    registry.put_manifest(tagged(TARGET, name), data, MANIFEST)


def nothing(registry: MemoryRegistry, name: str) -> None:
    """Let a tag name what is no image."""
    registry.put_manifest(tagged(TARGET, name), b'{"schemaVersion":2,"layers":[]}', MANIFEST)


def gone(registry: MemoryRegistry, name: str) -> None:
    """Delete what a tag names."""
    registry.delete(tagged(TARGET, name))


def newest(registry: MemoryRegistry) -> str:
    """Name the tag of the newest snapshot."""
    return max(each for each in registry.tags(TARGET) if each.endswith(".snapshot.json"))


Spoil = Callable[[MemoryRegistry, str], None]


def said_by(shop: Shop, registry: MemoryRegistry, *names: str) -> list[str]:
    """Publish; returns what is warned of."""
    said: list[Event] = []
    publish(shop, registry, shop.options(now=NOW + 60), names=names, report=said.append)
    return [each.message for each in said if isinstance(each, Noted) and each.warning]


@pytest.mark.parametrize("spoil", [image, nothing, gone])
def test_where_the_timestamp_is_spoiled_a_publication_goes_on_from_the_newest_state(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path, spoil: Spoil
) -> None:
    publish(shop, registry, names=["a-1"])
    client = Reader(registry, tmp_path / "client")
    client.packages()
    spoil(registry, tag("timestamp.json"))

    (warning,) = said_by(shop, registry, "b-1")

    assert client.packages() == ["t/a-1", "t/b-1"]
    assert "counts instead, the newest state that is whole and signed" in warning


@pytest.mark.parametrize("spoil", [image, nothing, gone])
def test_it_can_be_signed_again_with_the_key_of_the_timestamp_alone(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path, spoil: Spoil
) -> None:
    publish(shop, registry)
    spoil(registry, tag("timestamp.json"))
    there = place(registry, tmp_path)
    published = read_published(there.read, ROOT_FILE, there.names())
    assert published is not None

    there.write(refresh(published, SIGNING))

    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1", "t/b-1"]


@pytest.mark.parametrize("spoil", [image, nothing])
def test_where_the_newest_snapshot_is_spoiled_the_one_before_counts_and_no_client_stays_behind(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path, spoil: Spoil
) -> None:
    publish(shop, registry, names=["a-1"])
    publish(shop, registry, shop.options(now=NOW + 30), names=["b-1"])
    client = Reader(registry, tmp_path / "client")
    client.packages()
    spoil(registry, newest(registry))

    (warning,) = said_by(shop, registry, "b-1")

    assert client.packages() == ["t/a-1", "t/b-1"]
    assert "what is missing now is to be published again" in warning


def test_a_state_without_its_timestamp_is_the_same_at_each_reading(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry, names=["a-1"])
    image(registry, tag("timestamp.json"))
    there = place(registry, tmp_path)

    first = read_published(there.read, ROOT_FILE, there.names())
    time.sleep(1.1)  # what is made up anew has times in seconds
    second = read_published(there.read, ROOT_FILE, there.names())

    assert first is not None
    assert second is not None
    assert first.timestamp == second.timestamp


def test_where_nothing_that_is_signed_is_left_that_is_said(
    registry: MemoryRegistry, shop: Shop
) -> None:
    publish(shop, registry, names=["a-1"])
    for name in registry.tags(TARGET):
        if name.endswith((".snapshot.json", tag("timestamp.json"))):
            image(registry, name)

    with pytest.raises(RegistryError, match=r"timestamp\.json: does not hold trust-timestamp"):
        publish(shop, registry, names=["b-1"])


@pytest.mark.parametrize("spoil", [image, nothing])
def test_what_lies_in_place_of_the_next_root_is_warned_of_and_written_over(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path, spoil: Spoil
) -> None:
    publish(shop, registry, names=["a-1"])
    spoil(registry, tag("2.root.json"))

    (warning,) = said_by(shop, registry, "b-1")

    assert warning == (
        "registry.test/team/repo: 2.root.json does not follow the root that counts, and machines "
        "refuse the repository until `cos repo rotate` writes the next root in its place"
    )
    there = place(registry, tmp_path)
    published = read_published(there.read, ROOT_FILE, there.names())
    assert published is not None
    root = sign_root(next_root(ROOT_FILE, {}, BEGUN), [ROOT], ROOT_FILE)
    there.write(rotate(published, root, SIGNING))
    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1", "t/b-1"]


def test_an_old_root_is_not_signed_under_where_the_next_one_was_spoiled(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry, names=["a-1"])
    there = place(registry, tmp_path)
    published = read_published(there.read, ROOT_FILE, there.names())
    assert published is not None
    root = sign_root(next_root(ROOT_FILE, {}, BEGUN), [ROOT], ROOT_FILE)
    there.write(rotate(published, root, SIGNING))
    image(registry, tag("2.root.json"))

    with pytest.raises(TrustError) as caught:
        publish(shop, registry, names=["b-1"])

    assert str(caught.value) == (
        "registry.test/team/repo: root 2 is the newest, and 2.root.json is not it"
        " (give the newest root file, which `cos "
        "repo rotate` wrote)"
    )
