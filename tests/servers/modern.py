"""A small registry that does what Debian's does not: referrers, pages of tags, uploads that go on.

It speaks the OCI Distribution Specification 1.1 and keeps everything in a `MemoryRegistry`.
"""

import itertools
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from compiler.errors import NotFoundError, RegistryError
from compiler.oci import INDEX, Descriptor, Digest, Reference
from compiler.registry.memory import MemoryRegistry

_ROUTE = re.compile(
    r"/v2/(?P<name>[a-z0-9/._-]+?)/(?P<kind>manifests|blobs|tags|referrers)/(?P<rest>.*)"
)
_BLOCK = 4096


class ModernRegistry(ThreadingHTTPServer):
    """The server; `memory` is what it holds, `page` how many tags one answer has."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.host = f"127.0.0.1:{self.server_port}"
        self.memory = MemoryRegistry()
        self.page = 3
        self.uploads: dict[str, bytearray] = {}
        self.numbers = itertools.count()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients go away, that is what is tested."""


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    server: ModernRegistry
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 20.0

    def do_GET(self) -> None:
        """Answer any request."""
        address = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(address.query).items()}
        match = _ROUTE.fullmatch(address.path)
        if match is None:
            self._reply(200 if address.path == "/v2/" else 404)
            return
        self.repository = Reference("memory", match["name"])
        self.rest = match["rest"]
        try:
            {
                "manifests": self._manifest,
                "blobs": self._blob,
                "tags": self._tags,
                "referrers": self._referrers,
            }[match["kind"]]()
        except NotFoundError:
            self._fail(404, "NOT_FOUND")
        except RegistryError:
            self._fail(400, "INVALID")

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815  (named by the library)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (named by the library)
        """Say nothing."""

    def _manifest(self) -> None:
        """Store, delete or send a manifest."""
        digest = self.rest if ":" in self.rest else ""
        name = Reference("memory", self.repository.repository, "" if digest else self.rest, digest)
        if self.command == "PUT":
            stored = self.server.memory.put_manifest(
                name, self._body(), self.headers["Content-Type"]
            )
            about = json.loads(self.server.memory.manifest(self._pinned(stored)).data)
            kept = {"OCI-Subject": about["subject"]["digest"]} if "subject" in about else {}
            self._reply(201, {"Docker-Content-Digest": stored.digest, **kept})
        elif self.command == "DELETE":
            self.server.memory.delete(name)
            self._reply(202)
        else:
            found = self.server.memory.manifest(name)
            said = {"Docker-Content-Digest": found.descriptor.digest}
            self._reply(200, said | {"Content-Type": found.descriptor.media_type}, found.data)

    def _blob(self) -> None:
        """Send a blob, or take the next step of an upload."""
        if self.rest.startswith("uploads/"):
            {
                "POST": self._begin,
                "PATCH": self._go_on,
                "GET": self._status,
                "PUT": self._finish,
                "DELETE": self._cancel,
            }[self.command]()
            return
        data = self._stored(Digest(self.rest))
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match is None:
            self._reply(200, {}, data)
        elif int(match[1]) >= len(data):
            self._reply(416)
        else:
            said = {"Content-Range": f"bytes {match[1]}-{len(data) - 1}/{len(data)}"}
            self._reply(206, said, data[int(match[1]) :])

    def _begin(self) -> None:
        """Take a blob over from elsewhere, or begin an upload."""
        origin = Reference("memory", self.query.get("from", ""))
        mount = Digest(self.query.get("mount", ""))
        if mount and self.server.memory.mount_blob(self.repository, mount, origin=origin):
            self._reply(201, {"Docker-Content-Digest": mount})
            return
        name = str(next(self.server.numbers))
        self.server.uploads[name] = bytearray()
        self._reply(202, self._where(name))

    def _go_on(self) -> None:
        """Take a chunk, if it begins where the upload ended; what came before a break stays."""
        upload = self._upload()
        start = self.headers["Content-Range"].partition("-")[0]
        if int(start) != len(upload):
            self._body()
            self._fail(416, "RANGE")
            return
        left = int(self.headers["Content-Length"])
        while left and (block := self.rfile.read1(min(left, _BLOCK))):
            upload += block
            left -= len(block)
        if not left:
            self._reply(202, self._where(self._name()))

    def _status(self) -> None:
        """Tell how much of an upload is there."""
        self._upload()
        self._reply(204, self._where(self._name()))

    def _finish(self) -> None:
        """Store what was uploaded."""
        upload = self._upload()
        upload += self._body()
        data = bytes(upload)
        digest = Digest(self.query["digest"])
        self.server.memory.put_blob(self.repository, data, Descriptor("", digest, len(data)))
        del self.server.uploads[self._name()]
        self._reply(201, {"Docker-Content-Digest": digest})

    def _cancel(self) -> None:
        """Forget an upload."""
        del self.server.uploads[self._name()]
        self._reply(204)

    def _tags(self) -> None:
        """Send a page of the tags, and where the next one is."""
        tags = self.server.memory.tags(self.repository, after=self.query.get("last", ""))
        if not tags:
            self._fail(404, "NAME_UNKNOWN")
            return
        page = tags[: self.server.page]
        more = len(tags) > len(page)
        link = {"Link": f'<{urlsplit(self.path).path}?last={page[-1]}>; rel="next"'} if more else {}
        self._reply(200, link, json.dumps({"name": "x", "tags": page}).encode())

    def _referrers(self) -> None:
        """Send the list of what refers to a manifest; of which type is left to the client."""
        about = Reference("memory", self.repository.repository, digest=self.rest)
        lines = []
        for each in self.server.memory.referrers(about):
            written = json.loads(self.server.memory.manifest(self._pinned(each)).data)
            type_ = written.get("artifactType") or written["config"]["mediaType"]
            line = {"mediaType": each.media_type, "digest": each.digest, "size": each.size}
            lines.append(line | {"artifactType": type_})
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": lines}
        self._reply(200, {"Content-Type": INDEX}, json.dumps(index).encode())

    def _stored(self, digest: Digest) -> bytes:
        """Return a blob, whatever its length."""
        return self.server.memory.content(self.repository, digest)

    def _pinned(self, descriptor: Descriptor) -> Reference:
        return Reference("memory", self.repository.repository, digest=descriptor.digest)

    def _name(self) -> str:
        return self.rest.removeprefix("uploads/")

    def _upload(self) -> bytearray:
        if self._name() not in self.server.uploads:
            raise NotFoundError("no such upload")
        return self.server.uploads[self._name()]

    def _where(self, name: str) -> Mapping[str, str]:
        """Say where an upload goes on, and how much of it is there."""
        there = len(self.server.uploads[name])
        place = f"/v2/{self.repository.repository}/blobs/uploads/{name}"
        return {"Location": place, "Range": f"0-{max(0, there - 1)}"}

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _fail(self, status: int, code: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
        self._reply(status, {"Content-Type": "application/json"}, body)

    def _reply(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        """Send a whole answer."""
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def run_modern_registry() -> Iterator[ModernRegistry]:
    """Run such a registry until the context ends."""
    with ModernRegistry() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def modern_registry() -> Iterator[ModernRegistry]:
    """A registry of OCI 1.1, empty."""
    with run_modern_registry() as server:
        yield server
