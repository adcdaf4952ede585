"""Two who sign one image at the same time, with every order of their requests."""

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.oci import Descriptor, Reference
from compiler.registry import Manifest
from compiler.registry.memory import MemoryRegistry
from compiler.signing.images import sign_image, verify_image
from tests.signing.lab import PLACE, by_digest, image, key, signature_tag

Result = TypeVar("Result")
SIGNERS = ("one", "two")


class Turns:
    """Lets one signer at a time make one request, in the order of a schedule, then all freely."""

    def __init__(self, schedule: Sequence[str]) -> None:
        self._schedule = list(schedule)
        self._done: set[str] = set()
        self._change = threading.Condition()

    def take(self, who: str) -> None:
        """Wait for one's turn."""
        with self._change:
            self._change.wait_for(lambda: self._next() in (who, None))
            if self._schedule:
                self._schedule.pop(0)
            self._change.notify_all()

    def end(self, who: str) -> None:
        """Ask for no further turn."""
        with self._change:
            self._done.add(who)
            self._change.notify_all()

    def _next(self) -> str | None:
        while self._schedule and self._schedule[0] in self._done:
            self._schedule.pop(0)
        return self._schedule[0] if self._schedule else None


class TurnRegistry(MemoryRegistry):
    """A registry that answers whoever's turn it is; threads are named for their signers."""

    turns: Turns | None = None

    def manifest(self, reference: Reference) -> Manifest:
        return self._in_turn(lambda: MemoryRegistry.manifest(self, reference))

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
        return self._in_turn(lambda: MemoryRegistry.put_manifest(self, reference, data, media_type))

    def referrers(self, subject: Reference, artifact_type: str = "") -> Sequence[Descriptor]:
        return self._in_turn(lambda: MemoryRegistry.referrers(self, subject, artifact_type))

    def _in_turn(self, act: Callable[[], Result]) -> Result:
        if self.turns is not None:
            self.turns.take(threading.current_thread().name)
        return act()


def sign_together(registry: TurnRegistry, turns: Turns) -> None:
    def sign(who: str) -> None:
        threading.current_thread().name = who
        try:
            sign_image(registry, PLACE, key(who))
        finally:
            turns.end(who)

    with ThreadPoolExecutor(len(SIGNERS)) as threads:
        for future in [threads.submit(sign, who) for who in SIGNERS]:
            future.result(timeout=30)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(SIGNERS), max_size=40))
def test_no_signature_is_lost_whatever_the_order_of_requests(schedule: list[str]) -> None:
    registry = TurnRegistry()
    digest = image(registry)
    turns = Turns(schedule)
    registry.turns = turns

    sign_together(registry, turns)

    registry.turns = None
    tagged = json.loads(registry.manifest(signature_tag(digest)).data)["layers"]
    assert len(tagged) == len(registry.referrers(by_digest(digest))) == 2
    for who in SIGNERS:
        assert verify_image(registry, PLACE, [key(who).public]).image == by_digest(digest)
