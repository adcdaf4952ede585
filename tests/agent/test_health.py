import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from compiler.agent.health import Answer, Clock, ask_check, examine, find_checks

DEFAULTS = Path(__file__).parents[2] / "tree/system/boot-assessment/files/usr/libexec/cos/health.d"
WELL, BAD, WAIT = Answer(0, ""), Answer(1, "is bad"), Answer(75, "comes")


@dataclass
class Patient:
    """Checks that give one answer after another, and a clock that only waiting moves."""

    answers: Mapping[str, list[Answer]]
    time: float = 0.0
    asked: list[str] = field(default_factory=list)

    def ask(self, path: Path, _limit: float) -> Answer:
        self.asked.append(path.name)
        answers = self.answers[path.name]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def wait(self, seconds: float) -> None:
        self.time += seconds

    def examine(self, limit: float = 60.0) -> str | None:
        checks = [Path("/bin/sh").with_name(name) for name in self.answers]
        return examine(checks, self.ask, Clock(lambda: self.time, self.wait), limit)


def test_a_system_is_well_when_all_checks_are() -> None:
    patient = Patient({"true": [WELL], "false": [WELL]})

    assert patient.examine() is None
    assert patient.asked == ["true", "false"]
    assert patient.time == 0


def test_a_check_that_waits_holds_up_the_later_ones_and_is_asked_again() -> None:
    patient = Patient({"true": [WAIT, WAIT, WAIT, WAIT, WELL], "false": [WELL]})

    assert patient.examine() is None
    assert patient.asked == ["true"] * 5 + ["false"]


def test_a_check_that_waits_too_long_is_not_well() -> None:
    patient = Patient({"true": [WAIT]})

    assert patient.examine(20) == "true: not well after 20 seconds: comes"
    assert patient.time == 20


def test_a_check_that_fails_three_times_in_a_row_is_bad() -> None:
    patient = Patient({"true": [WELL], "false": [BAD]})

    assert patient.examine() == "false: is bad"
    assert patient.asked.count("false") == 3


def test_a_check_that_fails_now_and_then_is_not_bad() -> None:
    patient = Patient({"true": [BAD, BAD, WAIT, BAD, BAD, WELL]})

    assert patient.examine() is None


def test_a_check_without_words_is_told_by_its_exit_code() -> None:
    assert Patient({"true": [Answer(3, "")]}).examine() == "true: exit code 3"


def test_a_check_that_nobody_may_execute_is_bad(tmp_path: Path) -> None:
    (tmp_path / "10-x").write_text("#!/bin/sh\n")

    reason = examine([tmp_path / "10-x"], ask_check, Clock(lambda: 0.0, lambda _: None))

    assert reason == "10-x: is not executable"


def _check(root: Path, folder: str, name: str, body: str) -> Path:
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body and f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_checks_are_found_by_name_and_later_folders_win(tmp_path: Path) -> None:
    _check(tmp_path, "usr/libexec/cos/health.d", "10-a", "exit 0")
    _check(tmp_path, "usr/libexec/cos/health.d", "20-b", "exit 0")
    off = _check(tmp_path, "usr/libexec/cos/health.d", "30-c", "exit 0")
    _check(tmp_path, "usr/libexec/cos/health.d", ".hidden", "exit 1")
    _check(tmp_path, "usr/libexec/cos/health.d", "10-a~", "exit 1")
    mine = _check(tmp_path, "oem/health.d", "15-mine", "exit 0")
    other = _check(tmp_path, "etc/cos/health.d", "20-b", "exit 1")
    (tmp_path / "etc/cos/health.d" / off.name).symlink_to("/dev/null")

    found = find_checks(tmp_path)

    assert found == [tmp_path / "usr/libexec/cos/health.d/10-a", mine, other]


def test_a_check_says_why_in_its_last_line(tmp_path: Path) -> None:
    path = _check(tmp_path, "x", "10-x", "echo first; echo; echo ' last '; echo; exit 4")

    assert ask_check(path, 10) == Answer(4, "last")


def test_a_check_that_takes_too_long_is_ended_and_one_that_cannot_start_is_not_well(
    tmp_path: Path,
) -> None:
    slow = _check(tmp_path, "x", "10-slow", "sleep 60")
    odd = _check(tmp_path, "x", "20-odd", "exit 0")
    odd.write_bytes(b"\x7fELF nothing")

    assert "0.2 seconds" in ask_check(slow, 0.2).said
    assert ask_check(odd, 10).code != 0


