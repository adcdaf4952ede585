"""A root put together from lists shows what an overlay of its layers would."""

from pathlib import Path

import pytest

from compiler.archive import Clamp, Entry, Kind
from compiler.artifact.layered import LayeredRoot

CLAMP = Clamp(0, 2**62)


def file(path: str, text: str = "x") -> Entry:
    return Entry(path=path, kind=Kind.FILE, mode=0o644, size=len(text), digest=text)


def folder(path: str, *, mode: int = 0o755, opaque: bool = False) -> Entry:
    return Entry(path=path, kind=Kind.FOLDER, mode=mode, opaque=opaque)


def gone(path: str) -> Entry:
    return Entry(path=path, kind=Kind.WHITEOUT)


def link(path: str, target: str) -> Entry:
    return Entry(path=path, kind=Kind.HARDLINK, mode=0o644, target=target)


def shown(*layers: list[Entry]) -> dict[str, Entry]:
    numbered = [(Path(str(number)), entries) for number, entries in enumerate(layers)]
    return {each.path: each for each in LayeredRoot(numbered, clamp=CLAMP).below("")}


LOWER = [folder("d"), file("d/a"), folder("d/e"), file("d/e/b"), file("d-"), file("f")]


@pytest.mark.parametrize(
    ("upper", "paths"),
    [
        ([], ["d", "d-", "d/a", "d/e", "d/e/b", "f"]),
        ([folder("d"), gone("d/a")], ["d", "d-", "d/e", "d/e/b", "f"]),
        ([gone("d")], ["d-", "f"]),
        ([folder("d", opaque=True), file("d/new")], ["d", "d-", "d/new", "f"]),
        ([file("d")], ["d", "d-", "f"]),
        ([folder("f"), file("f/x")], ["d", "d-", "d/a", "d/e", "d/e/b", "f", "f/x"]),
        ([folder("d"), gone("d/never")], ["d", "d-", "d/a", "d/e", "d/e/b", "f"]),
    ],
)
def test_what_an_upper_layer_hides_is_gone(upper: list[Entry], paths: list[str]) -> None:
    assert list(shown(LOWER, upper)) == paths


def test_an_upper_entry_takes_the_place_of_a_lower_one() -> None:
    root = shown(LOWER, [folder("d", mode=0o700), file("d/a", "new")])

    assert (root["d"].mode, root["d/a"].digest) == (0o700, "new")


def test_no_mark_of_an_overlay_reaches_an_archive() -> None:
    assert not shown(LOWER, [folder("d", opaque=True)])["d"].opaque


def test_hard_links_stay_while_their_file_does() -> None:
    assert shown([file("a"), link("b", "a")], [file("c")])["b"].target == "a"


def test_hard_links_to_a_hidden_file_become_one_file_of_their_own() -> None:
    root = shown([file("a", "old"), link("b", "a"), link("c", "a")], [file("a", "new")])

    assert (root["b"].kind, root["b"].digest) == (Kind.FILE, "old")
    assert (root["c"].kind, root["c"].target) == (Kind.HARDLINK, "b")


def test_below_a_folder_paths_and_links_are_relative_to_it() -> None:
    entries = [file("a"), folder("d"), link("d/b", "a"), link("d/c", "a"), file("d/f")]
    root = LayeredRoot([(Path("0"), [*entries, link("d/g", "d/f")])], clamp=CLAMP)

    found = [(each.path, each.kind, each.target) for each in root.below("d")]

    assert found == [
        ("b", Kind.FILE, ""),
        ("c", Kind.HARDLINK, "b"),
        ("f", Kind.FILE, ""),
        ("g", Kind.HARDLINK, "f"),
    ]
