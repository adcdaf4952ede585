"""Writes signed metadata where others may write at the same time.

Nothing can be compared and swapped in a registry, and a write takes a while. So after each write is
looked for what others have signed since the state that was gone on from. If that does not follow
what was written here, or the timestamp does not name it, the same change is made once more, on top
of theirs. Whoever writes last sees all others, who may have ended long before.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Snapshot, Timestamp

from compiler.errors import RegistryError
from compiler.repository.trust import SNAPSHOT, TIMESTAMP, Files, role_of, version_of
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.places import Place
from compiler.repository.trust.published import (
    MOST_DOUBTFUL,
    Published,
    following,
    latest_root,
    of_the_past,
)
from compiler.repository.trust.publisher import refresh

_ATTEMPTS = 10
_TIMESTAMP = f"{TIMESTAMP}.json"

Make = Callable[[Published, Signing], Files]
"""Makes the next files on top of a state; nothing if nothing changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Writes to a place; `read` reads what is signed there, `floor` tells the lowest version."""

    place: Place
    read: Callable[[], Published]
    signing: Signing
    floor: Callable[[], int]
    name: str
    """What the place is called in errors."""

    def write(self, make: Make) -> Files:
        """Write what is made of what is signed, together with all that others sign meanwhile.

        Returns the files that were written last. Raises `RegistryError` if others keep writing.
        """
        base, own = self.read(), list[Files]()
        for _ in range(_ATTEMPTS):
            signing = replace(self.signing, floor=self.floor(), image_of=self.place.image_of)
            files = make(base, signing)
            if own and not files:  # others changed it, too: only their state has to be named again
                files = refresh(base, signing)
            if not own and files and self.read().timestamp != base.timestamp:
                base = self.read()
                continue
            self.place.write(files)
            own.append(files)
            other = self._other(base, own)
            if other is None:
                return files
            other.overtaken = _highest(own)
            base = other
        raise RegistryError(f"{self.name}: others keep signing", hint="run the command again")

    def _other(self, base: Published, own: Sequence[Files]) -> Published | None:
        """Find the newest state that others signed after `base`, unless clients are shown it."""
        written = [_named_by(files) for files in own if _TIMESTAMP in files]
        there = of_the_past(self.place.names(), self.floor() * 1000) if written else ()
        names = sorted(there, key=version_of, reverse=True)
        bases = [base.under(latest_root(self.place.read, base.root_data)), base] if names else []
        asked = [
            name
            for name in names
            if role_of(name) == SNAPSHOT
            and version_of(name) > base.snapshot.version
            and version_of(name) not in written
            and name not in base.doubtful
        ]
        for name in asked[:MOST_DOUBTFUL]:
            for state in filter(None, (following(each, name) for each in bases)):
                return None if self._is_shown(state, own) else state
        return None

    def _is_shown(self, state: Published, own: Sequence[Files]) -> bool:
        """Tell whether a state follows all that was written here, and is named as the newest."""
        known, highest = state.snapshot.meta, _highest(own)
        follows = all(file in known and known[file].version >= highest[file] for file in highest)
        named = self.place.read(_TIMESTAMP)
        return (
            follows
            and named is not None
            and _named_by({_TIMESTAMP: named}) >= state.snapshot.version
        )


def _named_by(files: Files) -> int:
    """Return the version of the snapshot that a timestamp names; 0 for what is none."""
    try:
        signed = Metadata[Timestamp].from_bytes(files[_TIMESTAMP]).signed
    except RepositoryError:
        return 0
    return signed.snapshot_meta.version if isinstance(signed, Timestamp) else 0


def _highest(own: Iterable[Files]) -> Mapping[str, int]:
    """Tell the highest versions of targets in some snapshots: clients may have seen them."""
    highest: dict[str, int] = {}
    for files in own:
        for name, data in files.items():
            if role_of(name) == SNAPSHOT:
                for file, meta in Metadata[Snapshot].from_bytes(data).signed.meta.items():
                    highest[file] = max(highest.get(file, 0), meta.version)
    return highest
