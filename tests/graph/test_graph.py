"""Where packages are placed: each once, on its own closure, and on a chain where that is needed."""

import pytest

from compiler.errors import Faults, SpecError
from compiler.graph import Clash, Layering, NodeId
from compiler.spec.package import CopySource, Requirement
from tests.factories import graph_of, id_of, node_of, package, tree_of, tree_with

DIAMOND = {"base": [], "left": ["base"], "right": ["base"], "top": ["right", "left"]}


CLASH = Clash(("etc/passwd",), (id_of("left"), id_of("right")))


def names(nodes: tuple[NodeId, ...]) -> list[str]:
    return [node.package.name + ("'" if node.variant else "") for node in nodes]


def test_a_root_is_the_closure_of_a_package_in_the_order_of_its_fingerprints() -> None:
    graph = graph_of(DIAMOND)

    assert names(graph.root(node_of("top"))) == ["base", "left", "right"]
    assert names(graph.root(node_of("left"))) == ["base"]
    assert len(graph.nodes) == 4


def test_what_a_node_needs_comes_before_it() -> None:
    graph = graph_of(DIAMOND)

    order = list(graph.nodes)

    assert all(
        order.index(need) < order.index(node) for node in order for need in graph.nodes[node].needs
    )


def test_only_the_target_of_a_clash_is_chained() -> None:
    graph = graph_of(DIAMOND, clashes={node_of("top"): CLASH})

    top = graph.nodes[node_of("top")]

    assert names(graph.root(top.id)) == ["base", "left", "right'"]
    assert top.clash == ("etc/passwd",)
    assert graph.nodes[node_of("right")].parents == (node_of("base"),)


def test_what_stands_on_a_chained_package_sees_the_chain() -> None:
    tree = {**DIAMOND, "app": ["top"]}

    graph = graph_of(tree, clashes={node_of("top"): CLASH})

    assert names(graph.root(node_of("app"))) == ["base", "left", "right'", "top"]


def test_two_variants_of_a_package_never_meet_in_a_root() -> None:
    tree = {**DIAMOND, "app": ["top", "right"]}

    graph = graph_of(tree, clashes={node_of("top"): CLASH})

    assert names(graph.root(node_of("app"))) == ["base", "right", "left'", "top'"]


def test_layers_that_start_from_different_images_are_chained_and_what_is_lost_is_named() -> None:
    tree = tree_of({"a": [], "b": [], "c": ["a", "b"]}, images={"b": "other"})

    node = graph_of(tree).nodes[node_of("c")]

    assert names(node.parents) == ["b"]
    assert node.unseen == (id_of("a"),)


def test_layers_that_start_from_one_image_are_stacked_although_each_names_it() -> None:
    graph = graph_of({"a": [], "b": [], "c": ["a", "b"]})

    assert names(graph.root(node_of("c"))) == ["a", "b"]


def test_layering_chain_always_builds_each_package_on_all_before_it() -> None:
    graph = graph_of(DIAMOND, layering=Layering.CHAIN)

    assert names(graph.root(node_of("top"))) == ["base", "left", "right'"]


def test_layering_stack_refuses_a_clash() -> None:
    with pytest.raises(SpecError) as error:
        graph_of(DIAMOND, layering=Layering.STACK, clashes={node_of("top"): CLASH})

    assert str(error.value) == (
        "t/top-1 cannot be built on a stack: its requirements change the same paths: etc/passwd "
        "(let one require the other, or allow --layering auto)"
    )


def test_a_package_with_an_image_stands_on_that_alone() -> None:
    tree = tree_with(package("a"), package("b", ["a"], image="debian:trixie"))

    assert graph_of(tree).root(node_of("b")) == ()


def test_a_copy_is_needed_but_not_part_of_the_root() -> None:
    source = CopySource(package=Requirement(name="a", category="t"), source="/a", destination="/b")
    tree = tree_with(package("a"), package("b", image="debian:trixie", copy=(source,)))

    graph = graph_of(tree)

    assert graph.root(node_of("b")) == ()
    assert graph.nodes[node_of("b")].needs == (node_of("a"),)


def test_a_ring_through_a_copy_is_a_cycle() -> None:
    source = CopySource(package=Requirement(name="b", category="t"), source="/a", destination="/b")
    tree = tree_with(package("a", copy=(source,)), package("b", ["a"]))

    with pytest.raises((SpecError, Exception), match=r"cycle: t/a-1 -> t/b-1 -> t/a-1"):
        graph_of(tree)


def test_a_ring_of_requirements_is_a_cycle() -> None:
    with pytest.raises(Faults) as faults:
        graph_of({"a": ["b"], "b": ["a"]})

    assert "cycle: t/a-1 -> t/b-1 -> t/a-1" in str(faults.value.exceptions[0])


def test_a_deep_ladder_of_diamonds_is_placed_at_once() -> None:
    tree: dict[str, list[str]] = {"p0": []}
    for step in range(1, 120):
        above = f"p{step - 1}"
        tree |= {f"l{step}": [above], f"r{step}": [above], f"p{step}": [f"l{step}", f"r{step}"]}

    graph = graph_of(tree)

    assert len(graph.root(node_of("p119"))) == 3 * 119


def test_what_does_not_clash_stays_as_it_is_in_a_chain() -> None:
    tree = {**DIAMOND, "other": ["base"], "user": ["right"], "top": ["left", "other", "user"]}

    graph = graph_of(tree, clashes={node_of("top"): CLASH})

    assert sorted(names(graph.root(node_of("top")))) == [
        "base", "left", "other", "right'", "user'"]  # fmt: skip


def test_two_targets_share_the_variants_of_what_clashes() -> None:
    tree = {**DIAMOND, "top2": ["left", "right"]}

    graph = graph_of(tree, clashes={node_of("top"): CLASH, node_of("top2"): CLASH})

    assert sum(bool(node.variant) for node in graph.nodes) == 1
