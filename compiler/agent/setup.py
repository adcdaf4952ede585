"""Runs a stage of the system: its folders of cloud-config, and what the kernel is told."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.source import Inputs, Source
from compiler.agent.cloudconfig.stage import Runner

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
    for folder in folders(env):
        if machine.root.is_folder(folder):
            for each in (before, here, after):
                runner.run(each, [folder])
    for each in (here, after):
        runner.run(each, places)
    dots = Runner(machine, inputs, dots=True)
    for each in (before, here, after):
        dots.run_text(each, Source(_COMMAND_LINE, line))


def folders(env: Mapping[str, str]) -> Sequence[str]:
    """List the folders: ours, then those that the environment adds."""
    return tuple(dict.fromkeys((*FOLDERS, *env.get(_MORE, "").split())))


def setups(line: str) -> list[str]:
    """List what `cos.setup=` on the kernel command line names."""
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    found = (word.removeprefix(_SETUP) for word in words if word.startswith(_SETUP))
    return [each for each in found if each]
