"""Starts Debian's Podman as a service: its own socket and storage, and nothing of the machine's.

It runs containers by runc: Debian 12's crun cannot make the groups that Podman wants on a machine
whose processes are in none. All tests that use it are of one group, so that one process has one.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_PATIENCE = 60.0
_MOUNTS = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
"""The mounts of the machine, as they were before a test made this process have its own."""

_AMONG_ALL_MOUNTS = ("nsenter", f"--mount=/proc/self/fd/{_MOUNTS}")
_CONFIG = """
[containers]
netns = "host"
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
_STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/data"
runroot = "{folder}/run"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodmanServer:
    """A Podman that runs, with everything that it keeps in `folder`."""

    folder: Path

    @property
    def socket(self) -> Path:
        """What it listens on."""
        return self.folder / "podman.sock"

    @property
    def local(self) -> dict[str, str]:
        """The environment that leads to it."""
        return {"DOCKER_HOST": f"unix://{self.socket}"}

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Say how the program is started."""
        return (*_AMONG_ALL_MOUNTS, "podman", "--tmpdir", f"{self.folder}/state", *arguments)

    def environment(self) -> dict[str, str]:
        """Return the environment in which it looks at no configuration of the machine."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
        }


@contextmanager
def run_podman(folder: Path) -> Iterator[PodmanServer]:
    """Run a Podman that keeps everything in `folder`, until the context ends."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "containers.conf").write_text(_CONFIG)
    (folder / "storage.conf").write_text(_STORAGE.format(folder=folder))
    server = PodmanServer(folder=folder)
    argv = server.command("system", "service", "--time", "0", f"unix://{server.socket}")
    log = folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            ("setpriv", "--pdeathsig", "TERM", *argv),
            stdout=output,
            stderr=output,
            env=server.environment(),
            pass_fds=[_MOUNTS],
        ) as process,
    ):
        try:
            _wait(server, process, log)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_PATIENCE)
            _end_monitors(folder)
            argv = server.command("rm", "--all", "--force", "--time", "0")
            subprocess.run(argv, env=server.environment(), pass_fds=[_MOUNTS], check=True)


@pytest.fixture(scope="session")
def podman_server() -> Iterator[PodmanServer]:
    """A Podman that is empty at first."""
    # Paths of sockets are short, and what it makes is not the tests' own to keep.
    folder = Path(tempfile.mkdtemp(prefix="cos-podman-"))
    try:
        with run_podman(folder) as server:
            yield server
    finally:
        script = 'umount "$0"/data/overlay; rm -rf "$0"'  # a mount onto itself, to be private
        remove = (*_AMONG_ALL_MOUNTS, "sh", "-c", script, str(folder))
        subprocess.run(remove, pass_fds=[_MOUNTS], check=True)


def _end_monitors(folder: Path) -> None:
    """End what watches over commands that have ended: it would for five minutes, for slow clients.

    Then it would start Podman once more, whose storage would be gone.
    """
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            name, words = (process / "comm").read_text(), (process / "cmdline").read_bytes()
            if name == "conmon\n" and f"{folder}/".encode() in words:
                os.kill(int(process.name), signal.SIGKILL)


def _wait(server: PodmanServer, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until it listens."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        if server.socket.is_socket():
            return
        time.sleep(0.05)
    pytest.fail(f"podman did not start:\n{log.read_text()}")
