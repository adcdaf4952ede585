"""Checks that decide whether a system that has booted is well: executables in folders.

They run one after another, by name. Exit code 0 means well, 75 (`EX_TEMPFAIL` of sysexits.h) "not
yet, ask again", and any other that it is not well; what is printed is the reason. A file of the
same name in a later folder takes the place of an earlier one, and switches it off if it is empty.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import OutsideError
from compiler.process import Command, run

FOLDERS = ("usr/libexec/cos/health.d", "etc/cos/health.d", "oem/health.d")

NOT_YET = 75
TIME_LIMIT = 600.0  # seconds for all checks of a boot
_CHECK_LIMIT = 60.0  # seconds for one check
_PAUSE = 5.0  # seconds between two rounds
_TIMES = 3  # how often in a row a check has to fail
_HIDDEN = (".", "~")


@dataclass(frozen=True, slots=True)
class Clock:
    """Tells the time in seconds, and waits."""

    now: Callable[[], float]
    wait: Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check says: its exit code, and its last line."""

    code: int
    said: str


Ask = Callable[[Path, float], Answer]


def find_checks(root: Path) -> list[Path]:
    """List the checks of a root, in the order in which they run."""
    found: dict[str, Path] = {}
    for folder in FOLDERS:
        for path in _files(root / folder):
            found[path.name] = path
    return [found[name] for name in sorted(found) if found[name].stat().st_size]


def _files(folder: Path) -> Iterable[Path]:
    if not folder.is_dir():
        return []
    return [
        each
        for each in folder.iterdir()
        if not (each.name.startswith(_HIDDEN) or each.name.endswith(_HIDDEN)) and each.exists()
    ]


def ask_check(path: Path, limit: float) -> Answer:
    """Run a check; one that cannot start, or takes too long, is not well."""
    said: list[str] = []
    try:
        done = run(
            Command(argv=(str(path),), timeout=min(limit, _CHECK_LIMIT)),
            on_line=said.append,
        )
    except OutsideError as error:
        return Answer(1, str(error))
    return Answer(done.code, next((line.strip() for line in reversed(said) if line.strip()), ""))


def examine(
    checks: Iterable[Path], ask: Ask, clock: Clock, limit: float = TIME_LIMIT
) -> str | None:
    """Run the checks until all are well; returns the reason why the system is not, else None.

    A check that is not well ends a round, so that later ones see a system that is well so far. It
    is asked again: what fails three times in a row is bad, what is not ready at the end is, too.
    """
    checks, deadline, failed = list(checks), clock.now() + limit, 0
    while True:
        first = _first_problem(checks, ask, max(deadline - clock.now(), 1.0))
        if first is None:
            return None
        path, answer = first
        failed = 0 if answer.code == NOT_YET else failed + 1
        if failed == _TIMES:
            return f"{path.name}: {answer.said or f'exit code {answer.code}'}"
        if clock.now() >= deadline:
            late = f"not well after {limit:g} seconds"
            return f"{path.name}: {late}{f': {answer.said}' if answer.said else ''}"
        clock.wait(_PAUSE)


def _first_problem(checks: list[Path], ask: Ask, limit: float) -> tuple[Path, Answer] | None:
    for path in checks:
        if not os.access(path, os.X_OK):
            return path, Answer(1, "is not executable")
        answer = ask(path, limit)
        if answer.code:
            return path, answer
    return None
