"""A mount namespace of our own, so that nothing stays mounted when this process is killed.

The kernel takes mounts away with the last process of their namespace. One namespace for the whole
process (rather than one for each container, made by a helper program) costs nothing for each
layer, and every thread can read what is mounted. Without root it comes with a user namespace,
which only a process without threads may enter: so the command line calls `prepare` first thing.
"""

import errno
import os
import pwd
from contextlib import suppress
from functools import cache
from pathlib import Path

from compiler.engine import linux
from compiler.errors import EngineError
from compiler.process import companion
from compiler.programs import which

_OURS = "/proc/thread-self/ns/mnt"
_CGROUPS = Path("/sys/fs/cgroup")
"""Hidden from us: crun refuses to start on machines with both versions, although it is told to
leave cgroups alone."""

_WHOLE_RANGE = 4294967295


class Namespace:
    """The namespace in which this process mounts; `enter` brings a thread into it."""

    def __init__(self) -> None:
        self._handle = os.open(_OURS, os.O_RDONLY | os.O_CLOEXEC)
        self._name = Path(_OURS).readlink()

    def enter(self) -> None:
        """Bring the calling thread in, in case that it is older than the namespace."""
        if Path(_OURS).readlink() != self._name:
            linux.unshare(linux.CLONE_FS)
            linux.set_namespace(self._handle, linux.CLONE_NEWNS)


@cache
def prepare() -> Namespace:
    """Give this process its own mounts, once; raises `EngineError` if the kernel refuses."""
    try:
        linux.unshare(linux.CLONE_NEWNS)
    except PermissionError:
        _enter_user_namespace()
    try:
        linux.mount("none", "/", flags=linux.MS_SLAVE | linux.MS_REC)
        if _CGROUPS.is_dir():
            linux.mount("tmpfs", str(_CGROUPS), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV)
    except OSError as error:
        raise _refused(error) from error
    return Namespace()


def is_real_root() -> bool:
    """Tell whether uid 0 is the machine's own, so that `trusted.*` attributes can be used."""
    return os.geteuid() == 0 and _user_ids() >= _WHOLE_RANGE


def has_one_id() -> bool:
    """Tell whether there is no user but root, since /etc/subuid gives us none."""
    return _user_ids() == 1


def _user_ids() -> int:
    """Count the user ids of our namespace (user_namespaces(7), uid_map: inside, outside, count)."""
    lines = Path("/proc/self/uid_map").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[2]) for line in lines)


def _enter_user_namespace() -> None:
    """Become root of a new user namespace, with the ids of /etc/subuid if there are any."""
    uid, gid = os.geteuid(), os.getegid()
    ranges = [_subordinate("/etc/subuid", uid), _subordinate("/etc/subgid", uid)]
    with companion(_mapping_script(uid, gid, ranges)) as let_go:
        try:
            linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
        except OSError as error:
            raise _refused(error) from error
        if all(ranges):
            let_go()
        else:
            _map_only_ourselves(uid, gid)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _mapping_script(uid: int, gid: int, ranges: list[tuple[int, int] | None]) -> str:
    """Write the shell script that maps our ids from outside, which only a setuid program may do."""
    lines = []
    for program, own, extra in (("newuidmap", uid, ranges[0]), ("newgidmap", gid, ranges[1])):
        if extra is not None and all(ranges):
            lines.append(f"{which(program)} {os.getpid()} 0 {own} 1 1 {extra[0]} {extra[1]}")
    return " && ".join(lines) or ":"


def _subordinate(path: str, uid: int) -> tuple[int, int] | None:
    """Return the first range (start, count) that a user was given (subuid(5))."""
    names = {str(uid)}
    with suppress(KeyError):
        names.add(pwd.getpwuid(uid).pw_name)
    with suppress(OSError):
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            name, _, rest = line.strip().partition(":")
            start, _, count = rest.partition(":")
            if name in names and start.isdigit() and count.isdigit():
                return int(start), int(count)
    return None


def _map_only_ourselves(uid: int, gid: int) -> None:
    """Map our own ids to root, all that a process may do by itself (user_namespaces(7))."""
    me = Path("/proc/self")
    try:
        (me / "setgroups").write_text("deny", encoding="utf-8")
        (me / "uid_map").write_text(f"0 {uid} 1", encoding="utf-8")
        (me / "gid_map").write_text(f"0 {gid} 1", encoding="utf-8")
    except OSError as error:
        raise _refused(error) from error


def _refused(error: OSError) -> EngineError:
    """Say what the overlay engine lacks here, and how to get it.

    Docker's can do without mounts of ours, but not without root: a layer's files have owners.
    """
    other = ", or use --backend docker" if os.geteuid() == 0 else ""
    return EngineError(
        f"the overlay engine needs root or user namespaces, and has neither: {_why(error)}",
        hint=f"run as root, or allow user namespaces as said{other}",
    )


def _why(error: OSError) -> str:
    """Find the setting that keeps us from user namespaces."""
    if error.errno == errno.EINVAL:
        return "prepare() was called too late, other threads run already"
    if _setting("kernel/unprivileged_userns_clone") == "0":
        return "user namespaces are for root only (sysctl kernel.unprivileged_userns_clone=1)"
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "AppArmor restricts user namespaces"
            " (sysctl kernel.apparmor_restrict_unprivileged_userns=0)"
        )
    if _setting("user/max_user_namespaces") == "0" or error.errno == errno.ENOSPC:
        return "too few user namespaces are allowed (sysctl user.max_user_namespaces=10000)"
    return f"the kernel, or the container that we run in, says {error.strerror!r}"


def _setting(name: str) -> str:
    with suppress(OSError):
        return (Path("/proc/sys") / name).read_text(encoding="utf-8").strip()
    return ""
