"""The signed state that a repository has, as whoever publishes next reads it.

The place where a repository lies may be hostile. What is there is verified from a root that the
publisher has at home; otherwise a forged entry, once taken over, would be signed with a good key.
Expired metadata counts here: a publication makes it good again.

Whoever may write there can also put back an older timestamp, and a publication can stop just before
it writes its own. Either way the newest snapshot that is whole and signed is what comes next, and
not what the timestamp names: else clients would be shown, signed anew, what they refuse as old.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from datetime import UTC, datetime

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from compiler.errors import CompilerError, DeniedError, Interrupted, TrustError, UnansweredError
from compiler.oci import Digest
from compiler.repository.trust import (
    CLOCKS_DIFFER,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Read,
    Target,
    in_image,
    role_of,
    split_image,
    version_of,
)
from compiler.repository.trust.reading import named_bytes, verified
from compiler.repository.trust.root import check_root

_MOST_ROOTS = 1000
MOST_DOUBTFUL = 64
"""How many snapshots are looked at that are none: whoever may push can make up any number."""


class Published:
    """A verified state; bins are read, and verified, when they are asked for."""

    def __init__(
        self,
        root: bytes,
        snapshot: Metadata[Snapshot],
        timestamp: Metadata[Timestamp],
        read: Read,
    ) -> None:
        self.root_data = root
        self.root: Root = check_root(root).signed
        self.snapshot: Snapshot = snapshot.signed
        self.timestamp: Timestamp = timestamp.signed
        self._read = read
        self._known: dict[str, Targets] = {}
        self.resumed = ""
        """The snapshot that counts in place of the one that the timestamp names; "" if none."""
        self.doubtful: tuple[str, ...] = ()
        """Files of newer versions that do not count, the newest first: see `check_newest`."""
        self.spoiled = ""
        """Why what the timestamp names does not count, or it does not itself; "" if it does."""
        self.false_root = ""
        """The file in place of the next root that is no root; "" if there is none."""
        self.overtaken: Mapping[str, int] = {}
        """Versions of targets that clients may have seen beside this state, by file."""

    @classmethod
    def empty(cls, root: bytes, read: Read) -> "Published":
        """Return a state before all others, of which nothing is there."""
        snapshot = Snapshot(meta={})
        snapshot.version = 0
        timestamp = Timestamp(expires=datetime.fromtimestamp(0, UTC))  # the same at each reading
        return cls(root, Metadata(snapshot), Metadata(timestamp), read)

    def later(self, name: str) -> "Published | None":
        """Return the state of a snapshot if it is there and follows this one.

        Raises `CompilerError` for a place that does not answer, and `TrustError` for a state that
        is not whole and signed.
        """
        data = self._read(name)
        if data is None:
            return None
        snapshot = verified(Snapshot, name, data, (self.root, SNAPSHOT))
        version, meta = snapshot.signed.version, snapshot.signed.meta
        if version != version_of(name):
            raise TrustError(f"{name}: is of another version, {version}")
        if any(
            file not in meta or meta[file].version < known.version
            for file, known in self.snapshot.meta.items()
        ):
            return None
        timestamp = deepcopy(self.timestamp)
        timestamp.version = max(timestamp.version, version)  # that of its own was no lower
        timestamp.snapshot_meta = MetaFile.from_data(version, data, ["sha256"])
        found = Published(self.root_data, snapshot, Metadata(timestamp), self._read)
        for role in (TARGETS, *found.bins):
            found.role(role)
        found.resumed = name
        return found

    def under(self, root: bytes) -> "Published":
        """Return the same state, to be followed by what is signed under another root."""
        found = Published(root, Metadata(self.snapshot), Metadata(self.timestamp), self._read)
        found.resumed = self.resumed
        return found

    def warnings(self) -> Iterator[str]:
        """Say what is wrong with the timestamp, and what tells of a newer state."""
        if self.false_root:
            yield (
                f"{self.false_root} does not follow the root that counts, and machines refuse the "
                "repository until `cos repo rotate` writes the next root in its place"
            )
        newer = self.newer
        if self.spoiled:
            lost = "what is missing now is to be published again" if newer else "nothing is lost"
            yield (
                f"{self.spoiled}; {self.resumed} counts instead, the newest state that is whole "
                "and signed (somebody spoiled what is named; signing again puts it right, and "
                f"{lost})"
            )
        elif self.resumed:
            yield (
                f"the timestamp names an older state than {self.resumed}, which is signed and "
                "counts instead (somebody put an older timestamp back, or a publication was "
                "stopped or is under way)"
            )
        if newer and not self.spoiled:
            yield (
                f"{newer} is newer than the state that counts, and is not whole and signed "
                "(somebody made it up, or put an older state back and spoiled the newest)"
            )

    def check_newest(self) -> None:
        """Raise `TrustError` if what counts may be older than what clients have seen.

        Signed as the newest, they would take it: whoever may push could have them go back.
        """
        if self.newer:
            why = f"{self.spoiled}; " if self.spoiled else ""
            counts = self.resumed or f"{self.snapshot.version}.{SNAPSHOT}.json"
            raise TrustError(
                f"{why}{counts} is the newest state that is whole and signed, and {self.newer} was "
                "made after it, or made up",
                hint="somebody who may push did that; --older-state goes on from that state, and "
                "what was published after it is to be published again",
            )

    @property
    def newer(self) -> str:
        """Name a file that tells of a newer state which is not whole and signed; "" for none."""
        return self.doubtful[0] if self.doubtful else ""

    @property
    def images(self) -> Mapping[str, Digest]:
        """The images that hold the snapshot, the targets and bins, as far as they are named."""
        named = {**self.snapshot.meta, f"{SNAPSHOT}.json": self.timestamp.snapshot_meta}
        asked = {
            file: split_image(in_image(file, meta.unrecognized_fields))[1]
            for file, meta in named.items()
        }
        return {file: image for file, image in asked.items() if image is not None}

    @property
    def targets(self) -> Targets:
        """The top of the targets: the index, and who is responsible for the rest."""
        return self.role(TARGETS)

    @property
    def bins(self) -> tuple[str, ...]:
        """The names of the roles among which artifacts are divided."""
        delegations = self.targets.delegations
        return tuple(delegations.roles or ()) if delegations else ()

    @property
    def expires(self) -> Mapping[str, datetime]:
        """Until when the roles that all clients read are good."""
        roles = {ROOT: self.root, TARGETS: self.targets, SNAPSHOT: self.snapshot}
        return {name: each.expires for name, each in {**roles, TIMESTAMP: self.timestamp}.items()}

    def bin_of(self, name: str) -> str:
        """Name the role that is responsible for a target; raises `TrustError` if there is none."""
        delegations = self.targets.delegations
        roles = delegations.get_roles_for_target(name) if delegations else ()
        found = next((role for role, _ in roles), "")
        if not found:
            raise TrustError(f"no role of the repository is responsible for {name}")
        return found

    def role(self, name: str) -> Targets:
        """Read the targets, or a bin; raises `TrustError` for what is not as it was signed."""
        if name not in self._known:
            meta = self.snapshot.meta.get(f"{name}.json")
            if meta is None:
                raise TrustError(f"the snapshot does not name {name}.json")
            file = f"{meta.version}.{name}.json"
            delegator = self.root if name == TARGETS else self.targets
            found = verified(Targets, file, named_bytes(self._read, file, meta), (delegator, name))
            if found.signed.version != meta.version:
                raise TrustError(f"{file}: is of another version, {found.signed.version}")
            self._known[name] = found.signed
        return self._known[name]

    def all_targets(self) -> Iterator[tuple[str, Target]]:
        """Give everything that is signed; reads all bins."""
        for name in (TARGETS, *self.bins):
            for path, target in self.role(name).targets.items():
                yield path, Target(target.length, target.hashes.get("sha256", ""))


def read_published(
    read: Read, root: bytes, names: Iterable[str] = (), *, now: int | None = None
) -> Published | None:
    """Verify what a repository has, from a root that is trusted; None if it has no metadata yet.

    `names` are those of TUF files that are there: the newest snapshot among them counts if it
    follows the one that is named, or if the timestamp that names one is gone. Their versions are
    times, in microseconds; those that come after `now`, in nanoseconds, were made up. Raises
    `TrustError` for what is there and was not signed as it has to be.
    """
    current, false = _roots(read, root)
    names = of_the_past(names, time.time_ns() if now is None else now)
    try:
        found = _named(read, current)
        if found is None:
            lost = TrustError("the timestamp is missing")
            found = _salvaged(Published.empty(current, read), names, lost)
        else:
            found = _newest(found, names)
    except (Interrupted, DeniedError, UnansweredError):  # what is there is not known
        raise
    except CompilerError as error:
        found = _salvaged(Published.empty(current, read), names, error)
        if found is None:
            raise
    if found is not None:
        found.false_root = false
        _check_named_root(found)
    return found


def of_the_past(names: Iterable[str], now: int) -> tuple[str, ...]:
    """Leave out what was made up: files whose versions are times after `now`, in nanoseconds."""
    return tuple(name for name in names if version_of(name) <= (now + CLOCKS_DIFFER) // 1000)


def _named(read: Read, root: bytes) -> Published | None:
    """Verify the state that the timestamp names; None if there is no timestamp."""
    data = read("timestamp.json")
    if data is None:
        return None
    signed = check_root(root).signed
    timestamp = verified(Timestamp, "timestamp.json", data, (signed, TIMESTAMP))
    meta = timestamp.signed.snapshot_meta
    file = f"{meta.version}.snapshot.json"
    snapshot = verified(Snapshot, file, named_bytes(read, file, meta), (signed, SNAPSHOT))
    if snapshot.signed.version != meta.version:
        raise TrustError(f"{file}: is of another version, {snapshot.signed.version}")
    return Published(root, snapshot, timestamp, read)


def _salvaged(nothing: Published, names: Iterable[str], why: CompilerError) -> Published | None:
    """Find the newest state that is whole and signed, where what is named as that is not.

    Whoever may push can overwrite the timestamp, or what it names, and must not keep the owners
    from publishing. Clients may have seen newer versions of all targets than are found here.
    """
    found = _newest(nothing, names)
    if found is nothing:
        return None
    found.spoiled = str(why)
    if not found.doubtful:  # a snapshot can be deleted, and leaves what it named
        _doubt(found, [name for name in names if version_of(name) > found.snapshot.version])
    return found


def _check_named_root(found: Published) -> None:
    """Raise `TrustError` for an old root: with a false one after it, it seems to be the newest."""
    named = found.snapshot.meta.get(f"{ROOT}.json")
    if named is not None and named.version > found.root.version:
        raise TrustError(
            f"root {named.version} is the newest, and {found.root.version + 1}.root.json is not it",
            hint="give the newest root file, which `cos repo rotate` wrote",
        )


def _newest(named: Published, names: Iterable[str]) -> Published:
    """Look for the newest state that was signed after the one that is named."""
    later = {name for name in names if role_of(name) == SNAPSHOT}
    newer = {name for name in later if version_of(name) > named.snapshot.version}
    doubtful: list[str] = []
    found = named
    for name in sorted(newer, key=version_of, reverse=True):
        try:
            state = named.later(name)
        except (Interrupted, DeniedError, UnansweredError):  # what is there is not known
            raise
        except CompilerError:  # it was made up, or is damaged
            doubtful.append(name)
            if len(doubtful) == MOST_DOUBTFUL:
                break
            continue
        if state is not None:
            found = state
            break
    _doubt(found, doubtful)
    return found


def _doubt(found: Published, names: Iterable[str]) -> None:
    """Note files that tell of newer states, of which clients may have seen the newest."""
    found.doubtful = tuple(sorted(names, key=version_of, reverse=True))
    if found.doubtful:
        newest = version_of(found.doubtful[0])
        found.overtaken = dict.fromkeys(found.snapshot.meta, newest)


def following(known: Published, name: str) -> Published | None:
    """Return the state of a snapshot if it counts as one that follows a state that is known."""
    try:
        return known.later(name)
    except (Interrupted, DeniedError, UnansweredError):  # what is there is not known
        raise
    except CompilerError:  # it was made up or is damaged, or it is just being written
        return None


def publication_of(target: TargetFile) -> int:
    """Return the number of the publication that last had a file in its index; 0 if none had."""
    custom = target.custom
    number = custom.get("publication") if isinstance(custom, dict) else 0
    return number if isinstance(number, int) else 0


def latest_root(read: Read, root: bytes) -> bytes:
    """Follow the roots of a repository from a trusted one, as far as each follows the one before.

    What lies in place of the next root and is none counts as not there: anybody who may push can
    leave it, and the next root is written over it.
    """
    return _roots(read, root)[0]


def _roots(read: Read, root: bytes) -> tuple[bytes, str]:
    """Follow the roots; names what lies in place of the next one and does not follow."""
    version = check_root(root).signed.version
    for number in range(version + 1, version + _MOST_ROOTS):
        name = f"{number}.root.json"
        try:
            data = read(name)
            if data is None:
                return root, ""
            check_root(data, root)
        except (Interrupted, DeniedError, UnansweredError):  # what is there is not known
            raise
        except CompilerError:
            return root, name
        root = data
    raise TrustError(f"there are more than {_MOST_ROOTS} roots")
