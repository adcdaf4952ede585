"""A web server that does what it is told, and a source that reads from it."""

import hashlib
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import OutsideError
from compiler.repository.cache import Cache
from compiler.repository.http import make_server
from compiler.repository.sources.http import HttpSettings, HttpSource
from compiler.spec.package import Definition
from tests.servers.proxy import FaultyProxy

CONTENT = bytes(range(256)) * 1024
BETWEEN = "check the network, and what is in between: a proxy, or a firewall"
LISTENS = "check that it runs, and that no firewall is in between"
ADDRESS = "is it the right address of a repository?"
NAME = "a-t-1.package.tar"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
DEFINITION = Definition(name="a", category="t", version="1")
ARCHIVE = ArtifactMetadata(
    runtime=DEFINITION, built=DEFINITION, archive=NAME, sha256=SHA256, compression="none"
)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder as `cos serve-repo` does; gives the host."""
    with make_server(folder, address="127.0.0.1", port=0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Saying(socketserver.ThreadingTCPServer):
    """Gives every request the same answer, and then drips."""

    daemon_threads = True
    answer = drip = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.ended = threading.Event()


class _Answer(socketserver.StreamRequestHandler):
    """One request."""

    server: _Saying

    def handle(self) -> None:
        """Answer it."""
        while self.rfile.readline().strip():
            pass
        with suppress(OSError):
            self.wfile.write(self.server.answer)
            while self.server.drip and not self.server.ended.wait(0.005):
                self.wfile.write(self.server.drip)


@contextmanager
def saying(answer: bytes, drip: bytes = b"") -> Iterator[str]:
    """Run a server that says exactly this, and then a few bytes now and then; gives the host."""
    with _Saying() as server:
        server.answer, server.drip = answer, drip
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


class Site:
    """A source that reads from a server, and how long it paused."""

    def __init__(self, proxy: FaultyProxy, folder: Path, auth: Mapping[str, str] = {}) -> None:
        self.waits: list[float] = []
        self.url = f"http://{proxy.host}"
        self.source = HttpSource(self.url, auth, HttpSettings(timeout=5, pause=self.waits.append))
        self.cache = Cache(folder / "cache")
        self.part = folder / "cache/parts" / SHA256

    def archive(self) -> bytes:
        """Fetch the archive."""
        (path,) = self.source.fetch(ARCHIVE, self.cache)
        return path.read_bytes()

    def refusal(self) -> str:
        """Fail to fetch it; returns why."""
        with pytest.raises(OutsideError) as caught:
            self.archive()
        return str(caught.value)

    def begin(self, data: bytes) -> None:
        """Have a part of the archive from an earlier run."""
        self.part.parent.mkdir(parents=True)
        self.part.write_bytes(data)
