"""What a publication goes on from: the state that was signed last, or what the index says."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from compiler.errors import RegistryError, TrustError
from compiler.oci import Reference
from compiler.publish.endorse import Trust
from compiler.publish.gc import snapshots_of
from compiler.publish.state import State, read_revision, read_state, tagged
from compiler.registry import Registry
from compiler.repository import index as texts
from compiler.signing.images import pinned


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What clients are shown of a repository; `folder` makes an empty folder for what is read.

    With `prunes`, a state that does not count, or is gone, does not keep from publishing.
    """

    registry: Registry
    target: Reference
    trust: Trust | None
    folder: Callable[[], Path]
    prunes: bool

    def current(self) -> tuple[State | None, bool]:
        """Read what the repository holds, and tell whether that is signed; None for nothing.

        Raises `RegistryError` where what is signed is gone, `TrustError` for what does not count.
        """
        named = tagged(self.target, texts.REPOSITORY)
        signed = self.trust.index() if self.trust else None
        found = read_state(self.registry, signed or named, self.folder())
        if found is None and signed is not None and not self.prunes:
            raise RegistryError(
                f"{signed}: the index that is signed is gone",
                hint="bring it back; --prune begins anew, with what is published here alone",
            )
        if found is None or signed is not None:
            return found, found is not None
        if self.accepts(pinned(self.target, found.index.digest)):
            return found, False
        if self.prunes:
            return None, False
        raise TrustError(
            f"{named}: is not signed with a key of this repository",
            hint="`cos sign` it if all that it lists is yours; --prune publishes without it",
        )

    def accepts(self, index: Reference) -> bool:
        """Tell whether the state of an index may become part of what is published."""
        return self.trust is None or self.trust.accepts(index)

    def last_revision(self) -> int:
        """Return the highest revision of the snapshots that are signed; 0 where there are none."""
        signed = self.trust.signed() if self.trust else {}
        places = [
            replace(self.target, tag=name, digest=signed[name]) for name in snapshots_of(signed)
        ]
        return max(
            (read_revision(self.registry, each, self.folder()) for each in places), default=0
        )
