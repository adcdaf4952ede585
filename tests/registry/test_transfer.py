"""Several transfers at once: how many, what they report, and how the first error ends them."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from compiler.errors import Interrupted, NotFoundError, RegistryError
from compiler.oci import Reference
from compiler.registry import Progress
from compiler.registry.memory import MemoryRegistry
from compiler.registry.transfer import transfer
from tests.registry.shelf import NOWHERE, described

HERE = Reference("registry.example", "test")
PATIENCE = 20.0


def test_results_come_in_the_order_of_the_jobs_and_all_bytes_are_reported(tmp_path: Path) -> None:
    registry = MemoryRegistry()
    contents = [bytes([number]) * number for number in range(1, 20)]
    for content in contents:
        registry.put_blob(HERE, content, described(content))
    reported: list[int] = []

    def job(content: bytes) -> Callable[[Progress], int]:
        target = tmp_path / str(len(content))

        def fetch(tell: Progress) -> int:
            registry.fetch_blob(HERE, described(content), target, tell)
            return len(content)

        return fetch

    done = transfer([job(each) for each in contents], progress=reported.append)

    assert done == list(range(1, 20))
    assert sum(reported) == sum(map(len, contents))
    assert {path.read_bytes() for path in tmp_path.iterdir()} == set(contents)


def test_jobs_run_at_the_same_time_but_no_more_than_allowed() -> None:
    both = threading.Barrier(2)
    running, most = set[int](), list[int]()

    def job(number: int, _tell: Progress) -> int:
        running.add(number)
        most.append(len(running))
        both.wait(PATIENCE)
        running.discard(number)
        return number

    assert transfer([partial(job, number) for number in range(8)], threads=2) == list(range(8))
    assert max(most) <= 2


def test_the_first_error_ends_the_others() -> None:
    begun = threading.Event()
    ended: list[str] = []
    registry = MemoryRegistry()

    def fails(_tell: Progress) -> None:
        begun.wait(PATIENCE)
        registry.read_blob(HERE, described(b"missing"))

    def runs(tell: Progress) -> None:
        begun.set()
        try:
            for _ in iter(int, 1):
                tell(1)
        except Interrupted:
            ended.append("stopped")
            raise

    def waits(_tell: Progress) -> None:
        ended.append("began")

    with pytest.raises(NotFoundError):
        transfer([runs, fails, *[waits] * 50], threads=2)

    assert "stopped" in ended
    assert len(ended) < 51


def test_of_several_errors_the_first_job_s_is_raised() -> None:
    both = threading.Barrier(2)

    def fails(name: str, _tell: Progress) -> None:
        both.wait(PATIENCE)
        raise RegistryError(f"{name} {NOWHERE}")

    with pytest.raises(RegistryError, match="first"):
        transfer([partial(fails, "first"), partial(fails, "second")], threads=2)


def test_nothing_to_do_is_done() -> None:
    assert transfer([]) == []
