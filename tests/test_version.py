"""The order of versions, what selectors match, and the forms of the command line."""

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compiler.cli.util import app
from compiler.errors import UsageError, VersionError
from compiler.version import Selector, Version, bump, match, parse_argument, sort

CASES = json.loads((Path(__file__).parent / "data" / "version-cases.json").read_text())

BEYOND_HEAD = {
    (">1.0, <2.0", "1.5"): "comma separated conditions all hold together",
    (">1.0,<2.0", "1.5+3"): "comma separated conditions all hold together",
    (">1.0,<2.0", "1.5-1"): "comma separated conditions all hold together",
    (">=1.0,<2.0", "1.0"): "comma separated conditions all hold together",
    ("*", "0"): "* matches every version",
    ("", "1.0"): "the empty selector matches every version",
}
"""Rows that match although they do not for head, and why; there are no others.

`~>`, `~` and `^` match nothing, as for head; only dependency stanzas still know `~>`.
"""

MENDED_BUMPS = {
    "1.0-1": "1.0-1+1",
    "0.2.rc1-1+7": "0.2.rc1-1+8",
    "1.0-alpha": "1.0-alpha+1",
    "2:1.0": "2:1.0+1",
    "1.0_p1+2": "1.0_p1+3",
    "1.0+p3": "1.0+p4",
    "1.0+rc2": "1.0+rc3",
    "1.0+pre2_p20191024.1": "1.0+pre2_p20191024.2",
    "0.20210707": "0.20210707+1",
    "1.0+": "1.0+1",
    "1.0+099": "1.0+100",
    "1.0+a+9": "1.0+a+10",
}


@pytest.mark.parametrize(
    "row", CASES["selectors"], ids=lambda row: f"{row['selector']}|{row['version']}"
)
def test_a_selector_matches_what_luets_head_matches(row: dict[str, str | bool]) -> None:
    selector, version = str(row["selector"]), str(row["version"])

    expected = (selector, version) in BEYOND_HEAD or row["match_head"]

    assert match(selector, version) is expected


@pytest.mark.parametrize("row", CASES["pairs"], ids=lambda row: f"{row['a']}|{row['b']}")
def test_the_newer_of_two_is_the_one_that_luets_head_calls_newer(
    row: dict[str, str | None],
) -> None:
    a, b = str(row["a"]), str(row["b"])
    expected = row["newer_head"] or b  # nothing is lost: the empty version is below all others

    newest = {sort([a, b])[-1], sort([b, a])[-1]}

    assert newest == ({a, b} if expected == "tie" else {expected})


@pytest.mark.parametrize("row", CASES["pairs"], ids=lambda row: f"{row['a']}|{row['b']}")
def test_selectors_and_sorting_agree_on_the_newer_of_two(row: dict[str, str]) -> None:
    a, b = row["a"], row["b"]

    above = {match(f">{b}", a): a, match(f">{a}", b): b}.get(True)

    expected = row["newer_by_selector_head"]
    if not a:  # a package without a version satisfies every selector
        expected = a
    assert above == (expected if expected in (a, b) else None)


@pytest.mark.parametrize("row", CASES["lists"], ids=lambda row: ",".join(row["input"]))
def test_a_list_is_sorted_oldest_first_and_none_is_lost(row: dict[str, list[str]]) -> None:
    assert sort(row["input"]) == row["sorted_head"]


@pytest.mark.parametrize("row", CASES["versions"], ids=lambda row: str(row["version"]))
def test_a_version_is_valid_when_it_is_for_luets_head(row: dict[str, str | bool]) -> None:
    valid = row["version"] == "v1.0" or row["valid_head"]  # head drops the v before it compares

    assert Version.parse(str(row["version"])).is_valid is valid


@pytest.mark.parametrize("row", CASES["cli"], ids=lambda row: str(row["input"]))
def test_an_argument_of_the_command_line_is_read_as_luet_reads_it(row: dict[str, str]) -> None:
    if not row["name"]:
        with pytest.raises(UsageError):
            parse_argument(row["input"])
        return
    # luet says '>=0' for "any version", which leaves out those that are no versions
    said = row["version"] if row["input"].endswith(("1.0", "1.0+4", "2.0", "r1", "0707")) else ""
    version = "" if row["input"] == "cat/foo-1.0" else said

    assert parse_argument(row["input"]) == (row["category"], row["name"], version)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("=cat/foo-0.2.rc1-1+7", ("cat", "foo", "0.2.rc1-1+7")),
        ("=cat/foo-v1.0", ("cat", "foo", "v1.0")),
        (">=cat/foo-bar-1.0-r1", ("cat", "foo-bar", ">=1.0-r1")),
        ("cat/foo@>1.0,<2.0", ("cat", "foo", ">1.0,<2.0")),
        (">=cat/foo", ("cat", "foo", "")),
        ("foo@", ("", "foo", "")),
    ],
)
def test_the_version_of_an_atom_begins_at_the_first_number(
    argument: str, expected: tuple[str, str, str]
) -> None:
    assert parse_argument(argument) == expected


