"""`cos.lock`: what it says, and what it refuses."""

from pathlib import Path

import pytest

from compiler.errors import SpecError
from compiler.lock import Lock, lock_text, locked, parse_lock, read_lock, write_lock
from compiler.oci import Digest, Image, Platform

SOURCE = "sha256:" + "a" * 64


def image(layer: str = "1", source: str = "") -> Image:
    return Image(
        name="docker.io/library/debian:trixie",
        digest=Digest("sha256:" + "f" * 64),
        layers=(Digest("sha256:" + layer * 64),),
        platform=Platform("linux", "amd64"),
        source=source,
    )


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    lock = locked([("debian:trixie", image(source=SOURCE)), ("own", image("2"))])

    write_lock(tmp_path / "cos.lock", lock)

    assert read_lock(tmp_path / "cos.lock") == lock
    assert lock.pins == {"docker.io/library/debian:trixie": SOURCE}


def test_the_text_is_for_people_and_always_the_same() -> None:
    pair = [("own", image("2")), ("debian:trixie", image(source=SOURCE))]

    text = lock_text(locked(pair))

    assert text == lock_text(locked(reversed(pair)))
    assert text == (
        "# Written by `cos lock`; keep it with the tree.\n"
        "version: 1\n"
        "images:\n"
        "  docker.io/library/debian:trixie:\n"
        f"    content: {image().content}\n"
        f"    digest: {SOURCE}\n"
        "  docker.io/library/own:latest:\n"
        f"    content: {image('2').content}\n"
    )


def test_no_file_locks_nothing(tmp_path: Path) -> None:
    assert read_lock(tmp_path / "cos.lock") == Lock()


def test_an_image_that_changed_or_is_not_locked_is_named() -> None:
    lock = locked([("debian:trixie", image())])

    faults = lock.differences({"debian:trixie": image("3"), "new": image()}, Path("cos.lock"))

    assert [str(fault) for fault in faults] == [
        f"cos.lock: the image 'debian:trixie' is another than the locked one: it is"
        f" {image('3').content} now, and {image().content} is locked (`cos lock` takes it in)",
        "cos.lock: the image 'new' is not locked (`cos lock` takes it in)",
    ]


def test_images_as_locked_are_no_difference() -> None:
    lock = locked([("debian:trixie", image())])

    assert list(lock.differences({"docker.io/library/debian:trixie": image()}, Path("l"))) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cos.lock: is not YAML"),
        ("version: 2\nimages: {}\n", "cos.lock: is not a lock file"),
        ("version: 1\nimages: {a: {content: no}}\n", "cos.lock: is not a lock file"),
        ("[]", "cos.lock: is not a lock file"),
    ],
)
def test_a_damaged_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_lock(text, "cos.lock")

    assert str(caught.value) == f"{message} (`cos lock` writes it anew once it is removed)"
