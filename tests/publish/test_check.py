"""What is found wrong with the tags of a repository, and how publishing repairs it."""

from dataclasses import replace
from pathlib import Path

import pytest

from compiler.oci import INDEX, Digest, parse_digest
from compiler.publish.check import Checked, Fault, find_faults
from compiler.publish.state import read_state, tagged
from compiler.registry.manifests import read_links
from compiler.registry.memory import MemoryRegistry
from tests.publish.shop import TARGET, Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.build("a")
    made.build("b", "other")
    return made


@pytest.fixture
def registry(shop: Shop) -> MemoryRegistry:
    """A registry with two packages."""
    registry = MemoryRegistry()
    shop.publish(registry)
    return registry


def faults(
    registry: MemoryRegistry, folder: Path, signed: dict[str, Digest] | None = None
) -> tuple[Fault, ...]:
    folder.mkdir()
    state = read_state(registry, tagged(TARGET, "repository.yaml"), folder)
    assert state is not None
    checked = Checked(registry=registry, target=TARGET, folder=folder, signed=signed)
    return find_faults(state.repository.index, checked)


def move(registry: MemoryRegistry, tag: str, source: str) -> None:
    """Let a tag name what another one names."""
    found = registry.manifest(tagged(TARGET, source))
    registry.put_manifest(tagged(TARGET, tag), found.data, found.descriptor.media_type)


def image_of(registry: MemoryRegistry, tag: str) -> Digest:
    (image,) = read_links(registry.manifest(tagged(TARGET, tag)).data).manifests
    return image.digest


def test_a_repository_as_it_was_published_has_no_faults(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    assert faults(registry, tmp_path / "check") == ()


def test_tags_that_were_moved_are_found(registry: MemoryRegistry, tmp_path: Path) -> None:
    move(registry, "a-t-1", "b-t-1")
    move(registry, "b-t-1.metadata.yaml", "a-t-1.metadata.yaml")

    found = faults(registry, tmp_path / "check")

    title = "org.opencontainers.image.title"
    assert [(str(each.package), each.tag) for each in found] == [
        ("t/a-1", "a-t-1"),
        ("t/b-1", "b-t-1.metadata.yaml"),
    ]
    assert found[0].reason == f"its image says {title}='t/b', not 't/a'"
    assert "does not hold b-t-1.metadata.yaml" in found[1].reason or (
        found[1].reason == "holds other metadata than the index lists"
    )


def test_images_that_are_gone_are_found(registry: MemoryRegistry, tmp_path: Path) -> None:
    gone = image_of(registry, "a-t-1")
    registry.delete(replace(TARGET, digest=gone))
    tag = registry.head(tagged(TARGET, "b-t-1"))
    assert tag is not None
    registry.delete(replace(TARGET, digest=tag.digest))

    found = {each.tag: each.reason for each in faults(registry, tmp_path / "check")}

    assert sorted(found) == ["a-t-1", "b-t-1"]
    assert gone in found["a-t-1"]


def test_an_index_of_no_image_is_no_package(registry: MemoryRegistry, tmp_path: Path) -> None:
    empty = b'{"schemaVersion":2,"manifests":[]}'
    registry.put_manifest(tagged(TARGET, "a-t-1"), empty, INDEX)

    assert [each.reason for each in faults(registry, tmp_path / "check")] == ["names no image"]


def test_what_was_signed_counts_before_all_else(registry: MemoryRegistry, tmp_path: Path) -> None:
    tags = ("a-t-1", "a-t-1.metadata.yaml", "b-t-1", "b-t-1.metadata.yaml")
    heads = {tag: registry.head(tagged(TARGET, tag)) for tag in tags}
    signed = {tag: each.digest for tag, each in heads.items() if each is not None}
    other = parse_digest(f"sha256:{'7' * 64}")

    assert faults(registry, tmp_path / "right", signed) == ()
    found = faults(registry, tmp_path / "wrong", {**signed, "a-t-1": other})

    assert [each.reason for each in found] == [f"names {signed['a-t-1']}, and {other} was signed"]


def test_a_publication_moves_tags_back_where_it_is_told_to_repair(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    move(registry, "a-t-1", "b-t-1")
    assert shop.publish(registry).pushed == ()
    assert len(faults(registry, tmp_path / "before")) == 1

    repaired = shop.publish(registry, replace(shop.options(), repair=True))

    assert [str(each) for each in repaired.pushed] == ["t/a-1"]
    assert faults(registry, tmp_path / "after") == ()
