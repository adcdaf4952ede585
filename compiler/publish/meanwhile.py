"""What others did to a repository while it was published here.

Whoever may push can leave tags that look like claims. One that holds no repository must not keep
others from publishing, so it is said and passed over.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import CompilerError, DeniedError, Interrupted
from compiler.events import Noted, Reporter
from compiler.oci import Reference
from compiler.publish.state import State, Window, claims_of, read_state, tagged
from compiler.registry import Registry
from compiler.signing.images import pinned


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Where the claims of others are read: `folder` makes an empty folder for each.

    `accepts` tells of an image whether what it holds may become part of what is published.
    """

    registry: Registry
    target: Reference
    folder: Callable[[], Path]
    accepts: Callable[[Reference], bool]
    report: Reporter

    def states(self, window: Window, known: frozenset[str]) -> Iterator[State]:
        """Give what others claim, but for the publications that are `known`.

        What does not count is not even read, since anybody may have made it. Raises `RegistryError`
        for a registry that does not answer.
        """
        tags = self.registry.tags(self.target, after=window.since)
        for claim in claims_of(tags, window):
            if claim not in known:
                yield from self._state(tagged(self.target, claim))

    def _state(self, claim: Reference) -> Iterator[State]:
        """Read a claim; gives nothing for one that is gone, that does not count or is damaged."""
        named = self.registry.head(claim)
        if named is None or not self.accepts(pinned(claim, named.digest)):
            return
        try:
            state = read_state(self.registry, pinned(claim, named.digest), self.folder())
        except (Interrupted, DeniedError):
            raise
        except CompilerError as error:
            if self.registry.head(claim) is not None:  # it answers: so it is not the network
                self.report(Noted(f"{claim.tag}: is passed over: {error}", warning=True))
            return
        if state is not None:
            yield state
