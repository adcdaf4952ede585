"""What every `Registry` must do: the one in memory, and the client with real registries."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.errors import NotFoundError, RegistryError
from compiler.oci import INDEX, MANIFEST, Descriptor, Reference, digest_of
from compiler.registry import Registry
from compiler.registry.client import RegistryClient
from compiler.registry.memory import MemoryRegistry
from compiler.registry.settings import RegistrySettings
from tests.registry.shelf import (
    EMPTY,
    NOWHERE,
    Waits,
    client_for,
    described,
    index_of,
    manifest_of,
    pinned,
    put_image,
    tagged,
)
from tests.servers.modern import ModernRegistry
from tests.servers.registry import RegistryServer

CONTENT = bytes(range(256)) * 700
SERVERS = ["registry_server", "password_registry", "tls_registry"]


@pytest.fixture(
    params=["memory", "modern", *(pytest.param(s, marks=pytest.mark.registry) for s in SERVERS)]
)
def place(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Registry, Reference, Reference]]:
    """A registry, and two repositories of it that are empty."""
    if request.param == "memory":
        host = "registry.example"
        yield MemoryRegistry(), Reference(host, "test/1"), Reference(host, "test/2")
        return
    if request.param == "modern":
        modern: ModernRegistry = request.getfixturevalue("modern_registry")
        with RegistryClient(RegistrySettings(chunk=65536), pause=Waits([])) as client:
            yield client, Reference(modern.host, "test/1"), Reference(modern.host, "test/2")
        return
    server: RegistryServer = request.getfixturevalue(request.param)
    with client_for(server, tmp_path, chunk=65536) as client:
        yield client, server.repository(), server.repository()


@pytest.fixture
def registry(place: tuple[Registry, Reference, Reference]) -> Registry:
    return place[0]


@pytest.fixture
def here(place: tuple[Registry, Reference, Reference]) -> Reference:
    return place[1]


@pytest.fixture
def elsewhere(place: tuple[Registry, Reference, Reference]) -> Reference:
    return place[2]


def test_a_blob_comes_back_as_it_was_put(
    registry: Registry, here: Reference, tmp_path: Path
) -> None:
    blob = described(CONTENT)

    assert registry.put_blob(here, CONTENT, blob)

    registry.fetch_blob(here, blob, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == CONTENT
    assert registry.read_blob(here, blob) == CONTENT
    assert registry.has_blob(here, blob.digest)
    assert [path.name for path in tmp_path.iterdir() if "fetched" in path.name] == ["fetched"]


def test_a_file_is_uploaded_and_all_its_bytes_are_reported(
    registry: Registry, here: Reference, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    up: list[int] = []
    down: list[int] = []

    registry.put_blob(here, tmp_path / "source", described(CONTENT), up.append)
    registry.fetch_blob(here, described(CONTENT), tmp_path / "target", down.append)

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert (sum(up), sum(down)) == (len(CONTENT), len(CONTENT))


def test_an_empty_blob_can_be_stored(registry: Registry, here: Reference, tmp_path: Path) -> None:
    registry.put_blob(here, b"", described(b""))

    registry.fetch_blob(here, described(b""), tmp_path / "empty")
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_blob_that_is_there_is_not_uploaded_again(registry: Registry, here: Reference) -> None:
    registry.put_blob(here, CONTENT, described(CONTENT))
    reported: list[int] = []

    assert not registry.put_blob(here, CONTENT, described(CONTENT), reported.append)
    assert reported == []


def test_a_blob_that_is_not_what_it_is_called_is_refused(
    registry: Registry, here: Reference
) -> None:
    wrong = described(CONTENT)
    other = CONTENT[:-1] + b"x"

    with pytest.raises(RegistryError):
        registry.put_blob(here, other, wrong)
    with pytest.raises(RegistryError):
        registry.put_blob(here, CONTENT[:-1], wrong)

    assert not registry.has_blob(here, wrong.digest)
    assert not registry.has_blob(here, digest_of(other))


def test_a_missing_blob_is_not_found(registry: Registry, here: Reference, tmp_path: Path) -> None:
    missing = Descriptor("application/octet-stream", NOWHERE, 5)

    assert not registry.has_blob(here, NOWHERE)
    with pytest.raises(NotFoundError):
        registry.read_blob(here, missing)
    with pytest.raises(NotFoundError):
        registry.fetch_blob(here, missing, tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_a_blob_of_another_length_than_expected_is_refused(
    registry: Registry, here: Reference, tmp_path: Path
) -> None:
    registry.put_blob(here, CONTENT, described(CONTENT))

    for size in (len(CONTENT) - 1, len(CONTENT) + 1):
        wrong = Descriptor("application/octet-stream", digest_of(CONTENT), size)
        with pytest.raises(RegistryError):
            registry.read_blob(here, wrong)
        with pytest.raises(RegistryError):
            registry.fetch_blob(here, wrong, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_a_blob_that_is_too_large_for_memory_is_not_asked_for(
    registry: Registry, here: Reference
) -> None:
    with pytest.raises(RegistryError, match="memory"):
        registry.read_blob(here, Descriptor("application/octet-stream", NOWHERE, 1 << 40))


def test_a_manifest_comes_back_by_its_tag_and_its_digest(
    registry: Registry, here: Reference
) -> None:
    stored = put_image(registry, here, "v1", b"one")

    data = manifest_of(described(b"one"))
    assert stored == Descriptor(MANIFEST, digest_of(data), len(data))
    for name in (tagged(here, "v1"), pinned(here, stored.digest)):
        assert registry.head(name) == stored
        assert registry.manifest(name).descriptor == stored
        assert registry.manifest(name).data == data


def test_a_digest_wins_over_a_tag(registry: Registry, here: Reference) -> None:
    first = put_image(registry, here, "v1", b"one")
    put_image(registry, here, "v2", b"two")

    both = Reference(here.registry, here.repository, "v2", first.digest)

    assert registry.head(both) == first
    assert registry.manifest(both).descriptor == first


def test_a_manifest_can_be_stored_without_a_name(registry: Registry, here: Reference) -> None:
    registry.put_blob(here, EMPTY, described(EMPTY))

    stored = registry.put_manifest(here, manifest_of(), MANIFEST)

    assert registry.head(pinned(here, stored.digest)) == stored
    assert list(registry.tags(here)) == []


def test_a_manifest_under_another_digest_is_refused(registry: Registry, here: Reference) -> None:
    registry.put_blob(here, EMPTY, described(EMPTY))

    with pytest.raises(RegistryError, match="has the digest"):
        registry.put_manifest(pinned(here, NOWHERE), manifest_of(), MANIFEST)


def test_an_index_lists_manifests_that_are_there(registry: Registry, here: Reference) -> None:
    image = put_image(registry, here, "v1", b"one")
    index = index_of(image)

    stored = registry.put_manifest(tagged(here, "both"), index, INDEX)

    assert stored.media_type == INDEX
    assert registry.manifest(tagged(here, "both")).data == index


def test_a_manifest_whose_contents_are_missing_is_refused(
    registry: Registry, here: Reference
) -> None:
    registry.put_blob(here, EMPTY, described(EMPTY))
    missing = Descriptor("application/vnd.oci.image.layer.v1.tar", NOWHERE, 5)

    with pytest.raises(RegistryError):
        registry.put_manifest(tagged(here, "v1"), manifest_of(missing), MANIFEST)

    assert registry.head(tagged(here, "v1")) is None


def test_a_tag_can_be_moved(registry: Registry, here: Reference) -> None:
    put_image(registry, here, "v1", b"one")
    second = put_image(registry, here, "v1", b"two")

    assert registry.head(tagged(here, "v1")) == second


def test_what_is_not_there_has_no_head_and_is_not_found(
    registry: Registry, here: Reference
) -> None:
    put_image(registry, here, "v1", b"one")

    for name in (tagged(here, "v2"), pinned(here, NOWHERE)):
        assert registry.head(name) is None
        with pytest.raises(NotFoundError):
            registry.manifest(name)


def test_a_repository_that_is_not_there_has_nothing(registry: Registry, here: Reference) -> None:
    assert registry.head(tagged(here, "v1")) is None
    assert list(registry.tags(here)) == []
    assert not registry.has_blob(here, NOWHERE)


def test_tags_are_listed_in_their_order(registry: Registry, here: Reference) -> None:
    for tag in ("b", "a", "C", "v1.10", "v1.9"):
        put_image(registry, here, tag, b"one")

    assert list(registry.tags(here)) == ["C", "a", "b", "v1.10", "v1.9"]
    assert list(registry.tags(here, after="a")) == ["b", "v1.10", "v1.9"]


def test_a_blob_is_taken_over_from_another_repository(
    registry: Registry, here: Reference, elsewhere: Reference
) -> None:
    registry.put_blob(here, CONTENT, described(CONTENT))

    assert registry.mount_blob(elsewhere, described(CONTENT).digest, origin=here)

    assert registry.read_blob(elsewhere, described(CONTENT)) == CONTENT


def test_a_blob_that_cannot_be_taken_over_is_told(
    registry: Registry, here: Reference, elsewhere: Reference
) -> None:
    abroad = Reference("elsewhere.example", "test")

    assert not registry.mount_blob(elsewhere, NOWHERE, origin=here)
    assert not registry.mount_blob(elsewhere, NOWHERE, origin=abroad)
    assert not registry.has_blob(elsewhere, NOWHERE)


def test_referrers_are_listed_by_their_type(registry: Registry, here: Reference) -> None:
    image = put_image(registry, here, "v1", b"one")
    about = pinned(here, image.digest)
    assert list(registry.referrers(about)) == []

    signature = registry.put_referrer(
        about, manifest_of(artifact_type="example/signature", subject=image), MANIFEST
    )
    parts = registry.put_referrer(
        about, manifest_of(artifact_type="example/parts", subject=image), MANIFEST
    )

    assert set(registry.referrers(about)) == {signature, parts}
    assert list(registry.referrers(about, "example/parts")) == [parts]
    assert list(registry.referrers(about, "example/other")) == []
    assert registry.manifest(pinned(here, parts.digest)).descriptor == parts


def test_a_referrer_is_listed_once(registry: Registry, here: Reference) -> None:
    image = put_image(registry, here, "v1", b"one")
    about = pinned(here, image.digest)
    data = manifest_of(artifact_type="example/signature", subject=image)

    first = registry.put_referrer(about, data, MANIFEST)
    again = registry.put_referrer(about, data, MANIFEST)

    assert list(registry.referrers(about)) == [first] == [again]


def test_a_referrer_of_something_else_is_refused(registry: Registry, here: Reference) -> None:
    image = put_image(registry, here, "v1", b"one")
    other = put_image(registry, here, "v2", b"two")

    with pytest.raises(RegistryError):
        registry.put_referrer(pinned(here, image.digest), manifest_of(subject=other), MANIFEST)


def test_what_is_deleted_is_gone_with_all_its_tags(registry: Registry, here: Reference) -> None:
    put_image(registry, here, "v1", b"one")
    put_image(registry, here, "latest", b"one")
    other = put_image(registry, here, "v2", b"two")

    registry.delete(tagged(here, "v1"))
    registry.delete(tagged(here, "v1"))

    assert registry.head(tagged(here, "v1")) is None
    assert registry.head(tagged(here, "latest")) is None
    assert registry.head(tagged(here, "v2")) == other
    assert list(registry.tags(here)) == ["v2"]


def test_a_deleted_referrer_is_not_listed_any_more(registry: Registry, here: Reference) -> None:
    image = put_image(registry, here, "v1", b"one")
    about = pinned(here, image.digest)
    first, second = (
        registry.put_referrer(about, manifest_of(subject=image, note=note), MANIFEST)
        for note in ("first", "second")
    )

    registry.delete(pinned(here, first.digest))
    assert list(registry.referrers(about)) == [second]

    registry.delete(pinned(here, second.digest))
    assert list(registry.referrers(about)) == []


def test_a_manifest_that_is_too_large_is_refused(registry: Registry, here: Reference) -> None:
    registry.put_blob(here, EMPTY, described(EMPTY))
    large = json.loads(manifest_of()) | {"annotations": {"note": "x" * (5 << 20)}}

    with pytest.raises(RegistryError, match="too large"):
        registry.put_manifest(tagged(here, "v1"), json.dumps(large).encode(), MANIFEST)
