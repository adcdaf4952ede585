"""Which packages are chosen, in which versions and order, and what is said when none can be."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from compiler.errors import CycleError, Location, ResolutionError
from compiler.resolver import Resolution, dependents, post_order, resolve, resolve_each
from compiler.resolver.world import World
from compiler.spec.package import PackageId, Requirement
from compiler.tree import load_tree


def package(text: str) -> PackageId:
    """Read `category/name-version`."""
    title, _, version = text.partition("-")
    category, _, name = title.partition("/")
    return PackageId(category, name, version)


def wish(text: str) -> Requirement:
    """Read `category/name@selector`."""
    title, _, version = text.partition("@")
    category, _, name = title.partition("/")
    return Requirement(category=category, name=name, version=version)


class Shelf:
    """Candidates out of one line a package: `a/x-1: a/y@>=2 !a/z =a/w@1` (conflict, provides)."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._words = {
            package(name): words.split()
            for name, _, words in (line.partition(":") for line in lines)
        }

        self._claims: dict[tuple[str, str], list[tuple[PackageId, Requirement]]] = {}
        for each, words in self._words.items():
            for claim in (wish(word[1:]) for word in words if word[0] == "="):
                self._claims.setdefault((claim.category, claim.name), []).append((each, claim))

    def versions(self, category: str, name: str) -> Collection[PackageId]:
        return [each for each in self._words if each[:2] == (category, name)]

    def requirements(self, package: PackageId) -> Sequence[Requirement]:
        return [wish(word) for word in self._words[package] if word[0] not in "!="]

    def conflicts(self, package: PackageId) -> Sequence[Requirement]:
        return [wish(word[1:]) for word in self._words[package] if word[0] == "!"]

    def providers(self, category: str, name: str) -> Collection[tuple[PackageId, Requirement]]:
        return self._claims.get((category, name), [])

    def location(self, package: PackageId, requirement: Requirement) -> Location | None:
        words = [word.lstrip("!") for word in self._words[package]]
        return Location(f"{package.name}.yaml", words.index(str(requirement)) + 1)

    def titles(self) -> Iterable[str]:
        return {each.title for each in self._words}


def names(packages: Iterable[PackageId]) -> list[str]:
    return [str(each) for each in packages]


def answer(lines: Iterable[str], *wanted: str) -> list[str]:
    return names(resolve(map(wish, wanted), Shelf(lines)).packages)


def failure(lines: Iterable[str], *wanted: str) -> str:
    with pytest.raises(ResolutionError) as caught:
        resolve(map(wish, wanted), Shelf(lines))
    return str(caught.value)


def test_the_newest_version_that_satisfies_is_taken() -> None:
    lines = ["a/x-1:", "a/x-1.10:", "a/x-1.9:", "a/x-2:"]

    assert answer(lines, "a/x") == ["a/x-2"]
    assert answer(lines, "a/x@<2") == ["a/x-1.10"]
    assert answer(lines, "a/x@<2,!=1.10") == ["a/x-1.9"]
    assert answer(lines, "a/x@~>1.2") == ["a/x-1.10"]


def test_a_literal_means_that_very_text_and_else_an_equal_version() -> None:
    lines = ["a/x-1.0:", "a/x-1.00:", "a/x-master:"]

    assert answer(lines, "a/x@1.00") == ["a/x-1.00"]
    assert answer(lines, "a/x@01.0") == ["a/x-1.0"]
    assert answer(lines, "a/x@master") == ["a/x-master"]


def test_versions_that_are_none_are_found_when_any_will_do() -> None:
    assert answer(["a/x-master:"], "a/x") == ["a/x-master"]
    assert answer(["a/x-master:", "a/x-0:"], "a/x") == ["a/x-0"]


def test_what_is_needed_comes_first_and_siblings_follow_their_fingerprints() -> None:
    lines = ["t/t-1: z/a a/b c/c", "z/a-1: c/c", "a/b-1:", "c/c-1:"]

    assert answer(lines, "t/t") == ["c/c-1", "z/a-1", "a/b-1", "t/t-1"]


