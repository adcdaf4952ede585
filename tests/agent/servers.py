"""Small web servers on loopback: they answer what a table says, and remember what was asked."""

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = bytes | Callable[["Asked"], tuple[int, bytes]]


@dataclass
class Asked:
    """A request that came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    port: int


@dataclass
class Server:
    """A running server."""

    address: str
    asked: list[Asked] = field(default_factory=list)

    def paths(self) -> list[str]:
        """List what was asked for."""
        return [each.path for each in self.asked]


@contextmanager
def serving(answers: Mapping[str, Answer]) -> Iterator[Server]:
    """Serve answers by their paths, queries included; anything else is not there."""
    server = Server("")

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(size)
            asked = Asked(self.command, self.path, headers, body, self.client_address[1])
            server.asked.append(asked)
            answer = answers.get(self.path)
            if answer is None:
                code, data = 404, b"nothing here"
            else:
                code, data = answer(asked) if callable(answer) else (200, answer)
            self.send_response(code)
            if code == 302:
                self.send_header("Location", data.decode())
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with suppress(OSError):  # who asked may have gone
                self.wfile.write(data)

        do_GET = do_PUT = do_POST = handle_any  # noqa: N815  (names of the library)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    server.address = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def layer(members: Mapping[str, bytes | str]) -> bytes:
    """Make a layer: files by their content, links by the text that they have."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size, info.mode = len(content), 0o755
                archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def image(name: str, *layers: bytes) -> dict[str, Answer]:
    """Answer as a registry that has one image."""
    kind = "application/vnd.oci.image.layer.v1.tar+gzip"
    repository, _, tag = name.partition(":")
    entries = [{"mediaType": kind, "digest": _digest(each), "size": len(each)} for each in layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "layers": entries,
    }
    blobs = {f"/v2/{repository}/blobs/{_digest(each)}": each for each in layers}
    return {f"/v2/{repository}/manifests/{tag}": json.dumps(manifest).encode(), **blobs}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
