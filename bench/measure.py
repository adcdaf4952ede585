"""Whole processes, measured from outside: wall time, CPU time and peak memory."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

COS = str(Path(sys.executable).with_name("cos"))
"""The command of the environment that measures."""

_STARTER = ProcessPoolExecutor(1, mp_context=get_context("fork"))
"""Starts programs, from before this process grows: Linux counts the memory of whoever starts a
program as the program's own peak (getrusage(2), execve(2))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one process took: seconds by the clock, and its own peak of resident memory in MB.

    `told` is what it wrote on standard error.
    """

    seconds: float
    peak_mb: float
    told: str = ""


class ProgramFailed(Exception):  # noqa: N818  (it says what happened)
    """A measured program did not end as it should, so its time means nothing."""


def run(argv: Sequence[str], *, env: Mapping[str, str] | None = None, ends: int = 0) -> Cost:
    """Run a program to its end, with nothing to read, its output thrown away.

    Raises `ProgramFailed` if it does not end with the exit code `ends`.
    """
    return _STARTER.submit(_run, argv, {**os.environ, **(env or {})}, ends).result()


def _run(argv: Sequence[str], env: Mapping[str, str], ends: int) -> Cost:
    started = time.perf_counter()
    child = subprocess.Popen(  # noqa: S603  (programs are what is measured)
        argv,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    told = child.stderr.read().decode(errors="replace") if child.stderr else ""
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != ends:
        raise ProgramFailed(f"{' '.join(argv)}: {told[-2000:]}")
    return Cost(seconds=seconds, peak_mb=usage.ru_maxrss / 1024, told=told)


def best(times: int, measured: Callable[[], Cost]) -> Cost:
    """Measure several times; the best of each number, as noise only ever adds."""
    costs = [measured() for _ in range(times)]
    return Cost(
        seconds=min(cost.seconds for cost in costs), peak_mb=min(cost.peak_mb for cost in costs)
    )
