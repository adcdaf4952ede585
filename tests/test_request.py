"""What a command line asks for, as packages and as a plan."""

from dataclasses import replace
from pathlib import Path

import pytest

from compiler.errors import (
    CompilerError,
    DeniedError,
    ExitCode,
    Faults,
    ImageError,
    Location,
    NotFoundError,
    UsageError,
)
from compiler.preflight import faults_of
from compiler.request import Request, plan_request, targets_of
from compiler.spec.package import Definition, PackageSpec, Requirement
from compiler.tree import Tree
from tests.build.workshop import Workshop
from tests.factories import package, tree_of, tree_with

DIAMOND = {"base": [], "left": ["base"], "right": ["base"], "top": ["left", "right"], "alone": []}


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def names(tree: Tree, request: Request) -> list[str]:
    return [each.name for each in targets_of(tree, request)]


def test_nothing_asked_for_is_nothing() -> None:
    assert names(tree_of(DIAMOND), Request()) == []


def test_all_is_every_package_sorted() -> None:
    assert names(tree_of(DIAMOND), Request(everything=True)) == sorted(DIAMOND)


def test_full_is_what_no_other_package_requires() -> None:
    assert names(tree_of(DIAMOND), Request(top=True)) == ["alone", "top"]


@pytest.mark.parametrize("argument", ["t/left", "t/left@1", "t/left@>=0.5"])
def test_a_package_is_named_with_or_without_a_version(argument: str) -> None:
    assert names(tree_of(DIAMOND), Request(packages=(argument,))) == ["left"]


def test_a_package_named_twice_is_built_once() -> None:
    assert names(tree_of(DIAMOND), Request(packages=("t/left", "t/left@1"))) == ["left"]


def test_revdeps_adds_all_that_stands_on_a_package() -> None:
    found = names(tree_of(DIAMOND), Request(packages=("t/left",), dependents=True))

    assert found == ["left", "top"]


def test_revdeps_follows_selectors_to_the_version_that_they_choose() -> None:
    old, new = versions("lib", "1", "2")
    wants_old = package("user", ["lib"])
    build = wants_old.build
    assert build is not None
    build = build.model_copy(
        update={"requires": (Requirement(name="lib", category="t", version="<2"),)}
    )
    tree = tree_with(old, new, replace(wants_old, build=build), package("other", ["lib"]))

    def users(of: str) -> list[str]:
        return names(tree, Request(packages=(of,), dependents=True))

    assert users("t/lib@1") == ["lib", "user"]
    assert users("t/lib@2") == ["lib", "other"]


def versions(name: str, *all_versions: str) -> list[PackageSpec]:
    return [
        replace(package(name), definition=Definition(name=name, category="t", version=each))
        for each in all_versions
    ]


def test_every_unknown_package_is_told_at_once() -> None:
    with pytest.raises(Faults) as caught:
        targets_of(tree_of(DIAMOND), Request(packages=("t/tpo", "t/lefd", "t/base")))

    assert [str(each) for each in caught.value.exceptions] == [
        "there is no package 't/lefd' in the tree (did you mean 't/left'?)",
        "there is no package 't/tpo' in the tree",
    ]


def actions(shop: Workshop, tree: Tree, **request: object) -> dict[str, tuple[str, bool]]:
    planned = plan_request(
        tree,
        replace(shop.request, everything=False, **request),  # type: ignore[arg-type]
        shop.store,
    )
    return {node.id.package.name: (node.action.value, node.packs) for node in planned.nodes}


def placed(shop: Workshop, tree: Tree) -> Tree:
    return shop._placed(tree)


def test_requirements_are_packed_too_unless_only_targets_are_wanted(shop: Workshop) -> None:
    tree = placed(shop, tree_of(DIAMOND))

    assert actions(shop, tree, packages=("t/left",)) == {
        "base": ("build", True), "left": ("build", True)}  # fmt: skip
    assert actions(shop, tree, packages=("t/left",), only_targets=True) == {
        "base": ("build", False), "left": ("build", True)}  # fmt: skip


def test_onlydeps_leaves_the_targets_out(shop: Workshop) -> None:
    tree = placed(shop, tree_of(DIAMOND))

    assert sorted(actions(shop, tree, packages=("t/top",), only_requirements=True)) == [
        "base", "left", "right"]  # fmt: skip


def test_nodeps_builds_the_targets_on_what_is_there(shop: Workshop) -> None:
    tree = tree_with(
        package("base", steps=("write /b b",)),
        package("left", ["base"], steps=("cat /b", "write /l l")),
    )
    shop.request = replace(shop.request, everything=False, packages=("t/base",))
    shop.run(tree)
    shop.ran()

    shop.request = replace(shop.request, packages=("t/left",), no_requirements=True)
    outcome = shop.run(tree)

    assert outcome.failures == ()
    assert shop.ran() == ["t/left-1"]
    assert shop.members("left") == ["l"]


def test_nodeps_refuses_when_a_requirement_is_not_built(shop: Workshop) -> None:
    tree = placed(shop, tree_of(DIAMOND))

    with pytest.raises(UsageError) as caught:
        actions(shop, tree, packages=("t/left",), no_requirements=True)

    assert str(caught.value) == (
        "t/base-1 has not been built, and --nodeps forbids to build it (leave out --nodeps)"
    )


