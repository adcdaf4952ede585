"""Tells on standard error what happens during a run: lines for people, or JSON for programs."""

import json
import sys
import threading
import time
from dataclasses import asdict

from compiler.cli.settings import Settings
from compiler.events import (
    Event,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    Noted,
    Reporter,
    RunPlanned,
    StepOutput,
    StepStarted,
    Transferred,
)

_BETWEEN = 5.0
"""Seconds between two lines about one transfer."""


class Relay:
    """A reporter that passes everything on to another one, which may change meanwhile."""

    def __init__(self, target: Reporter) -> None:
        self.target = target

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        self.target(event)


def reporter(settings: Settings) -> Relay:
    """Choose who reports, as the settings say."""
    return Relay(_JsonLines() if settings.json_events else _Lines(settings))


class _JsonLines:
    """Writes every event as a line of JSON, with its name and the time in seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write one event."""
        values = {"event": type(event).__name__, "time": round(time.time(), 3), **asdict(event)}
        with self._lock:
            sys.stderr.write(json.dumps(values) + "\n")


class _Lines:
    """Writes a line when a node starts and when it ends, and what steps print if asked for."""

    def __init__(self, settings: Settings) -> None:
        self._lock = threading.Lock()
        self._quiet = settings.quiet
        self._output = settings.output
        self._told: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Write one event, if it is of interest."""
        text = self._text(event)
        if text is not None:
            with self._lock:
                sys.stderr.write(text + "\n")

    def _text(self, event: Event) -> str | None:
        """Put an event into words; None for what is not shown."""
        if isinstance(event, Noted) and event.warning:
            return f"warning: {event.message}"
        if self._quiet:
            return None
        if isinstance(event, StepOutput) and not self._output:
            return None
        if isinstance(event, Transferred) and not self._is_due(event):
            return None
        return said_of(event)

    def _is_due(self, event: Transferred) -> bool:
        """Tell whether to say again how far a transfer is."""
        now = time.monotonic()
        last = self._told.pop(event.what, None) if event.ended else self._told.get(event.what)
        if event.ended:
            return last is not None
        if last is not None and now - last < _BETWEEN:
            return False
        self._told[event.what] = now
        return True


def said_of(event: Event) -> str:
    """Put an event into words."""
    match event:
        case NodeStarted():
            said = f"{event.node}: {event.action} ({event.reason})"
        case StepStarted():
            said = f"{event.node}: $ {first_line(event.text)}"
        case StepOutput():
            said = f"    {event.line}"
        case NodeFinished():
            said = f"{event.node}: {event.action} done in {event.seconds:.1f} s"
        case NodeFailed():
            said = f"{event.node}: failed"
        case _:
            said = _said_of_run(event)
    return said


def _said_of_run(event: RunPlanned | Noted | Transferred) -> str:
    """Put an event that is about no node into words."""
    match event:
        case RunPlanned():
            counts = (f"{event.build} to build", f"{event.pack} to pack", f"{event.reuse} to reuse")
            return ", ".join(counts)
        case Transferred():
            return f"{event.what}: {amounts(event)}"
        case Noted():
            return event.message


def amounts(event: Transferred) -> str:
    """Say how far a transfer is, in megabytes."""
    return f"{event.done / 1e6:.0f} of {event.total / 1e6:.0f} MB"


def first_line(text: str) -> str:
    """Shorten a text to what fits on a line."""
    first, _, rest = text.strip().partition("\n")
    limit = 100
    return first[:limit] + ("…" if rest or len(first) > limit else "")