def test_it_backs_off_to_an_older_version_when_two_want_different_ones() -> None:
    lines = ["t/t-1: a/x a/y", "a/x-1: l/l", "a/y-1: l/l@<2", "l/l-1:", "l/l-2:"]

    assert answer(lines, "t/t") == ["l/l-1", "a/x-1", "a/y-1", "t/t-1"]


def test_it_backs_off_to_an_older_user_when_only_that_goes_together() -> None:
    lines = ["t/t-1: a/x a/y", "a/x-2: l/l@2", "a/x-1: l/l@1", "a/y-1: l/l@1", "l/l-1:", "l/l-2:"]

    assert answer(lines, "t/t") == ["l/l-1", "a/x-1", "a/y-1", "t/t-1"]


def test_it_backs_off_from_a_version_whose_own_needs_nobody_meets() -> None:
    lines = ["t/t-1: a/x", "a/x-2: a/gone", "a/x-1:"]

    assert answer(lines, "t/t") == ["a/x-1", "t/t-1"]


def test_two_requests_are_answered_together() -> None:
    lines = ["t/t-1: l/l", "l/l-1:", "l/l-2:"]

    result = resolve([wish("t/t"), wish("l/l@1")], Shelf(lines))

    assert names(result.targets) == ["t/t-1", "l/l-1"]
    assert names(result.packages) == ["l/l-1", "t/t-1"]


def test_a_conflict_makes_it_take_another_version() -> None:
    lines = ["t/t-1: a/x a/y", "a/x-1: !a/y@>=2", "a/y-1:", "a/y-2:"]

    assert answer(lines, "t/t") == ["a/x-1", "a/y-1", "t/t-1"]


def test_a_conflict_with_what_is_not_there_does_not_matter() -> None:
    assert answer(["t/t-1: a/x !a/y !a/gone", "a/x-1:", "a/y-1:"], "t/t") == ["a/x-1", "t/t-1"]


def test_a_conflict_keeps_out_who_provides_the_package() -> None:
    lines = ["t/t-1: a/x a/v", "a/x-1: !a/v", "a/p-1: =a/v@1"]

    assert failure(lines, "t/t") == (
        "t.yaml:2: what is asked for: no version of a/v suits all that want it"
        " (there is 1 of a/p-1)\n"
        "  t/t is asked for\n"
        "  t/t-1 (t.yaml:2) requires a/v\n"
        "  t/t-1 (t.yaml:1) requires a/x\n"
        "  a/x-1 (x.yaml:1) conflicts with a/v"
    )


@pytest.mark.parametrize(
    ("provided", "wanted", "chosen"),
    [
        ("=a/v@1.0", "a/v@1.0", "a/p-7"),
        ("=a/v@>=1.0", "a/v@>=1.0", "a/p-7"),
        ("=a/v@>=1.0", "a/v@1.5", "a/p-7"),
        ("=a/v@1.0", "a/v@>=0", "a/p-7"),
        ("=a/v@1.0", "a/v", "a/p-7"),
        ("=a/v", "a/v@>=3", "a/p-7"),
        ("=a/v@>=1.0", "a/v@>=0.5", "a/p-7"),
    ],
)
def test_a_provider_stands_in_for_what_it_provides(provided: str, wanted: str, chosen: str) -> None:
    assert answer([f"a/p-7: {provided}"], wanted) == [chosen]


def test_a_provider_replaces_the_real_package_of_that_version() -> None:
    lines = ["a/p-7: =a/v@1.0", "a/v-1.0:", "t/t-1: a/v@1.0"]

    assert answer(lines, "t/t") == ["a/p-7", "t/t-1"]
    assert answer(lines, "a/v@1.0") == ["a/p-7"]


