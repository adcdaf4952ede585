"""The store's records as JSON: nodes, artifacts, overlaps and marks."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from compiler.keys import ArtifactKey, LayerKey
from compiler.oci import Digest, parse_digest
from compiler.store import ArtifactRecord, NodeRecord


def node_to_json(record: NodeRecord) -> dict[str, object]:
    """Write a node's record as JSON values."""
    value = {**asdict(record), "inputs": dict(record.inputs)}
    return value if record.unverified else _without_doubt(value)


def artifact_to_json(record: ArtifactRecord) -> dict[str, object]:
    """Write an artifact's record as JSON values."""
    value = asdict(record)
    return value if record.unverified else _without_doubt(value)


def _without_doubt(value: dict[str, object]) -> dict[str, object]:
    """Leave out what is said only of that which came from others."""
    return {name: each for name, each in value.items() if name != "unverified"}


def _places(value: object) -> str:
    """Read where something came from unverified; earlier versions said only that it did."""
    return value if isinstance(value, str) else "another machine" if value is True else ""


def doubts(records: Iterable[NodeRecord | ArtifactRecord | None], *more: str) -> str:
    """Say where something came from unverified that is made of these, and from `more` places."""
    named = [*(each.unverified for each in records if each is not None), *more]
    return ", ".join(sorted({place for each in named for place in each.split(", ") if place}))


def node_from_json(value: Mapping[str, object]) -> NodeRecord:
    """Read a node's record; raises `ValueError` or `TypeError` for anything else."""
    inputs = value.get("inputs")
    if not isinstance(inputs, dict):
        raise TypeError("inputs")
    return NodeRecord(
        key=LayerKey(_text(value, "key")),
        content=_text(value, "content"),
        package=_text(value, "package"),
        layers=_digests(value, "layers"),
        builder=int(_number(value, "builder")),
        root=_digests(value, "root"),
        inputs={str(name): str(short) for name, short in inputs.items()},
        needs=tuple(LayerKey(key) for key in texts(value, "needs")),
        log=_text(value, "log"),
        seconds=float(_number(value, "seconds")),
        unverified=_places(value.get("unverified")),
    )


def artifact_from_json(value: Mapping[str, object]) -> ArtifactRecord:
    """Read an artifact's record; raises `TypeError` for anything else."""
    return ArtifactRecord(
        key=ArtifactKey(_text(value, "key")),
        sha256=_text(value, "sha256"),
        size=int(_number(value, "size")),
        unverified=_places(value.get("unverified")),
    )


def texts(value: Mapping[str, object], name: str) -> tuple[str, ...]:
    """Read a list of texts; raises `TypeError` for anything else."""
    found = value.get(name)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise TypeError(name)
    return tuple(found)


def _digests(value: Mapping[str, object], name: str) -> tuple[Digest, ...]:
    return tuple(parse_digest(each) for each in texts(value, name))


def _text(value: Mapping[str, object], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise TypeError(name)
    return found


def _number(value: Mapping[str, object], name: str) -> float:
    found = value.get(name)
    if not isinstance(found, int | float):
        raise TypeError(name)
    return found


def needed_nodes(
    kept: Iterable[LayerKey], nodes: Mapping[LayerKey, NodeRecord]
) -> dict[LayerKey, NodeRecord]:
    """Follow `needs` from the kept keys through the known nodes."""
    found: dict[LayerKey, NodeRecord] = {}
    pending = list(kept)
    while pending:
        key = pending.pop()
        if key in nodes and key not in found:
            found[key] = nodes[key]
            pending.extend(nodes[key].needs)
    return found
