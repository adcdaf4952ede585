"""The engine says what it lacks where it cannot run."""

import ctypes
import os
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from compiler.engine.namespace import prepare
from compiler.errors import EngineError

pytestmark = pytest.mark.container

PR_SET_DUMPABLE = 4
CLONE_NEWUSER = 0x10000000


def test_without_root_and_user_namespaces_the_error_says_how_to_get_either() -> None:
    ours, theirs = get_context("fork").Pipe()
    child = get_context("fork").Process(target=prepare_without_namespaces, args=(theirs,))
    child.start()
    assert ours.poll(20)
    message = ours.recv()
    child.join()

    assert message == (
        "the overlay engine needs root or user namespaces, and has neither: too few user namespaces"
        " are allowed (sysctl user.max_user_namespaces=10000) (run as root, or allow user"
        " namespaces as said, or use --backend docker)"
    )


def prepare_without_namespaces(answer: Connection) -> None:
    """Try where an outer namespace, whose limit is ours alone, allows no inner one."""
    libc = ctypes.CDLL(None)
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    libc.prctl(PR_SET_DUMPABLE, 1)
    libc.unshare(CLONE_NEWUSER)
    Path("/proc/self/uid_map").write_text("0 65534 1")
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    libc.prctl(PR_SET_DUMPABLE, 1)
    drop_capabilities(libc)
    prepare.cache_clear()
    try:
        prepare()
        answer.send("it works")
    except EngineError as error:
        answer.send(str(error))


def drop_capabilities(libc: ctypes.CDLL) -> None:
    """Give all capabilities up (capset(2), version 3)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)())
