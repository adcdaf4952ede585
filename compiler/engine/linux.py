"""The few system calls that Python does not offer: mounts and namespaces (see their man pages)."""

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MNT_DETACH = 0x2
CLONE_FS = 0x200
CLONE_NEWNS = 0x20000
CLONE_NEWUSER = 0x10000000

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Show one more file system (`man 2 mount`); raises `OSError`."""
    arguments = (os.fsencode(source), os.fsencode(target), kind.encode() or None)
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None), target)


def unmount(target: Path) -> None:
    """Take a mount away; if it is in use, only from view, and for good with its last use."""
    try:
        _check(_libc.umount2(os.fsencode(target), 0), str(target))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        _check(_libc.umount2(os.fsencode(target), MNT_DETACH), str(target))


def unshare(flags: int) -> None:
    """Leave namespaces, this thread only (unshare(2)); raises `OSError`."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def set_namespace(handle: int, kind: int) -> None:
    """Enter a namespace, this thread only (setns(2)); raises `OSError`."""
    _check(_libc.setns(ctypes.c_int(handle), ctypes.c_int(kind)), "setns")


def in_folder(folder: Path, action: Callable[[], None]) -> None:
    """Call `action` with `folder` as its working directory, which other threads do not notice.

    A thread of its own gets a private working directory by unshare(CLONE_FS), and ends afterwards.
    """
    failures: list[BaseException] = []

    def work() -> None:
        try:
            unshare(CLONE_FS)
            os.chdir(folder)
            action()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, name="in-folder")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _check(result: int, about: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), about)
