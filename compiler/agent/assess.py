"""`cos-agent assess`: whether the system that runs is well, and what the boot menu is told of it.

`check` is what `cos-boot-assessment.service` runs at each boot. It marks the system good, or bad;
a bad one gives way to the passive system by a reboot, if it is being tried. All other rules are in
`compiler.agent.assessment`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from compiler.agent.assessment import (
    Choices,
    Record,
    Standing,
    gives_way,
    mark_bad,
    mark_good,
    menu,
    note_fallback,
    standing,
    try_again,
)
from compiler.agent.health import TIME_LIMIT, Clock, ask_check, examine, find_checks
from compiler.agent.installed import Installed, Running
from compiler.agent.log import Log
from compiler.errors import ExitCode, OutsideError, UsageError
from compiler.layout import ACTIVE_IMAGE, PASSIVE_IMAGE, Slot
from compiler.process import Command, run

_NAMES = {Slot.ACTIVE: "active", Slot.PASSIVE: "passive", Slot.RECOVERY: "recovery"}
_FAILED_MARK = "run/cos/upgrade_failure"
_DONE_MARK = "run/cos/boot_assessed"
"""Tells `cos-boot-guard.service` that the checks ended, so that it need not reboot."""

_SHOWN = ("run/issue.d/50-cos-boot.issue", "run/motd.d/50-cos-boot")
"""What is shown before and after a login."""


def describe(_command: str, parser: argparse.ArgumentParser) -> None:
    """Add the words of the command line."""
    parser.add_argument("action", choices=_ACTIONS, metavar="|".join(_ACTIONS))
    parser.add_argument("reason", nargs="*", metavar="REASON", help="why it is bad")
    parser.add_argument(
        "--timeout", type=float, default=TIME_LIMIT, metavar="SECONDS", help="for all checks"
    )
    parser.add_argument("-o", "--output", choices=("text", "json", "yaml"), default="text")
    parser.add_argument("--root", type=Path, default=Path("/"), help=argparse.SUPPRESS)
    parser.set_defaults(call=assess)


def assess(options: argparse.Namespace, log: Log) -> int:
    """Do what is asked; raises `CompilerError`."""
    return _ACTIONS[options.action](Installed(options.root), options, log)


def _check(machine: Installed, options: argparse.Namespace, log: Log) -> int:
    """Examine the system that runs, and note what comes of it."""
    booted = machine.running()
    if booted is None:
        log.info("no installed system runs: nothing is assessed")
        return ExitCode.DONE
    if booted.after_failure:
        _tell_of_failure(machine, log)
    clock = Clock(time.monotonic, time.sleep)
    reason = examine(find_checks(machine.root), ask_check, clock, options.timeout)
    _write(machine.root / _DONE_MARK, "1", log)
    if reason is None:
        return _found_good(machine, booted, log)
    return _found_bad(machine, booted, reason, log)


def _tell_of_failure(machine: Installed, log: Log) -> None:
    """Say, in the passive system, that the active one was passed over, and why."""
    _write(machine.root / _FAILED_MARK, "1", log)
    active = machine.disk().images.get(ACTIVE_IMAGE)
    record = machine.record()
    if active is not None and note_fallback(record, active.identity) != record:
        record = machine.change(lambda now: note_fallback(now, active.identity))
    why = f": {record.failure}" if record.failure else ""
    _announce(
        machine,
        log,
        f"This is the passive system, for the active one is bad{why}. "
        "Put another one in its place with cos-upgrade, or have it tried again with "
        "`cos-agent assess retry`.",
    )


def _found_good(machine: Installed, booted: Running, log: Log) -> int:
    record, identity = machine.record(), machine.identity(booted)
    if mark_good(record, identity) != record:
        machine.change(lambda now: mark_good(now, identity))
    log.info(f"the {_NAMES[booted.slot]} system is well, and marked good")
    return ExitCode.DONE


def _found_bad(machine: Installed, booted: Running, reason: str, log: Log) -> int:
    """Give way to the passive system if that is due, else only say what is wrong."""
    name, identity = _NAMES[booted.slot], machine.identity(booted)
    if not gives_way(machine.disk(), machine.record(), booted.slot, identity):
        _announce(machine, log, f"The {name} system is not well: {reason}.")
        return ExitCode.FAILED
    machine.change(lambda now: mark_bad(now, identity, reason))
    _announce(machine, log, f"The {name} system is bad: {reason}. The passive one is booted.")
    _reboot()
    return ExitCode.DONE


def _reboot() -> None:
    """Reboot, with as much care as the system is still able to."""
    for force in ((), ("--force",), ("--force", "--force")):
        if not run(Command(argv=("systemctl", "reboot", *force))).code:
            return
    raise OutsideError("the system cannot be rebooted", hint="power it off and on")


def _good(machine: Installed, _options: argparse.Namespace, log: Log) -> int:
    return _found_good(machine, _running(machine), log)


def _bad(machine: Installed, options: argparse.Namespace, log: Log) -> int:
    """Mark the active system bad by hand. Nothing is rebooted: who is here can do that."""
    reason = " ".join(options.reason) or "somebody said so"
    active = _active(machine)
    if PASSIVE_IMAGE not in machine.disk().images:
        raise UsageError("there is no passive system that could be booted in its place")
    machine.change(lambda now: mark_bad(now, active, reason))
    log.info("the active system is marked bad: the next boot is of the passive one")
    return ExitCode.DONE


def _retry(machine: Installed, _options: argparse.Namespace, log: Log) -> int:
    active = _active(machine)
    record = machine.change(lambda now: try_again(now, active))
    log.info(f"the active system gets {record.left(active)} tries again")
    return ExitCode.DONE


def _status(machine: Installed, options: argparse.Namespace, _log: Log) -> int:
    found = gather(machine)
    if options.output == "json":
        sys.stdout.write(f"{json.dumps(found, indent=2, sort_keys=True)}\n")
    elif options.output == "yaml":
        sys.stdout.write(yaml.safe_dump(found, sort_keys=True))
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines_of(found)))
    return ExitCode.DONE


_ACTIONS: Mapping[str, Callable[[Installed, argparse.Namespace, Log], int]] = {
    "check": _check,
    "good": _good,
    "bad": _bad,
    "retry": _retry,
    "status": _status,
}


def gather(machine: Installed) -> dict[str, Any]:
    """Collect what is known of the installed systems, for programs to read."""
    booted, disk, record = machine.running(), machine.disk(), machine.record()
    following = menu(disk, record, Choices())
    return {
        "booted": _NAMES[booted.slot] if booted else "",
        "counted": bool(booted and booted.counted),
        "upgrade_failure": bool(booted and booted.after_failure),
        "enabled": record.enabled,
        "always": record.always,
        "next": _NAMES[following.slot] if following else "",
        "failure": record.failure,
        "systems": {
            _NAMES[slot]: _system(record, disk.images[path].identity)
            for slot, path in ((Slot.ACTIVE, ACTIVE_IMAGE), (Slot.PASSIVE, PASSIVE_IMAGE))
            if path in disk.images
        },
    }


def _system(record: Record, identity: str) -> dict[str, Any]:
    known = standing(record, identity)
    counted = known in {Standing.TRIED, Standing.FAILED} or record.assesses(identity)
    return {
        "image": identity,
        "standing": known.value,
        **({"tries_left": record.left(identity)} if counted else {}),
    }


def lines_of(found: Mapping[str, Any]) -> list[str]:
    """Write it for people."""
    why = ", for the active one is bad" if found["upgrade_failure"] else ""
    lines = [f"Booted:   {found['booted'] or 'none of the installed systems'}{why}"]
    for name, system in found["systems"].items():
        tries = f", {system['tries_left']} tries left" if "tries_left" in system else ""
        lines.append(f"{name.capitalize() + ':':<9} {system['standing']}{tries}")
    lines.append(f"Next:     {found['next'] or 'nothing'}")
    if found["failure"]:
        lines.append(f"Failure:  {found['failure']}")
    return lines


def _running(machine: Installed) -> Running:
    booted = machine.running()
    if booted is None:
        raise UsageError("neither the active nor the passive system runs")
    return booted


def _active(machine: Installed) -> str:
    active = machine.disk().images.get(ACTIVE_IMAGE)
    if active is None:
        raise UsageError("there is no active system", hint="cos-upgrade or cos-deploy makes one")
    return active.identity


def _announce(machine: Installed, log: Log, text: str) -> None:
    """Say it where people look: the journal and the console, every terminal, and at logins."""
    log.warning(text)
    for name in _SHOWN:
        _write(machine.root / name, f"{text}\n", log)
    try:
        run(Command(argv=("wall", text), timeout=10.0))
    except OutsideError:
        log.debug("there is no wall to write to terminals")


def _write(path: Path, text: str, log: Log) -> None:
    """Write a mark for others; without it the assessment goes on."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        log.warning(f"{path}: cannot be written: {error.strerror}")
