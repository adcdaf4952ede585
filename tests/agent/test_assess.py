import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from compiler.agent.assessment import (
    Record,
    Standing,
    mark_bad,
    read_record,
    standing,
    write_record,
)
from compiler.agent.installed import Installed, read_image
from compiler.errors import OutsideError
from compiler.grubenv import read_block, write_block
from compiler.layout import ACTIVE_IMAGE, PASSIVE_IMAGE, Label, Slot
from tests.agent.grub_machine import IDENTITIES, LABELS, make_filesystem

ACTIVE, PASSIVE = IDENTITIES[ACTIVE_IMAGE], IDENTITIES[PASSIVE_IMAGE]
TRIED = Record(enabled=True, good=(PASSIVE,), image=ACTIVE, tries=2, tentative=True)
CHECKS = "usr/libexec/cos/health.d"


@dataclass(frozen=True)
class Scratch:
    """A root of an installed machine, with the programs that it would be rebooted by."""

    root: Path

    @property
    def block(self) -> Path:
        return self.root / "run/initramfs/cos-state/boot_assessment"

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def boot(self, image: str, *words: str, device: str = "") -> None:
        """Let the system of an image run, booted with these words."""
        self.put("proc/cmdline", f"root=LABEL=x cos-img/filename=/{image} {' '.join(words)}\n")
        self.put(
            "proc/self/mountinfo", "1 0 8:1 / /boot rw - x\n2 1 7:0 / / ro - ext2 /dev/loop0\n"
        )
        link = self.root / "dev/block/7:0"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(self.root / "run/initramfs/cos-state" / (device or image))

    def know(self, record: Record) -> None:
        values = {name: value for name, value in write_record(record).items() if value is not None}
        write_block(self.block, values)

    def known(self) -> Record:
        return read_record(read_block(self.block))

    def says(self, body: str) -> None:
        """Let the one check say this."""
        self.put(f"{CHECKS}/10-check", f"#!/bin/sh\n{body}\n", 0o755)

    def assess(self, *words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PATH": f"{self.root}/stubs:{os.environ['PATH']}"}
        command: list[str | Path] = [sys.executable, "-m", "compiler.agent", "assess"]
        command += [*words, "--root", self.root]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    def calls(self) -> list[str]:
        log = self.root / "calls"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture(name="machine")
def machine_with_two_systems(tmp_path: Path) -> Scratch:
    machine = Scratch(tmp_path)
    state = tmp_path / "run/initramfs/cos-state"
    (state / "cOS").mkdir(parents=True)
    tree = tmp_path / "empty"
    tree.mkdir()
    for name in (ACTIVE_IMAGE, PASSIVE_IMAGE):
        identity = IDENTITIES[name]
        make_filesystem(state / name, tree, LABELS[name], size=1, kind="ext2", identity=identity)
    for program in ("systemctl", "wall"):
        stub = f'#!/bin/sh\necho {program} "$@" >> {tmp_path}/calls\n'
        machine.put(f"stubs/{program}", stub, 0o755)
    machine.boot(ACTIVE_IMAGE, "cos.boot_try")
    machine.know(TRIED)
    machine.says("exit 0")
    return machine


def test_a_system_that_is_well_is_marked_good(machine: Scratch) -> None:
    done = machine.assess("check")

    assert (done.returncode, done.stderr) == (0, "the active system is well, and marked good\n")
    assert machine.known() == Record(enabled=True, good=(ACTIVE, PASSIVE))
    assert machine.calls() == []
    assert (machine.root / "run/cos/boot_assessed").read_text() == "1"


def test_a_new_system_that_is_not_well_gives_way_once(machine: Scratch) -> None:
    machine.says("echo it smells; exit 1")

    done = machine.assess("check", "--timeout", "0")
    again = machine.assess("check", "--timeout", "0")

    text = "The active system is bad: 10-check: not well after 0 seconds: it smells."
    assert done.returncode == 0
    assert f"warning: {text} The passive one is booted." in done.stderr
    assert standing(machine.known(), ACTIVE) is Standing.FAILED
    assert machine.known().failure == "10-check: not well after 0 seconds: it smells"
    assert [each for each in machine.calls() if "reboot" in each] == ["systemctl reboot"]
    assert again.returncode == 1
    assert "The active system is not well" in again.stderr


def test_a_system_that_proved_itself_earlier_stays_for_somebody_to_look(machine: Scratch) -> None:
    machine.know(Record(enabled=True, good=(ACTIVE,)))
    machine.says("exit 1")

    done = machine.assess("check", "--timeout", "0")

    assert done.returncode == 1
    assert machine.known() == Record(enabled=True, good=(ACTIVE,))
    assert not any("reboot" in each for each in machine.calls())
    assert "is not well" in (machine.root / "run/issue.d/50-cos-boot.issue").read_text()


def test_the_passive_system_tells_why_it_runs_and_never_gives_way(machine: Scratch) -> None:
    machine.boot(PASSIVE_IMAGE, "upgrade_failure")
    machine.know(replace(TRIED, tries=0))
    machine.says("exit 1")

    done = machine.assess("check", "--timeout", "0")

    text = (
        "This is the passive system, for the active one is bad: it did not come up in 3 tries. "
        "Put another one in its place with cos-upgrade, or have it tried again with "
        "`cos-agent assess retry`."
    )
    assert done.returncode == 1
    assert f"warning: {text}\n" in done.stderr
    assert (machine.root / "run/cos/upgrade_failure").read_text() == "1"
    assert f"wall {text}" in machine.calls()
    assert not any("reboot" in each for each in machine.calls())
    assert machine.known() == mark_bad(TRIED, ACTIVE, "it did not come up in 3 tries")


def test_a_mark_is_for_the_image_that_runs_not_for_one_that_took_its_place(
    machine: Scratch,
) -> None:
    machine.boot(ACTIVE_IMAGE, device="old.img")
    make_filesystem(
        machine.block.with_name("old.img"),
        machine.root / "empty",
        Label.ACTIVE,
        size=1,
        kind="ext2",
        identity="dddddddd-0000-4000-8000-000000000004",
    )

    machine.assess("check")

    assert machine.known().good == ("dddddddd-0000-4000-8000-000000000004", PASSIVE)
    assert standing(machine.known(), ACTIVE) is Standing.TRIED


def test_a_mark_that_is_there_is_not_written_again(machine: Scratch) -> None:
    machine.know(Record(enabled=True, good=(ACTIVE,)))
    before = machine.block.stat()

    machine.assess("check")

    assert machine.block.stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    "line", ["root=live:CDLABEL=COS_LIVE", "cos-img/filename=/cOS/recovery.img"]
)
def test_other_systems_are_not_assessed(line: str, machine: Scratch) -> None:
    machine.put("proc/cmdline", line)
    machine.says("exit 1")

    done = machine.assess("check")

    assert (done.returncode, done.stderr) == (0, "no installed system runs: nothing is assessed\n")
    assert machine.known() == TRIED


