"""Docker repositories: what lies under which tag, what a second publication costs, two at once."""

import hashlib
import json
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast

import pytest

from compiler.errors import InputError, RegistryError
from compiler.oci import Descriptor, Digest
from compiler.publish.state import CLAIM, State, read_state, tagged
from compiler.registry.memory import MemoryRegistry
from tests.publish.registries import Meeting, Stopping, together
from tests.publish.shop import ARM64, NOW, TARGET, Shop

Json = dict[str, Any]
"""An object of JSON."""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.build("a")
    made.build("b")
    return made


def manifest(registry: MemoryRegistry, tag: str) -> Json:
    found: Json = json.loads(registry.manifest(tagged(TARGET, tag)).data)
    return found


def members(registry: MemoryRegistry, image: Json) -> dict[str, bytes]:
    """Return the files of an image's layer."""
    (layer,) = image["layers"]
    blob = Descriptor(layer["mediaType"], Digest(layer["digest"]), layer["size"])
    with tarfile.open(fileobj=BytesIO(registry.read_blob(TARGET, blob)), mode="r:gz") as tar:
        files = [(each.name, cast("IO[bytes]", tar.extractfile(each))) for each in tar]
        return {name: file.read() for name, file in files}


def state(registry: MemoryRegistry, folder: Path, tag: str = "repository.yaml") -> State:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    found = read_state(registry, tagged(TARGET, tag), folder)
    assert found is not None
    return found


def names(found: State) -> list[str]:
    return [str(artifact.id) for artifact in found.repository.index.artifacts]


def test_a_publication_has_the_tags_that_luet_gives(shop: Shop) -> None:
    registry = MemoryRegistry()

    shop.publish(registry)

    tags = [tag for tag in registry.tags(TARGET) if not tag.startswith(CLAIM)]
    plain = [tag for tag in tags if not tag.startswith("20261") and "-" not in tag[:13]]
    assert sorted(tag for tag in tags if tag[:3] in {"a-t", "b-t"}) == [
        "a-t-1", "a-t-1.metadata.yaml", "b-t-1", "b-t-1.metadata.yaml",
    ]  # fmt: skip
    assert [tag for tag in plain if "-t-" not in tag] == [
        "compilertree.tar.gz", "repository.meta.yaml.tar", "repository.yaml", "tree.tar.gz",
    ]  # fmt: skip
    assert [tag for tag in tags if tag.startswith("20261122232209-")] == [
        "20261122232209-compilertree.tar.gz",
        "20261122232209-repository.meta.yaml.tar",
        "20261122232209-repository.yaml",
        "20261122232209-tree.tar.gz",
    ]


def test_a_package_is_an_index_for_its_platform_with_the_files_at_the_root(shop: Shop) -> None:
    registry = MemoryRegistry()

    shop.publish(registry)

    index = manifest(registry, "a-t-1")
    (entry,) = index["manifests"]
    assert entry["platform"] == {"os": "linux", "architecture": "amd64"}
    image = json.loads(registry.manifest(replace(TARGET, digest=entry["digest"])).data)
    assert members(registry, image) == {"file-of-a": b"x"}
    config = image["config"]
    described = json.loads(
        registry.read_blob(
            TARGET, Descriptor(config["mediaType"], config["digest"], config["size"])
        )
    )
    assert described["architecture"] == "amd64"
    assert "created" not in described


def test_metadata_and_files_lie_in_images_under_their_own_names(shop: Shop) -> None:
    registry = MemoryRegistry()

    shop.publish(registry)

    metadata = members(registry, manifest(registry, "a-t-1.metadata.yaml"))
    assert metadata == {
        "a-t-1.metadata.yaml": (shop.artifacts / "a-t-1.metadata.yaml").read_bytes()
    }
    assert "tree.tar.gz" in members(registry, manifest(registry, "tree.tar.gz"))
    assert list(members(registry, manifest(registry, "repository.yaml"))) == ["repository.yaml"]


def test_an_mtree_is_in_the_image_of_the_metadata_and_costs_the_index_nothing(
    shop: Shop,
) -> None:
    plain, registry = MemoryRegistry(), MemoryRegistry()
    shop.publish(plain)
    shop.mtree = True
    shop.build("a")
    shop.build("b")

    shop.publish(registry)

    (text,) = members(registry, manifest(registry, "a-t-1.metadata.yaml")).values()
    assert b"\nmtree: |\n  #mtree\n" in text
    assert hashlib.sha256(b"x").hexdigest().encode() in text
    name = "repository.meta.yaml.tar"
    assert manifest(registry, name)["layers"] == manifest(plain, name)["layers"]


def test_what_was_published_reads_back_as_a_repository(shop: Shop, tmp_path: Path) -> None:
    registry = MemoryRegistry()

    made = shop.publish(registry)

    found = state(registry, tmp_path / "read")
    assert names(found) == ["t/a-1", "t/b-1"]
    assert found.repository.tree == made.repository.tree
    assert [path.name for path in found.trees] == ["tree"]
    assert state(
        registry, tmp_path / "kept", "20261122232209-repository.yaml"
    ).repository.index == (found.repository.index)


def test_another_platform_is_added_to_the_index_of_a_package(shop: Shop) -> None:
    registry = MemoryRegistry()
    shop.publish(registry)

    shop.publish(registry, replace(shop.options(platform=ARM64), force=True))

    entries = manifest(registry, "a-t-1")["manifests"]
    found = [entry["platform"]["architecture"] for entry in entries]
    assert found == ["amd64", "arm64"]


