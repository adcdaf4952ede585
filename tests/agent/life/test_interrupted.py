"""Commands that are killed, and machines that lose their power, at every step of the way.

What the boot menu would find is looked at without replaying a journal, since it does not do that
either; and in a copy of the disk, made at the moment, in which nothing is that was not written yet.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agent.life.lab import (
    Bench,
    bootable,
    do,
    label_of,
    leftovers,
    loop_disk,
    make_system,
    partitions,
    prove,
)

pytestmark = pytest.mark.container

LABELS = {"active": "COS_ACTIVE", "passive": "COS_PASSIVE", "snapshot-1": "COS_PASSIVE"}


def run(bench: Bench, at: int, *words: str) -> list[str]:
    """Run a command in a process that dies after `at` lines of its log; returns them."""
    command, *given = words
    done = subprocess.run(
        [sys.executable, "-m", "tests.agent.life.victim", str(at), command, str(bench.root),
         bench.device, *given],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == (-signal.SIGKILL if at else 0), done.stderr
    return done.stdout.splitlines()


def menu_finds(device: str, scratch: Path) -> dict[str, str]:
    """Return the kernels that the boot menu finds on a disk; checks each system that is there.

    Like the menu, `debugfs -c` looks at no bitmaps, which are right only once the journal is read.
    """
    state = partitions(device)["COS_STATE"]
    found = {}
    for name, label in LABELS.items():
        image = scratch / f"{name}.img"
        image.unlink(missing_ok=True)
        dumped = subprocess.run(
            ["debugfs", "-c", "-R", f"dump /cOS/{name}.img {image}", state],
            capture_output=True, check=False, text=True,
        )  # fmt: skip
        if "File not found" not in dumped.stderr:
            assert image.exists(), dumped.stderr
            assert label_of(image) == label
            found[name] = bootable(image)
            image.unlink()
    return found


def moments(lines: list[str]) -> list[int]:
    """List after which lines to die: all but most of those that take devices out of a tree."""
    below = re.compile(r"running umount \S+/target/(dev|sys|proc|run)/")
    return [at for at, line in enumerate(lines, 1) if not below.match(line)]


@contextmanager
def after_power_cut(disk: Path, scratch: Path) -> Iterator[str]:
    """Attach a copy of a disk as it is now, without what has not been written to it."""
    copy = scratch / "copy"
    do("dd", f"if={disk}", f"of={copy}", "bs=1M", "conv=sparse", "status=none")
    os.truncate(copy, disk.stat().st_size)
    with loop_disk(copy) as device:
        yield device
    copy.unlink()


@contextmanager
def fresh(installed_disk: Path, place: Path) -> Iterator[Bench]:
    """A machine on which version 1 is installed."""
    place.mkdir()
    do("cp", "--sparse=always", installed_disk, place / "disk")
    with loop_disk(place / "disk") as device:
        bench = Bench(place / "root", device)
        try:
            yield bench
        finally:
            bench.clear()
    (place / "disk").unlink()


def test_an_upgrade_can_be_cut_off_at_any_step(
    installed_disk: Path, new: Path, tmp_path: Path
) -> None:
    words = ("upgrade", f"SYSTEM=dir:{new}")
    with fresh(installed_disk, tmp_path / "whole") as bench, bench.running():
        lines = run(bench, 0, *words)
    assert sum(line.startswith("step: ") for line in lines) >= 3

    seen = set()
    for at in moments(lines):
        with fresh(installed_disk, tmp_path / str(at)) as bench:
            with bench.running():
                run(bench, at, *words)
                with after_power_cut(tmp_path / str(at) / "disk", tmp_path) as device:
                    cut = menu_finds(device, tmp_path)
                assert cut["passive"] == "kernel 1", lines[at - 1]
                assert cut["active"] in {"kernel 1", "kernel 2"}, lines[at - 1]
                seen.add(cut["active"])
                bench.upgrade(f"dir:{new}")
            assert bench.systems() == {"active": "kernel 2", "passive": "kernel 1"}
            assert leftovers(bench) == []
    assert seen == {"kernel 1", "kernel 2"}


def test_an_upgrade_that_keeps_an_older_system_never_loses_it(
    installed_disk: Path, new: Path, tmp_path: Path
) -> None:
    third = make_system(tmp_path / "third", "3")
    words = ("upgrade", f"SYSTEM=dir:{third}", "SNAPSHOTS=3")
    with fresh(installed_disk, tmp_path / "whole") as bench:
        with bench.running() as mounted:
            bench.upgrade(f"dir:{new}")
            prove(mounted["COS_STATE"])
        do("cp", "--sparse=always", tmp_path / "whole/disk", tmp_path / "upgraded")
        with bench.running():
            lines = run(bench, 0, *words)

    steps = [at for at, line in enumerate(lines, 1) if line.startswith("step: ")]
    seen = set()
    for at in sorted({*steps, *(each + 1 for each in steps if each < len(lines))}):
        with fresh(tmp_path / "upgraded", tmp_path / str(at)) as bench:
            with bench.running():
                run(bench, at, *words)
                with after_power_cut(tmp_path / str(at) / "disk", tmp_path) as device:
                    cut = menu_finds(device, tmp_path)
                assert cut["active"] in {"kernel 2", "kernel 3"}, lines[at - 1]
                assert "kernel 1" in {cut["passive"], cut.get("snapshot-1")}, lines[at - 1]
                seen.add((cut["passive"], cut.get("snapshot-1")))
                bench.upgrade(f"dir:{third}")
            with bench.partition("COS_STATE") as state:
                older = [bootable(each) for each in (state / "cOS").glob("snapshot-*.img")]
            systems = bench.systems()
            assert systems["active"] == "kernel 3"
            assert [systems["passive"], *older].count("kernel 1") == 1
            assert leftovers(bench) == []
    assert {("kernel 1", None), ("kernel 1", "kernel 1"), ("kernel 2", "kernel 1")} <= seen


def test_a_reset_can_be_cut_off_at_any_step(
    installed_disk: Path, new: Path, tmp_path: Path
) -> None:
    with fresh(installed_disk, tmp_path / "whole") as bench:
        with bench.running():
            bench.upgrade(f"dir:{new}")
        bench.boot("recovery")
        do("cp", "--sparse=always", tmp_path / "whole/disk", tmp_path / "upgraded")
        lines = run(bench, 0, "reset")

    steps = [at for at, line in enumerate(lines, 1) if line.startswith("step: ")]
    for at in sorted({*steps, *(each + 1 for each in steps)}):
        with fresh(tmp_path / "upgraded", tmp_path / str(at)) as bench:
            bench.boot("recovery")
            run(bench, at, "reset")
            with after_power_cut(tmp_path / str(at) / "disk", tmp_path) as device:
                assert set(menu_finds(device, tmp_path)) == {"active", "passive"}, lines[at - 1]
            bench.reset()
            assert bench.systems() == {"active": "kernel 1", "passive": "kernel 1"}
            assert leftovers(bench) == []


def test_a_recovery_that_is_being_replaced_is_always_there(
    installed_disk: Path, new: Path, tmp_path: Path
) -> None:
    words = ("upgrade", f"SYSTEM=dir:{new}", "UPGRADE_RECOVERY=true")
    with fresh(installed_disk, tmp_path / "whole") as bench, bench.running():
        lines = run(bench, 0, *words)

    for at in moments(lines)[-8:]:
        with fresh(installed_disk, tmp_path / str(at)) as bench, bench.running():
            run(bench, at, *words)
            with after_power_cut(tmp_path / str(at) / "disk", tmp_path) as device:
                image = tmp_path / "recovery.img"
                node = partitions(device)["COS_RECOVERY"]
                do("debugfs", "-c", "-R", f"dump /cOS/recovery.img {image}", node)
                assert label_of(image) == "COS_SYSTEM"
                assert bootable(image) in {"kernel 1", "kernel 2"}
            bench.upgrade(f"dir:{new}", UPGRADE_RECOVERY="true")
        assert leftovers(bench) == []


def test_an_upgrade_can_be_killed_at_any_moment(
    installed_disk: Path, new: Path, tmp_path: Path
) -> None:
    chance = random.Random(1)  # noqa: S311  (moments, no secrets)
    for number in range(8):
        with fresh(installed_disk, tmp_path / str(number)) as bench:
            with bench.running():
                child = subprocess.Popen(
                    [sys.executable, "-m", "tests.agent.life.victim", "0", "upgrade",
                     str(bench.root), bench.device, f"SYSTEM=dir:{new}"],
                    stdout=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
                time.sleep(chance.uniform(0.3, 1.5))
                os.kill(child.pid, signal.SIGKILL)
                child.wait()
                with after_power_cut(tmp_path / str(number) / "disk", tmp_path) as device:
                    assert menu_finds(device, tmp_path)["passive"] == "kernel 1"
                bench.upgrade(f"dir:{new}")
            assert bench.systems()["active"] == "kernel 2"
            assert leftovers(bench) == []
