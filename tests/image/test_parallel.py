"""Two things at once: an error of one ends the other."""

import time

import pytest

from compiler.errors import OutsideError
from compiler.image.parallel import beside
from compiler.process import Command, Running, run


def sleeping(running: Running) -> None:
    run(Command(argv=("sleep", "60")), running=running)


def test_an_error_of_the_body_ends_the_program_of_the_task() -> None:
    began = time.monotonic()

    with pytest.raises(ValueError, match="mine"), beside(sleeping):
        raise ValueError("mine")

    assert time.monotonic() - began < 30


def test_an_error_of_the_task_is_raised() -> None:
    def failing(_running: Running) -> None:
        raise OutsideError("of the task")

    with pytest.raises(OutsideError, match="of the task"), beside(failing):
        pass


def test_the_task_has_ended_when_the_block_has() -> None:
    done: list[str] = []

    def slow(_running: Running) -> None:
        time.sleep(0.1)
        done.append("slow")

    with beside(slow):
        pass

    assert done == ["slow"]
