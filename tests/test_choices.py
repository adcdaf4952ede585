"""From named packages to all that a build of them takes."""

from dataclasses import replace

import pytest

from compiler.choices import choose
from compiler.errors import CycleError, Faults, Location
from compiler.graph import NodeId
from compiler.spec.package import CopySource, Definition, PackageId, PackageSpec, Requirement
from tests.factories import graph_of, id_of, package, tree_of, tree_with


def wanting(name: str, *requirements: tuple[str, str], **build: object) -> PackageSpec:
    """Make a package that requires others with selectors."""
    spec = package(name, [each for each, _ in requirements], **build)
    assert spec.build is not None
    requires = tuple(
        Requirement(name=each, category="t", version=selector) for each, selector in requirements
    )
    return replace(spec, build=spec.build.model_copy(update={"requires": requires}))


def at(spec: PackageSpec, version: str, **definition: object) -> PackageSpec:
    """Give a package another version, and what its definition says besides."""
    fields = {"name": spec.id.name, "category": "t", "version": version, **definition}
    return replace(spec, definition=Definition.model_validate(fields))


def test_a_join_names_what_it_takes_literally() -> None:
    tree = tree_with(
        package("a"),
        package("b", ["a"]),
        package("j", join=(Requirement(name="b", category="t", version=">=0"),)),
    )

    wiring = choose(tree, [id_of("j")]).wiring

    assert wiring[id_of("j")].joined == (id_of("b"),)


def test_final_images_are_those_of_the_runtime_closure_in_order() -> None:
    runtime = (Requirement(name="lib", category="t", version=">=0"),)
    tree = tree_with(
        package("compiler"),
        package("lib", ["compiler"]),
        at(package("app", ["compiler"]), "1", requires=runtime),
        package("j", ["app"], requires_final_images=True),
    )

    wiring = choose(tree, [id_of("j")]).wiring

    assert wiring[id_of("j")].joined == (id_of("lib"), id_of("app"))


def test_what_is_joined_is_built_with_all_that_it_stands_on() -> None:
    tree = tree_with(
        package("base"), package("a", ["base"]), package("j", ["a"], requires_final_images=True)
    )

    choices = choose(tree, [id_of("j")])

    assert set(choices.wiring) == {id_of("base"), id_of("a"), id_of("j")}


def test_a_copy_finds_what_provides_a_name() -> None:
    wanted = Requirement(name="cc", category="t", version=">=0")
    tree = tree_with(
        at(package("gcc"), "1", provides=(wanted,)),
        package("p", copy=(CopySource(package=wanted, source="/cc", destination="/"),)),
    )

    assert choose(tree, [id_of("p")]).wiring[id_of("p")].copies == (id_of("gcc"),)


def test_a_copy_from_an_image_needs_no_package() -> None:
    copies = (CopySource(image="other", source="/a", destination="/"),)

    assert choose(tree_with(package("p", copy=copies)), [id_of("p")]).wiring[id_of("p")].copies == (
        None,
    )


def test_a_copy_of_nothing_known_is_told_at_its_place() -> None:
    wanted = Requirement(name="none", category="t", version=">=0")
    spec = replace(
        package("p", copy=(CopySource(package=wanted, source="/a", destination="/"),)),
        places={"copy": Location("tree/p/build.yaml", 3, 1)},
    )

    with pytest.raises(Exception) as caught:  # noqa: PT011  (the whole text is compared)
        choose(tree_with(spec), [spec.id])

    assert str(caught.value).startswith("tree/p/build.yaml:3:1: ")
    assert "t/none" in str(caught.value)


def test_all_targets_without_an_answer_are_told_at_once() -> None:
    tree = tree_with(wanting("a", ("x", ">=1")), wanting("b", ("y", ">=1")), package("c"))

    with pytest.raises(Faults) as caught:
        choose(tree, tree.packages)

    assert len(caught.value.exceptions) == 2


def test_a_ring_through_a_copy_is_shown_as_a_path() -> None:
    copies = (CopySource(package=Requirement(name="b", category="t", version=">=0"), source="/"),)
    tree = tree_with(package("a", copy=copies), package("b", ["a"]))

    with pytest.raises(CycleError) as caught:
        graph_of(tree)

    assert str(caught.value).splitlines()[0] == "cycle: t/a-1 -> t/b-1 -> t/a-1"


SPLIT = (
    at(package("lib"), "1"),
    at(package("lib"), "2"),
    wanting("mid", ("lib", ">=1")),
    wanting("new", ("mid", ">=0")),
    wanting("old", ("lib", "<2"), ("mid", ">=0")),
)
"""`mid` takes the newest `lib`, but where `old` is built both have to make do with the older."""


def test_a_target_that_backs_off_has_its_own_variant_of_what_it_shares() -> None:
    graph = graph_of(tree_with(*SPLIT))

    def roots(name: str) -> list[tuple[str, bool]]:
        node = NodeId(id_of(name))
        return [(str(each.package), bool(each.variant)) for each in graph.root(node)]

    assert roots("new") == [("t/lib-2", False), ("t/mid-1", False)]
    assert roots("old") == [("t/lib-1", False), ("t/mid-1", True)]


def test_a_target_that_backs_off_leaves_the_others_as_they_are() -> None:
    alone = graph_of(tree_with(*(each for each in SPLIT if each.id.name != "old")))
    both = graph_of(tree_with(*SPLIT))

    for node in alone.nodes:
        assert both.nodes[node].needs == alone.nodes[node].needs


def test_what_stands_on_a_target_that_backed_off_sees_one_version_only() -> None:
    tree = tree_with(*SPLIT, wanting("above", ("old", ">=0")))
    graph = graph_of(tree)

    seen = [each.package for each in graph.root(NodeId(id_of("above")))]

    assert [each for each in seen if each.name == "lib"] == [PackageId("t", "lib", "1")]


def test_a_chosen_version_does_not_depend_on_the_order_of_targets() -> None:
    tree = tree_of({"base": [], "a": ["base"], "b": ["a"]})
    targets = list(tree.packages)

    assert choose(tree, targets) == choose(tree, targets[::-1])
