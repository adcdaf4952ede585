"""Reads which distribution a root is, and which of its packages are installed there."""

from typing import BinaryIO

from compiler.sbom import Distro, Found, Root
from compiler.sbom.dpkg import STATUS, STATUS_FOLDER, read_dpkg
from compiler.sbom.rpm import read_rpm, rpm_database, unread_rpm

_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
_LARGEST = 1 << 16


def read_packages(root: Root) -> Found:
    """Read the databases of dpkg and rpm that `root` has; none is no fault.

    Raises `CompilerError` for one that is damaged. What is there in a form that cannot be read is
    in `unread`.
    """
    distro = read_distro(root)
    packages = (*read_dpkg(root, distro), *read_rpm(root, distro))
    folder = (f"{STATUS_FOLDER}/{name}" for name in root.names(STATUS_FOLDER))
    rpm = rpm_database(root)
    return Found(
        packages=packages,
        distro=distro,
        databases=(STATUS, *sorted(folder), *((rpm,) if rpm else ())),
        unread=() if rpm else tuple(unread_rpm(root)),
    )


def read_distro(root: Root) -> Distro:
    """Read os-release(5), of which the file in `/etc` counts first."""
    for path in _OS_RELEASE:
        file = root.open(path)
        if file is not None:
            with file:
                return _parse(file)
    return Distro()


def _parse(file: BinaryIO) -> Distro:
    """Read the variables that name a distribution."""
    fields = {}
    for line in file.read(_LARGEST).decode("utf-8", "replace").splitlines():
        key, _, value = line.strip().partition("=")
        fields[key] = value.strip().strip("\"'")
    return Distro(
        id=fields.get("ID", ""),
        version=fields.get("VERSION_ID", "") or fields.get("VERSION_CODENAME", ""),
        name=fields.get("PRETTY_NAME", "") or fields.get("NAME", ""),
    )
