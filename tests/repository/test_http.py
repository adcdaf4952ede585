"""The HTTP server of a repository: what it sends, and what it never does."""

import http.client
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.errors import OutsideError, UsageError
from compiler.repository.http import make_server

CONTENT = bytes(range(256)) * 8192


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to serve, beside one that must never be seen."""
    served = tmp_path / "served"
    (served / "below").mkdir(parents=True)
    (served / "file").write_bytes(CONTENT)
    (served / "empty").write_bytes(b"")
    (served / "below/a+b c").write_bytes(b"below")
    (served / ".hidden").write_bytes(b"secret")
    (served / "a-t-1.unverified").write_bytes(b"{}")
    (served / "inside").symlink_to("below/a+b c")
    (served / "outside").symlink_to(tmp_path / "secret")
    (served / "up").symlink_to(tmp_path)
    (served / "ring").symlink_to("ring")
    os.mkfifo(served / "pipe")
    (tmp_path / "secret").write_bytes(b"secret")
    return served


@pytest.fixture
def connection(folder: Path) -> Iterator[http.client.HTTPConnection]:
    """A connection to a server of that folder."""
    with make_server(folder, address="127.0.0.1", port=0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        try:
            yield connection
        finally:
            connection.close()
            server.shutdown()
            thread.join()


def ask(
    connection: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=named)
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def test_files_are_sent_whole(connection: http.client.HTTPConnection) -> None:
    assert ask(connection, "/file")[:2] == (200, CONTENT)
    assert ask(connection, "/empty")[:2] == (200, b"")
    assert ask(connection, "/below/a%2Bb%20c?x=1")[:2] == (200, b"below")
    assert ask(connection, "/inside")[:2] == (200, b"below")


def test_a_head_has_the_size_and_no_body(connection: http.client.HTTPConnection) -> None:
    status, body, headers = ask(connection, "/file", "HEAD")

    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(CONTENT)))
    assert headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=2097000-", 2097000, 2097152),
        ("bytes=2097000-9999999", 2097000, 2097152),
        ("bytes=-3", 2097149, 2097152),
    ],
)
def test_a_range_is_sent_alone(
    connection: http.client.HTTPConnection, wanted: str, start: int, end: int
) -> None:
    status, body, headers = ask(connection, "/file", Range=wanted)

    assert (status, body) == (206, CONTENT[start:end])
    assert headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"


@pytest.mark.parametrize("wanted", ["bytes=9-5", "bytes=-", "lines=1-2", "bytes=0-1,3-4", "x"])
def test_a_range_that_means_nothing_is_passed_over(
    connection: http.client.HTTPConnection, wanted: str
) -> None:
    assert ask(connection, "/file", Range=wanted)[:2] == (200, CONTENT)


@pytest.mark.parametrize("wanted", ["bytes=2097152-", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(
    connection: http.client.HTTPConnection, wanted: str
) -> None:
    status, body, headers = ask(connection, "/file", Range=wanted)

    assert (status, body) == (416, b"")
    assert headers["Content-Range"] == f"bytes */{len(CONTENT)}"


def test_what_the_client_has_is_not_sent_again(connection: http.client.HTTPConnection) -> None:
    tag = ask(connection, "/file", "HEAD")[2]["ETag"]

    assert ask(connection, "/file", If_None_Match=tag)[:2] == (304, b"")
    assert ask(connection, "/file", If_None_Match='"other"')[:2] == (200, CONTENT)
    assert ask(connection, "/file", Range="bytes=0-0", If_Range='"other"')[:2] == (200, CONTENT)
    assert ask(connection, "/file", Range="bytes=0-0", If_Range=tag)[:2] == (206, b"\0")


@pytest.mark.parametrize(
    "path",
    ["/", "/below", "/none", "/.hidden", "/../secret", "/%2e%2e/secret", "/below/../../secret",
     "/outside", "/a-t-1.unverified", "/up/secret", "/ring", "/pipe", "/file%00",
     "/below%2Fa+b%20c", "/%2ffile", "/" + "a" * 5000, "//etc/passwd"],
)  # fmt: skip
def test_nothing_else_is_sent(connection: http.client.HTTPConnection, path: str) -> None:
    assert ask(connection, path)[0] == 404


def test_other_methods_are_refused(connection: http.client.HTTPConnection) -> None:
    assert ask(connection, "/file", "DELETE")[0] == 501


def test_what_is_no_folder_cannot_be_served(folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        make_server(folder / "file", address="127.0.0.1", port=0)

    assert str(caught.value) == f"{folder}/file: is not a folder"


def test_a_port_that_is_taken_is_said_so(folder: Path) -> None:
    with make_server(folder, address="127.0.0.1", port=0) as server:
        port = server.server_port
        with pytest.raises(OutsideError) as caught:
            make_server(folder, address="127.0.0.1", port=port)

    assert str(caught.value) == f"cannot listen on 127.0.0.1:{port}: Address already in use"


def test_an_address_of_another_machine_is_said_so(folder: Path) -> None:
    with pytest.raises(OutsideError) as caught:
        make_server(folder, address="192.0.2.1", port=0)

    assert str(caught.value) == "cannot listen on 192.0.2.1:0: Cannot assign requested address"
