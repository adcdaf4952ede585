import json
import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.spec.scalars import resolve
from compiler.spec.yaml import Fault, YamlFaults, parse, places


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y", True), ("Yes", True), ("ON", True), ("true", True), ("n", False), ("off", False),
        ("yEs", "yEs"), ("~", None), ("", None), ("Null", None), ("nUll", "nUll"),
        ("1", 1), ("+1", 1), ("-12", -12), ("1_000", 1000), ("0x1F", 31), ("-0x10", -16),
        ("0b101", 5), ("0o17", 15), ("017", 15), ("08", 8.0), ("1.0", 1.0), (".5", 0.5),
        ("1.", 1.0), ("1e3", 1000.0), ("-1.5e-3", -0.0015), (".inf", math.inf),
        ("-.Inf", -math.inf), ("18446744073709551615", 18446744073709551615),
        ("18446744073709551616", 18446744073709551616.0),
        ("1.2.3", "1.2.3"), ("2021-07-07", "2021-07-07"), ("1:30", "1:30"), ("0x", "0x"),
        ("1.0+1", "1.0+1"), ("+", "+"), ("-", "-"), (".", "."), ("_1", "_1"), (".5_5", ".5_5"),
    ],
)  # fmt: skip
def test_a_plain_scalar_means_what_go_takes_it_for(text: str, value: object) -> None:
    found = resolve(text)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a:\t1\nb: [1,\t2]\n", {"a": 1, "b": [1, 2]}),
        ("a: 1\n---\nb: }{", {"a": 1}),
        ("---\na: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("y: 1\nm: {y: 1, 2: b, ~: c}", {"y": 1, "m": {"true": 1, 2: "b", "~": "c"}}),
        ("a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3",
         {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("a: !!str 1\nb: !!int '2'\nc: !foo bar\nd: !!binary aGk=",
         {"a": "1", "b": 2, "c": "bar", "d": "hi"}),
        ("a: '1'\nb: \"y\"", {"a": "1", "b": "y"}),
        ("# nothing", None),
    ],
)  # fmt: skip
def test_a_text_is_read_as_go_reads_it(text: str, value: object) -> None:
    assert parse(text) == value


def test_a_duplicate_key_names_both_places() -> None:
    with pytest.raises(YamlFaults) as caught:
        parse("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n")

    assert caught.value.faults == (
        Fault(4, 3, "key 'c' is given twice", "first at 3:3"),
        Fault(5, 1, "key 'a' is given twice", "first at 1:1"),
    )


def test_every_value_has_its_place() -> None:
    found = places("a:\n- b: 'x'\n- [1, 0x2]\n")

    assert {path: (place.key, place.value, place.text) for path, place in found.items()} == {
        (): ((1, 1), (1, 1), ""),
        ("a",): ((1, 1), (2, 1), ""),
        ("a", 0): ((2, 3), (2, 3), ""),
        ("a", 0, "b"): ((2, 3), (2, 6), "x"),
        ("a", 1): ((3, 3), (3, 3), ""),
        ("a", 1, 0): ((3, 4), (3, 4), "1"),
        ("a", 1, 1): ((3, 7), (3, 7), "0x2"),
    }


YAML_LIKE = st.text(
    alphabet=string.ascii_letters + "0123 :-[]{}&*!|>'\"%@#\n\t,?\\~<.", max_size=60
)


@given(st.one_of(YAML_LIKE, st.text(max_size=60)))
def test_any_text_is_a_value_or_has_a_fault_with_a_place(text: str) -> None:
    faults: tuple[Fault, ...] = ()
    try:
        parse(text)
        places(text)
    except YamlFaults as error:
        faults = error.faults

    assert all(each.line >= 1 and each.column >= 1 for each in faults)


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**40), 2**40),
        st.text(string.ascii_letters + ' "\\:#é', max_size=8),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text("abc", min_size=1), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_json_is_read_as_what_it_says(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)

    assert parse(text) == value
