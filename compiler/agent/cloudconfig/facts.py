"""Facts of the machine, as templates see them below `.Values`, and what conditions compare with."""

import os
import re
import uuid
from collections.abc import Mapping

from compiler.agent.cloudconfig.machine import Outside
from compiler.agent.root import Root
from compiler.errors import OutsideError

_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "i386": "386",
    "loongarch64": "loong64",
}
_SMALL = 1 << 20
_RELEASES = ("/etc/os-release", "/usr/lib/os-release")
_RANDOM = 24
_DMI: Mapping[str, Mapping[str, str]] = {
    "product": {
        "name": "product_name",
        "vendor": "sys_vendor",
        "version": "product_version",
        "serial": "product_serial",
        "uuid": "product_uuid",
        "sku": "product_sku",
    },
    "board": {
        "name": "board_name",
        "vendor": "board_vendor",
        "version": "board_version",
        "serial": "board_serial",
        "assettag": "board_asset_tag",
    },
    "chassis": {
        "type": "chassis_type",
        "vendor": "chassis_vendor",
        "version": "chassis_version",
        "serial": "chassis_serial",
        "assettag": "chassis_asset_tag",
    },
    "bios": {"vendor": "bios_vendor", "version": "bios_version", "date": "bios_date"},
}
_HYPERVISORS = {
    "QEMU": "kvm",
    "VMware": "vmware",
    "VirtualBox": "virtualbox",
    "Xen": "xen",
    "Microsoft Corporation": "hyperv",
    "Amazon EC2": "kvm",
    "Google": "kvm",
}


def architecture() -> str:
    """Name the processor as Go does."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


def os_release(root: Root) -> dict[str, str]:
    """Read what the root says that it is; nothing if it does not say."""
    path = next((each for each in _RELEASES if root.is_file(each)), None)
    return parse_release(_read(root, path)) if path else {}


def parse_release(text: str) -> dict[str, str]:
    """Read the text of an os-release file."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, sep, value in pairs if sep}


def values(root: Root, outside: Outside) -> dict[str, object]:
    """Gather everything that a template may ask for."""
    machine_id = _read(root, "/etc/machine-id").strip()
    random, protected = outside.random(_RANDOM), _protected(machine_id)
    tree = {
        "node": _node(root, outside, machine_id),
        "os": _os(root),
        "kernel": _kernel(),
        **{part: _dmi(root, names) for part, names in _DMI.items()},
        "cpu": _cpu(root),
        "memory": _memory(root),
        "storage": _storage(root),
        "network": _network(root),
        "Random": random,
        "ProtectedID": protected,
    }
    return {
        "Values": tree,
        "UUID": str(uuid.uuid5(uuid.NAMESPACE_OID, machine_id or random)),
        "Random": random,
        "MachineID": machine_id,
        "ProtectedID": protected,
    }


def _protected(machine_id: str) -> str:
    """Derive a number from the machine's own that does not give it away."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"cos {machine_id}").hex if machine_id else ""


def _node(root: Root, outside: Outside, machine_id: str) -> dict[str, object]:
    vendor = _read(root, "/sys/class/dmi/id/sys_vendor").strip()
    found = (kind for word, kind in _HYPERVISORS.items() if word in vendor)
    return {
        "hostname": outside.host_name(),
        "machineid": machine_id,
        "hypervisor": next(found, ""),
        "timezone": _read(root, "/etc/timezone").strip(),
    }


def _os(root: Root) -> dict[str, object]:
    release = os_release(root)
    return {
        "name": release.get("PRETTY_NAME", release.get("NAME", "")),
        "vendor": release.get("ID", ""),
        "version": release.get("VERSION_ID", ""),
        "release": release.get("VERSION", release.get("VERSION_ID", "")),
        "architecture": architecture(),
    }


def _kernel() -> dict[str, object]:
    system = os.uname()
    return {
        "release": system.release,
        "version": system.version,
        "architecture": system.machine,
    }


def _dmi(root: Root, names: Mapping[str, str]) -> dict[str, object]:
    return {key: _read(root, f"/sys/class/dmi/id/{file}").strip() for key, file in names.items()}


def _cpu(root: Root) -> dict[str, object]:
    text = _read(root, "/proc/cpuinfo")
    threads = len(re.findall(r"(?m)^processor\s*:", text))
    cores = set(re.findall(r"(?m)^core id\s*:\s*(.*)$", text))
    return {
        "vendor": _first(r"(?m)^vendor_id\s*:\s*(.*)$", text),
        "model": _first(r"(?m)^model name\s*:\s*(.*)$", text),
        "cpus": len(set(re.findall(r"(?m)^physical id\s*:\s*(.*)$", text))) or min(threads, 1),
        "cores": len(cores) or threads,
        "threads": threads,
    }


def _memory(root: Root) -> dict[str, object]:
    """Tell how much memory there is, in MiB."""
    total = _first(r"(?m)^MemTotal:\s*([0-9]+)", _read(root, "/proc/meminfo"))
    return {"size": int(total or 0) // 1024}


def _storage(root: Root) -> list[dict[str, object]]:
    """List the disks, their sizes in GB."""
    found: list[dict[str, object]] = []
    for name in _names(root, "/sys/block"):
        if not re.match(r"loop|ram|zram|dm-|sr|fd|md", name):
            blocks = _read(root, f"/sys/block/{name}/size").strip()
            model = _read(root, f"/sys/block/{name}/device/model").strip()
            size = int(blocks) * 512 // 10**9 if blocks.isdigit() else 0
            found.append({"name": name, "model": model, "size": size})
    return found


def _network(root: Root) -> list[dict[str, object]]:
    return [
        {"name": name, "macaddress": _read(root, f"/sys/class/net/{name}/address").strip()}
        for name in _names(root, "/sys/class/net")
        if name != "lo"
    ]


def _names(root: Root, folder: str) -> list[str]:
    return root.names(folder) if root.is_folder(folder) else []


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1].strip() if match else ""


def _read(root: Root, path: str) -> str:
    """Read a small file; one that is missing or not for us says nothing."""
    try:
        return root.read(path, _SMALL).decode("utf-8", "replace")
    except OutsideError:
        return ""