def test_rebuild_builds_the_named_packages_and_not_what_they_stand_on(shop: Workshop) -> None:
    tree = tree_with(
        package("base", steps=("write /b b",)), package("left", ["base"], steps=("write /l l",))
    )
    shop.run(tree)

    again = actions(shop, placed(shop, tree), packages=("t/left",), rebuild=True)

    assert again == {"base": ("reuse", False), "left": ("build", True)}


def test_a_destination_that_is_a_file_is_refused_before_anything_else(shop: Workshop) -> None:
    file = shop.place / "file"
    file.write_text("")

    with pytest.raises(UsageError) as caught:
        plan_request(tree_of({}), replace(shop.request, destination=file), shop.store)

    assert str(caught.value) == f"{file}: is not a folder (name another --destination)"


def test_a_missing_image_is_told_once_with_the_commands_that_bring_it(shop: Workshop) -> None:
    planned = shop.plan(
        tree_of({"a": [], "b": [], "c": []}, images={"a": "nowhere:1", "b": "nowhere:1"})
    )

    (fault,) = faults_of(planned)

    assert isinstance(fault, ImageError)
    assert str(fault) == (
        "tree/a/build.yaml: the image 'nowhere:1', from which t/a-1 and 1 more are built,"
        " is not in the store"
        " (`cos image import nowhere:1 SOURCE` takes it from a file or folder)"
    )


@pytest.mark.parametrize(
    ("refusal", "code", "asked", "hint"),
    [
        (DeniedError("r.test/x:1: forbidden", hint="log in"), ExitCode.OUTSIDE,
         "r.test/x:1: forbidden", "log in; or "),
        (NotFoundError("r.test/x:1: not there"), ExitCode.OUTSIDE, "r.test/x:1: not there", ""),
        (ImageError("no JSON"), ExitCode.FAILED, "no JSON", ""),
    ],
)  # fmt: skip
def test_an_image_that_a_registry_refused_is_told_with_what_may_help(
    shop: Workshop, refusal: CompilerError, code: ExitCode, asked: str, hint: str
) -> None:
    planned = shop.plan(tree_of({"a": []}, images={"a": "r.test/x:1"}))

    (fault,) = faults_of(planned, {"r.test/x:1": refusal})

    assert fault.exit_code is code
    assert str(fault) == (
        "tree/a/build.yaml: the image 'r.test/x:1', from which t/a-1 is built,"
        f" is not in the store, and cannot be pulled: {asked}"
        f" ({hint}`cos image import r.test/x:1 SOURCE` takes it from a file or folder)"
    )


def test_what_is_built_needs_its_image_no_more(shop: Workshop) -> None:
    tree = tree_with(package("p", steps=("write /p p",)))
    shop.run(tree)

    assert list(faults_of(shop.plan(tree))) == []


def test_a_faulty_filter_stops_only_what_is_packed(shop: Workshop) -> None:
    tree = tree_with(package("p", excludes=("(",)))

    faults = [str(each) for each in faults_of(shop.plan(tree))]

    assert len(faults) == 1
    assert "(" in faults[0]


def test_another_compression_packs_again_and_builds_nothing(shop: Workshop) -> None:
    tree = tree_with(package("p", steps=("write /p p",)))
    shop.run(tree)

    zstd = type(shop.request.compression)("zstd")
    again = actions(shop, placed(shop, tree), packages=("t/p",), compression=zstd)

    assert again == {"p": ("pack", True)}


def test_entries_that_are_no_commands_are_all_found_before_anything_runs(shop: Workshop) -> None:
    spec = package("p", steps=("true", "--mount=oops true"), env=("=1",), package_dir="/a/../..")
    spec = replace(spec, places={"steps.1": Location("b.yaml", 3, 3), "env": Location("b.yaml", 5)})

    faults = sorted(str(each) for each in faults_of(shop.plan(tree_with(spec))))

    assert [each.partition(": ")[0] for each in faults[:2]] == ["b.yaml:3:3", "b.yaml:5"]
    assert faults[2] == "package_dir '/a/../..' leads out with '..'"


def test_a_name_that_no_image_can_have_is_told(shop: Workshop) -> None:
    (fault,) = faults_of(shop.plan(tree_of({"a": []}, images={"a": "::"})))

    assert str(fault) == "tree/a/build.yaml: '::' is not an image name (write it as NAME:TAG)"


def test_an_image_that_instructions_copy_from_belongs_to_the_key(shop: Workshop) -> None:
    tree = tree_with(package("p", steps=("true\nCOPY --from=tools:1 /a /b",)))

    def key() -> str:
        return shop.plan(tree).nodes[0].keys.layer

    (fault,) = faults_of(shop.plan(tree))
    assert "the image 'tools:1'" in str(fault)
    shop.image("tools:1", {"a": "1"})
    before = key()
    assert list(faults_of(shop.plan(tree))) == []

    shop.image("tools:1", {"a": "2"})

    assert key() != before
