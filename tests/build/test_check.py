"""Building again to compare: who is told to be different, and where."""

from dataclasses import replace
from pathlib import Path

import pytest

from compiler.build import BuildSettings, Tools
from compiler.build.check import check_nodes
from compiler.engine import LayerRequest
from compiler.engine.memory import MemoryEngine
from compiler.events import Reporter
from compiler.tree import Tree
from tests.build.workshop import Workshop
from tests.factories import package, tree_with


class Unsteady(MemoryEngine):
    """An engine in which each build of `noisy` packages leaves another number behind."""

    def build(self, request: LayerRequest, report: Reporter) -> None:
        super().build(request, report)
        if "noisy" in request.name:
            number = sum("noisy" in each.name for each in self.built)
            (request.changes / "var").mkdir()
            (request.changes / "var" / "id").write_text(str(number))
            (request.changes / f"only-{number}").write_text("")


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path)
    made.engine = Unsteady(made.store.layer_path, made.store.scratch)
    return made


def check(shop: Workshop, tree: Tree) -> list[str]:
    """Build a tree, build it again, and say what differs."""
    shop.run(tree)
    planned = shop.plan(tree)
    settings = BuildSettings(
        destination=shop.request.destination, images=planned.images, contexts=planned.contexts
    )
    tools = Tools(engine=shop.engine, store=shop.store, report=shop.events.append)
    return [str(each) for each in check_nodes(planned.nodes, planned.graph, tools, settings)]


def test_what_comes_out_the_same_is_not_told(shop: Workshop) -> None:
    tree = tree_with(package("p", steps=("write /a a",)), package("q", ["p"], unpack=True))

    assert check(shop, tree) == []


def test_what_differs_is_told_with_its_paths(shop: Workshop) -> None:
    tree = tree_with(package("noisy", steps=("write /a a",)), package("still"))

    assert check(shop, tree) == [
        "t/noisy-1 is not reproducible: a second build differs in /only-1, /only-2, /var/id"
        " (let the steps remove or pin what changes from run to run)"
    ]


def test_a_check_changes_neither_records_nor_archives(shop: Workshop) -> None:
    tree = tree_with(package("noisy", steps=("write /a a",)))
    shop.run(tree)
    before = {path: path.read_bytes() for path in shop.request.destination.iterdir()}
    key = shop.plan(tree).nodes[0].keys.layer
    record = shop.store.node(key)

    assert check(shop, tree)

    assert {path: path.read_bytes() for path in shop.request.destination.iterdir()} == before
    assert shop.store.node(key) == record


def test_a_check_of_a_clean_package_leaves_the_destination_alone(shop: Workshop) -> None:
    tree = tree_with(package("p", steps=("write /a a",)))
    shop.run(tree)
    shop.request = replace(shop.request, everything=True)
    files = sorted(shop.request.destination.iterdir())

    assert check(shop, tree) == []
    assert sorted(shop.request.destination.iterdir()) == files
