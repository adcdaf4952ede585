"""Starts Debian's `dockerd`: its own socket, data and containerd, and nothing of the machine's.

It listens on a socket, and with TLS on a port of 127.0.0.1, where it also asks its clients for a
certificate. All tests that use it are of one group, so that one process of a run has one.
"""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.registry import make_certificates

_PATIENCE = 60.0
_LISTENING = re.compile(r"API listen on 127\.0\.0\.1:(\d+)")
_MOUNTS = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
"""The mounts of the machine, as they were before a test made this process have its own."""

_AMONG_ALL_MOUNTS = ("nsenter", f"--mount=/proc/self/fd/{_MOUNTS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerServer:
    """A Docker engine that runs: its socket, its port, and the certificates that it takes."""

    socket: Path
    port: int
    certificates: Path
    data: Path

    @property
    def local(self) -> dict[str, str]:
        """The environment that leads to it by its socket."""
        return {"DOCKER_HOST": f"unix://{self.socket}"}

    @property
    def remote(self) -> dict[str, str]:
        """The environment that leads to it by the network."""
        return {
            "DOCKER_HOST": f"tcp://127.0.0.1:{self.port}",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(self.certificates),
        }


@contextmanager
def run_dockerd(folder: Path) -> Iterator[DockerServer]:
    """Run a Docker engine that keeps everything in `folder`, until the context ends."""
    folder.mkdir(parents=True, exist_ok=True)
    certificates = _certificates(folder / "tls")
    listening = folder / "docker.sock"
    argv = [
        *(*_AMONG_ALL_MOUNTS, "setpriv", "--pdeathsig", "TERM"),
        *("dockerd", "--host", f"unix://{listening}"),
        *("--host", "tcp://127.0.0.1:0", "--tlsverify"),
        *("--tlscacert", str(certificates / "ca.pem")),
        *("--tlscert", str(certificates / "cert.pem"), "--tlskey", str(certificates / "key.pem")),
        *("--data-root", str(folder / "data"), "--exec-root", str(folder / "run")),
        *("--pidfile", str(folder / "pid"), "--config-file", str(folder / "none.json")),
        *("--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"),
    ]
    log = folder / "log"
    (folder / "none.json").write_text("{}")
    with (
        log.open("wb") as output,
        subprocess.Popen(argv, stdout=output, stderr=output, pass_fds=[_MOUNTS]) as process,
    ):
        try:
            yield DockerServer(
                socket=listening,
                port=_port(log, process),
                certificates=certificates,
                data=folder / "data",
            )
        finally:
            process.send_signal(signal.SIGTERM)  # it ends its containers, and its containerd
            process.wait(_PATIENCE)


@pytest.fixture(scope="session")
def docker_server() -> Iterator[DockerServer]:
    """A Docker engine that is empty at first."""
    # Paths of sockets are short, and what it makes is not the tests' own to keep.
    folder = Path(tempfile.mkdtemp(prefix="cos-dockerd-"))
    try:
        with run_dockerd(folder) as server:
            yield server
    finally:
        script = 'umount "$0"/run/netns/*; rm -rf "$0"'  # it leaves its name of the network
        remove = (*_AMONG_ALL_MOUNTS, "sh", "-c", script, str(folder))
        subprocess.run(remove, pass_fds=[_MOUNTS], check=True)


def _certificates(folder: Path) -> Path:
    """Make certificates under the names that clients look for; the client's is the server's."""
    folder.mkdir()
    authority = make_certificates(folder)
    authority.rename(folder / "ca.pem")
    (folder / "server.pem").rename(folder / "cert.pem")
    (folder / "server.key").rename(folder / "key.pem")
    return folder


def _port(log: Path, process: "subprocess.Popen[bytes]") -> int:
    """Wait until it says on which port it listens."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        match = _LISTENING.search(log.read_text())
        if match:
            return int(match[1])
        time.sleep(0.05)
    pytest.fail(f"dockerd did not start:\n{log.read_text()}")
