"""A signed repository: its owner, a client of it, and an attacker who can write to it."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tuf.api.metadata import Metadata, MetaFile, Timestamp

from compiler.errors import TrustError
from compiler.repository.sources.disk import DiskSource
from compiler.repository.trust import (
    FOLDER,
    ROLES,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Fetch,
    Target,
    role_of,
    target_of_bytes,
)
from compiler.repository.trust.client import TrustedRepository
from compiler.repository.trust.kept import state_folder
from compiler.repository.trust.keys import Signing, add_signatures, tuf_key
from compiler.repository.trust.places import FolderPlace, fetch_from
from compiler.repository.trust.published import Published, read_published
from compiler.repository.trust.publisher import Contents, refresh, rotate, sign_contents, start
from compiler.repository.trust.root import RolePolicy, first_root, next_root, sign_root
from compiler.signing.keys import PrivateKey

Signed = Any
"""The signed part of any metadata, of which each kind has other fields."""

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = {ROOT: 365, TARGETS: 90, SNAPSHOT: 30, TIMESTAMP: 7}
HELD = tuple(f"{role}{number}" for role in ROLES for number in ("", "-2", "-3"))
"""The names of the keys that an owner has: several for each role, of which the first is used."""

INDEX, ARTIFACTS = {"repository.yaml": "1"}, {"a.tar": "1", "b.tar": "1"}


def keys(*names: str) -> tuple[PrivateKey, ...]:
    """Give the keys of these names, the same in each run; their signatures have one length."""
    seeds = (hashlib.sha256(name.encode()).digest() for name in names)
    return tuple(PrivateKey(Ed25519PrivateKey.from_private_bytes(seed)) for seed in seeds)


def policy(role: str, *names: str, threshold: int = 1) -> RolePolicy:
    """Say that these keys sign for a role."""
    publics = tuple(each.public for each in keys(*names))
    return RolePolicy(keys=publics, threshold=threshold, days=DAYS[role])


def targets_of(texts: Mapping[str, str]) -> dict[str, Target]:
    """Describe some contents."""
    return {name: target_of_bytes(text.encode()) for name, text in texts.items()}


class Owner:
    """Signs a repository in a folder; the newest root is kept at home."""

    def __init__(
        self,
        folder: Path,
        policies: Mapping[str, RolePolicy] = {},
        *,
        bins: int = 2,
        now: datetime = NOW,
    ) -> None:
        self.folder = folder
        self.place = FolderPlace(folder)
        self._bins = bins
        self._policies = {role: policy(role, role) for role in ROLES} | dict(policies)
        self.root = sign_root(first_root(self._policies, now), keys(*HELD))
        self.first = self.root
        """What clients are given when they begin."""

    def published(self) -> Published | None:
        """Read what the repository has."""
        return read_published(self.place.read, self.root)

    def publish(
        self,
        index: Mapping[str, str] = INDEX,
        artifacts: Mapping[str, str | None] = ARTIFACTS,
        now: datetime = NOW,
    ) -> None:
        """Sign a publication; None stands for an artifact that is no longer there."""
        described = targets_of({name: text for name, text in artifacts.items() if text is not None})
        changed = {name: described.get(name) for name in artifacts}
        contents = Contents(index=targets_of(index), artifacts=changed)
        published, signing = self.published(), Signing(keys(*HELD), now)
        if published is None:
            self.place.write(start(self.root, contents, signing, bins=self._bins))
        else:
            self.place.write(sign_contents(published, contents, signing))

    def refresh(self, now: datetime, *names: str) -> None:
        """Sign what is due, with these keys only."""
        self.place.write(refresh(self._there(), Signing(keys(*names), now)))

    def rotate(self, policies: Mapping[str, RolePolicy] = {}, now: datetime = NOW) -> None:
        """Publish a root with other keys."""
        root = sign_root(next_root(self.root, policies, now), keys(*HELD), self.root)
        self.place.write(rotate(self._there(), root, Signing(keys(*HELD), now)))
        self.root = root

    def restart(self, policies: Mapping[str, RolePolicy], now: datetime = NOW) -> None:
        """Publish a root with other keys, and sign under it from nothing."""
        root = sign_root(next_root(self.root, policies, now), keys(*HELD), self.root)
        contents = Contents(index=targets_of(INDEX), artifacts=targets_of(ARTIFACTS))
        self.place.write(start(root, contents, Signing(keys(*HELD), now), bins=self._bins))
        self.root = root

    def _there(self) -> Published:
        published = self.published()
        assert published is not None
        return published


class Client:
    """A machine that was given the first root of a repository; each visit is a new process."""

    def __init__(self, place: Path, owner: Owner, fetch: Fetch | None = None) -> None:
        self.state = state_folder(place)
        self.root = owner.first
        self.fetch = fetch or fetch_from(DiskSource(owner.folder), self.state)

    def visit(self, now: datetime = NOW) -> TrustedRepository:
        """Bring what was signed up to date."""
        repository = TrustedRepository(self.root, self.state, self.fetch, name="main")
        repository.refresh(now)
        return repository

    def refusal(self, now: datetime = NOW) -> str:
        """Fail to do so; returns why."""
        with pytest.raises(TrustError) as caught:
            self.visit(now)
        return str(caught.value)

    def refusal_of(self, name: str, now: datetime = NOW) -> str:
        """Fail to learn about one target; returns why."""
        repository = self.visit(now)
        with pytest.raises(TrustError) as caught:
            repository.require(name)
        return str(caught.value)


class Attacker:
    """Rewrites the TUF files of a repository, and signs with keys that were stolen or made up."""

    def __init__(self, repository: Path) -> None:
        self.folder = repository / FOLDER

    def copy(self) -> dict[str, bytes]:
        """Remember a state."""
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def put_back(self, files: Mapping[str, bytes]) -> None:
        """Show an old state: those files, and no others."""
        for path in self.folder.iterdir():
            path.unlink()
        for name, data in files.items():
            (self.folder / name).write_bytes(data)

    def newest(self, role: str) -> Path:
        """Find the newest file of a role."""
        found = [path for path in self.folder.iterdir() if role_of(path.name) == role]
        return max(found, key=lambda path: int(path.name.partition(".")[0]) if role != TIMESTAMP
                   else 0)  # fmt: skip

    def write(self, role: str, text: bytes) -> None:
        """Overwrite the newest file of a role."""
        self.newest(role).write_bytes(text)

    def forge(self, role: str, change: Callable[[Signed], None], *stolen: str) -> MetaFile:
        """Write the next file of a role, signed with stolen keys; tells how others name it."""
        metadata: Any = Metadata.from_bytes(self.newest(role).read_bytes())
        change(metadata.signed)
        metadata.signatures.clear()
        thieves = keys(*stolen)
        add_signatures(metadata, thieves, {tuf_key(each.public).keyid for each in thieves})
        version, data = metadata.signed.version, metadata.to_bytes()
        name = f"{role}.json" if role == TIMESTAMP else f"{version}.{role}.json"
        (self.folder / name).write_bytes(data)
        return MetaFile.from_data(version, data, ["sha256"])

    def name_snapshot(self, snapshot: MetaFile, *stolen: str) -> None:
        """Write a timestamp that names a snapshot."""
        self.forge(TIMESTAMP, lambda signed: _name(signed, "", snapshot), *stolen)

    def name_targets(self, role: str, targets: MetaFile, *stolen: str) -> None:
        """Write a snapshot that names targets or a bin, and a timestamp that names it."""
        change = self.forge(
            SNAPSHOT, lambda signed: _name(signed, f"{role}.json", targets), *stolen
        )
        self.name_snapshot(change, *stolen)


def _name(signed: Signed, file: str, meta: MetaFile) -> None:
    """Name a file as the newest, in the next version."""
    signed.version += 1
    if isinstance(signed, Timestamp):
        signed.snapshot_meta = meta
    else:
        signed.meta[file] = meta


def later(signed: Signed) -> None:
    """Be the next version, and nothing else."""
    signed.version += 1
