"""Fetches end in time and in bounds, whatever a server does."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from compiler.agent.web import Request, ask, fetch
from compiler.errors import OutsideError
from tests.agent.servers import Answer, Asked, serving


@contextmanager
def talking(
    talk: Callable[[socket.socket], None], context: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Serve one connection by hand."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def work() -> None:
            plain, _ = server.accept()
            with plain, suppress(OSError):
                if context is None:
                    plain.recv(65536)
                    talk(plain)
                    return
                with context.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(65536)
                    talk(secure)

        thread = threading.Thread(target=work)
        thread.start()
        scheme = "https" if context else "http"
        yield f"{scheme}://127.0.0.1:{server.getsockname()[1]}/"
        thread.join()


def crawl(connection: socket.socket, start: bytes) -> None:
    connection.sendall(start)
    for _ in range(100):
        connection.sendall(b"x")
        time.sleep(0.05)


STARTS = {
    "in its first line": b"",
    "in its headers": b"HTTP/1.1 200 OK\r\nX: ",
    "in its body": b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n",
    "in a body without end": b"HTTP/1.1 200 OK\r\n\r\n",
}


@pytest.mark.parametrize("where", STARTS)
def test_a_server_that_crawls_is_given_up_at_the_deadline(where: str) -> None:
    started = time.monotonic()

    with talking(lambda connection: crawl(connection, STARTS[where])) as url:
        with pytest.raises(OutsideError) as caught:
            ask(Request(url=url, timeout=2, whole=0.5), 1 << 20)
        assert time.monotonic() - started < 2

    assert str(caught.value) == f"{url}: took longer than 0.5 seconds"


def test_a_server_that_says_nothing_is_given_up() -> None:
    with talking(lambda _connection: time.sleep(1)) as url, pytest.raises(OutsideError) as caught:
        ask(Request(url=url, timeout=0.2), 100)

    assert str(caught.value) == f"{url}: no answer for 0.2 seconds"


def test_an_answer_that_ends_early_is_an_error() -> None:
    def short(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")

    with talking(short) as url, pytest.raises(OutsideError) as caught:
        fetch(url, 100)

    assert str(caught.value) == f"{url}: ends 7 bytes too early"


def test_what_is_no_http_is_an_error() -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"hello\r\n\r\n")

    with talking(greet) as url, pytest.raises(OutsideError, match="hello"):
        fetch(url, 100)


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(OutsideError) as caught:
        fetch("http://127.0.0.1:1/x", 100)

    assert str(caught.value) == "http://127.0.0.1:1/x: Connection refused"


def test_secrets_are_not_told_to_where_a_server_refers() -> None:
    seen: dict[str, str | None] = {}

    def note(asked: Asked) -> tuple[int, bytes]:
        seen[asked.path] = asked.headers.get("authorization")
        return 200, b"there"

    with serving({"/there": note}) as other:
        answers: dict[str, Answer] = {
            "/away": lambda _asked: (302, f"{other.address}/there".encode()),
            "/file": lambda _asked: (302, b"file:///etc/passwd"),
            "/ftp": lambda _asked: (302, b"ftp://127.0.0.1:1/x"),
        }
        with serving(answers) as server:
            headers = {"Authorization": "Bearer secret"}
            assert ask(Request(url=f"{server.address}/away", headers=headers), 100) == b"there"
            for path in ("/file", "/ftp"):
                with pytest.raises(OutsideError):
                    fetch(f"{server.address}{path}", 100)

    assert seen == {"/there": None}


def test_a_server_is_trusted_by_its_certificate_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    argv = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-keyout", str(key)]
    name = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*argv, "-out", str(certificate), *name], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def greet(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    with talking(greet, context) as url, pytest.raises(OutsideError, match="certificate verify"):
        fetch(url, 100)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with talking(greet, context) as url:
        assert fetch(url, 100) == b"hi"
