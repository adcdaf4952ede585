"""Programs are started, listened to, and never outlive us."""

import hashlib
import io
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from compiler.errors import Interrupted, OutsideError
from compiler.process import Command, Finished, Running, companion, feed, run
from tests.processes import long_time, processes, python, wait_for


def shell(text: str, *, timeout: float | None = None, family: bool = False) -> Command:
    """A command for the shell."""
    return Command(argv=("sh", "-c", text), timeout=timeout, family=family)


def test_a_program_runs_and_its_end_is_told() -> None:
    assert run(shell("echo out; echo err >&2; exit 3")) == Finished("sh", 3, ("out", "err"))


def test_a_signal_counts_as_in_the_shell() -> None:
    assert run(shell("kill -TERM $$")).code == 128 + signal.SIGTERM


def test_success_passes_the_check() -> None:
    run(shell("true")).check()


def test_a_failure_shows_the_last_lines() -> None:
    with pytest.raises(OutsideError) as caught:
        run(shell("echo why; exit 2")).check()

    assert str(caught.value) == "sh failed with exit code 2\n    why"


def test_lines_are_heard_as_they_come_and_the_log_gets_every_byte() -> None:
    lines: list[str] = []
    log = io.BytesIO()

    run(shell(r"printf 'one\ntw\377o\rthree\n\nrest'"), on_line=lines.append, log=log)

    assert lines == ["one", "three", "", "rest"]
    assert log.getvalue() == b"one\ntw\xffo\rthree\n\nrest"


def test_only_the_last_twenty_lines_are_kept() -> None:
    assert run(shell("seq 100")).tail == tuple(str(number) for number in range(81, 101))


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    lines: list[str] = []

    run(shell("head -c 1000000 /dev/zero | tr '\\0' x"), on_line=lines.append)

    assert sum(map(len, lines)) == 1000000
    assert max(map(len, lines)) <= 2 * 65536


def test_the_environment_and_the_folder_are_those_of_the_command(tmp_path: Path) -> None:
    command = Command(argv=("sh", "-c", "pwd; echo $A"), env={"A": "1"}, directory=tmp_path)

    assert run(command).tail == (str(tmp_path), "1")


def test_what_cannot_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutsideError) as caught:
        run(Command(argv=("true",), directory=tmp_path / "missing"))

    assert str(caught.value) == "cannot start true: No such file or directory"


def test_a_timeout_ends_the_program_and_its_children() -> None:
    seconds = long_time()
    with pytest.raises(OutsideError) as caught:
        run(shell(f"sleep {seconds} & sleep {seconds}", timeout=0.3))

    assert str(caught.value) == "sh did not end within 0.3 seconds"
    wait_for(lambda: not processes(seconds))


def test_a_child_that_stays_behind_does_not_hold_us_up() -> None:
    start = time.monotonic()

    run(shell("setsid sleep 5 & exit 0"))

    assert time.monotonic() - start < 4


@pytest.mark.container
def test_a_family_ends_with_its_first_process() -> None:
    seconds = long_time()
    run(shell(f"setsid sleep {seconds} & exit 0", family=True))

    wait_for(lambda: not processes(seconds))


def test_a_stop_ends_what_runs_and_lets_nothing_start() -> None:
    seconds = long_time()
    running = Running()
    timer = threading.Timer(0.3, running.stop)
    timer.start()

    with pytest.raises(Interrupted):
        run(shell(f"sleep {seconds}"), running=running)
    with pytest.raises(Interrupted):
        run(shell(f"sleep {seconds}"), running=running)

    timer.join()
    wait_for(lambda: not processes(seconds))


def test_several_programs_run_at_the_same_time() -> None:
    codes: list[int] = []
    threads = [
        threading.Thread(
            target=lambda number=number: codes.append(run(shell(f"exit {number}")).code)
        )
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(codes) == list(range(8))


def test_an_exception_of_the_listener_ends_the_program() -> None:
    seconds = long_time()

    def refuse(_line: str) -> None:
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        run(shell(f"echo 1; sleep {seconds}"), on_line=refuse)

    wait_for(lambda: not processes(seconds))


def test_a_program_ends_when_we_are_killed() -> None:
    seconds = long_time()
    script = f"from compiler.process import *; run(Command(argv=('sleep', '{seconds}')))"
    with python(script) as starter:
        wait_for(lambda: len(processes(f"{seconds}\0")) == 1)
        starter.kill()

    wait_for(lambda: not processes(f"{seconds}\0"))


def test_a_companion_waits_until_it_is_let_go(tmp_path: Path) -> None:
    with companion(f"touch {tmp_path}/done") as let_go:
        before = (tmp_path / "done").exists()
        let_go()

    assert (before, (tmp_path / "done").exists()) == (False, True)


def test_a_companion_that_is_not_let_go_does_nothing(tmp_path: Path) -> None:
    with companion(f"touch {tmp_path}/done"):
        pass

    assert not (tmp_path / "done").exists()


def test_a_companion_that_fails_is_an_error() -> None:
    with companion("echo no >&2; false") as let_go, pytest.raises(OutsideError) as caught:
        let_go()

    assert str(caught.value) == "echo failed with exit code 1\n    no"


def _write(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(data)


def test_a_program_reads_all_that_is_fed_to_it() -> None:
    data = bytes(range(256)) * 4096

    done = feed(shell("sha256sum"), lambda pipe: _write(pipe, data))

    assert done == Finished("sh", 0, (f"{hashlib.sha256(data).hexdigest()}  -",))


def test_what_is_fed_arrives_whole_while_other_programs_end() -> None:
    piece, count = bytes(1 << 20), 64
    expected = hashlib.sha256(piece * count).hexdigest()

    def write(pipe: IO[bytes]) -> None:
        for _ in range(count):
            pipe.write(piece)

    with ThreadPoolExecutor(1) as pool:
        fed = pool.submit(feed, shell("sha256sum"), write)
        while not fed.done():
            run(shell("true"))

    assert fed.result().tail == (f"{expected}  -",)


def test_a_program_that_reads_no_more_tells_why() -> None:
    def write(pipe: IO[bytes]) -> None:
        for _ in range(1000):
            pipe.write(bytes(1 << 16))

    assert feed(shell("echo enough; exit 4"), write) == Finished("sh", 4, ("enough",))


def test_an_error_of_who_feeds_a_program_kills_it() -> None:
    def write(_pipe: IO[bytes]) -> None:
        raise ValueError("nothing more")

    with pytest.raises(ValueError, match="nothing more"):
        feed(shell("sleep 60"), write)
