"""The log file of a client, and warnings that are errors."""

import re
from pathlib import Path

import pytest

from compiler.cli.listening import Listening
from compiler.errors import CompilerError
from compiler.events import Event, Noted, StepOutput
from tests.cli.machine import Machine

FATAL = "'general.fatal_warnings' and --fatal want it so"


def test_what_is_told_is_in_the_log_line_by_line_with_its_time(tmp_path: Path) -> None:
    log, told = tmp_path / "log", list[Event]()
    report = Listening(told.append, log, fatal=False)

    report(Noted("two\nlines"))
    report(Noted("doubtful", warning=True))
    report(StepOutput("t/a-1", "printed"))
    report.write("error", "wrong")
    report.stop_if_warned()

    lines = [re.fullmatch(r"[-0-9]{10}T[:.0-9]{15}Z (.*)", line) for line in _lines(log)]
    assert [line and line[1] for line in lines] == [
        "info: two lines", "warning: doubtful", "info: printed", "error: wrong"
    ]  # fmt: skip
    assert len(told) == 3


def test_a_log_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    told = list[Event]()
    report = Listening(told.append, tmp_path, fatal=False)

    report(Noted("one"))
    report(Noted("two"))

    warning = Noted(f"{tmp_path}: no log is written: Is a directory", warning=True)
    assert told == [Noted("one"), warning, Noted("two")]


def test_a_warning_is_an_error_where_that_is_asked() -> None:
    report = Listening(list[Event]().append, None, fatal=True)
    report.stop_if_warned()
    report(Noted("doubtful", warning=True))

    with pytest.raises(CompilerError) as caught:
        report.stop_if_warned()

    assert str(caught.value) == f"a warning is an error ({FATAL})"


def test_a_command_writes_the_log_that_the_configuration_or_an_option_names(
    machine: Machine,
) -> None:
    log = machine.place / "cos.log"
    machine.settings["logging"] = {"enable_logfile": True, "path": str(log)}
    machine.do("-q", "install", "-y", "t/lib")
    machine.refused("install", "-y", "t/none")
    machine.settings["logging"] = {}

    machine.do("uninstall", "-y", "t/lib", "--enable-logfile", "--logfile", machine.place / "own")

    texts = [line.partition(" ")[2] for line in _lines(log)]
    assert "info: install t/lib 1 main" in texts
    assert texts[-1].startswith("error: there is no package t/none")
    assert any(line.endswith("info: remove t/lib 1") for line in _lines(machine.place / "own"))


def test_nothing_is_changed_after_a_warning_where_warnings_are_errors(machine: Machine) -> None:
    machine.use("disk", machine.place / "gone", "gone")

    message = machine.refused("--fatal", "install", "-y", "t/lib")

    assert message == f"a warning is an error ({FATAL})"
    assert machine.installed() == []
    machine.do("install", "-y", "t/lib")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
