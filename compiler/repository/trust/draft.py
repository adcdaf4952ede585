"""The next signed state of a repository while it is made: files are signed, and name each other."""

from copy import deepcopy
from datetime import datetime, timedelta

from tuf.api.metadata import Metadata, MetaFile, Role, Root, Snapshot, Targets, Timestamp

from compiler.errors import TrustError
from compiler.repository.trust import IMAGE, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Files, role_of
from compiler.repository.trust.keys import Signing, sign_for, tuf_key
from compiler.repository.trust.published import Published
from compiler.repository.trust.root import LONGEST, days_of

ROOT_FILE = "root.json"


class Draft:
    """The next state while it is made, from the bins up to the timestamp."""

    def __init__(
        self,
        root: Root,
        signing: Signing,
        snapshot: Snapshot,
        timestamp: Timestamp,
        *,
        version: int,
    ) -> None:
        self._root = root
        self._signing = signing
        self._snapshot = snapshot
        self._timestamp = timestamp
        self._files: Files = {}
        self._versions = {SNAPSHOT: version and snapshot.version}
        self._versions[TIMESTAMP] = version and timestamp.version
        self._before: Published | None = None

    @classmethod
    def after(cls, published: Published, root: Root, signing: Signing) -> "Draft":
        """Begin with what is published, under this root."""
        snapshot, timestamp = deepcopy(published.snapshot), deepcopy(published.timestamp)
        draft = cls(root, signing, snapshot, timestamp, version=1)
        draft._before = published
        return draft

    def bin(self, name: str, targets: Targets, top: Targets) -> None:
        """Sign a bin as `top` says."""
        roles = top.delegations.roles if top.delegations else None
        if not roles:
            raise TrustError(f"no role of the repository delegates {name}")
        self._targets(name, targets, roles[name], LONGEST)

    def top(self, targets: Targets) -> None:
        """Sign the top of the targets."""
        role = self._root.roles[TARGETS]
        self._targets(TARGETS, targets, role, days_of(role, TARGETS))

    def finish(self, root: Files | None = None, *, all_anew: bool = False) -> Files:
        """Sign the snapshot if it has to be, and the timestamp; returns all files."""
        self._renew()
        role = self._root.roles[SNAPSHOT]
        named = MetaFile(version=self._root.version)
        due = (
            self._snapshot.meta.get(ROOT_FILE) != named
            or self._lacks_image(self._timestamp.snapshot_meta)
            or is_due(self._snapshot, self._root, SNAPSHOT, self._signing.now)
        )
        if all_anew or self._files or (due and signing_for(role, self._signing)):
            self._snapshot.meta[ROOT_FILE] = named
            self._prepare(self._snapshot, SNAPSHOT)
            version = self._snapshot.version
            file = f"{version}.snapshot.json"
            data = self._sign(Metadata(self._snapshot), SNAPSHOT, file)
            self._timestamp.snapshot_meta = self._meta(version, file, data)
        self._files |= root or {}
        self._prepare(self._timestamp, TIMESTAMP)
        self._sign(Metadata(self._timestamp), TIMESTAMP, "timestamp.json")
        return self._files

    def _renew(self) -> None:
        """Sign targets anew, unchanged, that are to be of a newer version, or in a named image.

        Clients may have seen newer versions than are there. Images are not named by what was signed
        before they were; who has the keys names them once.
        """
        before = self._before
        if before is None:
            return
        both = (self._root.roles[TARGETS], self._root.roles[SNAPSHOT])
        is_able = all(signing_for(role, self._signing) for role in both)
        for file, known in tuple(self._snapshot.meta.items()):
            name, seen = role_of(file), before.overtaken.get(file, 0)
            is_unnamed = is_able and self._lacks_image(known)
            if name == ROOT or not (known.version < seen or is_unnamed):
                continue
            self._snapshot.meta[file] = MetaFile(version=max(known.version, seen))
            if name == TARGETS:
                self.top(deepcopy(before.targets))
            else:
                self.bin(name, deepcopy(before.role(name)), before.targets)

    def _lacks_image(self, meta: MetaFile) -> bool:
        """Tell whether a file that is signed in an image does not say in which."""
        return self._signing.image_of is not None and IMAGE not in meta.unrecognized_fields

    def _meta(self, version: int, file: str, data: bytes) -> MetaFile:
        """Name a file by version, length, hash, and the image that holds it."""
        meta = MetaFile.from_data(version, data, ["sha256"])
        if self._signing.image_of is not None:
            meta.unrecognized_fields[IMAGE] = str(self._signing.image_of(file, data))
        return meta

    def _targets(self, name: str, targets: Targets, role: Role, days: int) -> None:
        """Sign targets of one role and note them in the snapshot."""
        file = f"{name}.json"
        known = self._snapshot.meta.get(file)
        targets.version = self._signing.after(known.version if known else 0)
        targets.expires = self._signing.expires(days)
        data = sign_for(role, file, Metadata(targets), self._signing.keys)
        versioned = f"{targets.version}.{file}"
        self._files[versioned] = data
        self._snapshot.meta[file] = self._meta(targets.version, versioned, data)

    def _prepare(self, signed: Snapshot | Timestamp, name: str) -> None:
        """Give the snapshot or the timestamp its next version and period."""
        signed.version = self._signing.after(self._versions[name])
        signed.expires = self._signing.expires(days_of(self._root.roles[name], name))

    def _sign(
        self, metadata: Metadata[Snapshot] | Metadata[Timestamp], name: str, file: str
    ) -> bytes:
        """Sign the snapshot or the timestamp."""
        data = sign_for(self._root.roles[name], file, metadata, self._signing.keys)
        self._files[file] = data
        return data


def signing_for(role: Role, signing: Signing) -> bool:
    """Tell whether enough keys for a role are given."""
    keys = {tuf_key(key.public).keyid for key in signing.keys}
    return len(keys & set(role.keyids)) >= role.threshold


def is_due(signed: Targets | Snapshot, root: Root, name: str, now: datetime) -> bool:
    """Tell whether more than half of a period is over."""
    return signed.expires - now < timedelta(days=days_of(root.roles[name], name)) / 2
