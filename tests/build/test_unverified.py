"""What was fetched unverified, and all that is made of it, is marked until it is made anew."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.archive import Clamp, Compression
from compiler.marks import Mark, put_mark
from compiler.oci import UNVERIFIED
from compiler.packed import UNVERIFIED as REASON
from compiler.spec.package import CopySource, PackageSpec, Requirement, Subpackage
from compiler.store.images import ImageConfig, host_platform
from compiler.tree import Tree
from tests.build.workshop import Workshop
from tests.factories import package, tree_with

PLACE, OTHER = "registry.test/cache", "registry.test/other"
BASE = package("base", steps=("write /base b",))
MIDDLE = package("middle", ["base"], steps=("cat /base", "write /middle m"))
TOP = package("top", ["middle"], steps=("cat /middle", "write /top t"))
APART = package("apart", steps=("write /apart a",))


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def tree() -> Tree:
    return tree_with(BASE, MIDDLE, TOP, APART)


def verifying(shop: Workshop) -> Workshop:
    """Ask for what is verified only, from now on."""
    shop.request = replace(shop.request, verified=True)
    return shop


def doubted(shop: Workshop, *specs: PackageSpec) -> Tree:
    """Fill the store, and let what it has of `base` have come from others; nothing is packed."""
    tree = tree_with(*specs)
    shop.run(tree)
    shop.doubt(tree, "base", PLACE)
    shop.forget_archives()
    shop.ran()
    return tree


def test_what_is_built_here_has_no_mark(shop: Workshop, tree: Tree) -> None:
    shop.run(tree)

    assert shop.marks() == {}


def test_what_is_packed_of_unverified_layers_is_marked(shop: Workshop) -> None:
    tree = doubted(shop, BASE, APART)

    shop.run(tree)

    assert shop.ran() == []
    assert shop.marks() == {"base": PLACE}


def test_what_is_built_on_unverified_layers_is_marked_wherever_they_are_below(
    shop: Workshop, tree: Tree
) -> None:
    doubted(shop, BASE, APART)

    shop.run(tree)

    assert sorted(shop.ran()) == ["t/middle-1", "t/top-1"]
    assert shop.marks() == {"base": PLACE, "middle": PLACE, "top": PLACE}


def test_a_mark_names_all_places_that_something_came_from(shop: Workshop) -> None:
    tree = tree_with(BASE, APART, package("both", ["base", "apart"], steps=("write /both b",)))
    doubted(shop, BASE, APART)
    shop.doubt(tree, "apart", OTHER)

    shop.run(tree)

    assert shop.marks() == {"base": PLACE, "apart": OTHER, "both": f"{PLACE}, {OTHER}"}


def test_subpackages_of_unverified_layers_are_marked(shop: Workshop) -> None:
    part = Subpackage(name="part", category="t", version="1", includes=("^/base$",))
    base = package("base", steps=("write /base b",), subpackages=(part,))
    tree = doubted(shop, base)

    shop.run(tree)

    assert shop.marks() == {"base": PLACE, "part": PLACE}


def test_joined_archives_of_unverified_layers_are_marked_and_what_joins_them(
    shop: Workshop,
) -> None:
    join = package("join", join=(Requirement(name="base", category="t"),), steps=("write /join j",))
    tree = tree_with(BASE, join)
    doubted(shop, BASE)

    shop.run(tree)

    assert shop.marks() == {"base": PLACE, "join": PLACE}


def test_only_what_is_verified_is_asked_for_so_all_that_is_not_is_made_anew(
    shop: Workshop, tree: Tree
) -> None:
    doubted(shop, BASE, APART)
    shop.run(tree)
    shop.ran()
    archives = {path.name: path.read_bytes() for path in shop.request.destination.glob("*.tar")}

    verifying(shop)
    reasons = {node.id.package.name: node.reason for node in shop.plan(tree).nodes}
    shop.run(tree)

    assert sorted(shop.ran()) == ["t/base-1", "t/middle-1", "t/top-1"]
    assert reasons["base"] == REASON
    assert reasons["apart"] == "unchanged"
    assert shop.marks() == {}
    assert set(shop.actions(tree).values()) == {"reuse"}
    again = {path.name: path.read_bytes() for path in shop.request.destination.glob("*.tar")}
    assert again == archives


def test_a_result_that_came_from_others_is_not_found_again_where_only_verified_ones_count(
    shop: Workshop,
) -> None:
    tree = tree_with(BASE, MIDDLE)
    shop.run(tree)
    shop.doubt(tree, "middle", PLACE)
    moved = replace(MIDDLE, definition=MIDDLE.definition.model_copy(update={"labels": {"a": "b"}}))
    shop.ran()

    verifying(shop).run(tree_with(BASE, moved))

    assert shop.ran() == ["t/middle-1"]
    assert shop.marks() == {}


def test_an_artifact_whose_mark_came_from_elsewhere_is_packed_anew(
    shop: Workshop, tree: Tree
) -> None:
    shop.run(tree)
    (archive,) = shop.request.destination.glob("base-*.tar")
    files = {archive.name: hashlib.sha256(archive.read_bytes()).hexdigest()}
    put_mark(archive.parent, "base-t-1", Mark(source=PLACE, files=files))

    assert shop.actions(tree)["base"] == "reuse"
    shop.run(tree)
    assert shop.marks() == {"base": PLACE}

    verifying(shop)
    assert shop.actions(tree)["base"] == "pack"
    shop.run(tree)
    assert shop.marks() == {}


@pytest.mark.parametrize("kind", ["archive", "artifact"])
def test_an_archive_or_metadata_from_others_is_made_anew_although_its_mark_is_gone(
    shop: Workshop, tree: Tree, kind: str
) -> None:
    shop.run(tree)
    shop.doubt_file(tree, "base", kind, PLACE)
    assert shop.actions(tree)["base"] == "reuse"

    verifying(shop)
    reasons = {node.id.package.name: node.reason for node in shop.plan(tree).nodes}
    shop.run(tree)

    assert reasons["base"] == REASON
    assert set(shop.actions(tree).values()) == {"reuse"}


def test_an_archive_from_others_is_kept_and_marked_when_only_its_description_has_changed(
    shop: Workshop,
) -> None:
    shop.run(tree_with(BASE))
    shop.doubt_file(tree_with(BASE), "base", "archive", PLACE)
    labels = {"labels": {"a": "b"}}
    told = tree_with(replace(BASE, definition=BASE.definition.model_copy(update=labels)))

    shop.run(told)
    assert shop.marks() == {"base": PLACE}

    verifying(shop).run(told)
    assert shop.marks() == {}


def test_an_unverified_archive_of_another_compression_goes_when_its_package_is_packed_anew(
    shop: Workshop,
) -> None:
    tree = doubted(shop, BASE)
    shop.run(tree)

    shop.request = replace(shop.request, compression=Compression.GZIP)
    verifying(shop).run(tree)

    assert [path.name for path in shop.request.destination.glob("*.tar*")] == [
        "base-t-1.package.tar.gz"
    ]
    assert shop.marks() == {}


def test_documents_are_no_longer_marked_once_they_are_written_anew(shop: Workshop) -> None:
    shop.request = replace(shop.request, documents=True)
    tree = doubted(shop, BASE)
    shop.run(tree)
    assert shop.marks() == {"base": PLACE}

    verifying(shop).run(tree)

    assert shop.marks() == {}
    assert list(shop.request.destination.glob("*.cdx.json"))


def test_an_image_of_what_was_unverified_makes_what_is_built_on_it_so(shop: Workshop) -> None:
    with shop.store.scratch() as scratch:
        (scratch / "root").mkdir()
        (scratch / "root" / "file").write_text("x")
        layer = shop.store.add_layer(scratch / "root", Clamp())
    config = ImageConfig(platform=host_platform(), labels=((UNVERIFIED, PLACE),))
    shop.store.put_image("kept:1", [layer], config)
    user = package("user", image="kept:1", steps=("write /user u",))
    source = CopySource(image="kept:1", source="/file", destination="/file")
    copier = package("copier", copy=(source,), steps=("write /copier c",))

    shop.run(tree_with(user, copier, APART))

    assert shop.marks() == {"user": PLACE, "copier": PLACE}


def test_what_retrieves_a_marked_file_is_marked_and_no_mark_is_retrieved(shop: Workshop) -> None:
    out = shop.request.destination
    out.mkdir()
    (out / "foreign-t-1.package.tar").write_text("")
    (out / "plain").write_text("x")
    files = {"foreign-t-1.package.tar": hashlib.sha256().hexdigest()}
    put_mark(out, "foreign-t-1", Mark(source=PLACE, files=files))
    tree = tree_with(
        package("taker", retrieve=("foreign*",), steps=("write /t t",)),
        package("other", retrieve=("plain*",), steps=("write /o o",)),
    )

    shop.run(tree)

    marks = shop.marks()
    assert (marks["taker"], "other" in marks) == (PLACE, False)
    (node,) = (each for each in shop.plan(tree).nodes if each.id.package.name == "taker")
    assert [name for name in node.keys.inputs if name.startswith("retrieved")] == [
        "retrieved foreign-t-1.package.tar"
    ]
