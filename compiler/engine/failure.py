"""Turns the end of a step into an error that says what happened and what to try."""

import json
import signal
from collections.abc import Sequence
from pathlib import Path

from compiler.engine import Run
from compiler.engine.namespace import has_one_id
from compiler.errors import EngineError
from compiler.process import Finished

_SIGNALLED = 128
_SHOWN = 200
"""How many letters of a step a message repeats; the log has all of it."""


def failure(
    run: Run, finished: Finished, *, messages: Path | None = None, log: Path
) -> EngineError:
    """Explain why a step did not succeed; `messages` is where crun wrote its own, if it had any."""
    first, tail = first_line(run.text), finished.tail
    said = runtime_message(messages, finished.tail) if messages is not None else ""
    if said:
        tail = tuple(line for line in tail if said not in {line, _error_text(line)})
        return not_started(run, said, tail=tail, log=log)
    message = f"step failed with exit code {finished.code}: {first}"
    hint = _exit_hint(finished.code)
    return EngineError(message, step=run.text, log=str(log), output=tail, hint=hint)


def not_started(run: Run, said: str, *, tail: Sequence[str] = (), log: Path) -> EngineError:
    """Explain why a step did not even start; `said` are the words of the container runtime."""
    message = f"step could not start: {said}: {first_line(run.text)}"
    hint = _start_hint(run, said)
    return EngineError(message, step=run.text, log=str(log), output=tail, hint=hint)


def first_line(text: str) -> str:
    """Return the first line of a step that says something."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), text.strip())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def runtime_message(messages: Path, tail: Sequence[str]) -> str:
    """Return the last error that the container runtime reported, "" for none.

    Once it has changed the root it cannot reach its file any more, and writes to the output.
    """
    lines = list(tail[-1:])
    if messages.exists():
        lines = messages.read_text(encoding="utf-8", errors="replace").splitlines() + lines
    said = [message for message in map(_error_text, lines) if message]
    return said[-1] if said else ""


def _error_text(line: str) -> str:
    """Return the text of one message of the runtime, "" if the line is not an error of it."""
    if not line.startswith('{"msg":'):
        return ""
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    return str(entry["msg"]) if entry.get("level") == "error" else ""


def _start_hint(run: Run, said: str) -> str | None:
    program = run.argv[0]
    if "not found" in said or "no such file" in said.lower():
        return (
            f"the root has no {program}, or not the loader that it names;"
            " does the package require an image with a shell?"
        )
    if "exec format error" in said.lower():
        return f"{program} is made for another machine, or is a script without a #! line"
    if "open executable" in said:
        return f"{program} is not a file that may be executed"
    return None


def _exit_hint(code: int) -> str | None:
    if code == _SIGNALLED + signal.SIGKILL:
        return "it was killed, most likely because the memory ran out"
    if code > _SIGNALLED and code - _SIGNALLED in set(signal.Signals):
        return f"it ended by {signal.Signals(code - _SIGNALLED).name}"
    if code == 127:  # noqa: PLR2004  (POSIX shells, command not found)
        return "127 means that the shell did not find a command"
    if has_one_id():
        return "programs that change owners fail here: /etc/subuid and /etc/subgid give you no ids"
    return None
