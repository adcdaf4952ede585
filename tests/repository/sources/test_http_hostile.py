"""What servers must not get out of a client, nor do to it: credentials, space, time."""

import base64
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPMessage
from io import BytesIO
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import pytest

from compiler.errors import OutsideError
from compiler.repository.sources.http import HttpSettings, HttpSource, Redirects
from tests.repository.sources.lab import (
    ADDRESS,
    ARCHIVE,
    BETWEEN,
    CONTENT,
    LISTENS,
    NAME,
    Site,
    saying,
)
from tests.servers.proxy import (
    ALWAYS,
    Endless,
    Fault,
    FaultyProxy,
    Silent,
    Slow,
    SlowHead,
    Status,
    run_proxy,
)
from tests.servers.registry import make_certificates, server_context


def test_a_redirection_is_followed_without_credentials(
    proxy: FaultyProxy, fake_registry: FaultyProxy, tmp_path: Path
) -> None:
    site = Site(fake_registry, tmp_path, {"token": "secret"})
    elsewhere = f"http://{proxy.host}/{NAME}"
    fake_registry.script(Fault(Status(302, {"Location": elsewhere})))

    assert site.archive() == CONTENT
    assert [each.headers.get("Authorization") for each in fake_registry.seen] == ["token secret"]
    assert [each.headers.get("Authorization") for each in proxy.seen] == [None]


def test_a_redirection_within_the_host_keeps_credentials(
    fake_registry: FaultyProxy, tmp_path: Path
) -> None:
    site = Site(fake_registry, tmp_path, {"token": "secret"})
    moved = f"/{NAME}?moved=1"
    fake_registry.script(Fault(Status(302, {"Location": moved})), Fault(Status(200, {}, CONTENT)))

    assert site.archive() == CONTENT
    seen = [(each.path, each.headers.get("Authorization")) for each in fake_registry.seen]
    assert seen == [(f"/{NAME}", "token secret"), (moved, "token secret")]


def test_credentials_do_not_come_back_with_a_redirection_from_another_host(
    proxy: FaultyProxy, fake_registry: FaultyProxy, tmp_path: Path
) -> None:
    site = Site(fake_registry, tmp_path, {"token": "secret"})
    back = f"http://{fake_registry.host}/{NAME}?back=1"
    away = f"http://{proxy.host}/{NAME}"
    fake_registry.script(Fault(Status(302, {"Location": away})), Fault(Status(200, {}, CONTENT)))
    proxy.script(Fault(Status(302, {"Location": back})))

    assert site.archive() == CONTENT
    assert [each.headers.get("Authorization") for each in proxy.seen] == [None]
    assert [each.headers.get("Authorization") for each in fake_registry.seen] == [
        "token secret",
        None,
    ]


@pytest.mark.parametrize(
    ("location", "is_same"),
    [
        ("http://HOST.test:80/x", True),
        ("http://host.test/x", True),
        ("https://host.test/x", False),
        ("http://host.test:8080/x", False),
        ("http://host.test.evil/x", False),
        ("http://host.test@evil/x", False),
    ],
)
def test_only_scheme_host_and_port_together_are_the_same_host(
    location: str, *, is_same: bool
) -> None:
    request = urllib.request.Request("http://host.test/file")
    request.add_unredirected_header("Authorization", "token secret")

    following = Redirects().redirect_request(
        request, BytesIO(), 302, "Found", HTTPMessage(), location
    )

    assert following is not None
    assert (following.get_header("Authorization") == "token secret") is is_same


def test_a_redirection_in_a_circle_ends(site: Site, proxy: FaultyProxy) -> None:
    proxy.script(Fault(Status(302, {"Location": f"/{NAME}"}), times=ALWAYS))

    assert site.refusal() == (
        f"http://{proxy.host}/{NAME}: the server answers 302 The HTTP server returned a redirect"
        f" error that would lead to an infinite loop. ({ADDRESS})"
    )
    assert proxy.count("GET") < 20


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_a_redirection_to_something_else_is_not_followed(
    site: Site, proxy: FaultyProxy, location: str
) -> None:
    proxy.script(Fault(Status(302, {"Location": location})))

    found = site.refusal()

    assert found.startswith(f"http://{proxy.host}/{NAME}: ")
    assert proxy.count("GET") == 1


