"""Images of large packages: several layers, of which a small change brings up few."""

import gzip
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.archive.safety import Devices
from compiler.archive.unpack import apply_layer, unpack_tar
from compiler.oci import Descriptor, Digest
from compiler.publish.check import Checked, find_faults
from compiler.publish.front import recent_claims
from compiler.publish.gc import decide
from compiler.publish.removal import remove, with_referrers
from compiler.publish.state import tagged
from compiler.publish.survey import survey
from compiler.registry.memory import MemoryRegistry
from compiler.repository.cache import Cache
from compiler.repository.sources.registry import RegistrySource
from tests.large import MB, listing
from tests.publish.shop import AMD64, NOW, TARGET, Shop

Json = dict[str, Any]

pytestmark = pytest.mark.container
"""Packages that get several layers are large, which takes its time."""


def large(changed: str = "") -> dict[str, str]:
    """Return 80 files of a megabyte each, one of which may say something else."""
    text = {f"usr/{number % 5}/{number:03}": f"{number:04}" * (MB // 4) for number in range(80)}
    return {**text, "usr/0/small": changed}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.build("large", files=large())
    made.build("small")
    return made


def image_of(registry: MemoryRegistry, tag: str) -> Json:
    (entry,) = json.loads(registry.manifest(tagged(TARGET, tag)).data)["manifests"]
    found: Json = json.loads(registry.manifest(replace(TARGET, digest=entry["digest"])).data)
    return found


def blobs(registry: MemoryRegistry, image: Json) -> list[bytes]:
    named = [Descriptor(x["mediaType"], Digest(x["digest"]), x["size"]) for x in image["layers"]]
    return [registry.read_blob(TARGET, each) for each in named]


def config_of(registry: MemoryRegistry, image: Json) -> Json:
    about = image["config"]
    blob = Descriptor(about["mediaType"], Digest(about["digest"]), about["size"])
    found: Json = json.loads(registry.read_blob(TARGET, blob))
    return found


def digests(image: Json) -> set[str]:
    return {layer["digest"] for layer in image["layers"]}


def test_the_layers_of_a_large_package_are_what_its_config_says_and_make_the_package(
    shop: Shop, tmp_path: Path
) -> None:
    registry, target, whole = MemoryRegistry(), tmp_path / "target", tmp_path / "whole"

    shop.publish(registry)

    image = image_of(registry, "large-t-1")
    config = config_of(registry, image)
    plain = [gzip.decompress(blob) for blob in blobs(registry, image)]
    named = [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in plain]
    assert config["rootfs"]["diff_ids"] == named
    assert len(config["history"]) == len(named) > 3
    target.mkdir()
    for number, each in enumerate(plain):
        (tmp_path / str(number)).write_bytes(each)
        apply_layer(tmp_path / str(number), target, devices=Devices.MAKE)
    whole.mkdir()
    unpack_tar(shop.artifacts / "large-t-1.package.tar", whole)
    assert listing(target) == listing(whole)


def test_a_small_package_has_one_layer_which_is_its_archive(shop: Shop) -> None:
    registry = MemoryRegistry()

    shop.publish(registry)

    (layer,) = blobs(registry, image_of(registry, "small-t-1"))
    assert gzip.decompress(layer) == (shop.artifacts / "small-t-1.package.tar").read_bytes()


def test_an_image_is_the_same_wherever_it_is_published(shop: Shop) -> None:
    registries = [MemoryRegistry(), MemoryRegistry()]

    for registry in registries:
        shop.publish(registry)

    first, second = (each.head(tagged(TARGET, "large-t-1")) for each in registries)
    assert first == second


def test_after_a_small_change_few_layers_are_brought_up(shop: Shop) -> None:
    registry = MemoryRegistry()
    first = shop.publish(registry)
    before = image_of(registry, "large-t-1")
    shop.build("large", files=large("changed"), time=60)

    second = shop.publish(registry, shop.options(now=NOW + 60))

    after = image_of(registry, "large-t-1")
    assert len(digests(after) - digests(before)) <= 2
    assert second.traffic.sent < 0.4 * first.traffic.sent


def test_a_source_fetches_the_layers_that_a_cache_has_not(shop: Shop, tmp_path: Path) -> None:
    registry, cache = MemoryRegistry(), Cache(tmp_path / "cache")
    source = RegistrySource(registry, TARGET, AMD64)
    made = shop.publish(registry)
    source.fetch(made.repository.index.artifacts[0], cache)
    shop.build("large", files=large("changed"), time=60)
    made = shop.publish(registry, shop.options(now=NOW + 60))
    registry.forget_counts()

    paths = source.fetch(made.repository.index.artifacts[0], cache)

    image = image_of(registry, "large-t-1")
    assert [path.name for path in paths] == [x["digest"][7:] for x in image["layers"]]
    assert 0 < registry.requests["fetch_blob"] <= 2


def test_collection_removes_the_old_image_and_leaves_the_new_one_whole(
    shop: Shop, tmp_path: Path
) -> None:
    registry = MemoryRegistry()
    shop.publish(registry)
    before = registry.head(tagged(TARGET, "large-t-1"))
    shop.build("large", files=large("changed"), version="2", time=60)
    made = shop.publish(
        registry, replace(shop.options(now=NOW + 60), prune=True), names=["large-2", "small-1"]
    )

    holdings = survey(registry, TARGET, tmp_path, recent_claims())
    decided = decide(holdings, keep=1, window=recent_claims())
    lines = with_referrers(registry, TARGET, holdings, decided)
    remove(registry, TARGET, holdings, lines)

    assert before is not None
    assert "large-t-1" not in registry.tags(TARGET)
    checked = Checked(registry=registry, target=TARGET, folder=tmp_path)
    assert find_faults(made.repository.index, checked) == ()
    assert len(blobs(registry, image_of(registry, "large-t-2"))) > 3