def test_packages_that_are_there_already_stay_and_the_revision_counts_on(
    shop: Shop, tmp_path: Path
) -> None:
    registry = MemoryRegistry()
    shop.publish(registry)
    other = Shop(tmp_path / "other")
    other.build("c")

    made = other.publish(registry)

    found = state(registry, tmp_path / "read")
    assert names(found) == ["t/a-1", "t/b-1", "t/c-1"]
    assert made.repository.info.revision == 2
    assert [str(each) for each in made.pushed] == ["t/c-1"]
    assert sorted(found.repository.tree) == [f"t/{name}/1/definition.yaml" for name in "abc"]
    assert sorted(path.name for path in found.trees[0].iterdir()) == ["a", "b", "c"]


def test_prune_drops_what_is_no_longer_published(shop: Shop, tmp_path: Path) -> None:
    registry = MemoryRegistry()
    shop.publish(registry)

    shop.publish(registry, replace(shop.options(), prune=True), names=["b-1"])

    assert names(state(registry, tmp_path / "read")) == ["t/b-1"]


def test_a_second_publication_costs_what_changed_and_not_what_there_is(tmp_path: Path) -> None:
    costs = []
    for count in (3, 30):
        registry, shop = MemoryRegistry(), Shop(tmp_path / str(count))
        for number in range(count):
            shop.build(f"p{number}")
        shop.publish(registry)
        shop.build("p1", "changed", time=5)
        registry.forget_counts()

        made = shop.publish(registry)

        assert [str(each) for each in made.pushed] == ["t/p1-1"]
        costs.append(sum(registry.requests.values()))
    assert costs[0] == costs[1]


def test_force_brings_everything_up_again(shop: Shop) -> None:
    registry = MemoryRegistry()
    shop.publish(registry)

    made = shop.publish(registry, replace(shop.options(), force=True))

    assert [str(each) for each in made.pushed] == ["t/a-1", "t/b-1"]


def test_two_publishers_at_once_do_not_lose_each_others_packages(tmp_path: Path) -> None:
    registry = Meeting()
    registry.meet_before("repository.yaml")
    shops = [Shop(tmp_path / name) for name in ("one", "two")]
    for shop, name in zip(shops, ("a", "b"), strict=True):
        shop.build(name)

    together(lambda shop: shop.publish(registry), shops)

    assert names(state(registry, tmp_path / "read")) == ["t/a-1", "t/b-1"]


@pytest.mark.parametrize("changes", range(40))
def test_wherever_a_publication_stops_the_repository_is_whole(changes: int, tmp_path: Path) -> None:
    registry, shop = Stopping(), Shop(tmp_path / "shop")
    shop.build("a")
    shop.publish(registry)
    shop.build("b")
    registry.left = changes
    try:
        shop.publish(registry, shop.options(now=NOW + 60))
    except RegistryError:
        stopped = True
    else:
        stopped = False

    registry.left = 10**6
    found = names(state(registry, tmp_path / "read"))

    assert found in (["t/a-1"], ["t/a-1", "t/b-1"])
    assert stopped or found == ["t/a-1", "t/b-1"]
    for package in found:
        registry.manifest(tagged(TARGET, package.replace("t/", "").replace("-", "-t-")))
    shop.publish(registry, shop.options(now=NOW + 90))
    assert names(state(registry, tmp_path / "read")) == ["t/a-1", "t/b-1"]


def test_a_tag_that_holds_no_repository_is_named(shop: Shop) -> None:
    registry = MemoryRegistry()
    shop.publish(registry)
    data: Sequence[bytes] = (b'{"schemaVersion": 2, "layers": []}',)
    registry.put_manifest(tagged(TARGET, "repository.yaml"), data[0], "application/json")

    with pytest.raises(RegistryError) as caught:
        shop.publish(registry)

    assert str(caught.value) == (
        "registry.test/team/repo:repository.yaml: is no whole repository: "
        "registry.test/team/repo:repository.yaml: is not the image of one file "
        "(publish it again from where it was built; --prune begins anew with what is there)"
    )


def test_documents_beside_an_artifact_are_attached_to_its_image(shop: Shop) -> None:
    registry = MemoryRegistry()
    for suffix in ("cdx", "spdx", "provenance"):
        (shop.artifacts / f"a-t-1.{suffix}.json").write_text(f'{{"of": "{suffix}"}}')

    shop.publish(registry)

    image = registry.head(tagged(TARGET, "a-t-1"))
    assert image is not None
    place = replace(TARGET, digest=image.digest)
    assert len(registry.referrers(place)) == 3
    (spdx,) = registry.referrers(place, "application/spdx+json")
    manifest = json.loads(registry.manifest(replace(TARGET, digest=spdx.digest)).data)
    (layer,) = manifest["layers"]
    blob = Descriptor(layer["mediaType"], Digest(layer["digest"]), layer["size"])
    assert registry.read_blob(TARGET, blob) == b'{"of": "spdx"}'


@pytest.mark.parametrize("before", [False, True])
def test_versions_that_a_registry_cannot_tell_apart_are_refused(
    shop: Shop, *, before: bool
) -> None:
    registry = MemoryRegistry()
    shop.build("c", version="1.0-1")
    if before:
        shop.publish(registry)
    shop.build("c", version="1.0+1")
    kept = list(registry.tags(TARGET))

    with pytest.raises(InputError) as caught:
        shop.publish(registry, names=["c-1.0+1"] if before else None)

    assert str(caught.value) in {
        f"t/c-{one}: its tag in a registry would be c-t-1.0-1, as t/c-{other} has (give one of "
        "them another version, or publish it to another repository)"
        for one, other in (("1.0+1", "1.0-1"), ("1.0-1", "1.0+1"))
    }
    assert registry.tags(TARGET) == kept


def test_a_package_that_is_called_like_signed_metadata_is_refused(shop: Shop) -> None:
    shop.build("trust-1.bin", version="0.json")

    with pytest.raises(InputError, match="as signed metadata has"):
        shop.publish(MemoryRegistry())
