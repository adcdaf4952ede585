"""Reads TUF files of repositories one by one, from places that may be hostile."""

from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from compiler.errors import TrustError
from compiler.repository.trust import ROOT, SNAPSHOT, Files, Read, Target, in_image, role_of

_Role = TypeVar("_Role", Timestamp, Snapshot, Targets)


def named_bytes(read: Read, file: str, meta: MetaFile) -> bytes:
    """Read a file that others name by length and hashes."""
    data = read(in_image(file, meta.unrecognized_fields))
    if data is None:
        raise TrustError(f"{file}: is missing, although it is named as the newest")
    try:
        meta.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as error:
        raise TrustError(f"{file}: is not the one that is named as the newest") from error
    return data


def verified(
    kind: type[_Role], file: str, data: bytes, by: tuple[Root | Targets, str]
) -> Metadata[_Role]:
    """Read metadata and verify its signatures."""
    delegator, role = by
    metadata = parsed(kind, file, data)
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except UnsignedMetadataError as error:
        message = f"{file}: is not signed by the keys that the root names"
        raise TrustError(message, hint="somebody may have changed it") from error
    return metadata


def parsed(kind: type[_Role], file: str, data: bytes) -> Metadata[_Role]:
    """Read metadata, whoever signed it."""
    try:
        metadata = Metadata[_Role].from_bytes(data)
    except RepositoryError as error:
        raise TrustError(f"{file}: cannot be read: {error}") from error
    if not isinstance(metadata.signed, kind):
        raise TrustError(f"{file}: holds another kind of metadata")
    return metadata


def named_versions(read: Read) -> Mapping[str, int]:
    """Tell the versions that a repository names as its newest, by role, out of the snapshot.

    No signature is verified, for which a root is needed: this tells what clients will ask for, not
    what they will believe. Raises `TrustError` for what cannot be read.
    """
    return {role: meta.version for role, meta in _named_files(read).items()}


def named_targets(read: Read) -> Mapping[str, Target]:
    """Tell what the newest metadata says of all targets; no signature is verified, as above.

    Raises `TrustError` for what cannot be read.
    """
    found: dict[str, Target] = {}
    for role, meta in _named_files(read).items():
        if role in {SNAPSHOT, ROOT}:
            continue
        file = f"{meta.version}.{role}.json"
        targets = parsed(Targets, file, named_bytes(read, file, meta)).signed.targets
        for path, each in targets.items():
            found[path] = Target(each.length, each.hashes.get("sha256", ""))
    return found


def _named_files(read: Read) -> Mapping[str, MetaFile]:
    """Tell how the newest files are named, by role; no signature is verified."""
    data = read("timestamp.json")
    if data is None:
        raise TrustError("timestamp.json: is missing")
    meta = parsed(Timestamp, "timestamp.json", data).signed.snapshot_meta
    file = f"{meta.version}.snapshot.json"
    snapshot = parsed(Snapshot, file, named_bytes(read, file, meta)).signed
    return {**{role_of(name): each for name, each in snapshot.meta.items()}, SNAPSHOT: meta}


def ends_of(files: Files) -> Mapping[str, datetime]:
    """Tell until when files are good that were just signed, by role."""
    return {
        role_of(name): Metadata[Root].from_bytes(data).signed.expires
        for name, data in files.items()
    }