@pytest.mark.parametrize("argument", ["", "@1.0", "cat/", "a/b/c", "=", "=cat/foo@1.0"])
def test_an_argument_that_names_no_package_is_refused(argument: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_argument(argument)

    hint = "write 'category/name', 'category/name@1.0' or 'category/name@>=1.0'"
    assert str(caught.value) == f"{argument!r} names no package ({hint})"


@pytest.mark.parametrize("row", CASES["bump"], ids=lambda row: str(row["from"]))
def test_bumping_counts_the_build_number_as_luet_does(row: dict[str, str]) -> None:
    assert bump(row["from"]) == MENDED_BUMPS.get(row["from"], row["to"])


@pytest.mark.parametrize(("version", "bumped"), MENDED_BUMPS.items())
def test_bumping_keeps_what_stands_before_the_build_number(version: str, bumped: str) -> None:
    assert bump(version) == bumped
    assert Version.parse(version) < Version.parse(bumped)


def test_there_is_nothing_to_bump_without_a_version() -> None:
    with pytest.raises(VersionError) as caught:
        bump(" ")

    assert str(caught.value) == "there is no version to bump"


@pytest.mark.parametrize(
    ("selector", "matching"),
    [
        (">1.0 <2.0", ["1.5", "1.5-1"]),
        (">=1.0,<2.0", ["1.0", "1.00", "1.5", "1.5-1"]),
        ("> 1.0 , < 2.0", ["1.5", "1.5-1"]),
        (">=1.0, !=1.5", ["1.0", "1.00", "1.5-1", "2.0"]),
        ("*", ["abc", "1.0", "1.00", "1.5", "1.5-1", "2.0"]),
        ("*, <1.5", ["1.0", "1.00"]),
        ("", ["abc", "1.0", "1.00", "1.5", "1.5-1", "2.0"]),
        ("1.0", ["1.0", "1.00"]),
        ("!1.0", ["1.5", "1.5-1", "2.0"]),
        ("=abc", ["abc"]),
        ("abc", ["abc"]),
    ],
)
def test_all_conditions_of_a_selector_hold_together(selector: str, matching: list[str]) -> None:
    versions = ["abc", "1.0", "1.00", "1.5", "1.5-1", "2.0"]

    assert [version for version in versions if match(selector, version)] == matching


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("=>1.0", "unknown operator '=>' in '=>1.0' (did you mean '>=1.0'?)"),
        ("<>1.0", "unknown operator '<>' in '<>1.0' (did you mean '!=1.0'?)"),
        ("~>1.2", "unknown operator '~>' in '~>1.2' (did you mean '>=1.2,<2'?)"),
        ("^1.2.3", "unknown operator '^' in '^1.2.3' (did you mean '>=1.2.3,<2'?)"),
        (">=", "no version after '>=' in '>='"),
        (">=x1", "'x1' is not a version in '>=x1'"),
        (">1.0<2.0", "'1.0<2.0' is not a version in '>1.0<2.0'"),
        ("1.0>=", "'1.0>=' is not a version in '1.0>='"),
    ],
)
def test_a_text_that_is_no_selector_matches_nothing_and_says_why(
    selector: str, message: str
) -> None:
    parsed = Selector.parse(selector)

    assert not parsed.matches(Version.parse("1.0"))
    with pytest.raises(VersionError) as caught:
        parsed.check()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        ("~>1.2", ["1.2", "1.2.9", "1.3"]),
        ("~> 1.2.3", ["1.2.9"]),
        ("~>1", ["1.1", "1.2", "1.2.9", "1.3", "2.0"]),
        ("~>1.2, !=1.3", ["1.2", "1.2.9"]),
        ("~>x", []),
    ],
)
def test_a_dependency_may_still_say_about_which_number_it_is(
    text: str, matching: list[str]
) -> None:
    wanted = Selector.of_requirement(text)

    versions = ["1.1", "1.2", "1.2.9", "1.3", "2.0"]
    assert [each for each in versions if wanted.matches(Version.parse(each))] == matching


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (">=1.0", ">=0", True),
        (">=1.0", "<1.0", False),
        (">=1.0", "<=1.0", True),
        ("1.0", ">=0", True),
        ("1.0", ">1.0", False),
        (">1 <2", ">2 <3", False),
        ("!=1.0", "1.0", False),
        ("", "=>1", False),
    ],
)
def test_two_selectors_overlap_when_a_version_can_match_both(
    one: str, other: str, *, overlap: bool
) -> None:
    assert Selector.parse(one).overlaps(Selector.parse(other)) is overlap
    assert Selector.parse(other).overlaps(Selector.parse(one)) is overlap


@pytest.mark.parametrize(
    "text", ["9" * 200_000, "1." * 100_000, ">=1," * 50_000, "~" * 200_000, "\u0661" * 200_000]
)
def test_a_text_of_200_000_characters_is_read_within_seconds(text: str) -> None:
    begun = time.monotonic()

    match(text, "1.0")
    match(f">{text}", text + "1")
    bump(f"1.0+{text}")

    assert time.monotonic() - begun < 10


def test_numbers_of_any_size_compare_by_their_value() -> None:
    assert sort(["1" + "0" * 5000, "9" * 5000, "0" * 9000 + "5"]) == [
        "0" * 9000 + "5",
        "9" * 5000,
        "1" + "0" * 5000,
    ]


def test_the_command_sorts_versions_oldest_first() -> None:
    result = CliRunner().invoke(app, ["version", "sort", "1.0+10", "1.0", "-1", "1.0+2"])

    assert (result.exit_code, result.stdout) == (0, "-1\n1.0\n1.0+2\n1.0+10\n")


def test_the_command_prints_the_versions_that_match_in_their_order() -> None:
    result = CliRunner().invoke(app, ["version", "match", ">1.0 <2.0", "1.5", "3", "1.1"])

    assert (result.exit_code, result.stdout) == (0, "1.5\n1.1\n")


def test_the_command_says_on_stderr_why_a_selector_matches_nothing() -> None:
    result = CliRunner().invoke(app, ["version", "match", "=>1", "1.5"])

    said = "warning: unknown operator '=>' in '=>1': it matches no version (did you mean '>=1'?)\n"
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", said)
