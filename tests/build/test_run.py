"""Runs of plans: what is built, in which root, and what a second run finds."""

import hashlib
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.errors import EngineError, Interrupted
from compiler.events import NodeFinished
from compiler.spec.package import CopySource, Requirement, Subpackage
from tests.build.workshop import Workshop
from tests.factories import node_of, package, tree_with


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_each_package_is_built_once_and_shared(shop: Workshop) -> None:
    tree = tree_with(
        package("base", steps=("write /base b",)),
        package("left", ["base"], steps=("write /left l",)),
        package("right", ["base"], steps=("write /right r",)),
        package("top", ["left", "right"], steps=("cat /left", "cat /right", "write /top t")),
    )

    outcome = shop.run(tree)

    assert not outcome.failures
    assert sorted(shop.ran()) == ["t/base-1", "t/left-1", "t/right-1", "t/top-1"]
    assert shop.members("top") == ["top"]
    assert set(shop.actions(tree).values()) == {"reuse"}


def test_a_package_does_not_see_its_sibling(shop: Workshop) -> None:
    tree = tree_with(
        package("a", steps=("write /a a",)),
        package("b", steps=("cat /a",)),
        package("top", ["a", "b"]),
    )

    outcome = shop.run(tree)

    assert [type(each) for each in outcome.failures] == [EngineError]
    assert "t/top-1" not in shop.ran()


def test_after_a_failure_what_was_built_stays_and_is_not_built_again(shop: Workshop) -> None:
    good, broken = package("good", steps=("write /g g",)), package("top", ["good"], steps=("fail",))

    assert shop.run(tree_with(good, broken)).failures
    mended = tree_with(good, package("top", ["good"], steps=("write /t t",)))

    assert shop.actions(mended) == {"good": "reuse", "top": "build"}


def test_siblings_that_change_a_path_differently_are_chained(shop: Workshop) -> None:
    tree = tree_with(
        package("a", steps=("write /db a", "write /a a")),
        package("b", steps=("append /db b", "write /b b")),
        package("top", ["a", "b"], steps=("cat /db", "write /top t")),
    )

    first = shop.run(tree)
    again = shop.run(tree)

    assert [clash.paths for clash in first.clashes] == [("db",)]
    assert not again.failures
    assert not again.clashes
    assert shop.actions(tree) == {"a": "reuse", "b": "reuse", "b'": "reuse", "top": "reuse"}
    assert shop.plan(tree).graph.nodes[node_of("top")].clash == ("db",)


def test_siblings_that_make_a_path_alike_are_stacked(shop: Workshop) -> None:
    tree = tree_with(
        package("a", steps=("mkdir /d", "write /d/same x", "write /d/a a")),
        package("b", steps=("mkdir /d", "write /d/same x", "write /d/b b")),
        package("top", ["a", "b"], steps=("cat /d/a", "cat /d/b", "write /top t")),
    )

    outcome = shop.run(tree)

    assert not outcome.clashes
    assert not outcome.failures


def test_a_rebuilt_layer_that_comes_out_the_same_rebuilds_nothing_above(shop: Workshop) -> None:
    top = package("top", ["base"], steps=("write /t t",))
    shop.run(tree_with(package("base", steps=("write /b b",)), top))
    shop.ran()

    outcome = shop.run(tree_with(package("base", steps=("true", "write /b b")), top))

    assert shop.ran() == ["t/base-1"]
    assert outcome.unchanged == (node_of("top"),)


def test_a_changed_layer_rebuilds_what_stands_on_it(shop: Workshop) -> None:
    top = package("top", ["base"], steps=("write /t t",))
    shop.run(tree_with(package("base", steps=("write /b b",)), top))
    shop.ran()

    shop.run(tree_with(package("base", steps=("write /b c",)), top))

    assert shop.ran() == ["t/base-1", "t/top-1"]


def test_a_changed_filter_packs_again_and_runs_nothing(shop: Workshop) -> None:
    steps = ("write /a a", "write /b b")
    shop.run(tree_with(package("p", steps=steps)))
    shop.ran()

    shop.run(tree_with(package("p", steps=steps, excludes=("^/b$",))))

    assert shop.ran() == []
    assert shop.members("p") == ["a"]


