"""Packages out of a registry: what is asked of it, and what is taken from the cache instead."""

import json
from pathlib import Path
from threading import Barrier

import pytest

from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import RegistryError, TrustError
from compiler.oci import Descriptor, Digest, Reference, digest_of
from compiler.registry import Manifest, Progress
from compiler.registry.memory import MemoryRegistry
from compiler.repository.cache import Cache
from compiler.repository.sources.registry import RegistrySource
from compiler.spec.package import Definition
from tests.publish.shop import AMD64, TARGET, Shop


class Unplugged:
    """A registry whose network may be gone, which is what each request finds after a while."""

    def __init__(self, registry: MemoryRegistry) -> None:
        self.registry = registry
        self.is_gone = False
        self.asked = 0

    def manifest(self, reference: Reference) -> Manifest:
        """Fetch a manifest."""
        self._ask(reference)
        return self.registry.manifest(reference)

    def fetch_blob(
        self,
        repository: Reference,
        blob: Descriptor,
        target: Path,
        progress: Progress | None = None,
    ) -> None:
        """Fetch a blob."""
        self._ask(repository)
        self.registry.fetch_blob(repository, blob, target, progress)

    def _ask(self, reference: Reference) -> None:
        self.asked += 1
        if self.is_gone:
            raise RegistryError(f"{reference}: does not answer")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Three packages."""
    made = Shop(tmp_path / "shop")
    for name in ("one", "two", "three"):
        made.build(name, files={f"usr/{name}": name})
    return made


def test_a_registry_that_does_not_answer_is_asked_once_for_all_that_the_cache_has(
    shop: Shop, tmp_path: Path
) -> None:
    registry = MemoryRegistry()
    artifacts = shop.publish(registry).repository.index.artifacts
    images, cache = Unplugged(registry), Cache(tmp_path / "cache")
    source = RegistrySource(images, TARGET, AMD64)
    before = [source.fetch(each, cache) for each in artifacts]
    images.is_gone, images.asked = True, 0

    after = [source.fetch(each, cache) for each in artifacts]

    assert len(before) == 3
    assert after == before
    assert images.asked == 1


def test_the_cache_is_not_believed_where_nothing_is_signed_any_more(
    shop: Shop, tmp_path: Path
) -> None:
    registry = MemoryRegistry()
    artifacts = shop.publish(registry).repository.index.artifacts
    images, cache = Unplugged(registry), Cache(tmp_path / "cache")
    revoked: list[str] = []

    def vouch(tag: str) -> None:
        if tag in revoked:
            raise TrustError(f"{tag} is not signed")

    source = RegistrySource(images, TARGET, AMD64, vouch=vouch)
    for each in artifacts:
        source.fetch(each, cache)
    images.is_gone = True
    source.fetch(artifacts[0], cache)
    revoked.append(artifacts[1].id.fingerprint)

    with pytest.raises(TrustError, match="is not signed"):
        source.fetch(artifacts[1], cache)


class Layered:
    """A registry with one image of `count` layers, which come only when two are asked for."""

    def __init__(self, count: int) -> None:
        self.contents = [b"%d" % number for number in range(count)]
        self._together = Barrier(2, timeout=20)

    def manifest(self, _reference: Reference) -> Manifest:
        """Give the image; its first layer lies on top as well."""
        layers = [
            {"mediaType": "x", "digest": digest_of(each), "size": len(each)}
            for each in (*self.contents, self.contents[0])
        ]
        data = json.dumps({"layers": layers}).encode()
        return Manifest(Descriptor("x", digest_of(data), len(data)), data)

    def fetch_blob(
        self,
        _repository: Reference,
        blob: Descriptor,
        target: Path,
        _progress: Progress | None = None,
    ) -> None:
        """Fetch a layer together with another one."""
        self._together.wait()
        named = {digest_of(each): each for each in self.contents}
        target.write_bytes(named[Digest(blob.digest)])


def test_layers_of_one_package_come_at_the_same_time_and_stay_in_order(tmp_path: Path) -> None:
    images = Layered(4)
    definition = Definition(name="a", category="t", version="1")
    artifact = ArtifactMetadata(
        runtime=definition, built=definition, archive="a.tar", sha256="", compression="none"
    )

    found = RegistrySource(images, TARGET, AMD64).fetch(artifact, Cache(tmp_path))

    assert [path.read_bytes() for path in found] == [b"0", b"1", b"2", b"3", b"0"]
