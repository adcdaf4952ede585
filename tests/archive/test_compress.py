"""Files that get their name at the end are on the disk before it, and keep it after a cut."""

import re
from pathlib import Path

import pytest

from tests.calls import system_calls

CALLS = "fsync,fdatasync,rename,renameat,renameat2"
WAYS = {
    "an atomic file": (
        "from compiler.archive.compress import atomic_file\n"
        "with atomic_file(place / 'f') as file: file.write(b'x')"
    ),
    "a file of the agent": (
        "from compiler.agent.life.host import write_whole\nwrite_whole(place / 'f', b'x')"
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_content_is_on_the_disk_before_its_name_and_that_at_the_end(
    tmp_path: Path, way: str
) -> None:
    assert asked(tmp_path, WAYS[way]) == [
        ("fsync", f"<{tmp_path}/BESIDE>"),
        ("rename", f'"{tmp_path}/BESIDE", "{tmp_path}/f"'),
        ("fsync", f"<{tmp_path}>"),
    ]


def test_what_can_be_made_again_waits_for_no_disk(tmp_path: Path) -> None:
    script = WAYS["an atomic file"].replace("'f')", "'f', sync=False)")

    assert [name for name, _ in asked(tmp_path, script)] == ["rename"]


def asked(folder: Path, script: str) -> list[tuple[str, str]]:
    """Say what a script does for its files: `BESIDE` is the one that gets its name later."""
    start = "import sys\nfrom pathlib import Path\nplace = Path(sys.argv[1])\n"
    return [
        (name, re.sub(rf"({folder})/\.f\.[\w.]+", r"\1/BESIDE", re.sub(r"^\d+", "", arguments)))
        for name, arguments in system_calls(start + script, folder, CALLS)
    ]
