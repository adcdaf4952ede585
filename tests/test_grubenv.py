"""Environment blocks: what GRUB reads and writes, ours and its own."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import OutsideError, UsageError
from compiler.grubenv import SIZE, change_block, format_block, parse_block, read_block

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
VALUES = st.text(st.characters(min_codepoint=1, max_codepoint=0xD7FF), max_size=20)


@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_what_is_written_is_read_again(values: dict[str, str]) -> None:
    block = format_block(values)

    assert len(block) == SIZE
    assert parse_block(block) == values


def test_the_program_of_grub_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "grubenv"

    change_block(path, {"next_entry": "recovery", "title": "a b"})

    said = subprocess.run(["grub-editenv", path, "list"], check=True, capture_output=True).stdout
    assert said == b"next_entry=recovery\ntitle=a b\n"


def test_we_read_and_change_what_the_program_of_grub_writes(tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    subprocess.run(["grub-editenv", path, "create"], check=True)
    subprocess.run(["grub-editenv", path, "set", "saved_entry=fallback", "x=a b"], check=True)

    assert read_block(path) == {"saved_entry": "fallback", "x": "a b"}

    change_block(path, {"saved_entry": None})

    assert read_block(path) == {"x": "a b"}


def test_what_has_no_room_is_refused_and_the_old_block_stays(tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    change_block(path, {"a": "1"})

    with pytest.raises(UsageError, match="the variables of GRUB take 1032 bytes, which is over"):
        change_block(path, {"b": "x" * 1000})

    assert read_block(path) == {"a": "1"}
    assert [each.name for each in tmp_path.iterdir()] == ["grubenv"]


@pytest.mark.container
def test_a_block_is_changed_in_place_where_nothing_else_has_room(tmp_path: Path) -> None:
    path = tmp_path / "block"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", tmp_path], check=True)
    try:
        path.write_bytes(format_block({"a": "1"}))
        inode = path.stat().st_ino

        change_block(path, {"a": "2"})

        assert (read_block(path), path.stat().st_ino) == ({"a": "2"}, inode)
        assert list(tmp_path.iterdir()) == [path]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.container
def test_a_block_that_is_not_there_needs_room(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", tmp_path], check=True)
    try:
        (tmp_path / "other").write_bytes(bytes(4096))

        with pytest.raises(OutsideError, match="cannot write: No space left on device"):
            change_block(tmp_path / "block", {"a": "2"})
    finally:
        subprocess.run(["umount", tmp_path], check=True)
