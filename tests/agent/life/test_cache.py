"""What stays of what was fetched: what the new image and the last one of each place need."""

import os
from pathlib import Path

import pytest

from compiler.agent.life.cache import Larder, settle
from compiler.agent.life.host import free_bytes
from compiler.agent.life.phases import LifeError
from compiler.agent.log import Level, Log
from compiler.repository.cache import Cache

A, B, C, D = (letter * 64 for letter in "abcd")
PLENTY = 1 << 40


def put(folder: Path, *names: str, size: int = 1) -> None:
    for name in names:
        path = folder / "sha256" / name[:2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("sha256/*/*"))


def test_two_images_of_each_place_are_kept(tmp_path: Path) -> None:
    put(tmp_path, A, B, C, D)
    settle(tmp_path, "system", [A, B], PLENTY)
    assert kept(tmp_path) == [A, B]

    put(tmp_path, C, D)
    settle(tmp_path, "recovery", [C], PLENTY)
    assert kept(tmp_path) == [A, B, C]

    put(tmp_path, D)
    settle(tmp_path, "system", [B, D], PLENTY)
    assert kept(tmp_path) == [A, B, C, D]
    settle(tmp_path, "system", [D, B], PLENTY)
    assert kept(tmp_path) == [A, B, C, D]

    settle(tmp_path, "system", [], PLENTY)
    assert kept(tmp_path) == [B, C, D]
    settle(tmp_path, "system", [C], PLENTY)
    assert kept(tmp_path) == [C]


def test_unfinished_files_and_notes_of_what_goes_go_too(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    put(tmp_path, A, B)
    with cache.adding(C) as part:
        part.write_bytes(b"half")
    cache.note("one", [A])
    cache.note("two", [A, B])

    settle(tmp_path, "system", [A], PLENTY)

    assert list((tmp_path / "parts").iterdir()) == []
    (note,) = (tmp_path / "notes").iterdir()
    assert note.read_text() == f'["{A}"]'


def test_of_too_much_the_newest_image_goes_last(tmp_path: Path) -> None:
    put(tmp_path, A, B, C, size=1000)
    settle(tmp_path, "system", [A, B], PLENTY)
    put(tmp_path, C, size=1000)
    for name in (A, C):
        os.utime(tmp_path / "sha256" / name[:2] / name, (1, 1))

    settle(tmp_path, "system", [A, C], 2500)

    assert kept(tmp_path) == [A, C]
    settle(tmp_path, "system", [A, C], 0)
    assert kept(tmp_path) == []


@pytest.mark.parametrize("text", ["", "[]", '{"system": 3}', '{"system": [[1], "x"]}', "[" * 9999])
def test_a_damaged_record_says_nothing(text: str, tmp_path: Path) -> None:
    put(tmp_path, A, B)
    (tmp_path / "kept.json").write_text(text)

    settle(tmp_path, "system", [A], PLENTY)

    assert kept(tmp_path) == [A]


def test_where_nothing_was_fetched_nothing_is_made(tmp_path: Path) -> None:
    settle(tmp_path / "none", "system", [], PLENTY)

    assert not (tmp_path / "none").exists()


def larder(folder: Path, spare: Path | None, said: list[str]) -> Larder:
    return Larder(folder, spare, Log(said.append, Level.INFO))


def test_with_no_room_anywhere_it_is_told_what_is_missing(tmp_path: Path) -> None:
    said: list[str] = []
    too_much = free_bytes(tmp_path) + (1 << 30)

    for spare in (None, tmp_path / "spare"):
        with pytest.raises(LifeError, match=r"what is fetched needs [0-9]+ MiB, and .*/cache has"):
            larder(tmp_path / "cache", spare, said).expect([(A, too_much)])

    assert said == []


def test_what_is_here_needs_no_room(tmp_path: Path) -> None:
    put(tmp_path, A)

    larder(tmp_path, None, []).expect([(A, free_bytes(tmp_path) * 2)])
