"""Looks at the processes of this machine, and waits for what they do."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4


def processes(text: str) -> list[int]:
    """Find the processes, other than this one, whose command line holds `text`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text in (folder / "cmdline").read_text() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def long_time() -> str:
    """Give seconds that only one `sleep` on this machine is told, to find that one by."""
    return f"5000.{uuid4().int % 10**15:015d}"


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something holds; fails after some seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def python(script: str) -> "subprocess.Popen[bytes]":
    """Start another interpreter."""
    return subprocess.Popen([sys.executable, "-c", script])