@pytest.mark.parametrize(
    ("provided", "wanted", "chosen"),
    [
        ("1.0", "1.0", "a/p-7"),
        ("9", "9", "a/p-7"),
        (">=1", ">=1", "a/p-7"),
        (">=1", "2.0", "a/p-7"),
        ("<3", "2.0", "a/p-7"),
        ("", "", "a/p-7"),
        ("", "2.0", "a/p-7"),
        ("1.0", ">=0", "a/v-2.0"),
        ("2.0", ">=0", "a/v-2.0"),
        ("9", ">=0", "a/v-2.0"),
        ("9", ">=1.0", "a/v-2.0"),
        ("9", "", "a/v-2.0"),
        ("9", "*", "a/v-2.0"),
        ("1.5", "<2", "a/v-1.0"),
        ("2.0", "=2.0", "a/v-2.0"),
        (">=0", ">=1", "a/v-2.0"),
        (">=9", ">=1", "a/v-2.0"),
        ("", ">=0", "a/v-2.0"),
        (">=1", "", "a/v-2.0"),
        ("9", ">=3", "a/p-7"),
        (">=3", ">2.0", "a/p-7"),
        ("1.5", ">1.0,<2", "a/p-7"),
    ],
)
def test_a_provider_replaces_a_real_package_only_where_it_names_what_is_asked_for(
    provided: str, wanted: str, chosen: str
) -> None:
    lines = [f"a/p-7: =a/v@{provided}", "a/v-1.0:", "a/v-2.0:", f"t/t-1: a/v@{wanted}"]

    assert answer(lines, "t/t") == [chosen, "t/t-1"]
    assert answer(lines, f"a/v@{wanted}") == [chosen]


@pytest.mark.parametrize(
    ("claim", "wanted", "chosen"),
    [("9", ">=1", "c/v-1.0"), ("9", ">=2", "c/rival-1.0"), ("1.0", "1.0", "c/rival-1.0")],
)
def test_a_build_stands_on_the_real_package_unless_the_provider_is_named(
    tmp_path: Path, claim: str, wanted: str, chosen: str
) -> None:
    parts = {
        "v": "image: base",
        "rival": f"image: base\nprovides: [{{name: v, category: c, version: '{claim}'}}]",
        "top": f"requires: [{{name: v, category: c, version: '{wanted}'}}]\nsteps: [make]",
    }
    for name, text in parts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "definition.yaml").write_text(
            f"{{name: {name}, category: c, version: '1.0'}}"
        )
        (tmp_path / name / "build.yaml").write_text(text)
    top = PackageId("c", "top", "1.0")

    found = resolve_each([top], load_tree([tmp_path]).buildtime).of(top)

    assert names(found.packages) == [chosen, "c/top-1.0"]


def test_providers_come_after_every_real_package_the_newest_claim_first() -> None:
    lines = ["a/p-1: =a/v@8", "a/q-1: =a/v@9", "a/r-1: =a/v@>=5", "a/v-1:", "a/v-2:"]

    assert names(World(Shelf(lines)).answers(wish("a/v@>=1"))) == [
        "a/v-2", "a/v-1", "a/q-1", "a/p-1", "a/r-1",
    ]  # fmt: skip


def test_a_provider_serves_where_no_real_package_can_be_there() -> None:
    broken = ["a/p-7: =a/v@9", "a/v-2: a/gone", "t/t-1: a/v@>=0"]
    older = [*broken, "a/v-1:"]
    kept_out = ["a/p-7: =a/v@9", "a/v-2:", "a/v-1:", "t/t-1: a/v@>=0 a/x", "a/x-1: !a/v@<=2"]

    assert answer(broken, "t/t") == ["a/p-7", "t/t-1"]
    assert answer(older, "t/t") == ["a/v-1", "t/t-1"]
    assert answer(kept_out, "t/t") == ["a/p-7", "a/x-1", "t/t-1"]


def test_a_package_does_not_stand_on_what_it_provides_itself() -> None:
    lines = ["a/p-7: a/v =a/v@2", "a/v-1:"]

    assert answer(lines, "a/p") == ["a/v-1", "a/p-7"]
    assert answer(lines[:1], "a/p") == ["a/p-7"]


