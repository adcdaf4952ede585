"""Runs a stage of the system: its folders of cloud-config, and what the kernel is told."""

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from compiler.agent.assignments import FILES, assignments
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.source import Inputs, Source
from compiler.agent.cloudconfig.stage import Runner
from compiler.agent.root import Root
from compiler.errors import OutsideError

FOLDERS = ("/system/oem", "/oem", "/usr/local/cloud-config")
"""Where configuration is, in the order in which it is read; what comes later wins."""

_COMMAND_LINE = "/proc/cmdline"
_SETUP = "cos.setup="
_MORE = "CLOUD_INIT_PATHS"
_PARTS = ("{}.before", "{}", "{}.after")


def run(stage: str, machine: Machine, inputs: Inputs, env: Mapping[str, str]) -> None:
    """Run `STAGE.before`, `STAGE` and `STAGE.after` of everything, folder by folder.

    Addresses of the command line are asked for the first before all folders and for the others
    after them; the words of the command line itself come last.
    """
    line = machine.root.text(_COMMAND_LINE, "")
    before, here, after = (part.format(stage) for part in _PARTS)
    inputs = replace(inputs, beside=False)
    runner = Runner(machine, inputs)
    places = setups(line)
    runner.run(before, places)
    for folder in folders(machine.root, env):
        if machine.root.is_folder(folder):
            for each in (before, here, after):
                runner.run(each, [folder])
    for each in (here, after):
        runner.run(each, places)
    dots = Runner(machine, inputs, dots=True)
    for each in (before, here, after):
        dots.run_text(each, Source(_COMMAND_LINE, line))


def folders(root: Root, env: Mapping[str, str]) -> Sequence[str]:
    """List the folders: ours, then those that the environment adds, or else files of settings."""
    more = env.get(_MORE)
    if more is None:
        more = _settings(root).get(_MORE, "")
    return tuple(dict.fromkeys((*FOLDERS, *filter(None, re.split(r"[\s,]+", more)))))


def _settings(root: Root) -> dict[str, str]:
    """Read the files of settings; one that cannot be read stops no boot."""
    found: dict[str, str] = {}
    for path in FILES:
        with suppress(OutsideError):
            found |= dict(assignments(root.text(path, ""), path, []))
    return found


def setups(line: str) -> list[str]:
    """List what `cos.setup=` on the kernel command line names."""
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    found = (word.removeprefix(_SETUP) for word in words if word.startswith(_SETUP))
    return [each for each in found if each]
