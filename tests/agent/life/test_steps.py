"""Steps that images are put in place by, as the disk sees them."""

from pathlib import Path

import pytest

from tests.agent.life.lab import do
from tests.calls import system_calls

SCRIPT = """\
import sys
from pathlib import Path
from compiler.agent.assessment import Rename
from compiler.agent.life.host import Host
from compiler.agent.life.steps import State
from compiler.agent.log import Log
place = Path(sys.argv[1]) / "state"
State(Host(Log(print)), place).carry_out([Rename("cOS/new", "cOS/old")])
"""


@pytest.mark.container
def test_a_file_that_loses_its_name_is_freed_once_the_menu_finds_the_other(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with (tmp_path / "disk").open("wb") as disk:
        disk.truncate(16 << 20)
    do("mkfs.ext4", "-q", tmp_path / "disk")
    do("mount", "-o", "loop", tmp_path / "disk", state)
    try:
        (state / "cOS").mkdir()
        (state / "cOS/new").write_text("new")
        (state / "cOS/old").write_text("old")

        calls = system_calls(SCRIPT, tmp_path, "renameat2,rename,unlink,ioctl,sync")

        kinds = [name for name, arguments in calls if "/state>," in arguments or "cOS" in arguments]
        assert kinds == ["renameat2", "ioctl", "unlink", "ioctl"]
        assert (state / "cOS/old").read_text() == "new"
        assert not (state / "cOS/new").exists()
    finally:
        do("umount", state)


def test_where_no_names_can_be_exchanged_a_file_takes_the_name_of_another(tmp_path: Path) -> None:
    (tmp_path / "state/cOS").mkdir(parents=True)
    (tmp_path / "state/cOS/new").write_text("new")

    system_calls(SCRIPT, tmp_path, "rename")

    assert [each.name for each in (tmp_path / "state/cOS").iterdir()] == ["old"]
