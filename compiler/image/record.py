"""The record of what is installed on a disk that is made here, as the agent writes it elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import yaml

from compiler.layout import Label

_ACTION = "build-disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a system comes from: a source by scheme, and `sha256:…` of it where it has one.

    Both are what the agent writes down of a machine that was installed or upgraded from there.
    """

    source: str = ""
    digest: str = ""


def state_record(images: Mapping[str, Mapping[str, str]], *, epoch: int) -> bytes:
    """Write `state.yaml`: `active`, `passive` and `recovery` with source, digest, label and fs.

    Its shape is elemental's, with named images in place of numbered snapshots.
    """
    date = datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z")
    made: dict[str, str] = {"date": date, "fromAction": _ACTION}
    entries: dict[str, dict[str, str]] = {name: {**image, **made} for name, image in images.items()}
    state: dict[str, object] = {
        name: entries[name] for name in ("active", "passive") if name in entries
    }
    record: dict[str, object] = {
        "date": date,
        "oem": {"label": str(Label.OEM)},
        "persistent": {"label": str(Label.PERSISTENT)},
        "recovery": {"label": str(Label.RECOVERY), "recovery": entries["recovery"]},
    }
    if state:
        record["state"] = {"label": str(Label.STATE), **state}
    return yaml.safe_dump(record, sort_keys=True, default_flow_style=False).encode()
