"""What a build says while it waits for others."""

from compiler.cli.call import Waiting


def test_who_waits_is_reminded_of_what_and_since_when_ever_more_rarely() -> None:
    now = 36_000.0
    waiting = Waiting(clock=lambda: now)
    told = {}
    for seconds in range(0, 601, 5):
        now = 36_000.0 + seconds
        said = waiting.reminder("t/base-1")
        if said:
            told[seconds] = said

    assert list(told) == [60, 120, 240, 480]
    assert told[240] == "still waiting for others to build t/base-1, since 10:00:00 UTC (4 min)"
