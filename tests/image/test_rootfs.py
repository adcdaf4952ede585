"""Sources of root trees: opened as one tree, with where all of it comes from."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.archive import Clamp
from compiler.archive.tar import Source
from compiler.artifact.layered import LayeredRoot
from compiler.artifact.metadata import ArtifactMetadata
from compiler.image.layers import ImageLayer, MemoryLayer, TreeLayer
from compiler.image.record import Origin
from compiler.image.rootfs import Shop, open_root, open_sources
from compiler.image.tree import Tree
from compiler.spec.package import Definition
from compiler.spec.source import SourceKind, parse_source
from compiler.system.change import Incoming
from compiler.system.database import Installed
from tests.image.trees import EPOCH, write_archive, write_tree

DIGEST = f"sha256:{'ab' * 32}"


def shop_of(folder: Path, *packages: str, finalizer: str | None = None) -> Shop:
    """Have packages by name, all with the same finalizer, and every image."""

    def fetched(names: Sequence[str]) -> Sequence[Incoming]:
        assert names == ["t/os"]
        return [replace(incoming(folder, name), finalizer=finalizer) for name in packages]

    def finalized(tree: Tree, packages: Sequence[Installed], clamp: Clamp) -> Tree:
        files = {"etc/finalized": "\n".join(str(each.id) for each in packages).encode()}
        return Tree.of([TreeLayer(tree), MemoryLayer("made", files, EPOCH)], epoch=clamp.epoch)

    return Shop(
        packages=fetched,
        image=lambda name: ImageLayer(name, LayeredRoot((), clamp=Clamp()), DIGEST),
        unpacked=lambda _: write_tree(folder / "unpacked"),
        finalized=finalized,
    )


def incoming(folder: Path, name: str) -> Incoming:
    archive = write_archive(folder / f"{name}.tar")
    definition = Definition(name=name, category="t", version="1")
    digest = hashlib.sha256(name.encode()).hexdigest()
    metadata = ArtifactMetadata(
        runtime=definition, built=definition, archive=archive.name, sha256=digest,
        compression="none",
    )  # fmt: skip
    return Incoming(metadata=metadata, archive=archive)


def origin_of(folder: Path, *sources: str, packages: tuple[str, ...] = ()) -> Origin:
    found = [parse_source(each, plain=SourceKind.IMAGE) for each in sources]
    return open_sources(found, shop_of(folder, *packages), Clamp(epoch=EPOCH)).origin()


def test_a_package_has_the_digest_of_its_own_archive(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"os").hexdigest()

    origin = origin_of(tmp_path, "channel:t/os", packages=("needed", "os"))

    assert origin == Origin(source="channel:t/os-1", digest=f"sha256:{digest}")


@pytest.mark.parametrize("name", ["oci:acme/os:1", "docker:acme/os:1", "acme/os:1"])
def test_an_image_has_the_digest_of_its_registry(tmp_path: Path, name: str) -> None:
    assert origin_of(tmp_path, name) == Origin(source="oci:acme/os:1", digest=DIGEST)


def test_a_file_has_the_digest_of_its_bytes_whatever_is_in_it(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "root.tar.gz")
    (tmp_path / "image").write_bytes(b"hsqs" + bytes(2000))

    for path in (archive, tmp_path / "image"):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        expected = Origin(source=f"file:{path}", digest=f"sha256:{digest}")
        assert origin_of(tmp_path, f"file:{path}") == expected


def test_a_folder_has_no_digest_and_neither_have_several_sources(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "root")

    assert origin_of(tmp_path, f"dir:{folder}") == Origin(source=f"dir:{folder}")
    assert origin_of(tmp_path, "oci:a", f"dir:{folder}") == Origin(source=f"oci:a, dir:{folder}")


def test_a_file_comes_from_the_last_source_that_has_it(tmp_path: Path) -> None:
    sources = []
    for name, file in (("one", "x"), ("two", "x"), ("three", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
        sources.append(parse_source(f"dir:{tmp_path / name}", plain=SourceKind.IMAGE))

    opened = open_sources(sources, shop_of(tmp_path), Clamp(epoch=EPOCH))

    assert opened.origin_of("x") == Origin(source=f"dir:{tmp_path / 'two'}")
    assert opened.origin_of("z") is None


def finalized_by(folder: Path, finalizer: str | None) -> list[bytes | Source]:
    """Open a root; return what says which packages were finalized."""
    shop = shop_of(folder, "needed", "os", finalizer=finalizer)
    sources = [parse_source("channel:t/os", plain=SourceKind.CHANNEL)] * 2
    opened = open_root(sources, (), shop, Clamp(epoch=EPOCH))
    there = opened.tree.get("etc/finalized") is not None
    return [data for _, data in opened.tree.files(["etc/finalized"])] if there else []


def test_packages_with_finalizers_are_finalized_once(tmp_path: Path) -> None:
    assert finalized_by(tmp_path, "install: ['true']") == [b"t/needed-1\nt/os-1"]


@pytest.mark.parametrize("finalizer", [None, "uninstall: ['true']"])
def test_where_nothing_is_to_run_the_root_is_not_unpacked(
    tmp_path: Path, finalizer: str | None
) -> None:
    assert finalized_by(tmp_path, finalizer) == []