def _ask_default(name: str, tmp_path: Path, **programs: str) -> Answer:
    """Run one of our own checks, with programs that give the answers of a machine."""
    for program, body in programs.items():
        _check(tmp_path, "bin", program, body)
    env = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    done = subprocess.run([DEFAULTS / name], env=env, capture_output=True, text=True, check=False)
    return Answer(done.returncode, done.stdout.strip())


@pytest.mark.parametrize(
    ("active", "answer"),
    [
        ("default.target", Answer(0, "")),
        ("", Answer(75, "the default target is not reached")),
        ("emergency.target", Answer(1, "the boot ended in emergency.target")),
    ],
)
def test_the_default_target_has_to_be_reached(active: str, answer: Answer, tmp_path: Path) -> None:
    systemctl = f'[ "$3" = "{active}" ]'

    assert _ask_default("10-default-target", tmp_path, systemctl=systemctl) == answer


def test_no_unit_of_ours_may_have_failed(tmp_path: Path) -> None:
    failed = 'echo "cos-setup-boot.service loaded failed failed cOS setup"'

    assert _ask_default("20-cos-units", tmp_path, systemctl="true") == WELL
    assert _ask_default("20-cos-units", tmp_path, systemctl=failed) == Answer(
        1, "failed: cos-setup-boot.service"
    )


def test_the_root_has_to_be_read_only(tmp_path: Path) -> None:
    assert _ask_default("30-root-read-only", tmp_path, findmnt="echo ro,relatime") == WELL
    assert _ask_default("30-root-read-only", tmp_path, findmnt="echo rw,errors=remount-ro") == (
        Answer(1, "the root can be written to")
    )


LAYOUT = "LABEL=COS_OEM:/oem LABEL=COS_PERSISTENT:/usr/local"


@pytest.mark.container
@pytest.mark.parametrize(
    ("volumes", "mounted", "line", "said"),
    [
        (LAYOUT, "/usr/local", "quiet", ""),
        (LAYOUT, "/opt", "quiet", "LABEL=COS_PERSISTENT is not mounted at /usr/local"),
        ("LABEL=MINE:/opt", "/opt", "rd.cos.persistentlabel=MINE", ""),
        (
            "LABEL=MINE:/opt",
            "/usr/local",
            "rd.cos.persistentlabel=MINE",
            "LABEL=MINE is not mounted at /opt",
        ),
        ("LABEL=COS_OEM:/oem", "/opt", "quiet", ""),
        (None, "/opt", "quiet", ""),
    ],
)
def test_the_persistent_partition_has_to_be_where_the_layout_says(
    volumes: str | None, mounted: str, line: str, said: str
) -> None:
    """In a mount namespace, where a tmpfs stands for the partition."""
    layout = "" if volumes is None else f"echo 'VOLUMES=\"{volumes}\"' > /run/cos/cos-layout.env;"
    program = (
        f"mount -t tmpfs run /run && mkdir /run/cos && echo '{line}' > /run/cmdline &&"
        f" mount --bind /run/cmdline /proc/cmdline && mount -t tmpfs data {mounted}; {layout}"
        f" exec {shutil.which('sh')} {DEFAULTS / '40-persistent'}"
    )
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", program]

    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.strip(), done.stderr) == (1 if said else 0, said, "")


def test_the_units_of_the_health_target_have_to_start(tmp_path: Path) -> None:
    systemctl = 'case "$*" in *Wants*) echo a.service;; *ActiveState*) echo {};; esac'

    answers = [
        _ask_default("50-health-target", tmp_path, systemctl=systemctl.format(state))
        for state in ("active", "activating", "failed")
    ]

    assert answers == [WELL, Answer(75, "starts: a.service"), Answer(1, "failed: a.service")]


def test_our_checks_are_found_in_the_tree() -> None:
    assert shutil.which("sh")
    assert [path.name for path in sorted(DEFAULTS.iterdir())] == [
        "10-default-target",
        "20-cos-units",
        "30-root-read-only",
        "40-persistent",
        "50-health-target",
    ]
