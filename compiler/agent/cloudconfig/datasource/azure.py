"""Azure: its metadata service, and the report that the machine is up, which it waits for."""

import base64
import binascii
import re
from collections.abc import Mapping

from compiler.agent.cloudconfig.datasource import Found
from compiler.agent.cloudconfig.datasource.service import Service, at, printable, text_at
from compiler.errors import OutsideError

_VERSION = "2021-01-01"
_WIRE_VERSION = {"x-ms-version": "2012-11-30"}
_XML = {"Content-Type": "text/xml; charset=utf-8"}
_FIELDS = ("Incarnation", "ContainerId", "InstanceId")
_REPORT = (
    '<?xml version="1.0" encoding="utf-8"?><Health>'
    "<GoalStateIncarnation>{Incarnation}</GoalStateIncarnation>"
    "<Container><ContainerId>{ContainerId}</ContainerId><RoleInstanceList><Role>"
    "<InstanceId>{InstanceId}</InstanceId><Health><State>Ready</State></Health>"
    "</Role></RoleInstanceList></Container></Health>"
)


def azure(addresses: Mapping[str, str]) -> Found:
    """Ask the metadata service (IMDS)."""
    base = addresses.get("azure", "http://169.254.169.254").rstrip("/")
    service = Service(base, {"Metadata": "true"})
    data = service.object(f"/metadata/instance?api-version={_VERSION}")
    compute = at(data, "compute")
    address = ("network", "interface", 0, "ipv4", "ipAddress", 0)
    keys = at(compute, "publicKeys")
    facts = {
        "public_ipv4": text_at(data, *address, "publicIpAddress"),
        "local_ipv4": text_at(data, *address, "privateIpAddress"),
        "availability_zone": text_at(compute, "zone"),
        "instance_id": text_at(compute, "vmId"),
    }
    return Found(
        provider="Azure",
        userdata=_userdata(text_at(compute, "userData")),
        hostname=text_at(compute, "osProfile", "computerName") or text_at(compute, "name"),
        keys=tuple(key for each in (keys if isinstance(keys, list) else []) if (key := _key(each))),
        facts={name: fact for name, fact in facts.items() if fact},
    )


def _key(value: object) -> str:
    return " ".join(text_at(value, "keyData").split())


def _userdata(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise OutsideError(f"the user data is not base64: {error}") from error


def report_ready(addresses: Mapping[str, str]) -> None:
    """Tell the fabric that the machine is up; raises `OutsideError`."""
    base = addresses.get("azure_wire", "http://168.63.129.16").rstrip("/")
    service = Service(base, _WIRE_VERSION)
    goal = service.text("/machine/?comp=goalstate")
    fields = {name: _field(name, goal) for name in _FIELDS}
    body = _REPORT.format(**fields).encode()
    service.send("/machine?comp=health", "POST", body, _XML)


def _field(name: str, goal: str) -> str:
    """Take one field out of the goal state; nothing else of the XML is looked at."""
    match = re.search(rf"<{name}>([A-Za-z0-9._-]{{1,200}})</{name}>", goal)
    if match is None:
        raise OutsideError(f"the goal state has no {name}")
    return printable(match[1])
