"""What others leave in a repository while it is published: none of it keeps anybody from it."""

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.errors import RegistryError
from compiler.events import Event, Noted
from compiler.oci import MANIFEST, Descriptor, Reference, canonical_json
from compiler.publish import Source, Surroundings, publish_repository
from compiler.publish.front import claim_at
from compiler.publish.state import CLAIM, tagged
from compiler.registry import Manifest
from compiler.registry.manifests import read_links
from compiler.registry.memory import MemoryRegistry
from tests.publish.shop import NOW, TARGET, Shop

HOUR = 3600 * 10**9


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.build("a")
    return made


def published(shop: Shop, registry: MemoryRegistry) -> list[str]:
    """Publish, and return what was warned of."""
    said: list[Event] = []
    around = Surroundings(
        registry=registry, folder=shop.scratch, report=said.append, pause=lambda _seconds: None
    )
    source = Source(
        packages=tuple(shop.packages.values()), roots=(shop.tree,), artifacts=shop.artifacts
    )
    publish_repository(source, TARGET, shop.options(now=NOW + 60), around)
    return [each.message for each in said if isinstance(each, Noted) and each.warning]


def claim(registry: MemoryRegistry, nanoseconds: int) -> str:
    """Leave the claim of an image that holds a package, or of anything else."""
    name = claim_at(nanoseconds, "0123456789abcdef")
    found = registry.manifest(tagged(TARGET, "a-t-1"))
    registry.put_manifest(tagged(TARGET, name), found.data, found.descriptor.media_type)
    return name


def test_a_claim_that_holds_no_repository_is_said_and_passed_over(shop: Shop) -> None:
    registry = MemoryRegistry()
    shop.publish(registry)
    name = claim(registry, time.time_ns())
    shop.build("b")

    (warning,) = published(shop, registry)

    assert warning.startswith(f"{name}: is passed over: registry.test/team/repo@sha256:")
    assert registry.head(tagged(TARGET, "b-t-1")) is not None


def test_so_is_one_that_is_no_image_at_all(shop: Shop) -> None:
    registry = MemoryRegistry()
    shop.publish(registry)
    name = claim_at(time.time_ns(), "0123456789abcdef")
    registry.put_manifest(tagged(TARGET, name), canonical_json({"layers": []}), MANIFEST)

    (warning,) = published(shop, registry)

    assert warning.startswith(f"{name}: is passed over")


def test_claims_of_a_time_to_come_are_not_even_looked_at(shop: Shop) -> None:
    registry = MemoryRegistry()
    shop.publish(registry)
    claim(registry, time.time_ns() + HOUR)

    assert published(shop, registry) == []


class Failing(MemoryRegistry):
    """A registry that stops answering as soon as somebody reads what one digest names."""

    failing = ""
    is_gone = False

    def manifest(self, reference: Reference) -> Manifest:
        self.is_gone = self.is_gone or reference.digest == self.failing != ""
        self._answer()
        return super().manifest(reference)

    def tags(self, repository: Reference, *, after: str = "") -> Sequence[str]:
        self._answer()
        return super().tags(repository, after=after)

    def head(self, reference: Reference) -> Descriptor | None:
        self._answer()
        return super().head(reference)

    def _answer(self) -> None:
        if self.is_gone:
            raise RegistryError("the line is dead")


def test_a_claim_that_the_network_hides_is_not_passed_over(shop: Shop) -> None:
    registry = Failing()
    shop.publish(registry)
    other = claim(registry, time.time_ns())
    found = registry.head(tagged(TARGET, other))
    assert found is not None
    registry.failing = found.digest

    with pytest.raises(RegistryError, match="the line is dead"):
        published(shop, registry)


class Removing(MemoryRegistry):
    """A registry in which garbage collection removes tags as soon as a claim is left."""

    def __init__(self) -> None:
        super().__init__()
        self.doomed: list[str] = []

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
        if reference.tag.startswith(CLAIM):
            while self.doomed:
                self.delete(tagged(TARGET, self.doomed.pop()))
        return super().put_manifest(reference, data, media_type)


def test_what_was_removed_while_it_was_published_is_brought_up_again(shop: Shop) -> None:
    registry = Removing()
    shop.build("b")
    shop.publish(registry, names=["a-1"])
    for tag in ("a-t-1", "b-t-1"):
        registry.doomed = [tag]

        published(shop, registry)

        names = set(registry.tags(TARGET))
        assert {"a-t-1", "b-t-1", "b-t-1.metadata.yaml"} <= names
        image = read_links(registry.manifest(tagged(TARGET, tag)).data).manifests[0]
        assert registry.head(replace(TARGET, digest=image.digest)) is not None


def test_what_was_removed_and_was_built_elsewhere_is_named(shop: Shop, tmp_path: Path) -> None:
    registry = Removing()
    shop.publish(registry)
    other = Shop(tmp_path / "other")
    other.build("b")
    registry.doomed = ["a-t-1.metadata.yaml"]

    with pytest.raises(RegistryError) as caught:
        published(other, registry)

    assert str(caught.value) == (
        "registry.test/team/repo:a-t-1: was removed meanwhile (publish it again from where it was "
        "built; is `cos registry gc` running?)"
    )


def test_what_was_gone_before_is_warned_of(shop: Shop, tmp_path: Path) -> None:
    registry = MemoryRegistry()
    shop.publish(registry)
    for tag in ("a-t-1", "a-t-1.metadata.yaml"):
        registry.delete(tagged(TARGET, tag))
    other = Shop(tmp_path / "other")
    other.build("b")

    said = published(other, registry)

    assert said == ["registry.test/team/repo: t/a-1 is listed, and its images are gone"]


def test_files_of_the_index_that_were_removed_are_named(shop: Shop) -> None:
    registry = Removing()
    shop.publish(registry)
    registry.doomed = [tag for tag in registry.tags(TARGET) if re.match("[0-9a-f]{12}-tree", tag)]

    with pytest.raises(RegistryError, match=r"-tree\.tar\.gz: was removed meanwhile"):
        published(shop, registry)
