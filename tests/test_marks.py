"""Marks: what they say, when they count, and which files they are about."""

import hashlib
import json
from pathlib import Path

import pytest

from compiler.errors import InputError, OutsideError
from compiler.marks import Mark, marked_source, marked_sources, put_mark, remove_mark

PLACE = "registry.test/cache"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A destination with an artifact of two files, marked for both."""
    files = {"a-t-1.package.tar": "archive", "a-t-1.metadata.yaml": "metadata"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    digests = {name: sha256(text) for name, text in files.items()}
    put_mark(tmp_path, "a-t-1", Mark(source=PLACE, files=digests))
    return tmp_path


def test_a_mark_says_where_files_came_from_and_what_they_were(folder: Path) -> None:
    assert json.loads((folder / "a-t-1.unverified").read_text()) == {
        "from": PLACE,
        "files": {
            "a-t-1.package.tar": sha256("archive"),
            "a-t-1.metadata.yaml": sha256("metadata"),
        },
    }
    assert marked_source(folder, "a-t-1") == PLACE
    assert marked_source(folder, "b-t-1") == ""


@pytest.mark.parametrize(
    ("rebuilt", "source"),
    [
        (("a-t-1.package.tar",), PLACE),
        (("a-t-1.metadata.yaml",), PLACE),
        (("a-t-1.package.tar", "a-t-1.metadata.yaml"), ""),
    ],
)
def test_a_mark_counts_while_one_of_its_files_is_there_as_it_was(
    folder: Path, rebuilt: tuple[str, ...], source: str
) -> None:
    for name in rebuilt:
        (folder / name).write_text("made here")

    assert marked_source(folder, "a-t-1") == source


def test_a_mark_whose_files_are_gone_counts_no_longer(folder: Path) -> None:
    (folder / "a-t-1.package.tar").unlink()
    (folder / "a-t-1.metadata.yaml").unlink()

    assert marked_source(folder, "a-t-1") == ""


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"files": {}}', '{"from": "x", "files": [1]}', "\x00" * 99]
)
def test_a_mark_that_cannot_be_understood_counts(folder: Path, text: str) -> None:
    (folder / "a-t-1.unverified").write_text(text)

    assert marked_source(folder, "a-t-1") == "an unknown place"
    assert list(marked_sources([folder / "a-t-1.package.tar"])) == ["an unknown place"]
    assert list(marked_sources([folder / "b-t-1.package.tar"])) == []


def test_a_mark_that_cannot_be_read_is_an_error(folder: Path) -> None:
    (folder / "a-t-1.unverified").unlink()
    (folder / "a-t-1.unverified").mkdir()

    with pytest.raises(InputError, match=r"a-t-1\.unverified: cannot be read: Is a directory"):
        marked_source(folder, "a-t-1")


def test_a_mark_is_put_over_another_and_taken_away_as_often_as_one_likes(folder: Path) -> None:
    whole = {name: sha256("x") for name in ("a-t-1.package.tar", "a-t-1.metadata.yaml")}
    for name in whole:
        (folder / name).write_text("x")
    put_mark(folder, "a-t-1", Mark(source="other", files=whole))
    assert marked_source(folder, "a-t-1") == "other"

    for _ in range(2):
        remove_mark(folder, "a-t-1", whole)

    assert marked_source(folder, "a-t-1") == ""
    assert sorted(path.name for path in folder.iterdir()) == [
        "a-t-1.metadata.yaml",
        "a-t-1.package.tar",
    ]


def test_what_an_earlier_mark_is_about_stays_marked_while_it_is_there(folder: Path) -> None:
    archive = {"a-t-1.package.tar.gz": sha256("other archive")}
    (folder / "a-t-1.package.tar.gz").write_text("other archive")
    (folder / "a-t-1.metadata.yaml").write_text("other metadata")

    put_mark(folder, "a-t-1", Mark(source="other", files=archive))

    assert json.loads((folder / "a-t-1.unverified").read_text()) == {
        "from": f"other, {PLACE}",
        "files": {**archive, "a-t-1.package.tar": sha256("archive")},
    }


def test_with_a_mark_goes_what_was_not_made_anew(folder: Path) -> None:
    (folder / "a-t-1.package.tar.gz").write_text("made here")
    (folder / "a-t-1.metadata.yaml").write_text("made here")

    remove_mark(folder, "a-t-1", ("a-t-1.package.tar.gz", "a-t-1.metadata.yaml"))

    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "a-t-1.package.tar.gz": "made here",
        "a-t-1.metadata.yaml": "made here",
    }


def test_a_mark_leads_nowhere_outside_of_its_folder(folder: Path) -> None:
    (folder.parent / "outside").write_text("x")
    value = {"from": "x", "files": {"../outside": sha256("x")}}
    (folder / "a-t-1.unverified").write_text(json.dumps(value))

    remove_mark(folder, "a-t-1", ())

    assert (folder.parent / "outside").read_text() == "x"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match=r"no/a\.unverified: cannot be written: No such file"):
        put_mark(tmp_path / "no", "a", Mark(source=PLACE, files={}))


def test_files_are_found_by_the_marks_beside_them(folder: Path) -> None:
    (folder / "b-t-1.package.tar").write_text("made here")
    (folder / "copy").mkdir()
    (folder / "copy" / "a-t-1.package.tar").write_text("archive")
    names = ("a-t-1.package.tar", "b-t-1.package.tar", "copy/a-t-1.package.tar")

    assert list(marked_sources(folder / name for name in names)) == [PLACE]
