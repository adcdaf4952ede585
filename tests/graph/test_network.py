"""The graph as it is drawn and searched."""

import json

from compiler.graph.network import dependents, draw, urgency
from tests.factories import graph_of, node_of

TREE = {"base": [], "tools": [], "login": ["base"], "top": ["login", "base"]}


def test_dependents_are_found_through_others() -> None:
    graph = graph_of(TREE)

    assert dependents(graph, [node_of("base")]) == {node_of("login"), node_of("top")}


def test_what_the_most_waits_for_is_the_most_urgent() -> None:
    urgent = urgency(graph_of(TREE), lambda _node: 1.0)

    assert {node.package.name: seconds for node, seconds in urgent.items()} == {
        "base": 3.0, "login": 2.0, "top": 1.0, "tools": 1.0}  # fmt: skip


def test_a_drawing_leaves_out_what_follows_from_the_rest() -> None:
    assert draw(graph_of({"a": [], "b": ["a"], "c": ["a", "b"]}), "mermaid") == (
        'graph LR\n  n0["t/a-1"]\n  n1["t/b-1"]\n  n2["t/c-1"]\n  n1 --> n0\n  n2 --> n1'
    )


def test_a_drawing_for_graphviz_names_every_node() -> None:
    assert draw(graph_of({"a": [], "b": ["a"]}), "dot") == (
        'digraph packages {\n  rankdir=LR;\n  n0 [label="t/a-1"];\n  n1 [label="t/b-1"];\n'
        "  n1 -> n0;\n}"
    )


def test_json_keeps_every_edge() -> None:
    drawn = json.loads(draw(graph_of({"a": [], "b": ["a"], "c": ["a", "b"]}), "json"))

    assert {node["id"]: node["needs"] for node in drawn["nodes"]} == {
        "t/a-1": [], "t/b-1": ["t/a-1"], "t/c-1": ["t/a-1", "t/b-1"]}  # fmt: skip