def test_an_unknown_package_is_named_with_who_wants_it_and_a_similar_name() -> None:
    lines = ["t/t-1: a/x", "a/x-1: lib/opensl@>=1", "lib/openssl-1:"]

    assert failure(lines, "t/t") == (
        "x.yaml:1: there is no package lib/opensl (did you mean 'lib/openssl'?)\n"
        "  t/t is asked for\n"
        "  t/t-1 (t.yaml:1) requires a/x\n"
        "  a/x-1 (x.yaml:1) requires lib/opensl@>=1"
    )


def test_a_version_that_does_not_exist_is_told_with_those_that_do() -> None:
    assert failure(["a/x-1:", "a/x-1.5:", "a/p-1: =a/x@1.7"], "a/x@>=2") == (
        "no version of a/x satisfies '>=2' (there is 1.5, 1, 1.7 of a/p-1)\n  a/x@>=2 is asked for"
    )


def test_a_selector_that_is_none_is_told_with_what_was_meant() -> None:
    assert failure(["t/t-1: a/x@=>1", "a/x-1:"], "t/t") == (
        "t.yaml:1: a/x: unknown operator '=>' in '=>1' (did you mean '>=1'?)\n"
        "  t/t is asked for\n"
        "  t/t-1 (t.yaml:1) requires a/x@=>1"
    )


def test_a_package_cannot_need_another_version_of_itself() -> None:
    assert failure(["a/x-2: a/x@<2", "a/x-1:"], "a/x@2") == (
        "x.yaml:1: a/x-2 requires another version of itself (an answer holds one version only)\n"
        "  a/x@2 is asked for\n"
        "  a/x-2 (x.yaml:1) requires a/x@<2"
    )


def test_two_that_want_different_versions_are_told_with_their_places() -> None:
    lines = ["t/t-1: a/x a/y", "a/x-1: l/l@>=2", "a/y-1: l/l@<2", "l/l-1:", "l/l-2:"]

    assert failure(lines, "t/t") == (
        "x.yaml:1: what is asked for: no version of l/l suits all that want it (there is 2, 1)\n"
        "  t/t is asked for\n"
        "  t/t-1 (t.yaml:1) requires a/x\n"
        "  a/x-1 (x.yaml:1) requires l/l@>=2\n"
        "  t/t-1 (t.yaml:2) requires a/y\n"
        "  a/y-1 (y.yaml:1) requires l/l@<2"
    )


def test_a_cycle_is_shown_as_a_path() -> None:
    with pytest.raises(CycleError) as caught:
        resolve([wish("t/t")], Shelf(["t/t-1: b/t", "b/t-1: a/t", "a/t-1: b/t"]))

    assert str(caught.value) == (
        "t.yaml:1: cycle: a/t-1 -> b/t-1 -> a/t-1\n"
        "  a/t-1 (t.yaml:1) requires b/t\n"
        "  b/t-1 (t.yaml:1) requires a/t"
    )


def test_a_package_that_needs_itself_is_a_cycle() -> None:
    assert failure(["a/x-1: a/x"], "a/x") == (
        "x.yaml:1: cycle: a/x-1 -> a/x-1\n  a/x-1 (x.yaml:1) requires a/x"
    )


def test_a_long_ladder_of_diamonds_is_walked_once() -> None:
    lines = [f"a/{side}{i}-1: a/l{i + 1} a/r{i + 1}" for i in range(60) for side in "lr"]
    lines += ["a/l60-1:", "a/r60-1:"]
    begun = time.monotonic()

    packages = answer(lines, "a/l0")

    assert len(packages) == 121
    assert time.monotonic() - begun < 1


