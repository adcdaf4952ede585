"""Shows on a terminal what is built right now: a table of the running nodes below what is said."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from compiler.cli.report import Relay, amounts, first_line
from compiler.events import (
    Event,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    Reporter,
    StepOutput,
    StepStarted,
    Transferred,
)

_REFRESH = 8
"""Times a second that the table is drawn."""


@contextmanager
def watched(report: Relay) -> Iterator[None]:
    """Draw a table of what runs while the context lasts, where standard error is a terminal.

    What `report` says is printed above it.
    """
    if not sys.stderr.isatty():
        yield
        return
    said = report.target
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    board = Board(said)
    with Live(
        get_renderable=board.table, console=console, refresh_per_second=_REFRESH, transient=True
    ):
        report.target = board
        try:
            yield
        finally:
            report.target = said


@dataclass(slots=True)
class _Row:
    """One node that is worked on: since when, by which step, and what that said last."""

    action: str
    started: float
    step: str = ""
    said: str = ""


class Board:
    """Keeps the running nodes, and passes on what is worth a line of its own."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}

    def __call__(self, event: Event) -> None:
        """Take an event in; the table shows steps, so only ends and notes are said."""
        with self._lock:
            match event:
                case NodeStarted():
                    self._rows[event.node] = _Row(event.action, time.monotonic())
                case StepStarted() if event.node in self._rows:
                    self._rows[event.node].step = first_line(event.text)
                case StepOutput() if event.node in self._rows:
                    self._rows[event.node].said = first_line(event.line)
                case NodeFinished() | NodeFailed():
                    self._rows.pop(event.node, None)
                case Transferred():
                    self._transferred(event)
                case _:
                    pass
        if not isinstance(event, StepStarted | Transferred):
            self._report(event)

    def _transferred(self, event: Transferred) -> None:
        """Show how far a transfer is, until it ends."""
        if event.ended:
            self._rows.pop(event.what, None)
            return
        row = self._rows.setdefault(event.what, _Row("", time.monotonic()))
        row.said = amounts(event)

    def table(self) -> RenderableType:
        """Draw the nodes that run, the oldest first."""
        table = Table.grid(padding=(0, 2))
        now = time.monotonic()
        with self._lock:
            rows = list(self._rows.items())
        for node, row in rows:
            seconds = Text(f"{now - row.started:.0f} s", style="cyan", justify="right")
            what = Text(row.step or row.action, overflow="ellipsis", no_wrap=True)
            said = Text(row.said, style="dim", overflow="ellipsis", no_wrap=True)
            table.add_row(seconds, Text(node, style="bold"), what, said)
        return table
