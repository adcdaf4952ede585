"""Starts Debian's `notary-server`, with TLS, everything in memory; one for a session."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.processes import wait_for
from tests.servers.registry import make_certificates

PASSPHRASES = {
    "DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE": "a root of trust",
    "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE": "a repository of trust",
}


@dataclass(frozen=True, slots=True)
class NotaryServer:
    """A server that runs: its address, and the certificate of the authority that vouches for it."""

    url: str
    authority: Path

    def docker_folder(self, place: Path) -> Path:
        """Make a folder for `$DOCKER_CONFIG` that trusts this server."""
        folder = place / "docker" / "tls" / urlsplit(self.url).netloc
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(self.authority.read_bytes())
        return place / "docker"


@pytest.fixture(scope="session")
def notary_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotaryServer]:
    """A server for all tests; each takes repository names of its own."""
    folder = tmp_path_factory.mktemp("notary")
    authority = make_certificates(folder)
    port = _free_port()
    settings = {
        "server": {
            "http_addr": f"127.0.0.1:{port}",
            "tls_cert_file": "server.pem",
            "tls_key_file": "server.key",
        },
        "trust_service": {"type": "local", "hostname": "", "port": "", "key_algorithm": "ed25519"},
        "storage": {"backend": "memory"},
        "logging": {"level": "info"},
    }
    (folder / "config.json").write_text(json.dumps(settings))
    argv = ["setpriv", "--pdeathsig", "KILL", "notary-server", "-config"]
    argv.append(str(folder / "config.json"))
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as run:
        try:
            wait_for(lambda: _listens(port) or run.poll() is not None)
            assert run.poll() is None, (folder / "log").read_text()
            yield NotaryServer(f"https://127.0.0.1:{port}", authority)
        finally:
            run.kill()


def _free_port() -> int:
    """Find a port that nobody listens on; the server cannot be told to take any."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _listens(port: int) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
