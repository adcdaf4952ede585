"""The table of running nodes."""

from rich.console import Console

from compiler.cli.live import Board, watched
from compiler.events import (
    Event,
    NodeFinished,
    NodeStarted,
    Noted,
    StepOutput,
    StepStarted,
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


def test_steps_are_not_said_above_the_table_and_all_else_is() -> None:
    said: list[Event] = []
    board = Board(said.append)
    note, step = Noted("a note"), StepStarted("t/a-1", "make")

    board(note)
    board(step)

    assert said == [note]


def test_without_a_terminal_the_reporter_stays_as_it_is() -> None:
    with watched(silent) as report:
        assert report is silent
