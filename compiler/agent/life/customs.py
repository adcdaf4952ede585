"""What somebody wants of partitions, as a file: of yip's stage `partitioning`, or elemental's keys.

    stages: {partitioning: [{layout: {add_partitions: [{fsLabel: COS_STATE, size: 8192}]}}]}
    partitions: {state: {size: 8192, fs: ext4}}
    extra-partitions: [{name: data, size: 1000, fs: ext4, label: DATA}]

Sizes are MiB; 0 is the rest of the disk.
"""

from collections.abc import Iterable, Mapping

import yaml

from compiler.agent.life.disk import FILESYSTEMS, GRUB_READS
from compiler.agent.life.partition import Layout, Part
from compiler.agent.life.phases import LifeError, Phase
from compiler.errors import Location
from compiler.layout import Label

_OURS = {"oem": Label.OEM, "state": Label.STATE, "recovery": Label.RECOVERY,
         "persistent": Label.PERSISTENT}  # fmt: skip
_LARGEST = 1 << 40
_KEYS = frozenset({"flags", "fs", "label", "mountPoint", "name", "size"})
"""What elemental's configuration has of a partition; flags and mount points mean nothing here."""


def parse_layout(text: str, name: str) -> Layout:
    """Read a file; raises `LifeError` that names it."""
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = Location(name, mark.line + 1, mark.column + 1) if mark else Location(name)
        raise LifeError("is not YAML", Phase.CONFIG, location=place) from error
    if not isinstance(value, dict):
        raise LifeError("is no map of keys", Phase.CONFIG, location=Location(name))
    try:
        return _layout([*_of_stages(value), *_of_keys(value)])
    except ValueError as error:
        raise LifeError(str(error), Phase.CONFIG, location=Location(name)) from error


def _of_stages(value: Mapping[str, object]) -> Iterable[Mapping[str, object]]:
    """Find the partitions of the stage `partitioning`."""
    stages = _map(value.get("stages"), "stages")
    for step in _list(stages.get("partitioning"), "stages.partitioning"):
        layout = _map(_map(step, "a step").get("layout"), "layout")
        for each in _list(layout.get("add_partitions"), "add_partitions"):
            entry = _map(each, "a partition")
            yield {
                "label": entry.get("fsLabel") or entry.get("fslabel"),
                "name": entry.get("pLabel") or entry.get("plabel"),
                "size": entry.get("size"),
                "fs": entry.get("filesystem"),
            }


def _of_keys(value: Mapping[str, object]) -> Iterable[Mapping[str, object]]:
    """Find the partitions of elemental's configuration, also below `install`."""
    outer = _map(value.get("install"), "install") or value
    for name, entry in _map(outer.get("partitions"), "partitions").items():
        if name in _OURS:
            known = _map(entry, name)
            if known.get("label") not in {None, _OURS[name]}:
                raise ValueError(f"{name} has the label {_OURS[name]}, and no other")
            yield {**known, "label": _OURS[name], "name": name}
        elif name != "bootloader":
            raise ValueError(f"{name[:40]!r} is none of our partitions: {', '.join(_OURS)}")
    for each in _list(outer.get("extra-partitions"), "extra-partitions"):
        yield _map(each, "a partition")


def _layout(entries: Iterable[Mapping[str, object]]) -> Layout:
    sizes: list[tuple[str, int]] = []
    filesystems: list[tuple[str, str]] = []
    extra: list[Part] = []
    for entry in entries:
        if unknown := [key for key in entry if key not in _KEYS]:
            raise ValueError(f"{unknown[0][:40]!r} is none of {', '.join(sorted(_KEYS))}")
        label, name = _text(entry, "label"), _text(entry, "name")
        size, filesystem = _size(entry.get("size")), _text(entry, "fs")
        if label == Label.GRUB:
            continue  # it is made where the firmware needs it, in the size that it needs
        _check_filesystem(filesystem, label)
        if label in _OURS.values():
            sizes += [(label, size)] if entry.get("size") is not None else []
            filesystems += [(label, filesystem)] if filesystem else []
            continue
        if not (label or name):
            raise ValueError("a partition has neither a name nor a label")
        if label in {*Label, *(each.label for each in extra if each.label)}:
            raise ValueError(f"another partition, or an image, has the label {label}")
        extra.append(
            Part(
                name=name or label.lower(),
                label=label,
                size=size,
                filesystem=filesystem or ("ext4" if label else ""),
            )
        )
    return Layout(sizes=tuple(sizes), filesystems=tuple(filesystems), extra=tuple(extra))


def _check_filesystem(filesystem: str, label: str) -> None:
    """Raise `ValueError` for one that we cannot make, or that the boot loader cannot read."""
    read = label in _OURS.values() and label != Label.PERSISTENT
    usable = GRUB_READS if read else FILESYSTEMS
    if filesystem and filesystem not in usable:
        of = f" for {label}" if read else ""
        raise ValueError(f"{filesystem} is no file system{of}: {', '.join(usable)}")


def _size(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LARGEST:
        raise ValueError(f"a size is a number of MiB, not {value!r}")
    return value


def _text(entry: Mapping[str, object], key: str) -> str:
    value = entry.get(key)
    text = "" if value is None else str(value)
    if len(text) > 36 or any(not (each.isalnum() or each in "_.-") for each in text):  # noqa: PLR2004
        raise ValueError(f"{key} cannot be {text[:60]!r}: letters, digits, '_', '.' and '-'")
    return text


def _map(value: object, what: str) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{what} is to be a map of keys")  # noqa: TRY004  (said with its file)
    return {str(key): item for key, item in value.items()}


def _list(value: object, what: str) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{what} is to be a list")  # noqa: TRY004  (said with its file)
    return value
