"""`cos-agent status`: what runs, what is installed since when, and what is known of it."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from compiler.agent import assess
from compiler.agent.booted import booted_image
from compiler.agent.installed import Installed
from compiler.agent.life import record
from compiler.agent.life.detect import Device, labelled
from compiler.agent.life.host import Host
from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.life.settings import Settings
from compiler.agent.life.site import label_of, own_disk
from compiler.grubenv import read_block
from compiler.layout import OWNER_CHOICES, Label, snapshot_number

_STATE = "/run/initramfs/cos-state"
_OEM = "/oem"
_OS_RELEASE = "/etc/os-release"
_JUDGED = ("standing", "tries_left")


def status(host: Host, settings: Settings) -> None:
    """Print it as text, JSON or YAML; raises `LifeError`."""
    found = gather(host, settings)
    form = settings.text("OUTPUT") or "terminal"
    if form == "json":
        host.log.info(json.dumps(found, indent=2, sort_keys=True))
    elif form == "yaml":
        host.log.info(yaml.safe_dump(found, sort_keys=True).rstrip())
    elif form == "terminal":
        for line in lines_of(found):
            host.log.info(line)
    else:
        hint = "terminal, json or yaml"
        raise LifeError(f"{form[:40]!r} is no form of output", Phase.CONFIG, hint=hint)


def gather(host: Host, settings: Settings) -> dict[str, Any]:
    """Collect all; what only root may see is left out for others. Nothing is mounted."""
    devices = host.devices() if os.geteuid() == 0 else ()
    booted = host.booted(devices)
    state = _folder(host, devices, settings)
    known = record.read(state) if state else {}
    assessed = assess.gather(Installed(host.root, state))
    choices = read_block(host.path(_OEM) / OWNER_CHOICES)
    release = dict(
        line.split("=", 1) for line in host.text(_OS_RELEASE).splitlines() if "=" in line
    )
    older = snapshot_number(booted_image(host.text("/proc/cmdline")).removeprefix("/"))
    return {
        "booted": booted.value,
        **({} if older is None else {"snapshot": older}),
        "version": release.get("VERSION", "").strip('"'),
        "system": release.get("PRETTY_NAME", "").strip('"'),
        "images": _images(known, assessed),
        "assessment": assessed,
        "next_entry": choices.get("next_entry", ""),
        "saved_entry": choices.get("saved_entry", ""),
    }


def _folder(host: Host, devices: Sequence[Device], settings: Settings) -> Path | None:
    """Find where the state partition is mounted."""
    usual = host.path(_STATE)
    if (usual / "cOS").is_dir():
        return usual
    disk = own_disk(host, settings, devices)
    device = labelled(devices, label_of(settings, Label.STATE), disk)
    return next((Path(each) for each in device.mounts), None) if device else None


def _images(known: record.Record, assessed: Mapping[str, Any]) -> dict[str, Any]:
    """Join what the record has of an image with what is known of how it boots."""
    found = {}
    for name in ("active", "passive", "recovery"):
        image = record.image_of(known, name)
        if image is not None:
            judged = assessed["systems"].get(name, {})
            found[name] = {**image, **{key: judged[key] for key in _JUDGED if key in judged}}
    older = sorted(record.snapshots_of(known).items(), reverse=True)
    return found | {f"snapshot {number}": image for number, image in older}


def lines_of(found: Mapping[str, Any]) -> Iterator[str]:
    """Write it for people."""
    older = f", snapshot {found['snapshot']}" if "snapshot" in found else ""
    yield f"Booted:     {found['booted']}{older} ({found['system'] or 'unknown system'})"
    for name, image in found["images"].items():
        said = f"{image.get('source', 'unknown')} since {image.get('date', 'unknown')}"
        by = f", by {image['fromAction']}" if "fromAction" in image else ""
        judged = f", {image['standing']}" if "standing" in image else ""
        judged += f", {image['tries_left']} tries left" if "tries_left" in image else ""
        yield f"{name.capitalize() + ':':<11} {said}{by}{judged}"
        if "digest" in image:
            yield f"            {image['digest']}"
        labels = image.get("labels")
        if isinstance(labels, dict):
            yield f"            {', '.join(f'{key}={text}' for key, text in labels.items())}"
    assessed = found["assessment"]
    if assessed["failure"]:
        yield f"Failed:     {assessed['failure']}"
    yield f"Next:       {assessed['next'] or 'nothing'}"
    for name in ("next_entry", "saved_entry"):
        if found[name]:
            yield f"Boot menu:  {name} is {found[name]}"
