"""The errors that tell what a person can put right."""

import errno
import os

import pytest

from compiler.errors import ExitCode, unreadable


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOENT, ExitCode.FAILED),
        (errno.EISDIR, ExitCode.FAILED),
        (errno.EACCES, ExitCode.FAILED),
        (errno.ENAMETOOLONG, ExitCode.FAILED),
        (errno.EIO, ExitCode.OUTSIDE),
        (errno.ESTALE, ExitCode.OUTSIDE),
    ],
)
def test_a_file_that_is_not_there_is_a_wrong_input_and_a_failing_disk_is_not(
    number: int, code: ExitCode
) -> None:
    error = unreadable("a/key", OSError(number, os.strerror(number)), "try another")

    assert error.exit_code == code
    assert str(error) == f"a/key: cannot be read: {os.strerror(number)} (try another)"
