"""Runs Python code and tells what it asked the kernel for."""

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import CHECKOUT

CALL = re.compile(r"^\d+ +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>\d+)", re.MULTILINE)


def system_calls(script: str, folder: Path, names: str) -> list[tuple[str, str]]:
    """Run Python code in a process of its own, with `folder` as its argument.

    Returns those of its system calls that `names` has and that succeeded: names and arguments.
    """
    file = folder / "trace"
    argv = ["strace", "-f", "-y", "-s", "0", "-e", f"trace={names}", "-o", str(file)]
    argv += [sys.executable, "-c", script, str(folder)]
    subprocess.run(argv, check=True, cwd=CHECKOUT)
    return [(each["name"], each["arguments"]) for each in CALL.finditer(file.read_text())]
