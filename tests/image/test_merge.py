"""Lists of entries laid over each other: what shows, and where its content is."""

import pytest

from compiler.archive import Entry, Kind
from compiler.errors import ArchiveError
from compiler.image.merge import Place, merged, resolve

EPOCH = 7


def file(path: str, size: int = 1) -> Entry:
    return Entry(path=path, kind=Kind.FILE, mode=0o644, size=size)


def folder(path: str, mode: int = 0o755) -> Entry:
    return Entry(path=path, kind=Kind.FOLDER, mode=mode)


def link(path: str, target: str) -> Entry:
    return Entry(path=path, kind=Kind.SYMLINK, target=target)


def hard(path: str, target: str) -> Entry:
    return Entry(path=path, kind=Kind.HARDLINK, target=target)


def paths(*lists: list[Entry]) -> list[str]:
    return [each.entry.path for each in merged(lists, EPOCH)]


def test_folders_come_first_and_files_in_the_order_of_their_sources() -> None:
    assert paths([folder("b"), file("b/x"), folder("a"), file("a/y")]) == ["a", "b", "b/x", "a/y"]


def test_a_later_file_replaces_an_earlier_one() -> None:
    shown = merged([[file("x", 1)], [file("x", 2)]], EPOCH)

    assert [(each.entry.size, each.place) for each in shown] == [(2, Place(1, 0))]


def test_folders_merge_and_have_the_attributes_of_the_last() -> None:
    shown = merged([[folder("a"), file("a/x")], [folder("a", 0o700), file("a/y")]], EPOCH)

    assert next((each.entry.path, each.entry.mode) for each in shown) == ("a", 0o700)
    assert {each.entry.path for each in shown} == {"a", "a/x", "a/y"}


def test_a_file_over_a_folder_hides_what_is_in_it() -> None:
    assert paths([folder("a"), file("a/x"), file("ab")], [file("a")]) == ["ab", "a"]


def test_a_folder_over_a_file_replaces_it() -> None:
    assert paths([file("a")], [folder("a"), file("a/x")]) == ["a", "a/x"]


def test_a_later_source_follows_links_to_folders() -> None:
    below = [folder("usr"), folder("usr/lib"), link("lib", "usr/lib")]

    assert paths(below, [folder("lib"), file("lib/x"), file("lib/y/z")]) == [
        "usr",
        "usr/lib",
        "usr/lib/y",
        "lib",
        "usr/lib/x",
        "usr/lib/y/z",
    ]


def test_a_link_that_a_later_source_replaces_is_not_followed() -> None:
    below = [folder("usr"), folder("usr/lib"), link("lib", "usr/lib")]

    assert "lib" in paths(below, [link("lib", "usr/lib64")])
    assert paths([link("a", "/nowhere")], [folder("a"), file("a/x")]) == ["a", "a/x"]


def test_folders_that_nobody_lists_are_added() -> None:
    shown = merged([[file("a/b/x")]], EPOCH)

    assert [(each.entry.path, each.entry.mode, each.entry.mtime) for each in shown] == [
        ("a", 0o755, EPOCH),
        ("a/b", 0o755, EPOCH),
        ("a/b/x", 0o644, 0),
    ]


def test_the_first_link_to_a_replaced_file_becomes_the_file() -> None:
    below = [file("x", 5), hard("y", "x"), hard("z", "x")]

    shown = {each.entry.path: each for each in merged([below, [file("x", 9)]], EPOCH)}

    assert shown["x"].place == Place(1, 0)
    assert (shown["y"].entry.kind, shown["y"].entry.size) == (Kind.FILE, 5)
    assert shown["y"].place == Place(0, 0)
    assert (shown["z"].entry.kind, shown["z"].entry.target) == (Kind.HARDLINK, "y")


def test_a_hard_link_to_nothing_is_an_error() -> None:
    with pytest.raises(ArchiveError) as caught:
        merged([[hard("y", "x")]], EPOCH)

    assert str(caught.value) == "y: is a link to x, which is not there"


def test_what_is_in_something_that_is_no_folder_is_an_error() -> None:
    with pytest.raises(ArchiveError) as caught:
        merged([[file("a"), file("a/x")]], EPOCH)

    assert str(caught.value) == "a/x: is in a, which is no folder"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/boot/vmlinuz", "boot/vmlinuz-6"),
        ("/boot/absolute", "boot/vmlinuz-6"),
        ("/link/vmlinuz", "boot/vmlinuz-6"),
        ("/boot/up", "boot/vmlinuz-6"),
        ("/boot/dangling", None),
        ("/boot/ring", None),
        ("/", ""),
    ],
)
def test_paths_are_followed_inside_of_the_tree(path: str, found: str | None) -> None:
    entries = [
        folder("boot"),
        file("boot/vmlinuz-6"),
        link("boot/vmlinuz", "vmlinuz-6"),
        link("boot/absolute", "/boot/vmlinuz"),
        link("boot/up", "../../../boot/vmlinuz-6"),
        link("boot/dangling", "gone"),
        link("boot/ring", "ring"),
        link("link", "boot"),
    ]

    assert resolve({each.path: each for each in entries}, path) == found