@contextmanager
def over_tls(folder: Path) -> Iterator[FaultyProxy]:
    """Run a server that speaks TLS, with a certificate of the authority in `ca.crt`."""
    make_certificates(folder)
    with run_proxy(tls=server_context(folder)) as proxy:
        yield proxy


def brought(url: str, folder: Path, *, authority: str) -> str:
    """Bring a page in a process that trusts one authority; returns its text, or why not."""
    process = get_context("fork").Process(target=_bring, args=(url, folder, authority))
    process.start()
    process.join(60)
    return (folder / "answer").read_text()


def _bring(url: str, folder: Path, authority: str) -> None:
    os.environ["SSL_CERT_FILE"] = authority
    source = HttpSource(url, {}, HttpSettings(timeout=5, pause=lambda _seconds: None))
    try:
        source.bring("repository.yaml", folder / "page", 100)
        (folder / "answer").write_bytes((folder / "page").read_bytes())
    except OutsideError as error:
        (folder / "answer").write_text(str(error))


def test_a_server_with_a_good_certificate_is_read(tmp_path: Path) -> None:
    with over_tls(tmp_path) as server:
        server.script(Fault(Status(200, {}, b"page")))

        found = brought(f"https://{server.host}", tmp_path, authority=f"{tmp_path}/ca.crt")

    assert found == "page"


def test_a_server_whose_certificate_nobody_vouches_for_is_not_read(tmp_path: Path) -> None:
    with over_tls(tmp_path) as server:
        server.script(Fault(Status(200, {}, b"page"), times=ALWAYS))

        found = brought(f"https://{server.host}", tmp_path, authority="/dev/null")

        assert server.seen == []
    assert "certificate verify failed" in found


def test_a_redirection_away_from_tls_is_not_followed(tmp_path: Path, proxy: FaultyProxy) -> None:
    with over_tls(tmp_path) as server:
        plain = f"http://{proxy.host}/repository.yaml"
        server.script(Fault(Status(302, {"Location": plain}), times=ALWAYS))

        found = brought(f"https://{server.host}", tmp_path, authority=f"{tmp_path}/ca.crt")

        assert found == (
            f"https://{server.host}/repository.yaml: the server answers 302 leads away from TLS"
            f" ({ADDRESS})"
        )
    assert proxy.seen == []


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({}, None),
        ({"token": "secret"}, "token secret"),
        ({"token": "secret\n"}, "token secret"),
        ({"basic": "dXNlcjpwYXNz"}, "Basic dXNlcjpwYXNz"),
        ({"token": "secret", "basic": "dXNlcjpwYXNz"}, "token secret"),
    ],
)
def test_credentials_are_sent_as_they_are_configured(
    proxy: FaultyProxy, tmp_path: Path, auth: Mapping[str, str], header: str | None
) -> None:
    assert Site(proxy, tmp_path, auth).archive() == CONTENT

    assert [seen.headers.get("Authorization") for seen in proxy.seen] == [header]


def test_credentials_in_the_address_are_sent_and_never_shown(
    proxy: FaultyProxy, tmp_path: Path
) -> None:
    url = f"http://us%40er:pa%3Ass@{proxy.host}/?key=hidden"
    source = HttpSource(url, {}, HttpSettings(timeout=5, pause=lambda _seconds: None))
    proxy.script(Fault(Status(500), times=4), Fault(Status(404)), Fault(Status(401)))
    texts = [source.address]

    for _ in range(3):
        with pytest.raises(OutsideError) as caught:
            source.bring(NAME, tmp_path / "file", 10)
        texts.append(str(caught.value))

    sent = base64.b64encode(b"us@er:pa:ss").decode()
    assert {seen.headers["Authorization"] for seen in proxy.seen} == {f"Basic {sent}"}
    assert {seen.path for seen in proxy.seen} == {f"/{NAME}?key=hidden"}
    for secret in ("us%40er", "us@er", "pa%3Ass", "pa:ss", "hidden", sent):
        assert secret not in " ".join(texts)


