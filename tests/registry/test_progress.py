"""Reports of long transfers."""

import pytest

from compiler.events import Event, Transferred
from compiler.registry.progress import told


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_long_transfer_is_told_once_a_second_and_at_its_end() -> None:
    clock, events, counts = Clock(), list[Event](), list[int]()

    with told("sending x", 100, events.append, clock, counts.append) as tell:
        for _ in range(9):
            clock.now += 0.4
            tell(10)
        tell(10)

    assert events == [
        Transferred("sending x", 30, 100),
        Transferred("sending x", 60, 100),
        Transferred("sending x", 90, 100),
        Transferred("sending x", 100, 100, ended=True),
    ]
    assert counts == [10] * 10


def test_a_short_transfer_is_not_told() -> None:
    events: list[Event] = []

    with told("sending x", 100, events.append, Clock(), None) as tell:
        tell(60)
        tell(40)

    assert events == []


def test_a_transfer_that_fails_ends_where_it_was() -> None:
    clock, events = Clock(), list[Event]()

    def fail() -> None:
        with told("sending x", 100, events.append, clock, None) as tell:
            clock.now = 5
            tell(20)
            raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        fail()

    assert events == [
        Transferred("sending x", 20, 100),
        Transferred("sending x", 20, 100, ended=True),
    ]
