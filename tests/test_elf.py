"""For which processors programs are."""

from pathlib import Path

import pytest

from compiler.elf import ELF_HEAD, architecture_of


def head(machine: int, order: str = "little") -> bytes:
    """Make the beginning of a program."""
    number = machine.to_bytes(2, "little" if order == "little" else "big")
    return b"\x7fELF\x02" + (b"\x01" if order == "little" else b"\x02") + bytes(12) + number


def test_programs_say_for_which_processor_they_are() -> None:
    assert architecture_of(Path("/usr/bin/env").read_bytes()[:ELF_HEAD]) == "amd64"


@pytest.mark.parametrize(
    ("start", "architecture"),
    [
        (head(183), "arm64"),
        (head(22, "big"), "s390x"),
        (head(999), "ELF machine 999"),
        (b"#!/bin/sh\n# not a program", ""),
        (head(62)[:19], ""),
        (b"", ""),
    ],
)
def test_what_is_no_program_says_nothing(start: bytes, architecture: str) -> None:
    assert architecture_of(start) == architecture