@pytest.mark.parametrize(
    "url",
    ["http://user:hidden@", "ftp://user:hidden@host/", "user:hidden@host", "http://user:hidden@[",
     "http://user:hidden@host:99999/", "http://user:hidden@host:x/", "http://user:hid@den@:80",
     "http://user:hidden@host:0/"],
)  # fmt: skip
def test_what_is_no_address_is_told_without_its_credentials(url: str) -> None:
    with pytest.raises(OutsideError) as caught:
        HttpSource(url, {}, HttpSettings())

    assert str(caught.value).endswith(": is no address of a web server")
    assert "hid" not in str(caught.value)


@pytest.mark.parametrize("key", ["token", "basic"])
@pytest.mark.parametrize("value", ["secret\nX: y", "s\u00e9cret", "sec\x00ret"])
def test_credentials_that_no_header_can_hold_are_told_and_not_shown(key: str, value: str) -> None:
    with pytest.raises(OutsideError) as caught:
        HttpSource("http://host.test", {key: value}, HttpSettings())

    assert str(caught.value) == f"'auth': '{key}' has characters that cannot be sent"


@pytest.mark.parametrize("path", ["/a b/\u00e4", "/a%20b/%C3%A4"])
def test_addresses_with_any_letters_are_asked_for(
    proxy: FaultyProxy, tmp_path: Path, folder: Path, path: str
) -> None:
    (folder / "a b/\u00e4").mkdir(parents=True)
    (folder / "a b/\u00e4" / NAME).write_bytes(CONTENT)
    source = HttpSource(f"http://{proxy.host}{path}", {}, HttpSettings(timeout=5))

    source.bring(NAME, tmp_path / "file", len(CONTENT))

    assert (tmp_path / "file").read_bytes() == CONTENT


