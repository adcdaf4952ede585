"""`packages`: what the package manager of the system is told."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from compiler.agent.cloudconfig.actions import Actions, Run, Task
from compiler.agent.cloudconfig.facts import os_release
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Packages, Step
from compiler.agent.programs import Program
from compiler.errors import CompilerError

_QUIET = {"DEBIAN_FRONTEND": "noninteractive"}


@dataclass(frozen=True)
class Manager:
    """The words by which a package manager is called for each purpose."""

    refresh: str
    upgrade: str
    install: str
    remove: str


_APT = Manager(
    "apt-get -y update",
    "apt-get -y upgrade",
    "apt-get -y --no-install-recommends install",
    "apt-get -y remove",
)
_DNF = Manager(
    "dnf makecache",
    "dnf update -y",
    "dnf install -y --setopt=install_weak_deps=False",
    "dnf remove -y",
)
_ZYPPER = Manager(
    "zypper refresh",
    "zypper update -y",
    "zypper install -y --no-recommends",
    "zypper remove -y",
)
_APK = Manager("apk update", "apk upgrade --no-cache", "apk add --no-cache", "apk del --no-cache")
_PACMAN = Manager(
    "pacman -Sy --noconfirm",
    "pacman -Syu --noconfirm",
    "pacman -S --noconfirm",
    "pacman -R --noconfirm",
)

_IDS: Mapping[str, Manager] = {
    **dict.fromkeys(("debian", "ubuntu", "raspbian", "linuxmint", "pop"), _APT),
    **dict.fromkeys(
        ("fedora", "rhel", "centos", "rocky", "almalinux", "ol", "amzn", "openeuler"), _DNF
    ),
    **dict.fromkeys(("suse", "opensuse", "opensuse-leap", "opensuse-tumbleweed", "sles"), _ZYPPER),
    "alpine": _APK,
    **dict.fromkeys(("arch", "archlinux", "manjaro"), _PACMAN),
}


def tasks(step: Step) -> Iterator[Task]:
    """Call the package manager once for each purpose."""

    def call(words: str, names: tuple[str, ...] = ()) -> Task:
        return lambda machine: _call(words, names, machine)

    wanted = step.packages
    yield from (call(purpose, names) for purpose, names in purposes(wanted))


def purposes(wanted: Packages) -> Iterator[tuple[str, tuple[str, ...]]]:
    """List what is wanted, in its order: the name of a field of `Manager`, and packages."""
    if wanted.refresh:
        yield "refresh", ()
    if wanted.upgrade:
        yield "upgrade", ()
    if wanted.install:
        yield "install", wanted.install
    if wanted.remove:
        yield "remove", wanted.remove


def _call(purpose: str, names: tuple[str, ...], machine: Machine) -> Actions:
    words = getattr(manager_of(os_release(machine.root)), purpose)
    yield Run(Program(argv=(*words.split(), *checked(names)), env=_QUIET))


def checked(names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse names that the package manager would take for options."""
    for each in names:
        if each.startswith("-") or not each.strip():
            raise CompilerError(f"{each!r} is no name of a package")
    return names


def manager_of(release: Mapping[str, str]) -> Manager:
    """Choose the package manager of a system by its own id, or one that it is like."""
    ids = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    found = next((_IDS[each] for each in ids if each in _IDS), None)
    if found is None:
        raise CompilerError(f"no package manager is known for {ids[0] or 'this system'!r}")
    return found