def test_what_the_prelude_makes_is_seen_but_not_packed(shop: Workshop) -> None:
    tree = tree_with(package("p", prelude=("write /tool t",), steps=("cat /tool", "write /a a")))

    assert not shop.run(tree).failures
    assert shop.members("p") == ["a"]


def test_copied_files_are_there_for_steps_but_not_packed(shop: Workshop) -> None:
    source = CopySource(
        package=Requirement(name="a", category="t"), source="/a", destination="/from-a"
    )
    tree = tree_with(
        package("a", steps=("write /a a",)),
        package("b", copy=(source,), steps=("cat /from-a", "write /b b")),
    )

    assert not shop.run(tree).failures
    assert shop.members("b") == ["b"]


def test_a_join_holds_the_artifacts_only(shop: Workshop) -> None:
    tree = tree_with(
        package("a", prelude=("write /only-in-image x",), steps=("mkdir /j", "write /j/a a")),
        package("b", steps=("mkdir /j", "write /j/b b")),
        package("j", ["a", "b"], requires_final_images=True, unpack=True, steps=()),
    )

    assert not shop.run(tree).failures
    assert shop.members("j") == ["j", "j/a", "j/b"]


def test_subpackages_are_cut_out_of_the_archive(shop: Workshop) -> None:
    part = Subpackage(name="p-a", category="t", version="1", includes=("^/a$",))
    tree = tree_with(package("p", steps=("write /a a", "write /b b"), subpackages=(part,)))

    assert not shop.run(tree).failures
    assert shop.members("p") == ["a", "b"]
    assert shop.members("p-a") == ["a"]


def test_a_package_without_anything_has_an_empty_archive(shop: Workshop) -> None:
    tree = tree_with(package("p", image="", steps=()))

    assert not shop.run(tree).failures
    assert shop.members("p") == []


def test_variables_of_requirements_reach_steps(shop: Workshop) -> None:
    tree = tree_with(
        package("a", env=("TOOL=/a", "PATH=/x")),
        package("b", ["a"], env=("PATH=$PATH:/b",), steps=("true",)),
    )

    shop.run(tree)
    env = dict(shop.engine.built[-1].actions[0].env)  # type: ignore[union-attr]

    assert {name: env[name] for name in ("TOOL", "PATH", "PACKAGE_NAME")} == {
        "TOOL": "/a", "PATH": "/x:/b", "PACKAGE_NAME": "b"}  # fmt: skip


def test_a_lost_archive_is_packed_again(shop: Workshop) -> None:
    tree = tree_with(package("p", steps=("write /a a",)))
    shop.run(tree)
    (shop.request.destination / "p-t-1.package.tar").unlink()
    shop.ran()

    shop.run(tree)

    assert shop.ran() == []
    assert shop.members("p") == ["a"]


def test_the_same_tree_gives_the_same_bytes_in_another_store(tmp_path: Path) -> None:
    archives = []
    for name in ("one", "two"):
        shop = Workshop(tmp_path / name)
        shop.run(tree_with(package("p", steps=("mkdir /d", "write /d/a a"))))
        archives.append(
            {path.name: path.read_bytes() for path in shop.request.destination.iterdir()}
        )

    assert archives[0] == archives[1]
    assert len(archives[0]) == 2


def test_metadata_gets_an_mtree_when_it_is_asked_for_and_archives_stay(shop: Workshop) -> None:
    part = Subpackage(name="q", category="t", version="1", includes=("^/d/b$",))
    steps = ("mkdir /d", "write /d/a one", "write /d/b two")
    tree = tree_with(package("p", steps=steps, subpackages=(part,)))
    shop.run(tree)
    before = {path.name: path.read_bytes() for path in shop.request.destination.iterdir()}
    shop.ran()

    shop.request = replace(shop.request, mtree=True)
    reasons = [node.reason for node in shop.plan(tree).nodes]
    shop.run(tree)

    after = {path.name: path.read_bytes() for path in shop.request.destination.iterdir()}
    assert reasons == ["the metadata in the destination has no mtree"]
    assert shop.ran() == []
    assert shop.actions(tree) == {"p": "reuse"}
    added = {name: text.removeprefix(before[name]) for name, text in after.items()}
    assert {name for name, text in added.items() if text} == {
        "p-t-1.metadata.yaml", "q-t-1.metadata.yaml"}  # fmt: skip
    said = added["q-t-1.metadata.yaml"].decode().splitlines()
    assert said[:2] == ["mtree: |", "  #mtree"]
    assert said[-3].startswith("  b type=file ")
    digest = hashlib.sha256(b"two\n").hexdigest()
    assert said[-3].endswith(f" size=4 sha256digest={digest}")