def test_what_a_server_says_changes_no_terminal(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 402 \x1b[2JPay\x07 now" + b"!" * 500 + b"\r\nContent-Length: 0\r\n\r\n"
    with saying(answer) as host:
        source = HttpSource(f"http://{host}", {}, HttpSettings(timeout=5))

        with pytest.raises(OutsideError) as caught:
            source.bring(NAME, tmp_path / "file", 10)

    assert str(caught.value) == (
        f"http://{host}/{NAME}: the server answers 402 ?[2JPay? now{'!' * 88} ({ADDRESS})"
    )


def test_a_server_of_something_else_is_told(tmp_path: Path) -> None:
    with saying(b"220 mail.test ESMTP\x1b[2J\r\n\r\n") as host:
        settings = HttpSettings(timeout=5, pause=lambda _seconds: None)

        with pytest.raises(OutsideError) as caught:
            HttpSource(f"http://{host}", {}, settings).bring(NAME, tmp_path / "file", 10)

    assert str(caught.value) == (
        f"http://{host}/{NAME}: 220 mail.test ESMTP?[2J (tried 4 times) ({BETWEEN})"
    )


@pytest.mark.parametrize("limit", [1000, 100_000, 1_000_000])
def test_a_body_that_never_ends_is_left_off_at_its_limit(
    site: Site, proxy: FaultyProxy, tmp_path: Path, limit: int
) -> None:
    proxy.script(Fault(Endless(), times=ALWAYS))

    with pytest.raises(OutsideError) as caught:
        site.source.bring(NAME, tmp_path / "file", limit)
    with pytest.raises(OutsideError) as caught_again:
        site.source.fetch(ARCHIVE, site.cache, limit)

    assert str(caught.value) == (
        f"http://{proxy.host}/{NAME}: the server sends more than {limit} bytes"
        " (open it in a browser: is it the repository's file, or a page of something on the way?)"
    )
    assert str(caught_again.value) == str(caught.value)
    assert not (tmp_path / "file").exists()
    assert not site.part.exists()
    assert proxy.count("GET") == 2


def test_a_file_of_exactly_its_limit_is_taken(site: Site) -> None:
    (path,) = site.source.fetch(ARCHIVE, site.cache, len(CONTENT))

    assert path.read_bytes() == CONTENT


def test_a_body_below_the_least_rate_is_broken_off_and_asked_for_again(
    proxy: FaultyProxy, tmp_path: Path, folder: Path
) -> None:
    (folder / "page").write_bytes(b"x" * 40)
    ticks = count(0, 3)
    waits: list[float] = []
    settings = HttpSettings(timeout=5, pause=waits.append, clock=lambda: float(next(ticks)))
    source = HttpSource(f"http://{proxy.host}", {}, settings)
    proxy.script(Fault(Slow(), times=ALWAYS))

    with pytest.raises(OutsideError) as caught:
        source.bring("page", tmp_path / "file", 100)

    assert str(caught.value) == (
        f"http://{proxy.host}/page: sends less than 1024 bytes a second (tried 4 times) ({BETWEEN})"
    )
    assert waits == [0.5, 1.0, 2.0]


def test_a_fast_beginning_does_not_pay_for_a_body_that_crawls(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"
    with saying(head + bytes(1 << 20), b"x") as host:
        settings = HttpSettings(timeout=0.2, pause=lambda _seconds: None)
        source = HttpSource(f"http://{host}", {}, settings)
        begun = time.monotonic()

        with pytest.raises(OutsideError) as caught:
            source.bring(NAME, tmp_path / "file", 10**9)

    assert str(caught.value) == (
        f"http://{host}/{NAME}: sends less than 1024 bytes a second (tried 4 times) ({BETWEEN})"
    )
    assert time.monotonic() - begun < 20


def test_a_server_that_is_silent_is_asked_again_and_given_up(
    proxy: FaultyProxy, tmp_path: Path
) -> None:
    settings = HttpSettings(timeout=0.1, pause=lambda _seconds: None)
    source = HttpSource(f"http://{proxy.host}", {}, settings)
    proxy.script(Fault(Silent(), times=ALWAYS))

    with pytest.raises(OutsideError) as caught:
        source.bring(NAME, tmp_path / "file", 10)

    assert str(caught.value) == (
        f"http://{proxy.host}/{NAME}: the server is silent (tried 4 times) ({LISTENS})"
    )
    assert proxy.count("GET") == 4


def test_a_head_without_end_is_given_up(proxy: FaultyProxy, tmp_path: Path) -> None:
    settings = HttpSettings(timeout=0.1, pause=lambda _seconds: None)
    source = HttpSource(f"http://{proxy.host}", {}, settings)
    proxy.script(Fault(SlowHead(), times=ALWAYS))

    with pytest.raises(OutsideError) as caught:
        source.bring(NAME, tmp_path / "file", 10)

    assert str(caught.value) == (
        f"http://{proxy.host}/{NAME}: the server is silent (tried 4 times) ({LISTENS})"
    )


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    settings = HttpSettings(timeout=1, pause=lambda _seconds: None)

    with pytest.raises(OutsideError) as caught:
        HttpSource("http://127.0.0.1:1", {}, settings).bring(NAME, tmp_path / "file", 10)

    assert str(caught.value) == (
        f"http://127.0.0.1:1/{NAME}: connection refused (tried 4 times)"
        " (check the port, and that the server runs)"
    )


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", "trust/../x", ".hidden", "a\nb", "a?b", "a b", "trust/", "/x"]
)
def test_a_name_that_is_a_path_is_never_asked_for(
    site: Site, proxy: FaultyProxy, tmp_path: Path, name: str
) -> None:
    with pytest.raises(OutsideError) as caught:
        site.source.bring(name, tmp_path / "file", 10)

    assert str(caught.value) == (
        f"http://{proxy.host}: {name!r} cannot be the name of a file of a repository"
        " (the repository has to be made anew)"
    )
    assert proxy.seen == []


@pytest.mark.container
def test_a_full_disk_is_told_and_gets_its_room_back(
    site: Site, proxy: FaultyProxy, tmp_path: Path
) -> None:
    disk = tmp_path / "cache"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
    try:
        reason = "cannot be written: no space left on device (make room on its disk)"
        assert site.refusal() == f"{site.part}: {reason}"
        assert not site.part.exists()
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        proxy.script()

        assert site.archive() == CONTENT
    finally:
        subprocess.run(["umount", disk], check=True)
