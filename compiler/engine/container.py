"""One command in a container: its configuration for crun (OCI Runtime Specification 1.0)."""

import json
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.engine import Network
from compiler.engine.account import Account
from compiler.engine.host import HOSTNAME
from compiler.process import Command

Json = Mapping[str, object]

_CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
"""What container engines allow: enough to install packages, not to touch the machine."""

_OPEN_FILES = 1024, 524288
"""Soft and hard limit of systemd: programs that close all possible files are slow with more."""

_HIDDEN = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware")
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """Something mounted in the container: a bind of `source`, or a `kind` of the kernel's."""

    target: str
    kind: str = "bind"
    source: str = ""
    options: tuple[str, ...] = ()

    @property
    def is_folder(self) -> bool:
        """Tell what it has to be mounted on."""
        return self.kind != "bind" or Path(self.source).is_dir()


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A command and the root in which it runs."""

    root: Path
    argv: tuple[str, ...]
    env: Mapping[str, str]
    directory: str
    account: Account
    mounts: Sequence[Mount]
    network: Network


KERNEL_MOUNTS = (
    Mount(target="/proc", kind="proc", options=("nosuid", "noexec", "nodev")),
    Mount(
        target="/dev",
        kind="tmpfs",
        source="tmpfs",
        options=("nosuid", "strictatime", "mode=755", "size=65536k"),
    ),
    Mount(
        target="/dev/pts",
        kind="devpts",
        source="devpts",
        options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
    ),
    Mount(
        target="/dev/shm",  # noqa: S108  (the container's own)
        kind="tmpfs",
        source="shm",
        options=("nosuid", "noexec", "nodev", "mode=1777"),
    ),
    Mount(target="/dev/mqueue", kind="mqueue", options=("nosuid", "noexec", "nodev")),
    Mount(target="/sys", kind="sysfs", options=("nosuid", "noexec", "nodev", "ro")),
)
"""What every process expects of its kernel; all of it is away when the container ends."""


def command(container: Container, bundle: Path) -> Command:
    """Write the configuration into the empty folder `bundle`; return how to call crun with it.

    crun's own messages go to the file `messages` there; the output is the container's alone.
    """
    text = json.dumps(_config(container))
    (bundle / "config.json").write_text(text, encoding="utf-8")
    options = ("--cgroup-manager=disabled", f"--root={bundle / 'state'}")
    messages = (f"--log={bundle / 'messages'}", "--log-format=json")
    argv = ("crun", *options, *messages, "run", "--no-new-keyring", f"--bundle={bundle}", "step")
    return Command(argv=argv, family=True)


def _config(container: Container) -> Json:
    return {
        "ociVersion": "1.0.0",
        "process": _process(container),
        "root": {"path": str(container.root), "readonly": False},
        "hostname": HOSTNAME,
        "mounts": [_mount(mount) for mount in (*KERNEL_MOUNTS, *container.mounts)],
        "linux": {
            "namespaces": [{"type": name} for name in _namespaces(container.network)],
            "maskedPaths": _HIDDEN,
            "readonlyPaths": _READ_ONLY,
        },
    }


def _namespaces(network: Network) -> list[str]:
    own = ["network"] if network is Network.NONE else []
    return ["pid", "mount", "ipc", "uts", *own]


def _process(container: Container) -> Json:
    account = container.account
    kept = ("bounding", "effective", "permitted")
    hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], _OPEN_FILES[1])
    limit = {"type": "RLIMIT_NOFILE", "soft": min(_OPEN_FILES[0], hard), "hard": hard}
    return {
        "terminal": False,
        "args": container.argv,
        "env": [f"{name}={value}" for name, value in container.env.items()],
        "cwd": container.directory,
        "noNewPrivileges": False,
        "capabilities": dict.fromkeys(kept if account.uid == 0 else kept[:1], _CAPABILITIES),
        "rlimits": [limit],
        "user": {
            "uid": account.uid,
            "gid": account.gid,
            "additionalGids": account.groups,
            "umask": 0o022,
        },
    }


def _mount(mount: Mount) -> Json:
    options = [*mount.options, *(["rbind"] if mount.kind == "bind" else [])]
    source = mount.source or mount.kind
    return {"destination": mount.target, "type": mount.kind, "source": source, "options": options}
