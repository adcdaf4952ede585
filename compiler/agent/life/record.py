"""The record of what is installed: `state.yaml` on the state and the recovery partition.

Its shape is elemental's (os.md of that project's documentation: state.yaml), with the images
`active` and `passive` where that has numbered snapshots.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from compiler.agent.life.host import write_whole
from compiler.agent.life.phases import Phase, during
from compiler.layout import STATE_RECORD, Label

_LARGEST = 1 << 20

_OURS: Mapping[Label, str] = {label: str(label) for label in Label}

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Where the system in an image came from, and when it was put there."""

    source: str
    digest: str
    label: str
    filesystem: str
    action: str
    date: str
    uuid: str = ""
    """That of its file system: by it an image is known wherever it is renamed to."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What somebody wants to be said of it."""


def now() -> str:
    """Return the time as the record has it."""
    return datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def entry(image: Image) -> Record:
    """Write an image as the record has it."""
    found = {
        "source": image.source,
        "digest": image.digest,
        "label": image.label,
        "fs": image.filesystem,
        "date": image.date,
        "fromAction": image.action,
        "uuid": image.uuid,
    }
    labels: Record = {"labels": dict(image.labels)} if image.labels else {}
    return {**{name: text for name, text in found.items() if text}, **labels}


def read(folder: Path) -> Record:
    """Read the record of a partition; one that is not there or damaged says nothing."""
    try:
        with (folder / STATE_RECORD).open("rb") as file:
            value = yaml.safe_load(file.read(_LARGEST))
    except (OSError, yaml.YAMLError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write(folder: Path, record: Record) -> None:
    """Write the record, whole or not at all; raises `LifeError`."""
    text = yaml.safe_dump(record, sort_keys=True, default_flow_style=False)
    with during(Phase.RECORD, "the record cannot be written"):
        write_whole(folder / STATE_RECORD, text.encode())


def with_images(
    record: Record, changes: Mapping[str, Any], names: Mapping[Label, str] = _OURS
) -> Record:
    """Return a record with other images: `active`, `passive`, `recovery`; None takes one out.

    `names` are what the labels of partitions are called on the machine.
    """
    new: Record = {
        "oem": {"label": names[Label.OEM]},
        "persistent": {"label": names[Label.PERSISTENT]},
        **record,
        "date": now(),
    }
    for name, image in changes.items():
        part = "recovery" if name == "recovery" else "state"
        label = Label.RECOVERY if name == "recovery" else Label.STATE
        section = new.get(part)
        kept = dict(section) if isinstance(section, dict) else {}
        kept.setdefault("label", names[label])
        kept.pop(name, None)
        new[part] = {**kept, **({name: image} if image is not None else {})}
    return new


def reconciled(
    record: Record,
    uuids: Mapping[str, str],
    labels: Mapping[str, str],
    older: Mapping[int, str] | None = None,
) -> Record:
    """Return a record that says of each name which image it stands for now.

    `uuids` are those of the images that are there, `labels` those of the names, `older` the uuids
    of snapshots by their numbers. So a record that was written before images were renamed is right
    after each step of it.
    """
    section = record.get("state")
    known = section if isinstance(section, dict) else {}
    pool = {
        each["uuid"]: each
        for each in (*known.values(), *snapshots_of(record).values())
        if isinstance(each, dict) and isinstance(each.get("uuid"), str)
    }
    changes: dict[str, Any] = {"transition": None}

    def about(uuid: str, label: str) -> Record:
        return {**pool.get(uuid, {"source": "unknown", "uuid": uuid}), "label": label}

    for name in ("active", "passive"):
        changes[name] = about(uuids[name], labels[name]) if name in uuids else None
    numbered = {number: about(uuid, labels["passive"]) for number, uuid in (older or {}).items()}
    changes["snapshots"] = numbered or None
    return with_images(record, changes)


def snapshots_of(record: Record) -> dict[int, Record]:
    """Return what the record has of older systems, by their numbers."""
    section = record.get("state")
    found = section.get("snapshots") if isinstance(section, dict) else None
    known = found if isinstance(found, dict) else {}
    return {
        number: image
        for number, image in known.items()
        if isinstance(number, int) and isinstance(image, dict)
    }


def with_systems(record: Record, systems: int) -> Record:
    """Return a record that says how many systems stay on the machine, as elemental's does."""
    return {**record, "snapshotter": {"type": "loopdevice", "max-snaps": systems}}


def systems_of(record: Record) -> int | None:
    """Return how many systems stay on the machine; None if the record does not say."""
    section = record.get("snapshotter")
    found = section.get("max-snaps") if isinstance(section, dict) else None
    return found if isinstance(found, int) and found >= 0 else None


def image_of(record: Record, name: str) -> Record | None:
    """Return what the record has of an image."""
    section = record.get("recovery" if name == "recovery" else "state")
    found = section.get(name) if isinstance(section, dict) else None
    return found if isinstance(found, dict) else None
