"""Includes and excludes, in Go's regular expressions."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.artifact.filters import check_filters, compile_filters
from compiler.errors import Faults, Location, SpecError
from compiler.spec.package import BuildSpec, Definition, PackageSpec, Subpackage


def keeps(path: str, includes: tuple[str, ...] = (), excludes: tuple[str, ...] = ()) -> bool:
    return compile_filters(includes, excludes).keeps(path)


@pytest.mark.parametrize(
    ("path", "includes", "excludes", "kept"),
    [
        ("usr/bin/a", (), (), True),
        ("usr/bin/a", ("^/usr",), (), True),
        ("usr/bin/a", ("usr/bin",), (), True),
        ("usr/bin/a", ("^usr",), (), False),
        ("usr/bin/a", (), ("/a$",), False),
        ("usr/bin/a", ("^/usr",), ("bin",), False),
        ("srv/x", (), ("^/srv$",), True),
        ("usr/bin/a", ("^/etc", "^/usr"), (), True),
        ("a.b", (r"\Qa.b\E",), (), True),
        ("a.b", (r"\Qa.b", "never"), (), True),
        ("aXb", (r"\Qa.b",), (), False),
        ("ABC", ("(?i)abc", "never"), (), True),
        ("abc", ("(?i)x", "ABC"), (), False),
        ("a1", ("[[:alpha:]][[:digit:]]",), (), True),
        ("ü", (r"^/\pL$",), (), True),
        ("a\nb", ("a.b",), (), False),
        ("a\nb", ("(?s)a.b",), (), True),
        ("ab", (r"b\z",), (), True),
        ("aab", ("(?U)a+b",), (), True),
        ("a", ("(?P<n>a)", "(?P<n>b)"), (), True),
        ("caf\udce9", ("caf.$",), (), True),
    ],
)
def test_expressions_mean_what_they_mean_in_go(
    path: str, *, includes: tuple[str, ...], excludes: tuple[str, ...], kept: bool
) -> None:
    assert keeps(path, includes, excludes) is kept


def test_an_expression_that_explodes_elsewhere_takes_no_time() -> None:
    filters = compile_filters(("(a+)+$", "(.*)*x", "[ab]*a[ab]{500}c"), ())
    start = time.monotonic()

    assert not filters.keeps("a" * 4000 + "b")

    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("(", "missing ): ("),
        ("a[", "missing ]: ["),
        ("(?=a)", "invalid perl operator: (?="),
        (r"(a)\1", r"invalid escape sequence: \1"),
        ("a**", "bad repetition operator: **"),
        ("a{1001}", "invalid repetition size: {1001}"),
    ],
)
def test_what_go_refuses_is_an_error(expression: str, reason: str) -> None:
    with pytest.raises(SpecError) as caught:
        compile_filters((), (expression,))

    assert str(caught.value) == (
        f"{expression!r} is not a regular expression: {reason} "
        "(filters use Go's syntax, without lookaround and backreferences)"
    )


def test_all_wrong_expressions_of_a_package_are_reported_where_they_stand() -> None:
    part = Subpackage(name="q", category="t", version="1", excludes=("ok", "["))
    spec = PackageSpec(
        definition=Definition(name="p", category="t", version="1"),
        build=BuildSpec(image="a", includes=("(",), excludes=("ok",), subpackages=(part,)),
        folder=Path("p"),
        definition_file=Path("p/definition.yaml"),
        build_file=Path("p/build.yaml"),
        places={"includes": Location("p/build.yaml", 2, 1)},
    )

    with pytest.raises(Faults) as caught:
        check_filters(spec)

    assert [str(error) for error in caught.value.exceptions] == [
        "p/build.yaml: '[' is not a regular expression: missing ]: [ "
        "(filters use Go's syntax, without lookaround and backreferences)",
        "p/build.yaml:2:1: '(' is not a regular expression: missing ): ( "
        "(filters use Go's syntax, without lookaround and backreferences)",
    ]


def test_a_package_without_wrong_expressions_passes() -> None:
    spec = PackageSpec(
        definition=Definition(name="p", category="t", version="1"),
        build=BuildSpec(image="a", includes=("^/usr",)),
        folder=Path("p"),
        definition_file=Path("p/definition.yaml"),
    )

    check_filters(spec)


@given(
    st.text(alphabet="ab/.^$*()|", max_size=8),
    st.text(alphabet="ab/.^$*()|", max_size=8),
    st.text(alphabet="ab/", min_size=1, max_size=6),
)
def test_several_expressions_together_match_what_one_of_them_matches(
    one: str, two: str, path: str
) -> None:
    try:
        single = [keeps(path, (one,)), keeps(path, (two,))]
    except SpecError:
        return

    assert keeps(path, (one, two)) is any(single)


@given(st.text(alphabet="ab/.^$", max_size=8), st.text(alphabet="ab/", min_size=1, max_size=6))
def test_plain_expressions_match_as_everywhere(expression: str, path: str) -> None:
    assert keeps(path, (expression,)) is bool(re.search(expression, "/" + path))
