"""What a plan does, and the reasons it gives."""

from collections.abc import Mapping

from compiler.graph import BuildGraph, NodeId
from compiler.keys import ArtifactKey
from compiler.plan import Action, Present, make_plan
from tests.factories import graph_of, keys_of, node_of

TREE = {"base": [], "tools": [], "login": ["base"]}


def present(graph: BuildGraph, *, artifacts: bool = True) -> Present:
    """Describe a store and a destination in which all of `graph` was built."""
    keys = keys_of(graph)
    return Present(
        layers={each.layer for each in keys.values()},
        artifacts={each.artifact for each in keys.values()} if artifacts else frozenset(),
        latest={node.package.title: each.inputs for node, each in keys.items()},
    )


def plan(graph: BuildGraph, there: Present, again: set[NodeId] | None = None) -> Mapping[str, str]:
    nodes = make_plan(
        graph, keys_of(graph), there, wanted=set(graph.nodes), again=again or frozenset()
    )
    return {node.id.package.name: f"{node.action.value}: {node.reason}" for node in nodes}


def test_nothing_is_done_where_nothing_changed() -> None:
    graph = graph_of(TREE)

    assert set(plan(graph, present(graph)).values()) == {"reuse: unchanged"}


def test_everything_is_built_the_first_time() -> None:
    assert set(plan(graph_of(TREE), Present()).values()) == {"build: not built before"}


def test_a_changed_step_rebuilds_the_package_and_what_stands_on_it() -> None:
    changed = graph_of(TREE, steps={"base": "make -O2"})

    assert plan(changed, present(graph_of(TREE))) == {
        "base": "build: steps changed",
        "login": "build: requires t/base, which is rebuilt: steps changed",
        "tools": "reuse: unchanged",
    }


def test_a_long_chain_names_the_cause_at_its_end() -> None:
    chain = {"a": [], "b": ["a"], "c": ["b"]}
    changed = graph_of(chain, steps={"a": "make"})

    assert plan(changed, present(graph_of(chain)))["c"] == (
        "build: requires t/b, which is rebuilt: steps changed"
    )


def test_a_new_requirement_is_named() -> None:
    changed = graph_of({**TREE, "login": ["base", "tools"]})

    assert plan(changed, present(graph_of(TREE)))["login"] == "build: requires t/tools added"


def test_a_missing_archive_is_packed_again_and_nothing_runs() -> None:
    graph = graph_of(TREE)

    assert set(plan(graph, present(graph, artifacts=False)).values()) == {
        "pack: not in the destination"}  # fmt: skip


def test_what_nothing_missing_needs_is_not_built() -> None:
    graph = graph_of(TREE)
    keys = keys_of(graph)
    there = Present(artifacts={each.artifact for each in keys.values()})

    assert set(plan(graph, there).values()) == {"reuse: unchanged"}


def test_a_missing_archive_brings_back_the_layers_that_it_takes() -> None:
    graph = graph_of(TREE)
    keys = keys_of(graph)
    artifacts: set[ArtifactKey] = {
        each.artifact for node, each in keys.items() if node != node_of("login")
    }

    actions = plan(graph, Present(artifacts=artifacts))

    assert {name: action.partition(":")[0] for name, action in actions.items()} == {
        "base": "build", "login": "build", "tools": "reuse"}  # fmt: skip


def test_what_is_asked_for_again_is_built_again() -> None:
    graph = graph_of(TREE)

    actions = plan(graph, present(graph), again={node_of("tools")})

    assert actions["tools"] == "build: asked for"
    assert actions["base"] == "reuse: unchanged"


def test_an_archive_that_nobody_wants_is_not_packed() -> None:
    graph = graph_of(TREE)

    nodes = make_plan(graph, keys_of(graph), Present(), wanted={node_of("login")})

    assert {node.id.package.name: (node.action, node.packs) for node in nodes} == {
        "base": (Action.BUILD, False),
        "login": (Action.BUILD, True),
        "tools": (Action.REUSE, False),
    }
