"""The table of running nodes."""

from rich.console import Console

from compiler.cli.live import Board, watched
from compiler.cli.report import Relay
from compiler.events import (
    Event,
    NodeFinished,
    NodeStarted,
    Noted,
    StepOutput,
    StepStarted,
    Transferred,
    silent,
)


def drawn(board: Board) -> list[str]:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(board.table())
    return [line.rstrip() for line in capture.get().splitlines() if line.strip()]


def test_a_running_node_shows_its_step_and_what_that_said_last() -> None:
    board = Board(silent)

    board(NodeStarted("t/a-1", "build", "steps changed"))
    board(StepStarted("t/a-1", "make\nmake install"))
    board(StepOutput("t/a-1", "cc -c a.c"))

    assert drawn(board) == ["0 s  t/a-1  make…  cc -c a.c"]


def test_a_finished_node_leaves_the_table() -> None:
    board = Board(silent)

    board(NodeStarted("t/a-1", "build", ""))
    board(NodeFinished("t/a-1", "build", 1.0))

    assert drawn(board) == []


def test_a_transfer_is_shown_until_it_ends() -> None:
    board = Board(silent)

    board(Transferred("fetching x", 3_000_000, 9_000_000))
    shown = drawn(board)
    board(Transferred("fetching x", 9_000_000, 9_000_000, ended=True))

    assert shown == ["0 s  fetching x    3 of 9 MB"]
    assert drawn(board) == []


def test_steps_are_not_said_above_the_table_and_all_else_is() -> None:
    said: list[Event] = []
    board = Board(said.append)
    note, step = Noted("a note"), StepStarted("t/a-1", "make")

    board(note)
    board(step)

    assert said == [note]


def test_without_a_terminal_the_reporter_stays_as_it_is() -> None:
    report = Relay(silent)
    with watched(report):
        assert report.target is silent
