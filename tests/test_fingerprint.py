"""What changes a key, and what does not."""

from dataclasses import replace

import pytest

from compiler.archive import DEFAULT_EPOCH
from compiler.context import ContextFile
from compiler.fingerprint import NodeKeys, content_key
from compiler.graph import NodeId
from compiler.oci import Digest
from compiler.spec.package import CopySource, Requirement
from compiler.tree import Tree
from tests.factories import SOURCES, graph_of, id_of, keys_of, node_of, package, tree_with

LOGIN = package("login", ["base"])
TREE = tree_with(package("base"), package("tools"), LOGIN)


def keys(tree: Tree) -> dict[NodeId, NodeKeys]:
    return keys_of(graph_of(tree))


def changed(**build: object) -> set[str]:
    """Name the keys of `login` that change with a field of its build spec."""
    before = keys(TREE)[node_of("login")]
    after = keys(tree_with(package("base"), package("login", ["base"], **build)))[node_of("login")]
    return {name for name in ("layer", "archive", "artifact")
            if getattr(before, name) != getattr(after, name)}  # fmt: skip


@pytest.mark.parametrize(
    "build",
    [
        {"steps": ("make",)},
        {"prelude": ("make",)},
        {"env": ("A=b",)},
        {"retrieve": ("*.txt",)},
        {"copy": (CopySource(image="other", source="/a", destination="/b"),)},
    ],
)
def test_what_runs_changes_the_layer(build: dict[str, object]) -> None:
    assert changed(**build) == {"layer", "archive", "artifact"}


@pytest.mark.parametrize(
    "build",
    [{"excludes": ("^/doc",)}, {"includes": ("^/bin",)}, {"unpack": True}, {"package_dir": "/p"}],
)
def test_what_is_packed_changes_the_archive_and_runs_nothing(build: dict[str, object]) -> None:
    assert changed(**build) == {"archive", "artifact"}


def test_a_changed_requirement_changes_what_stands_on_it_and_nothing_else() -> None:
    before = keys(TREE)
    after = keys(tree_with(package("base", steps=("make -O2",)), package("tools"), LOGIN))

    assert {node.package.name for node in before if before[node].layer != after[node].layer} == {
        "base", "login"}  # fmt: skip


def test_a_description_changes_the_metadata_only() -> None:
    described = replace(LOGIN, definition=LOGIN.definition.model_copy(update={"description": "x"}))

    before, after = keys(TREE), keys(tree_with(package("base"), described))

    node = node_of("login")
    assert before[node].archive == after[node].archive
    assert before[node].artifact != after[node].artifact


def test_the_order_of_requirements_in_the_file_does_not_matter() -> None:
    one = tree_with(package("a"), package("b"), package("top", ["a", "b"]))
    other = tree_with(package("a"), package("b"), package("top", ["b", "a"]))

    assert keys(one)[node_of("top")].layer == keys(other)[node_of("top")].layer


def test_a_copied_package_is_part_of_the_key() -> None:
    source = CopySource(package=Requirement(name="a", category="t"), source="/a", destination="/b")
    copying = package("b", image="debian:trixie", copy=(source,))

    before = keys(tree_with(package("a"), copying))
    after = keys(tree_with(package("a", steps=("make",)), copying))

    assert before[node_of("b")].layer != after[node_of("b")].layer


def test_the_content_of_the_image_is_part_of_the_key() -> None:
    graph = graph_of(TREE)
    pulled = replace(SOURCES, images={"debian:trixie": Digest("sha256:" + "9" * 64)})

    assert keys_of(graph)[node_of("base")].layer != keys_of(graph, pulled)[node_of("base")].layer


@pytest.mark.parametrize(
    "file", [ContextFile("a", 0o100644, "1"), ContextFile("b", 0o100755, "1"),
             ContextFile("a", 0o100755, "2")],
)  # fmt: skip
def test_name_mode_and_content_of_files_are_part_of_the_key(file: ContextFile) -> None:
    graph = graph_of(TREE)
    first = replace(SOURCES, contexts={id_of("base"): [ContextFile("a", 0o100755, "1")]})
    second = replace(SOURCES, contexts={id_of("base"): [file]})

    assert keys_of(graph, first)[node_of("base")] != keys_of(graph, second)[node_of("base")]


def test_two_fields_never_pass_for_one() -> None:
    one = changed(steps=("a", "b"))
    keys_one = keys(tree_with(package("p", steps=("a", "b"))))[node_of("p")]
    keys_two = keys(tree_with(package("p", steps=('a","b',))))[node_of("p")]

    assert one
    assert keys_one.layer != keys_two.layer


def test_the_content_key_does_not_know_how_the_layers_below_came_about() -> None:
    before = keys(TREE)[node_of("login")]
    after = keys(tree_with(package("base", steps=("make -O2",)), LOGIN))[node_of("login")]

    assert before.layer != after.layer
    assert content_key(before.inputs, ["sha256:1"]) == content_key(after.inputs, ["sha256:1"])
    assert content_key(before.inputs, ["sha256:1"]) != content_key(after.inputs, ["sha256:2"])


def test_the_keys_of_a_known_tree_stay_as_they_are() -> None:
    """A change here makes every user rebuild: it needs a line in CHANGELOG.md."""
    assert {node.package.name: each.layer[:16] for node, each in keys(TREE).items()} == {
        "base": "5eaf6ad561b536b8",
        "login": "caf83d0acd830b32",
        "tools": "36752bfe6dab130e",
    }


def test_a_time_that_is_given_is_part_of_the_key_though_it_is_the_usual_one() -> None:
    """With the variable set, what came out of archives is clamped as well, so layers differ."""
    unset = keys(TREE)[node_of("base")]
    sources = replace(SOURCES, epoch=DEFAULT_EPOCH)
    given = keys_of(graph_of(TREE), sources)[node_of("base")]

    assert unset.layer != given.layer
    assert content_key(unset.inputs, []) != content_key(given.inputs, [])
