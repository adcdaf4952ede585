"""Whether a step runs: all its conditions have to be met."""

import re
from collections.abc import Callable, Mapping

from compiler.agent.cloudconfig.facts import architecture, os_release
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Step
from compiler.agent.programs import Program

_PLACES = ("/sbin", "/bin", "/usr/sbin", "/usr/bin")
MANAGERS: Mapping[str, str] = {"systemd": "systemctl", "openrc": "openrc"}
"""The service managers that are told from each other, each by its program."""

_NOT_RUN = (126, 127)


def hindrance(step: Step, machine: Machine) -> str | None:
    """Say why a step does not run on this machine, None if it does."""
    for condition in _CONDITIONS:
        reason = condition(step, machine)
        if reason is not None:
            return reason
    return None


def _node(step: Step, machine: Machine) -> str | None:
    name = machine.outside.host_name()
    if not step.node or _searched(step.node, (name,), machine):
        return None
    return f"{step.node!r} doesn't match the host name {name!r}"


def _only_os(step: Step, machine: Machine) -> str | None:
    return _release(step.only_os, ("NAME", "ID", "PRETTY_NAME"), "os name", machine)


def _only_os_version(step: Step, machine: Machine) -> str | None:
    return _release(step.only_os_version, ("VERSION_ID", "VERSION"), "os version", machine)


def _release(pattern: str, keys: tuple[str, ...], what: str, machine: Machine) -> str | None:
    if not pattern:
        return None
    release = os_release(machine.root)
    found = tuple(release[each] for each in keys if each in release)
    if _searched(pattern, found, machine):
        return None
    return f"{pattern!r} doesn't match {what} {found[0] if found else ''!r}"


def _only_arch(step: Step, machine: Machine) -> str | None:
    pattern, ours = step.only_arch, architecture()
    if not pattern or pattern == ours or _searched(f"^(?:{pattern})$", (ours,), machine):
        return None
    return f"{pattern!r} doesn't match the architecture {ours!r}"


def _only_manager(step: Step, machine: Machine) -> str | None:
    wanted = step.only_service_manager
    if not wanted:
        return None
    if wanted not in MANAGERS:
        machine.log.warning(f"the service manager {wanted!r} is not supported")
        return f"the service manager {wanted!r} is not supported"
    there = [name for name, program in MANAGERS.items() if _has(program, machine)]
    if there == [wanted]:
        return None
    return f"the service manager is not {wanted!r}: found {' and '.join(there) or 'none'}"


def _has(program: str, machine: Machine) -> bool:
    return any(machine.root.exists(f"{folder}/{program}") for folder in _PLACES)


def _if_files(step: Step, machine: Machine) -> str | None:
    for check, paths in step.if_files.items():
        decide = CHECKS.get(check)
        if decide is None:
            machine.log.warning(f"unknown if_files check type {check!r}")
            return f"unknown if_files check type {check!r}"
        if not decide([machine.root.exists(path) for path in paths]):
            return f"if_files: {check} of {', '.join(paths)} is not so"
    return None


def _condition(step: Step, machine: Machine) -> str | None:
    if not step.condition:
        return None
    text = machine.render(step.condition)
    finished = machine.programs.run(Program(argv=("sh", "-c", text)), machine.log.debug)
    if finished.code in _NOT_RUN:
        machine.log.warning(f"if: {text.strip()!r} cannot be run, which counts as false")
    return f"if: {text.strip()!r} is false" if finished.code else None


CHECKS: Mapping[str, Callable[[list[bool]], bool]] = {
    "all": all,
    "any": lambda found: any(found) or not found,
    "none": lambda found: not any(found),
}
"""What `if_files` can ask of paths."""

_CONDITIONS = (
    _node,
    _only_os,
    _only_os_version,
    _only_arch,
    _only_manager,
    _if_files,
    _condition,
)


def _searched(pattern: str, texts: tuple[str, ...], machine: Machine) -> bool:
    """Whether a regular expression is found in one of the texts; one that is none never is."""
    try:
        return any(re.search(pattern, text) for text in texts)
    except re.error as error:
        machine.log.warning(f"{pattern!r} is no regular expression: {error}")
        return False