def test_a_chain_deeper_than_pythons_stack_is_no_trouble() -> None:
    lines = [f"a/x{i}-1: a/x{i + 1}" for i in range(3000)] + [
        "a/x3000-1: l/l@1 l/l",
        "l/l-1:",
        "l/l-2:",
    ]
    requirements = {
        package(line.partition(":")[0]): line.partition(":")[2].split() for line in lines
    }

    result = resolve([wish("a/x0")], Quick(requirements))

    assert (len(result.packages), str(result.packages[0])) == (3002, "l/l-1")


class Quick(Shelf):
    """The same with an index, for many packages."""

    def __init__(self, words: Mapping[PackageId, list[str]]) -> None:
        super().__init__(())
        self._words = dict(words)
        self._index: dict[tuple[str, str], list[PackageId]] = {}
        for each in words:
            self._index.setdefault(each[:2], []).append(each)

    def versions(self, category: str, name: str) -> Collection[PackageId]:
        return self._index.get((category, name), [])


MIXED = [
    "t/one-1: a/x a/y",
    "t/two-1: a/x",
    "t/three-1: a/gone",
    "t/four-1: t/three",
    "t/five-1: t/six",
    "t/six-1: t/five",
    "t/seven-1: l/l@1 l/l@2",
    "t/eight-1: t/seven",
    "a/x-1: l/l",
    "a/y-1: l/l@<2",
    "l/l-1:",
    "l/l-2:",
]


def test_every_target_is_answered_on_its_own_closure() -> None:
    targets = [package(f"t/{name}-1") for name in ("one", "two")]

    result = resolve_each(targets, Shelf(MIXED))

    assert {str(target) for target in result.special} == {"t/one-1"}
    assert names(result.of(targets[0]).packages) == ["l/l-1", "a/x-1", "a/y-1", "t/one-1"]
    assert names(result.of(targets[1]).packages) == ["l/l-2", "a/x-1", "t/two-1"]
    assert names(result.edges) == ["l/l-2", "a/x-1", "t/two-1"]


def test_targets_without_an_answer_do_not_keep_others_from_theirs() -> None:
    targets = [package(line.partition(":")[0]) for line in MIXED]

    result = resolve_each(targets, Shelf(MIXED))

    assert {str(target): error.message for target, error in result.failed.items()} == {
        "t/three-1": "there is no package a/gone",
        "t/four-1": "there is no package a/gone",
        "t/five-1": "cycle: t/five-1 -> t/six-1 -> t/five-1",
        "t/six-1": "cycle: t/five-1 -> t/six-1 -> t/five-1",
        "t/seven-1": "t/seven-1: no version of l/l suits all that want it",
        "t/eight-1": "t/seven-1: no version of l/l suits all that want it",
    }
    with pytest.raises(CycleError):
        result.of(package("t/five-1"))


def test_who_meets_each_requirement_is_told_in_their_order() -> None:
    result = resolve([wish("t/t")], Shelf(["t/t-1: z/z a/a@1 z/z", "z/z-1:", "a/a-1:"]))

    assert names(result.chosen[package("t/t-1")]) == ["z/z-1", "a/a-1", "z/z-1"]
    assert names(result.edges[package("t/t-1")]) == ["a/a-1", "z/z-1"]


def test_the_order_in_which_packages_are_found_changes_nothing() -> None:
    lines = [*MIXED, "a/p-1: =a/v", "a/q-1: =a/v", "t/nine-1: a/v t/one l/l"]
    shuffled = [*lines[1::3], *lines[::-3], *lines]

    one, other = (resolve([wish("t/nine")], Shelf(each)) for each in (lines, shuffled))

    assert one == other
    assert isinstance(one, Resolution)


def test_edges_turned_round_tell_who_needs_a_package() -> None:
    edges = resolve([wish("t/one")], Shelf(MIXED)).edges

    users = dependents(edges)

    assert names(users[package("l/l-1")]) == ["a/x-1", "a/y-1"]
    assert users[package("t/one-1")] == ()
    assert names(post_order([package("l/l-1")], users)) == ["t/one-1", "a/x-1", "a/y-1", "l/l-1"]
