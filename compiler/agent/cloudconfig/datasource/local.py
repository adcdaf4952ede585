"""Sources that need no network: files, disks, and the host of a virtual machine."""

import base64
import binascii
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from compiler.agent.cloudconfig.datasource import Found, NothingError
from compiler.agent.cloudconfig.datasource.service import LARGE
from compiler.agent.cloudconfig.datasource.userdata import gunzipped
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.programs import Program
from compiler.agent.root import Root
from compiler.errors import OutsideError
from compiler.process import Command, run

_TIMEOUT = 20.0
_LABELS = ("cidata", "CIDATA")
_CONFIG_DRIVE = ("config-2", "CONFIG-2")
_USERDATA = ("user-data", "config")
_OPENSTACK = ("openstack/latest/user_data",)
_RPC = ("vmware-rpctool", "vmtoolsd")


def from_file(path: str, machine: Machine) -> Found:
    """Read a file of the root."""
    if not path or not machine.root.is_file(path):
        raise NothingError(f"there is no file {path!r}")
    return Found(provider=path, userdata=machine.root.read(path, LARGE))


def cdrom(machine: Machine) -> Found:
    """Read the discs in the drives, then a disk that is labelled as one."""
    devices = [each for each in _drives(machine.root) if each]
    devices += [each for label in _LABELS if (each := _labelled(label, machine))]
    return Found(provider="CDROM", userdata=_first(devices, _USERDATA, machine))


def config_drive(machine: Machine) -> Found:
    """Read the disk that OpenStack adds to a machine."""
    devices = [each for label in _CONFIG_DRIVE if (each := _labelled(label, machine))]
    return Found(provider="ConfigDrive", userdata=_first(devices, _OPENSTACK, machine))


def _drives(root: Root) -> Iterator[str]:
    names = root.names("/dev") if root.is_folder("/dev") else []
    return (f"/dev/{name}" for name in names if re.fullmatch(r"sr[0-9]+", name))


def _labelled(label: str, machine: Machine) -> str:
    try:
        finished, text = machine.programs.ask_tool(
            Program(argv=("blkid", "-l", "--match-token", f"LABEL={label}", "-o", "device"))
        )
    except OutsideError:
        return ""
    return "" if finished.code or machine.root.status(text.strip()) is None else text.strip()


def _first(devices: list[str], names: tuple[str, ...], machine: Machine) -> bytes:
    """Return the first of the files that a device has; raises `NothingError`."""
    for device in devices:
        with _mounted(str(machine.root.settled(device))) as folder:
            for name in names:
                if folder is not None and folder.is_file(name):
                    return folder.read(name, LARGE)
    raise NothingError("no disc has user data")


@contextmanager
def _mounted(device: str) -> Iterator[Root | None]:
    """Show a device for a while, read-only; None if it cannot be mounted."""
    with tempfile.TemporaryDirectory(prefix="cos-datasource-") as folder:
        mount = Command(
            argv=("mount", "-o", "ro,nodev,nosuid,noexec", "--", device, folder), timeout=_TIMEOUT
        )
        if run(mount).code:
            yield None
            return
        try:
            with Root(Path(folder)) as root:
                yield root
        finally:
            run(Command(argv=("umount", "--lazy", "--", folder), timeout=_TIMEOUT))


def vmware(machine: Machine) -> Found:
    """Ask the host by the variables `guestinfo`."""
    program = next((each for each in _RPC if machine.programs.has(each)), None)
    if program is None:
        raise NothingError("no program asks VMware")

    def variable(name: str) -> str:
        question = f"info-get guestinfo.{name}"
        words = (program, question) if program == _RPC[0] else (program, "--cmd", question)
        finished, text = machine.programs.ask(Program(argv=words, timeout=_TIMEOUT))
        return "" if finished.code else text

    userdata = guest_variable("userdata", variable)
    metadata = guest_variable("metadata", variable).decode("utf-8", "replace")
    if not userdata and not metadata:
        raise NothingError("guestinfo has no data")
    return Found(provider="VMware", userdata=userdata, hostname=_local_hostname(metadata))


def guest_variable(name: str, variable: Callable[[str], str]) -> bytes:
    """Read a variable in the encoding that another one names; raises `OutsideError`."""
    text = variable(name).rstrip("\n")
    encoding = variable(f"{name}.encoding").strip()
    decode = _ENCODINGS.get(encoding)
    if decode is None:
        raise OutsideError(f"unknown encoding {encoding!r} of guestinfo.{name}")
    return decode(text)


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise OutsideError(f"guestinfo is not base64: {error}") from error


def _plain(text: str) -> bytes:
    return f"{text}\n".encode() if text else b""


def _from_gzip(text: str) -> bytes:
    return gunzipped(_from_base64(text))


_ENCODINGS: Mapping[str, Callable[[str], bytes]] = {
    "": _plain,
    **dict.fromkeys(("base64", "b64"), _from_base64),
    **dict.fromkeys(("gzip+base64", "gz+b64"), _from_gzip),
}


def _local_hostname(metadata: str) -> str:
    match = re.search(r"(?m)^\s*\"?local-hostname\"?\s*:\s*\"?([A-Za-z0-9.-]+)", metadata)
    return match[1] if match else ""
