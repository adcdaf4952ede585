"""Runs that are stopped halfway, by signals or by a kill, and runs that get in each other's way."""

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.lab import Lab, contents, on, on_base

pytestmark = pytest.mark.container

SMALL = {
    "base": on_base("seq 1 20000 > /base", "mkdir -p /d/e && echo x > /d/e/f"),
    "left": on("base", "cat /base /base > /left"),
    "right": on("base", "seq 5 9000 > /right; chmod 700 /right"),
    "top": on("left right", "cat /left /right > /top"),
}
SLEEPY = {"base": on_base("echo b > /base"), "slow": on("base", "echo began; sleep 60; touch /s")}
BUILD = ("build", "--all", "--tree", "tree", "--destination", "out")
KILLS = 25
MOMENT = "1700000000"


def processes_in(place: Path) -> list[str]:
    """List the processes that hold a mount of something below `place`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            mounts = (process / "mountinfo").read_text()
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(place) in mounts:
            found.append(f"{process.name} {command}")
    return found


def gone(place: Path) -> bool:
    """Wait until no process holds a mount below `place` any more."""
    for _ in range(100):
        if not processes_in(place):
            return True
        time.sleep(0.05)
    return False


def wait_for_line(process: "subprocess.Popen[str]", text: str) -> None:
    """Read what a command says until it says `text`."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"never said {text!r}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_build_at_once_and_in_order(lab: Lab, number: signal.Signals) -> None:
    lab.tree(SLEEPY)
    process = lab.start(*BUILD, "--live-output")
    wait_for_line(process, "    began")

    process.send_signal(number)
    said, _ = process.communicate(timeout=10)

    assert process.returncode == 130
    assert said.splitlines()[-1] == f"error: stopped by {number.name}"
    assert "Traceback" not in said
    assert gone(lab.place)
    assert lab.faults() == []
    assert [name for name in lab.built() if name.startswith("slow") or ".part" in name] == []


def test_a_signal_leaves_what_was_done_before_it(lab: Lab) -> None:
    lab.tree(SLEEPY)
    process = lab.start(*BUILD, "--live-output")
    wait_for_line(process, "    began")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)

    planned = lab.cos("plan", "--all", "--tree", "tree", "--destination", "out")

    assert [line.split()[:2] for line in planned.stdout.splitlines()] == [
        ["reuse", "t/base-1"],
        ["build", "t/slow-1"],
    ]


def test_a_killed_build_leaves_no_process_behind(lab: Lab) -> None:
    lab.tree(SLEEPY)
    process = lab.start(*BUILD, "--live-output")
    wait_for_line(process, "    began")

    process.kill()
    process.communicate(timeout=10)

    assert gone(lab.place), processes_in(lab.place)


def test_a_build_that_was_killed_at_many_moments_ends_like_one_that_was_not(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, little_base: Path
) -> None:
    undisturbed = Lab(tmp_path_factory.mktemp("undisturbed"), little_base)
    undisturbed.tree(SMALL)
    started = time.monotonic()
    assert undisturbed.build("--all", "--compression", "zstd").returncode == 0
    seconds = time.monotonic() - started
    lab.tree(SMALL)
    moments = random.Random(7)  # noqa: S311  (moments, not secrets)

    for _ in range(KILLS):
        process = lab.start(*BUILD, "--rebuild", "--compression", "zstd")
        time.sleep(moments.uniform(0.1, 1.0) * seconds)
        process.kill()
        process.communicate(timeout=10)
    assert gone(lab.place), processes_in(lab.place)
    done = lab.build("--all", "--compression", "zstd")

    assert done.returncode == 0, done.stderr
    assert lab.built() == undisturbed.built()
    assert lab.faults() == []


def test_a_repository_that_was_killed_while_it_was_written_is_whole_the_next_time(lab: Lab) -> None:
    lab.tree(SMALL)
    assert lab.build().returncode == 0
    make = ("create-repo", "--tree", "tree", "--packages", "out", "--name", "r", "--urls", "x")
    moments = random.Random(3)  # noqa: S311  (moments, not secrets)

    for _ in range(6):
        process = lab.start(*make, "--output", "repo", SOURCE_DATE_EPOCH=MOMENT)
        time.sleep(moments.uniform(0.1, 0.5))
        process.kill()
        process.communicate(timeout=10)
    done = [
        lab.cos(*make, "--output", each, SOURCE_DATE_EPOCH=MOMENT)
        for each in ("repo", "undisturbed")
    ]

    assert [each.returncode for each in done] == [0, 0], done
    names = [sorted(contents(lab.place / each)) for each in ("repo", "undisturbed")]
    assert names[0] == names[1]


def test_two_builds_of_one_tree_at_once_do_not_disturb_each_other(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, little_base: Path
) -> None:
    alone = Lab(tmp_path_factory.mktemp("alone"), little_base)
    for each in (alone, lab):
        each.tree(SMALL)
    assert alone.build().returncode == 0

    for _ in range(3):
        both = [lab.start(*BUILD, "--rebuild"), lab.start(*BUILD, "--rebuild")]
        said = [process.communicate(timeout=60)[0] for process in both]

        assert [process.returncode for process in both] == [0, 0], said
        assert lab.built() == alone.built()
    assert lab.faults() == []
