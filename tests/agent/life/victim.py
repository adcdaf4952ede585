"""Runs a command on a machine of tests, and kills itself.

    victim.py AT COMMAND ROOT DEVICE KEY=VALUE…

AT is after how many lines of its log it dies; 0 is never. Each program that is run and each step is
a line. What it has logged goes to standard output.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from compiler.agent.life.deploy import deploy
from compiler.agent.life.host import Host
from compiler.agent.life.install import install
from compiler.agent.life.reset import reset
from compiler.agent.life.settings import Settings, gather
from compiler.agent.life.upgrade import upgrade
from compiler.agent.log import Level, Log
from tests.agent.life.lab import SMALL

COMMANDS = {"upgrade": upgrade, "reset": reset, "deploy": deploy, "install": install}


def settings(given: Sequence[str]) -> Settings:
    """Read settings of a command line."""
    return gather({}, {}, {**SMALL, **dict(each.split("=", 1) for each in given)})


def main() -> None:
    at, command, root, device, *given = sys.argv[1:]
    lines = 0

    def say(text: str) -> None:
        nonlocal lines
        if not text.startswith(("running ", "step: ")):
            return
        lines += 1
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
        if lines == int(at):
            os.kill(os.getpid(), signal.SIGKILL)

    host = Host(log=Log(say, Level.DEBUG), root=Path(root), disks=(device,), pause=lambda _: None)
    COMMANDS[command](host, settings(given))


if __name__ == "__main__":
    main()
