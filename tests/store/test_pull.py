"""Base images from a registry: which one is taken, and what is not taken at all."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.errors import ImageError
from compiler.oci import (
    CONFIG,
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    Digest,
    Platform,
    Reference,
    canonical_json,
    descriptor_json,
    digest_of,
    parse_reference,
)
from compiler.registry.memory import MemoryRegistry
from compiler.store.local import LocalStore
from compiler.store.pull import ImagePuller

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
NAME = "registry.test/base:1"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def layer(text: str) -> bytes:
    """Return a layer with one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo("file")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text.encode()))
    return packed.getvalue()


def push(
    registry: MemoryRegistry,
    text: str,
    platform: Platform,
    *,
    layers: int = 1,
    tag: bool = True,
) -> Descriptor:
    """Push an image of one layer, whose config speaks of `layers` many."""
    reference = parse_reference(NAME)
    data = layer(text)
    blob = Descriptor(LAYER_GZIP, digest_of(data), len(data))
    config = canonical_json(
        {"os": platform.os, "architecture": platform.architecture,
         "config": {"Env": ["A=b"], "Labels": {"own": "label"}},
         "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64] * layers}}
    )  # fmt: skip
    described = Descriptor(CONFIG, digest_of(config), len(config))
    registry.put_blob(reference, data, blob)
    registry.put_blob(reference, config, described)
    manifest = canonical_json({"schemaVersion": 2, "mediaType": MANIFEST,
                               "config": descriptor_json(described),
                               "layers": [descriptor_json(blob)]})  # fmt: skip
    digest = "" if tag else digest_of(manifest)
    place = Reference(reference.registry, reference.repository, reference.tag * tag, digest)
    return registry.put_manifest(place, manifest, MANIFEST)


def content(store: LocalStore, name: str = NAME) -> str:
    image = store.image(name)
    assert image is not None
    return (store.layer_path(image.layers[0]) / "file").read_text()


def test_an_image_is_pulled_once_and_then_found_in_the_store(store: LocalStore) -> None:
    registry = MemoryRegistry()
    pushed = push(registry, "one", AMD64)
    puller = ImagePuller(registry, store, AMD64)

    image = puller.lookup(NAME)
    registry.forget_counts()

    assert image is not None
    assert (image.env, image.source) == ((("A", "b"),), pushed.digest)
    assert puller.lookup(NAME) == image
    assert dict(registry.requests) == {}


def test_of_an_index_the_image_for_the_platform_is_taken(store: LocalStore) -> None:
    registry = MemoryRegistry()
    images = [push(registry, str(each), each, tag=False) for each in (AMD64, ARM64)]
    entries = [
        {**descriptor_json(image), "platform": {"os": "linux", "architecture": each.architecture}}
        for image, each in zip(images, (AMD64, ARM64), strict=True)
    ]
    index = canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    named = registry.put_manifest(parse_reference(NAME), index, INDEX)

    image = ImagePuller(registry, store, ARM64).lookup(NAME)

    assert content(store) == "linux/arm64"
    assert image is not None
    assert image.source == named.digest


def test_a_pinned_name_stands_for_its_digest(store: LocalStore) -> None:
    registry = MemoryRegistry()
    first = push(registry, "first", AMD64)
    push(registry, "second", AMD64)

    ImagePuller(registry, store, AMD64, pins={NAME: first.digest}).lookup(NAME)

    assert content(store) == "first"


def test_what_a_registry_does_not_give_is_remembered_with_the_reason(store: LocalStore) -> None:
    registry = MemoryRegistry()
    puller = ImagePuller(registry, store, AMD64)

    assert puller.lookup("registry.test/nothing:1") is None
    assert str(puller.refusals["registry.test/nothing:1"]) == (
        "registry.test/nothing:1: the registry has no such manifest"
    )


def test_a_config_with_another_number_of_layers_is_refused(store: LocalStore) -> None:
    registry = MemoryRegistry()
    push(registry, "x", AMD64, layers=2)
    puller = ImagePuller(registry, store, AMD64)

    assert puller.lookup(NAME) is None
    assert str(puller.refusals[NAME]) == (
        f"{NAME}: its config has another number of layers (check its name: something else than an"
        " image has it, or it has to be pushed again)"
    )
    assert store.images() == ()


def test_an_image_that_somebody_else_knows_is_pulled_only_when_it_is_needed(
    store: LocalStore, tmp_path: Path
) -> None:
    registry = MemoryRegistry()
    push(registry, "one", AMD64)
    other = LocalStore(tmp_path / "other")
    known = ImagePuller(registry, other, AMD64).lookup(NAME)
    assert known is not None
    puller = ImagePuller(registry, store, AMD64)
    puller.known = lambda digest, _name: known if digest == known.source else None

    assert puller.lookup(NAME) == known
    assert store.images() == ()
    puller.ensure(NAME, known)

    assert content(store) == "one"


def test_what_a_cache_says_of_an_image_is_not_believed_because_its_layers_are_here(
    store: LocalStore, tmp_path: Path
) -> None:
    registry = MemoryRegistry()
    push(registry, "evil", AMD64)
    evil = ImagePuller(registry, store, AMD64).lookup(NAME)
    assert evil is not None
    store.remove_image(NAME)
    push(registry, "good", AMD64)
    good = ImagePuller(registry, LocalStore(tmp_path / "other"), AMD64).lookup(NAME)
    assert good is not None
    puller = ImagePuller(registry, store, AMD64)
    said = replace(good, layers=evil.layers)
    puller.known = lambda _digest, _name: said

    assert puller.lookup(NAME) == said
    with pytest.raises(ImageError, match="has changed in its registry meanwhile"):
        puller.ensure(NAME, said)


def test_an_image_that_changed_meanwhile_is_not_built_upon(
    store: LocalStore, tmp_path: Path
) -> None:
    registry = MemoryRegistry()
    push(registry, "one", AMD64)
    known = ImagePuller(registry, LocalStore(tmp_path / "other"), AMD64).lookup(NAME)
    assert known is not None
    push(registry, "two", AMD64)

    with pytest.raises(ImageError, match="has changed in its registry meanwhile"):
        ImagePuller(registry, store, AMD64).ensure(NAME, known)


def test_a_layer_that_leads_out_of_its_place_is_refused(store: LocalStore) -> None:
    registry = MemoryRegistry()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../evil"))
    data = packed.getvalue()
    blob = Descriptor(LAYER_GZIP, Digest(digest_of(data)), len(data))
    reference = parse_reference(NAME)
    config = canonical_json({"rootfs": {"diff_ids": ["sha256:" + "0" * 64]}})
    described = Descriptor(CONFIG, digest_of(config), len(config))
    registry.put_blob(reference, data, blob)
    registry.put_blob(reference, config, described)
    manifest = {"schemaVersion": 2, "config": descriptor_json(described),
                "layers": [descriptor_json(blob)]}  # fmt: skip
    registry.put_manifest(reference, canonical_json(manifest), MANIFEST)
    puller = ImagePuller(registry, store, AMD64)

    assert puller.lookup(NAME) is None
    assert "evil" in str(puller.refusals[NAME])
