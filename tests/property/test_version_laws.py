"""Laws that the order of versions and the selectors keep for every text."""

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.version import Selector, Version, bump, match, sort

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

VERSIONS = st.one_of(
    st.from_regex(r"\A(?:[0-2]:)?[0-9][0-9a.+~:_-]{0,6}\Z"),
    st.from_regex(r"\Av?[0-2](?:\.[0-9]{1,2}){0,2}(?:[-+~_](?:rc|r|alpha)?[0-9])?\Z"),
)
TEXTS = st.one_of(VERSIONS, st.text(max_size=20))
SELECTORS = st.one_of(st.text(max_size=20), st.text(alphabet="<>=!~^*, 01.v+-_", max_size=12))


@given(VERSIONS)
def test_every_version_equals_itself_and_has_one_hash(text: str) -> None:
    version = Version.parse(text)

    assert version == Version.parse(text)
    assert hash(version) == hash(Version.parse(text))
    assert not version < version  # noqa: PLR0124  (irreflexive is what is tested)


@given(TEXTS, TEXTS)
def test_of_two_versions_exactly_one_relation_holds(a: str, b: str) -> None:
    one, other = Version.parse(a), Version.parse(b)

    assert [one < other, one == other, one > other].count(True) == 1
    assert (one == other) <= (hash(one) == hash(other))


@given(TEXTS, TEXTS, TEXTS)
def test_the_order_is_transitive(a: str, b: str, c: str) -> None:
    one, two, three = sorted(map(Version.parse, (a, b, c)))

    assert one <= two <= three
    assert one <= three


@given(VERSIONS, VERSIONS)
def test_selectors_agree_with_the_order(a: str, b: str) -> None:
    one, other = Version.parse(a), Version.parse(b)

    if one.is_valid and other.is_valid:
        assert match(f">{b}", a) is (one > other)
        assert match(f">={b}", a) is (one >= other)
        assert match(f"<{b}", a) is (one < other)
        assert match(f"<={b}", a) is (one <= other)
        assert match(f"={b}", a) is match(b, a) is (one == other)
        assert match(f"!={b}", a) is match(f"!{b}", a) is (one != other)


@given(st.lists(TEXTS))
def test_sorting_loses_none_and_keeps_the_places_of_equals(texts: list[str]) -> None:
    result = sort(texts)

    assert sorted(result) == sorted(texts)
    assert sort(result) == result
    for text in texts:
        same = [each for each in texts if Version.parse(each) == Version.parse(text)]
        assert [each for each in result if Version.parse(each) == Version.parse(text)] == same


@given(SELECTORS, TEXTS)
def test_any_text_is_read_as_a_selector(selector: str, version: str) -> None:
    for parsed in (Selector.parse(selector), Selector.of_requirement(selector)):
        assert isinstance(parsed.matches(Version.parse(version)), bool)
        assert parsed.text == selector


@given(st.lists(st.sampled_from(["<", "<=", ">", ">=", "=", "!="])), VERSIONS, VERSIONS)
def test_more_conditions_never_match_more(operators: list[str], bound: str, version: str) -> None:
    conditions = [f"{operator}{bound}" for operator in operators]

    if Version.parse(bound).is_valid:
        together = match(",".join(conditions), version)
        assert together is all(match(condition, version) for condition in conditions)
        assert together is match(" ".join(conditions), version)


@given(VERSIONS)
def test_a_bumped_version_is_newer(text: str) -> None:
    version = Version.parse(text)

    if version.is_valid:
        assert version < Version.parse(bump(text))
