"""Laws that hold for any packages: what was installed can be taken away without a trace."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.errors import ArchiveError, ConflictError
from tests.system.lab import Lab, snapshot

NAMES = ["a", "b", "c"]
TEXTS = st.sampled_from(["one", "two", "-> a", "-> /b/c", "", "x" * 5000])


@st.composite
def contents(draw: st.DrawFn) -> dict[str, str]:
    """Draw what a package holds: a tree three folders deep, in which no file is a folder too."""
    content: dict[str, str] = {}
    for first in draw(st.sets(st.sampled_from(NAMES))):
        if draw(st.booleans()):
            content[first] = draw(TEXTS)
            continue
        if draw(st.booleans()):
            content[f"{first}/"] = draw(st.sampled_from(["755", "700", "1777"]))
        for second in draw(st.sets(st.sampled_from(NAMES), min_size=1)):
            if draw(st.booleans()):
                content[f"{first}/{second}"] = draw(TEXTS)
            else:
                content[f"{first}/{second}/{draw(st.sampled_from(NAMES))}"] = draw(TEXTS)
    return content


@settings(max_examples=30, deadline=None)
@given(foreign=contents(), first=contents(), second=contents())
def test_installing_and_uninstalling_restores_the_tree(
    tmp_path_factory: pytest.TempPathFactory,
    foreign: dict[str, str],
    first: dict[str, str],
    second: dict[str, str],
) -> None:
    lab = Lab(tmp_path_factory.mktemp("law"))
    lab.write({path: text for path, text in foreign.items() if path.endswith("/")})
    before = snapshot(lab.root)
    try:
        lab.apply(lab.package("a", first))
        middle = snapshot(lab.root)
        lab.apply(lab.package("b", second))
    except (ConflictError, ArchiveError):
        return

    lab.apply(remove=["b"])
    assert snapshot(lab.root) == middle
    lab.apply(remove=["a"])
    assert snapshot(lab.root) == before


@settings(max_examples=30, deadline=None)
@given(old=contents(), new=contents())
def test_upgrading_gives_what_installing_the_new_one_alone_gives(
    tmp_path_factory: pytest.TempPathFactory, old: dict[str, str], new: dict[str, str]
) -> None:
    lab = Lab(tmp_path_factory.mktemp("old"))
    fresh = Lab(tmp_path_factory.mktemp("new"))
    lab.apply(lab.package("a-1", old))
    lab.apply(lab.package("a-2", new), remove=["a-1"])
    fresh.apply(fresh.package("a-2", new))

    assert _shape(lab) == _shape(fresh)

    lab.apply(remove=["a-2"])
    assert snapshot(lab.root) == {}


def _shape(lab: Lab) -> dict[str, object]:
    """What is where; modes of folders that no archive names may be those of the old version."""
    return {path: (row[0], row[3]) for path, row in snapshot(lab.root).items()}
