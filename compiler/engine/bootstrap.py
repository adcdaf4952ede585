"""Makes base systems out of a distribution's own signed packages, with mmdebstrap.

The same packages give the same bytes: mmdebstrap sorts the tar and clamps times to
SOURCE_DATE_EPOCH, and a hook removes what programs note about the day and the machine.
"""

import os
import shutil
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from compiler.archive import DEFAULT_EPOCH
from compiler.errors import CompilerError, ImageError, OutsideError
from compiler.events import Noted, Reporter
from compiler.process import Command, Finished, Running, run

_VARIANTS = ("extract", "custom", "essential", "apt", "minbase", "buildd", "important", "standard")
_SIGNS_OF_THE_DAY = (
    "etc/hostname",
    "etc/resolv.conf",
    "var/cache/ldconfig/aux-cache",
    "var/cache/apt/*",
    "var/cache/debconf/*-old",
    "var/lib/apt/lists/*",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/*-old",
    "var/lib/systemd/random-seed",
    "var/log/*.log",
    "var/log/apt/*",
    "run/*",
)
_SMALLEST = 300_000_000
"""Bytes that the smallest of base systems takes while it is made, with apt's lists and its tar."""

_CLEAN = "\n".join(
    (
        'cd "$1" || exit 1',
        *(f"rm -rf {pattern}" for pattern in _SIGNS_OF_THE_DAY),
        "mkdir -p var/cache/apt/archives/partial var/lib/apt/lists/partial",
        "if [ -e etc/machine-id ]; then : > etc/machine-id; fi",
    )
)
"""The shell's hook in the new root. What mmdebstrap itself cleans, it leaves to the sandbox's user
if that one could reach our folder, which must not show."""

_WRONG_NAMES = (
    ("404  Not Found", "the mirror does not have it"),
    ("Unable to locate package", "a package is unknown"),
)
"""What apt says when a suite or a package does not exist, and what it means."""

_IMPORT = "`cos image import NAME SOURCE` takes an OCI layout, a docker archive, a tar or a folder"


@dataclass(frozen=True, slots=True)
class _Distribution:
    """Where a distribution keeps its packages, and the keys that sign them."""

    mirror: str
    security: str
    components: str
    keyring: Path
    keyring_package: str
    rolling: tuple[str, ...]


_DISTRIBUTIONS: Mapping[str, _Distribution] = {
    "debian": _Distribution(
        mirror="http://deb.debian.org/debian",
        security="http://deb.debian.org/debian-security",
        components="main",
        keyring=Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
        keyring_package="debian-archive-keyring",
        rolling=("sid", "unstable", "experimental"),
    ),
    "ubuntu": _Distribution(
        mirror="http://archive.ubuntu.com/ubuntu",
        security="http://security.ubuntu.com/ubuntu",
        components="main universe",
        keyring=Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg"),
        keyring_package="ubuntu-keyring",
        rolling=("devel",),
    ),
}


_UBUNTU = ("bionic", "focal", "jammy", "noble", "plucky", "questing", "resolute", "devel")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSystem:
    """What to bootstrap: a distribution's suite, more packages, from where, how much of it.

    `mirror` is a URL, "" for the distribution's own with its updates and security fixes; `variant`
    is one of mmdebstrap's. `architecture` is in Debian's words, "" for this machine's.
    """

    distribution: str
    suite: str
    include: tuple[str, ...] = ()
    mirror: str = ""
    variant: str = "minbase"
    architecture: str = ""


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """A root tar that was made, and what is in it: (package, version), sorted."""

    tar: Path
    packages: tuple[tuple[str, str], ...]


def base_system(
    name: str,
    *,
    suite: str = "",
    include: tuple[str, ...] = (),
    mirror: str = "",
    variant: str = "minbase",
) -> BaseSystem:
    """Read an image name, `debian:trixie`; raises `ImageError` for what cannot be bootstrapped.

    Any name will do with a `suite`, which then says the distribution too.
    """
    repository, _, tag = name.rpartition("/")[2].partition(":")
    if suite and repository not in _DISTRIBUTIONS:
        repository = "ubuntu" if suite in _UBUNTU else "debian"
    if repository not in _DISTRIBUTIONS:
        known = " and ".join(f"{each}:SUITE" for each in _DISTRIBUTIONS)
        raise ImageError(f"cannot bootstrap {name!r}, only {known}", hint=_IMPORT)
    if variant not in _VARIANTS:
        raise ImageError(f"unknown variant {variant!r}", hint=f"one of {', '.join(_VARIANTS)}")
    suite = suite or tag.removesuffix("-slim")
    if not suite:
        raise ImageError(f"{name!r} does not say which suite", hint=f"{repository}:SUITE")
    for word in (suite, *include):
        _check_word(word)
    return BaseSystem(
        distribution=repository, suite=suite, include=include, mirror=mirror, variant=variant
    )


def bootstrap(
    system: BaseSystem,
    destination: Path,
    report: Reporter,
    *,
    epoch: int = DEFAULT_EPOCH,
    running: Running | None = None,
) -> Bootstrapped:
    """Write the root tar of a base system to `destination`; times are clamped to `epoch`.

    Temporary files go beside it. Raises `ImageError` when the distribution does not have what is
    asked for, `OutsideError` when anything else keeps mmdebstrap from it.
    """
    distribution = _DISTRIBUTIONS[system.distribution]
    _check_keyring(system, distribution)
    _check_room(system, destination.parent)
    part = destination.with_name(f".{destination.name}.part.tar")
    command = Command(
        argv=_arguments(system, distribution, part),
        env=os.environ
        | {
            "SOURCE_DATE_EPOCH": str(epoch),
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(destination.parent),
        },
        family=True,
    )
    try:
        finished = run(command, on_line=lambda line: _pass_on(line, report), running=running)
        if finished.code:
            raise _failure(system, finished)
        packages = installed_packages(part)
        _add_empty_dev(part, epoch)
        part.rename(destination)
    finally:
        part.unlink(missing_ok=True)
    return Bootstrapped(destination, packages)


def _check_room(system: BaseSystem, folder: Path) -> None:
    """Refuse a disk that cannot hold the smallest system: apt would wait on it for ever."""
    free = shutil.disk_usage(folder).free
    if free < _SMALLEST:
        name = f"{system.distribution}:{system.suite}"
        message = f"{folder}: has room for {free / 1e6:.0f} MB, {name} takes {_SMALLEST / 1e6:.0f}"
        raise OutsideError(message, hint="make room, or name another --store")


def _add_empty_dev(tar: Path, epoch: int) -> None:
    """Add the folder /dev, which is left out with the device nodes that mmdebstrap would put in.

    The nodes are the kernel's to make, but a read-only root needs the folder to mount them on.
    """
    with tarfile.open(tar, "a") as archive:
        folder = tarfile.TarInfo("./dev")
        folder.type = tarfile.DIRTYPE
        folder.mode = 0o755
        folder.mtime = epoch
        archive.addfile(folder)


def _failure(system: BaseSystem, finished: Finished) -> CompilerError:
    """Tell a wrong name from a network or a disk that failed."""
    what = f"cannot bootstrap {system.distribution}:{system.suite}"
    for sign, reason in _WRONG_NAMES:
        if any(sign in line for line in finished.tail):
            return ImageError(f"{what}: {reason}{_quoted(finished, sign)}")
    said = "".join(f"\n    {line}" for line in finished.tail)
    return OutsideError(f"{what}: mmdebstrap failed with exit code {finished.code}{said}")


def _quoted(finished: Finished, sign: str) -> str:
    return "".join(f"\n    {line}" for line in finished.tail if sign in line)


def installed_packages(tar: Path) -> tuple[tuple[str, str], ...]:
    """List the Debian packages in a root tar: (name, version), sorted."""
    with tarfile.open(tar) as archive, suppress(KeyError):
        content = archive.extractfile("./var/lib/dpkg/status")
        if content is not None:
            return _packages_of(content.read().decode(errors="replace"))
    return ()


def _packages_of(status: str) -> tuple[tuple[str, str], ...]:
    """Read dpkg's status file (deb822(5), one stanza a package)."""
    found = []
    for stanza in status.split("\n\n"):
        fields = dict(
            line.split(": ", 1)
            for line in stanza.splitlines()
            if line[:1].isalpha() and ": " in line
        )
        if fields.get("Status", "").endswith(" installed"):
            found.append((fields.get("Package", ""), fields.get("Version", "")))
    return tuple(sorted(found))


def _arguments(
    system: BaseSystem, distribution: _Distribution, destination: Path
) -> tuple[str, ...]:
    """Write mmdebstrap's command line."""
    options = [
        f"--variant={system.variant}",
        "--format=tar",
        "--skip=output/dev,cleanup/apt",
        f"--keyring={distribution.keyring}",
    ]
    if system.include:
        options.append(f"--include={','.join(system.include)}")
    if system.architecture:
        options.append(f"--architectures={system.architecture}")
    options.append(f"--customize-hook={_CLEAN}")
    sources = _sources(system, distribution)
    return ("mmdebstrap", *options, system.suite, str(destination), *sources)


def _sources(system: BaseSystem, distribution: _Distribution) -> list[str]:
    """Write the lines of sources.list(5), which stay in the root for the steps to use."""
    if system.mirror:
        return [f"deb {system.mirror} {system.suite} {distribution.components}"]
    lines = [f"deb {distribution.mirror} {system.suite} {distribution.components}"]
    if system.suite not in distribution.rolling:
        components = distribution.components
        lines.append(f"deb {distribution.mirror} {system.suite}-updates {components}")
        lines.append(f"deb {distribution.security} {system.suite}-security {components}")
    return lines


def _check_keyring(system: BaseSystem, distribution: _Distribution) -> None:
    if not distribution.keyring.exists():
        package = distribution.keyring_package
        raise OutsideError(
            f"the keys of {system.distribution}'s packages are missing: {distribution.keyring}",
            hint=f"apt install {package}, dnf install {package} or zypper install {package}",
        )


def _check_word(word: str) -> None:
    """Refuse what would be read as something else on a command line or in sources.list(5)."""
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.:=~_/")
    if not word or word.startswith("-") or not set(word) <= allowed:
        raise ImageError(f"{word!r} is neither a suite nor a package")


def _pass_on(line: str, report: Reporter) -> None:
    """Report what mmdebstrap says about its progress, and its warnings."""
    kind, _, text = line.partition(": ")
    if kind in {"I", "W", "E"} and "unsandboxed" not in text:  # true of every private folder
        report(Noted(text, warning=kind != "I"))