def test_what_is_known_is_told_to_people_and_programs(machine: Scratch) -> None:
    machine.know(mark_bad(TRIED, ACTIVE, "it smells"))
    machine.boot(PASSIVE_IMAGE, "upgrade_failure")

    text = machine.assess("status").stdout
    told = json.loads(machine.assess("status", "-o", "json").stdout)
    also = yaml.safe_load(machine.assess("status", "-o", "yaml").stdout)

    assert text == (
        "Booted:   passive, for the active one is bad\n"
        "Active:   bad, 0 tries left\n"
        "Passive:  good\n"
        "Next:     passive\n"
        "Failure:  it smells\n"
    )
    assert told == also
    assert told == {
        "booted": "passive",
        "counted": False,
        "upgrade_failure": True,
        "enabled": True,
        "always": False,
        "next": "passive",
        "failure": "it smells",
        "systems": {
            "active": {"image": ACTIVE, "standing": "bad", "tries_left": 0},
            "passive": {"image": PASSIVE, "standing": "good"},
        },
    }


def test_marks_can_be_set_by_hand(machine: Scratch) -> None:
    bad = machine.assess("bad", "it", "smells")
    after = machine.known()
    retry = machine.assess("retry")
    tried = machine.known()
    good = machine.assess("good")

    assert [each.returncode for each in (bad, retry, good)] == [0, 0, 0]
    assert (standing(after, ACTIVE), after.failure) == (Standing.FAILED, "it smells")
    assert retry.stderr == "the active system gets 3 tries again\n"
    assert standing(tried, ACTIVE) is Standing.UNPROVED
    assert machine.known().good[0] == ACTIVE


def test_nothing_is_marked_bad_without_a_system_that_could_take_its_place(machine: Scratch) -> None:
    (machine.block.parent / PASSIVE_IMAGE).unlink()

    done = machine.assess("bad")

    assert (done.returncode, machine.known()) == (2, TRIED)
    assert done.stderr == ("error: there is no passive system that could be booted in its place\n")


def test_variables_of_others_survive_a_mark(machine: Scratch) -> None:
    write_block(machine.block, {**read_block(machine.block), "mine": "kept"})

    machine.assess("good")

    assert read_block(machine.block)["mine"] == "kept"


def test_a_file_that_holds_no_file_system_is_nobody(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"short")

    assert read_image(path, Label.ACTIVE).identity == ""
    with pytest.raises(OutsideError, match="cannot be read: No such file or directory"):
        read_image(tmp_path / "absent", Label.ACTIVE)


def test_an_image_says_who_it_is(machine: Scratch) -> None:
    disk = Installed(machine.root).disk()

    assert {name: (each.identity, each.label) for name, each in disk.images.items()} == {
        ACTIVE_IMAGE: (ACTIVE, Label.ACTIVE),
        PASSIVE_IMAGE: (PASSIVE, Label.PASSIVE),
    }
    assert disk.has(Slot.ACTIVE)


def test_an_empty_image_is_none(machine: Scratch) -> None:
    (machine.block.parent / PASSIVE_IMAGE).write_bytes(b"")

    assert list(Installed(machine.root).disk().images) == [ACTIVE_IMAGE]


def test_a_machine_without_a_state_partition_is_told_in_words(machine: Scratch) -> None:
    shutil.move(machine.block.parent / ACTIVE_IMAGE, machine.root / "moved.img")
    device = machine.root / "dev/block/7:0"
    device.unlink()
    device.symlink_to(machine.root / "moved.img")
    shutil.rmtree(machine.block.parent)

    done = machine.assess("good")

    assert done.returncode == 3
    assert (
        done.stderr
        == f"error: {machine.block.parent}: cannot be changed: No such file or directory\n"
    )


def test_a_place_without_proc_runs_no_installed_system(tmp_path: Path) -> None:
    done = Scratch(tmp_path).assess("status")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Booted:   none of the installed systems\nNext:     recovery\n"