def test_an_mtree_is_the_same_whether_the_archive_was_just_packed_or_lay_there(
    tmp_path: Path,
) -> None:
    tree = tree_with(package("p", steps=("mkdir /d", "write /d/a a", "write /d/b b")))
    one, two = Workshop(tmp_path / "one"), Workshop(tmp_path / "two")
    for shop in (one, two):
        shop.request = replace(shop.request, mtree=shop is one)
        shop.run(tree)

    two.request = replace(two.request, mtree=True)
    two.run(tree)

    name = "p-t-1.metadata.yaml"
    assert (one.request.destination / name).read_text() == (
        two.request.destination / name
    ).read_text()


def test_a_signal_that_comes_while_a_thread_starts_leaves_no_thread_behind(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, begun = threading.Thread.start, list[threading.Thread]()

    def interrupted(thread: threading.Thread) -> None:
        begun.append(thread)
        run, late = thread.run, thread.name.startswith("pack")

        def slowly() -> None:
            time.sleep(0.5)
            run()

        if late:
            monkeypatch.setattr(thread, "run", slowly)
        start(thread)
        if late:
            raise Interrupted("stopped by SIGTERM")

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(Interrupted):
        shop.run(tree_with(package("base", steps=("write /base b",))))

    assert any(each.name.startswith("pack") for each in begun)
    assert not any(each.is_alive() for each in begun)


def test_every_node_reports_its_end(shop: Workshop) -> None:
    shop.run(tree_with(package("p")))

    ended = [event for event in shop.events if isinstance(event, NodeFinished)]
    assert [(event.node, event.action) for event in ended] == [
        ("t/p-1", "build"), ("t/p-1", "pack")]  # fmt: skip


def test_what_is_asked_for_again_runs_again(shop: Workshop) -> None:
    tree = tree_with(package("base", steps=("write /b b",)), package("p", ["base"]))
    shop.run(tree)
    shop.ran()

    shop.request = replace(shop.request, everything=False, packages=("t/p",), rebuild=True)
    shop.run(tree)

    assert shop.ran() == ["t/p-1"]


def test_a_package_that_only_stands_in_a_chain_has_an_artifact(shop: Workshop) -> None:
    tree = tree_with(
        package("a", steps=("write /db a",)),
        package("b", steps=("append /db b", "write /b b")),
        package("top", ["a", "b"], steps=("cat /db", "write /top t")),
    )
    shop.request = replace(shop.request, everything=False, packages=("t/top",))

    shop.run(tree)
    shop.run(tree)

    assert shop.members("b") == ["b", "db"]
    assert shop.members("top") == ["top"]


def test_an_archive_is_retrieved_in_the_run_that_packs_it(shop: Workshop) -> None:
    user = package("r", ["a"], retrieve=("a-t-1.package.tar*",), steps=("cat a", "write /r r"))
    tree = tree_with(package("a", steps=("write /a one",)), user)

    first = shop.run(tree)
    again = shop.actions(tree)
    changed = shop.run(tree_with(package("a", steps=("write /a two",)), user))

    assert not first.failures
    assert set(again.values()) == {"reuse"}
    assert not changed.failures
    assert shop.ran() == ["t/a-1", "t/r-1", "t/a-1", "t/r-1"]


def test_an_archive_that_was_changed_is_not_joined(shop: Workshop) -> None:
    tree = tree_with(package("a", steps=("write /a GOOD",)))
    shop.run(tree)
    archive = shop.request.destination / "a-t-1.package.tar"
    archive.write_bytes(archive.read_bytes().replace(b"GOOD", b"EVIL"))

    outcome = shop.run(
        tree_with(
            *tree.packages.values(), package("j", join=(Requirement(name="a", category="t"),))
        )
    )

    assert [str(each) for each in outcome.failures] == [
        f"{archive} is not what was packed from t/a-1 (remove it, and it is packed again)"
    ]
