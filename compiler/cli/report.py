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
)


def reporter(settings: Settings) -> Reporter:
    """Choose who reports, as the settings say."""
    return _JsonLines() if settings.json_events else _Lines(settings)


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
        return _said(event)


def _said(event: Event) -> str:
    """Put an event into words."""
    match event:
        case RunPlanned():
            counts = (f"{event.build} to build", f"{event.pack} to pack", f"{event.reuse} to reuse")
            said = ", ".join(counts)
        case NodeStarted():
            said = f"{event.node}: {event.action} ({event.reason})"
        case StepStarted():
            said = f"{event.node}: $ {first_line(event.text)}"
        case NodeFinished():
            said = f"{event.node}: {event.action} done in {event.seconds:.1f} s"
        case NodeFailed():
            said = f"{event.node}: failed"
        case Noted():
            said = event.message
        case StepOutput():
            said = f"    {event.line}"
    return said


def first_line(text: str) -> str:
    """Shorten a text to what fits on a line."""
    first, _, rest = text.strip().partition("\n")
    limit = 100
    return first[:limit] + ("…" if rest or len(first) > limit else "")
