"""The client itself: what it sends where, what it goes on with, and what it says when it cannot."""

import base64
import json
import resource
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from compiler.errors import DeniedError, NotFoundError, RegistryError
from compiler.events import Event, Noted
from compiler.oci import INDEX, MANIFEST, Descriptor, Reference, digest_of, hex_of
from compiler.registry import Progress
from compiler.registry.client import RegistryClient
from compiler.registry.settings import RegistrySettings
from compiler.registry.transfer import transfer
from tests.registry.shelf import (
    NOWHERE,
    Waits,
    described,
    manifest_of,
    pinned,
    put_image,
    tagged,
    write_auth,
)
from tests.servers.modern import ModernRegistry
from tests.servers.proxy import (
    ALWAYS,
    Cut,
    CutUpload,
    Fault,
    FaultyProxy,
    Says,
    Silent,
    Status,
    Tokens,
    WrongBytes,
    run_proxy,
)
from tests.servers.registry import RegistryServer

SETTINGS = RegistrySettings(certificate_folders=(), timeout=10.0, chunk=10_000)
CONTENT = bytes(range(256)) * 200
MISSED = b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry"}]}'
BASIC = "Basic " + base64.b64encode(b"ali:open sesame").decode()


@pytest.fixture
def through(modern_registry: ModernRegistry) -> Iterator[FaultyProxy]:
    """A proxy in front of a registry of OCI 1.1."""
    with run_proxy(modern_registry.host) as proxy:
        yield proxy


def open_client(
    settings: RegistrySettings = SETTINGS, waits: Waits | None = None
) -> RegistryClient:
    return RegistryClient(settings, pause=waits or Waits([]))


def with_auth(path: Path, host: str) -> RegistrySettings:
    write_auth(path / "auth.json", host, "ali", "open sesame")
    return RegistrySettings(auth_files=(path / "auth.json",), certificate_folders=(), chunk=10_000)


def test_a_download_goes_on_where_it_broke(through: FaultyProxy, tmp_path: Path) -> None:
    here = Reference(through.host, "test")
    with open_client() as client:
        client.put_blob(here, CONTENT, described(CONTENT))
        through.script(Fault(Cut(0.25), "GET", "/blobs/"))

        client.fetch_blob(here, described(CONTENT), tmp_path / "fetched")

    assert (tmp_path / "fetched").read_bytes() == CONTENT
    ranges = [seen.headers.get("Range") for seen in through.seen]
    assert ranges == [None, f"bytes={len(CONTENT) // 4}-"]


def test_a_download_goes_on_from_what_an_earlier_run_left(
    through: FaultyProxy, tmp_path: Path
) -> None:
    here = Reference(through.host, "test")
    (tmp_path / "fetched.part").write_bytes(CONTENT[:1000])
    with open_client() as client:
        client.put_blob(here, CONTENT, described(CONTENT))
        through.script()

        client.fetch_blob(here, described(CONTENT), tmp_path / "fetched")

    assert (tmp_path / "fetched").read_bytes() == CONTENT
    assert [seen.headers.get("Range") for seen in through.seen] == ["bytes=1000-"]
    assert not (tmp_path / "fetched.part").exists()


@pytest.mark.parametrize("left", [b"x" * 1000, CONTENT + b"x", CONTENT[:-1] + b"x"])
def test_what_an_earlier_run_left_is_thrown_away_if_it_is_wrong(
    through: FaultyProxy, tmp_path: Path, left: bytes
) -> None:
    here = Reference(through.host, "test")
    (tmp_path / "fetched.part").write_bytes(left)
    with open_client() as client:
        client.put_blob(here, CONTENT, described(CONTENT))

        client.fetch_blob(here, described(CONTENT), tmp_path / "fetched")

    assert (tmp_path / "fetched").read_bytes() == CONTENT


def test_nothing_stays_of_a_download_that_is_wrong(through: FaultyProxy, tmp_path: Path) -> None:
    here = Reference(through.host, "test")
    with open_client() as client:
        client.put_blob(here, CONTENT, described(CONTENT))
        through.script(Fault(WrongBytes(), "GET", "/blobs/", times=ALWAYS))

        with pytest.raises(RegistryError) as raised:
            client.fetch_blob(here, described(CONTENT), tmp_path / "fetched")

    assert raised.value.message == (
        f"{here}: cannot fetch {digest_of(CONTENT)}: what came has another digest (tried 2 times)"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_large_download_is_hashed_beside_and_goes_on(
    through: FaultyProxy, tmp_path: Path, share: float
) -> None:
    here = Reference(through.host, "test")
    content = CONTENT * 120
    reported: list[int] = []
    with open_client(RegistrySettings(certificate_folders=())) as client:
        client.put_blob(here, content, described(content))
        through.script(Fault(Cut(share), "GET", "/blobs/", times=2))

        client.fetch_blob(here, described(content), tmp_path / "fetched", reported.append)

    assert (tmp_path / "fetched").read_bytes() == content
    assert sum(reported) == len(content)
    assert through.count("GET", "/blobs/") == 3


def test_a_full_disk_leaves_nothing_behind(through: FaultyProxy, tmp_path: Path) -> None:
    here = Reference(through.host, "test")
    content = CONTENT * 120
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_client(RegistrySettings(certificate_folders=())) as client:
        client.put_blob(here, content, described(content))
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, limits[1]))
        try:
            with pytest.raises(RegistryError) as raised:
                client.fetch_blob(here, described(content), tmp_path / "fetched")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert raised.value.message == f"{here}: cannot write {tmp_path}/fetched: File too large"
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_the_unfinished_file_is_not_followed(
    through: FaultyProxy, tmp_path: Path
) -> None:
    here = Reference(through.host, "test")
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "fetched.part").symlink_to("precious")
    with open_client() as client:
        client.put_blob(here, CONTENT, described(CONTENT))

        with pytest.raises(RegistryError, match="cannot write"):
            client.fetch_blob(here, described(CONTENT), tmp_path / "fetched")

    assert (tmp_path / "precious").read_text() == "precious"


def test_an_upload_goes_on_where_it_broke(through: FaultyProxy) -> None:
    here = Reference(through.host, "test")
    reported: list[int] = []
    through.script(Fault(CutUpload(0.5), "PATCH", skip=2))
    with open_client() as client:
        assert client.put_blob(here, CONTENT, described(CONTENT), reported.append)

        assert client.read_blob(here, described(CONTENT)) == CONTENT

    ranges = [seen.headers["Content-Range"] for seen in through.seen if seen.method == "PATCH"]
    assert ranges == [
        "0-9999",
        "10000-19999",
        "20000-29999",
        "25000-34999",
        "35000-44999",
        "45000-51199",
    ]
    assert through.count("POST") == 1
    assert sum(reported) == len(CONTENT)


def test_a_registry_may_ask_for_larger_chunks(through: FaultyProxy) -> None:
    here = Reference(through.host, "test")
    through.script(Fault(Says({"OCI-Chunk-Min-Length": "40000"}), "POST"))
    with open_client() as client:
        client.put_blob(here, CONTENT, described(CONTENT))

    ranges = [seen.headers["Content-Range"] for seen in through.seen if seen.method == "PATCH"]
    assert ranges == ["0-39999", "40000-51199"]


def test_small_blobs_go_up_in_one_piece(through: FaultyProxy) -> None:
    here = Reference(through.host, "test")
    with open_client() as client:
        client.put_blob(here, b"small", described(b"small"))

    assert [seen.method for seen in through.seen if seen.path != "/v2/"] == ["HEAD", "POST", "PUT"]


def test_threads_that_have_the_same_blob_upload_it_once(through: FaultyProxy) -> None:
    here = Reference(through.host, "test")
    with open_client() as client:

        def put(_tell: Progress) -> bool:
            return client.put_blob(here, CONTENT, described(CONTENT))

        sent = transfer([put] * 6)

    assert sorted(sent) == [False] * 5 + [True]
    assert through.count("POST") == 1


def test_a_manifest_whose_parts_are_just_being_stored_again_is_sent_again(
    through: FaultyProxy,
) -> None:
    here = Reference(through.host, "test")
    waits = Waits([])
    through.script(Fault(Status(400, body=MISSED), "PUT", "manifests", times=2))
    with open_client(waits=waits) as client:
        put_image(client, here, "v1", b"one")

        assert client.head(tagged(here, "v1")) is not None
    assert len(waits.seconds) == 2


def test_a_manifest_whose_parts_never_come_is_refused(through: FaultyProxy) -> None:
    here = Reference(through.host, "test")
    through.script(Fault(Status(400, body=MISSED), "PUT", "manifests", times=ALWAYS))
    with open_client() as client, pytest.raises(RegistryError) as raised:
        put_image(client, here, "v1", b"one")

    assert str(raised.value) == (
        f"{here}:v1: cannot store the manifest: the registry does not see all parts of it: "
        "blob unknown to registry (tried 3 times) (its storage may lag behind: push it again)"
    )


def test_a_registry_that_asks_for_patience_gets_it(through: FaultyProxy) -> None:
    here = Reference(through.host, "test")
    waits = Waits([])
    through.script(Fault(Status(429, {"Retry-After": "17"}), "HEAD", times=2))
    with open_client(waits=waits) as client:
        assert not client.has_blob(here, NOWHERE)

    assert waits.seconds == [17.0, 17.0]


def test_a_registry_that_asks_for_too_much_patience_has_refused(through: FaultyProxy) -> None:
    here = Reference(through.host, "test")
    waits = Waits([])
    through.script(Fault(Status(429, {"Retry-After": "3600"}), "HEAD", times=ALWAYS))
    with open_client(waits=waits) as client, pytest.raises(RegistryError) as raised:
        client.has_blob(here, NOWHERE)

    assert str(raised.value) == (
        f"{here}: cannot ask for {NOWHERE}: the registry limits requests; it asks to wait 3600 s "
        "(log in to be allowed more, or try again later)"
    )
    assert waits.seconds == []


def test_waits_become_longer_but_never_too_long(through: FaultyProxy) -> None:
    here = Reference(through.host, "test")
    waits = Waits([])
    through.script(Fault(Status(503), "HEAD", times=ALWAYS))
    settings = RegistrySettings(attempts=9, first_wait=1.0, longest_wait=8.0)
    with (
        open_client(settings, waits) as client,
        pytest.raises(RegistryError, match="tried 9 times"),
    ):
        client.has_blob(here, NOWHERE)

    longest = [1, 2, 4, 8, 8, 8, 8, 8]
    assert len(waits.seconds) == 8
    assert all(most / 2 <= wait <= most for wait, most in zip(waits.seconds, longest, strict=True))


def test_credentials_are_sent_only_when_they_are_asked_for(
    fake_registry: FaultyProxy, tmp_path: Path
) -> None:
    here = Reference(fake_registry.host, "test")
    asked = Status(401, {"WWW-Authenticate": 'Basic realm="cave"'})
    fake_registry.script(Fault(Status(200), path="/v2/$"), Fault(asked, "HEAD"))
    with open_client(with_auth(tmp_path, here.registry)) as client, pytest.raises(RegistryError):
        client.has_blob(here, NOWHERE)

    shown = [seen.headers.get("Authorization") for seen in fake_registry.seen]
    assert shown[:3] == [None, None, BASIC]


def test_credentials_do_not_follow_a_redirect_to_another_host(
    through: FaultyProxy, fake_registry: FaultyProxy, tmp_path: Path
) -> None:
    here = Reference(through.host, "test")
    asked = Status(401, {"WWW-Authenticate": "Basic"})
    away = Status(307, {"Location": f"http://{fake_registry.host}/storage?signed=yes"})
    through.script(Fault(asked, path="/blobs/"), Fault(away, path="/blobs/"))
    fake_registry.script(Fault(Status(200, {}, CONTENT)))
    with open_client(with_auth(tmp_path, here.registry)) as client:
        assert client.read_blob(here, described(CONTENT)) == CONTENT

    assert through.seen[-1].headers["Authorization"] == BASIC
    assert [seen.path for seen in fake_registry.seen] == ["/storage?signed=yes"]
    assert "Authorization" not in fake_registry.seen[0].headers


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("http://storage.example/x", "leads to storage.example without TLS"),
        ("ftp://storage.example/x", "names an address that cannot be asked"),
        ("https://ali:sesame@storage.example/x", "names an address that cannot be asked"),
        ("https://[::1", "names an address that cannot be asked"),
        ("/v2/test/blobs/again", "redirects more than 5 times"),
    ],
)
def test_redirects_that_lead_astray_are_refused(
    fake_registry: FaultyProxy, target: str, why: str
) -> None:
    here = Reference(fake_registry.host, "test")
    fake_registry.script(Fault(Status(307, {"Location": target}), path="/blobs/", times=ALWAYS))
    with open_client() as client, pytest.raises(RegistryError, match=why):
        client.read_blob(here, described(CONTENT))


def test_a_token_is_fetched_with_the_password_and_shown(
    through: FaultyProxy, tmp_path: Path
) -> None:
    here = Reference(through.host, "test")
    through.tokens = Tokens(password=BASIC)
    with open_client(with_auth(tmp_path, here.registry)) as client:
        client.put_blob(here, b"small", described(b"small"))

    tokens = [seen for seen in through.seen if seen.path.startswith("/token")]
    assert [seen.headers["Authorization"] for seen in tokens] == [BASIC, BASIC]
    scopes = [seen.path.partition("scope=")[2].partition("&")[0] for seen in tokens]
    assert scopes == ["repository%3Atest%3Apull", "repository%3Atest%3Apull%2Cpush"]
    assert through.seen[-1].headers["Authorization"] == "Bearer token-1"


def test_a_token_that_expires_in_the_middle_of_an_upload_is_renewed(
    through: FaultyProxy, tmp_path: Path
) -> None:
    here = Reference(through.host, "test")
    through.tokens = Tokens(uses=2)
    with open_client(with_auth(tmp_path, here.registry)) as client:
        client.put_blob(here, CONTENT, described(CONTENT))
        through.tokens = None
        assert client.read_blob(here, described(CONTENT)) == CONTENT

    assert through.count("GET", "/token") >= 4
    assert through.count("POST") <= 2


def test_an_identity_token_buys_tokens(through: FaultyProxy, tmp_path: Path) -> None:
    here = Reference(through.host, "test")
    entry = {"auths": {here.registry: {"auth": "", "identitytoken": "i am ali"}}}
    (tmp_path / "config.json").write_text(json.dumps(entry))
    through.tokens = Tokens(identity="i am ali")
    with open_client(RegistrySettings(auth_files=(tmp_path / "config.json",))) as client:
        assert not client.has_blob(here, NOWHERE)

    assert through.count("POST", "/token") == 1


def test_refused_credentials_are_told(through: FaultyProxy, tmp_path: Path) -> None:
    here = Reference(through.host, "test")
    through.tokens = Tokens(password="of somebody else")  # noqa: S106  (of nobody)
    with open_client(with_auth(tmp_path, here.registry)) as client, pytest.raises(DeniedError) as e:
        client.head(tagged(here, "v1"))

    assert e.value.message == (
        f"{here}:v1: cannot fetch a token from {here.registry}: "
        "the registry wants credentials: who are you"
    )


@pytest.mark.registry
def test_missing_and_wrong_passwords_are_told(
    password_registry: RegistryServer, tmp_path: Path
) -> None:
    here = tagged(password_registry.repository(), "v1")
    write_auth(tmp_path / "auth.json", here.registry, "ali", "close sesame")
    wrong = RegistrySettings(auth_files=(tmp_path / "auth.json",))

    with open_client() as client, pytest.raises(DeniedError) as missing:
        client.head(here)
    with open_client(wrong) as client, pytest.raises(DeniedError) as refused:
        client.manifest(here)

    assert missing.value.message == (
        f"{here}: the registry wants credentials, or has no such repository"
    )
    assert refused.value.message == (
        f"{here}: the registry does not accept the credentials of 'ali' for this"
    )
    assert missing.value.hint == (
        "`cos login`, `docker login` or a file named by REGISTRY_AUTH_FILE gives credentials"
    )


def test_what_is_forbidden_is_told(fake_registry: FaultyProxy) -> None:
    here = Reference(fake_registry.host, "test", "v1")
    said = b'{"errors":[{"code":"DENIED","message":"read\\u001b[31m only"}]}'
    fake_registry.script(Fault(Status(403, {}, said), "GET", "/manifests/"))

    with open_client() as client, pytest.raises(DeniedError) as raised:
        client.manifest(here)

    assert raised.value.message == (
        f"{here}: cannot fetch the manifest: the registry forbids it: read [31m only"
    )


def test_an_unknown_host_is_told() -> None:
    here = Reference("no-such-host.invalid", "test", "v1")

    with open_client() as client, pytest.raises(RegistryError) as raised:
        client.head(here)

    assert raised.value.message.startswith(
        f"{here}: cannot fetch the manifest: the host no-such-host.invalid is unknown"
    )
    assert raised.value.hint == "check the name, and that the network and its name servers work"


def test_a_host_that_refuses_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        here = Reference(f"127.0.0.1:{taken.getsockname()[1]}", "test", "v1")

        with open_client() as client, pytest.raises(RegistryError) as raised:
            client.manifest(here)

    assert str(raised.value) == (
        f"{here}: cannot fetch the manifest: {here.registry} refused the connection "
        "(tried 3 times) (check the port, and that the registry runs)"
    )


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid"])
def test_a_host_that_is_not_there_is_asked_once_if_another_one_can_be(host: str) -> None:
    here, waits = Reference(host, "test", "v1"), Waits([])
    settings = replace(SETTINGS, replaceable=frozenset({host}))

    with open_client(settings, waits) as client, pytest.raises(RegistryError) as raised:
        client.manifest(here)

    assert "tried" not in str(raised.value)
    assert waits.seconds == []


def test_a_mirror_that_is_not_there_is_asked_once(
    modern_registry: ModernRegistry,
) -> None:
    origin, waits = Reference(modern_registry.host, "test"), Waits([])
    with open_client() as client:
        stored = put_image(client, origin, "v1", CONTENT)
    settings = replace(SETTINGS, mirrors={origin.registry: ("127.0.0.1:1",)})

    with open_client(settings, waits) as client:
        assert client.manifest(tagged(origin, "v1")).descriptor == stored

    assert waits.seconds == []


def test_a_mirror_that_is_silent_is_asked_no_more_and_told_once(
    modern_registry: ModernRegistry, tmp_path: Path
) -> None:
    origin, waits = Reference(modern_registry.host, "test"), Waits([])
    told: list[Event] = []
    with open_client() as client:
        put_image(client, origin, "v1", CONTENT)
    with run_proxy() as mirror, ThreadPoolExecutor(4) as pool:
        mirror.script(Fault(Silent(), times=ALWAYS))
        settings = replace(SETTINGS, timeout=0.25, mirrors={origin.registry: (mirror.host,)})
        with RegistryClient(settings, pause=waits, report=told.append) as client:
            client.manifest(tagged(origin, "v1"))
            asked = len(mirror.seen)
            paths = [tmp_path / str(number) for number in range(8)]
            blob = described(CONTENT)
            list(pool.map(lambda path: client.fetch_blob(origin, blob, path), paths))

            assert len(mirror.seen) == asked
        message = (
            f"{mirror.host}/test:v1: cannot fetch the manifest: {mirror.host} does not answer"
            " (check that it runs, and that no firewall is in between);"
            f" the mirror {mirror.host} is asked no more"
        )

    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert told == [Noted(message, warning=True)]
    assert waits.seconds == []


def test_a_mirror_that_fails_is_asked_once_for_each_thing(
    modern_registry: ModernRegistry, fake_registry: FaultyProxy
) -> None:
    origin, waits = Reference(modern_registry.host, "test"), Waits([])
    with open_client() as client:
        stored = put_image(client, origin, "v1", CONTENT)
    fake_registry.script(Fault(Status(503), path="/manifests/", times=ALWAYS))
    settings = replace(SETTINGS, mirrors={origin.registry: (fake_registry.host,)})

    with open_client(settings, waits) as client:
        for _ in range(2):
            assert client.manifest(tagged(origin, "v1")).descriptor == stored

    assert waits.seconds == []
    assert fake_registry.count("GET", "/manifests/") == 2


def test_a_server_that_is_no_registry_is_told(fake_registry: FaultyProxy) -> None:
    here = Reference(fake_registry.host, "test", "v1")

    with open_client() as client, pytest.raises(RegistryError) as raised:
        client.manifest(here)

    assert not isinstance(raised.value, NotFoundError)
    assert raised.value.message == (
        f"{here}: cannot fetch the manifest: {here.registry} is not an OCI registry"
    )


CALLS: Mapping[str, Callable[[RegistryClient, Reference, Path], object]] = {
    "log in": lambda client, here, _: client.check_login(here.registry),
    "ask for a manifest": lambda client, here, _: client.head(here),
    "fetch a manifest": lambda client, here, _: client.manifest(here),
    "store a manifest": lambda client, here, _: client.put_manifest(here, b"{}", MANIFEST),
    "ask for a blob": lambda client, here, _: client.has_blob(here, NOWHERE),
    "read a blob": lambda client, here, _: client.read_blob(here, described(CONTENT)),
    "fetch a blob": lambda client, here, folder: client.fetch_blob(
        here, described(CONTENT), folder / "blob"
    ),
    "upload": lambda client, here, _: client.put_blob(here, CONTENT, described(CONTENT)),
    "mount": lambda client, here, _: client.mount_blob(
        here, NOWHERE, origin=Reference(here.registry, "other")
    ),
    "list tags": lambda client, here, _: client.tags(here),
    "list referrers": lambda client, here, _: client.referrers(pinned(here, NOWHERE)),
    "delete": lambda client, here, _: client.delete(here),
}


BY_THEIR_HEADS = {"ask for a manifest", "ask for a blob", "upload"}
"""The calls that begin with a question which is answered without a body."""


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        *((call, "text/html; charset=utf-8") for call in CALLS),
        *((call, "text/plain") for call in CALLS if call not in BY_THEIR_HEADS),
    ],
)
def test_a_server_that_answers_everything_with_a_page_is_no_registry(
    fake_registry: FaultyProxy, tmp_path: Path, call: str, kind: str
) -> None:
    here = Reference(fake_registry.host, "test", "v1")
    page = Status(200, {"Content-Type": kind}, b"<!DOCTYPE html><title>log in</title>")
    fake_registry.script(Fault(page, times=ALWAYS))

    with open_client() as client, pytest.raises(RegistryError) as raised:
        CALLS[call](client, here, tmp_path)

    assert raised.value.message.startswith(
        f"{here.registry}/test" if call != "log in" else here.registry
    )
    assert raised.value.message.endswith(f": {here.registry} is not an OCI registry")
    assert str(raised.value.hint).startswith(
        f"it answers GET /v2/ with 200 {kind.partition(';')[0]}: check its name and port"
    )
    assert not (tmp_path / "blob").exists()


@pytest.mark.registry
def test_a_certificate_that_nobody_vouches_for_is_refused(tls_registry: RegistryServer) -> None:
    here = tagged(tls_registry.repository(), "v1")

    with open_client() as client, pytest.raises(RegistryError) as raised:
        client.head(here)

    assert "is not trusted" in raised.value.message
    assert f"/etc/docker/certs.d/{here.registry}/ca.crt" in str(raised.value.hint)


@pytest.mark.registry
def test_an_authority_is_found_in_the_folder_of_its_host(
    tls_registry: RegistryServer, tmp_path: Path
) -> None:
    here = tls_registry.repository()
    assert tls_registry.authority is not None
    folder = tmp_path / here.registry
    folder.mkdir()
    (folder / "ca.crt").write_bytes(tls_registry.authority.read_bytes())

    with open_client(RegistrySettings(certificate_folders=(tmp_path,))) as client:
        assert client.head(tagged(here, "v1")) is None


def test_a_registry_is_reached_through_a_proxy(fake_registry: FaultyProxy) -> None:
    here = Reference("registry.test", "test")
    listed = Status(200, {}, b'{"tags":["a"]}')
    fake_registry.script(
        Fault(Status(200), path="http://registry.test/v2/$"),
        Fault(listed, path="http://registry.test/v2/test/tags/list"),
    )
    settings = RegistrySettings(
        insecure=frozenset({"registry.test"}), proxies={"all": f"http://{fake_registry.host}"}
    )

    with open_client(settings) as client:
        assert client.tags(here) == ["a"]


def test_mirrors_are_read_from_in_their_order(
    modern_registry: ModernRegistry, fake_registry: FaultyProxy, tmp_path: Path
) -> None:
    mirror = modern_registry.host
    origin = Reference(fake_registry.host, "test")
    with open_client() as client:
        stored = put_image(client, Reference(mirror, "copy/test"), "v1", CONTENT)
    mirrors = {origin.registry: ("127.0.0.1:1", f"{mirror}/copy")}

    with open_client(RegistrySettings(mirrors=mirrors, certificate_folders=())) as client:
        assert client.manifest(tagged(origin, "v1")).descriptor == stored
        client.fetch_blob(origin, described(CONTENT), tmp_path / "fetched")
        assert fake_registry.seen == []

        with pytest.raises(RegistryError) as raised:
            client.manifest(tagged(origin, "v2"))

    assert (tmp_path / "fetched").read_bytes() == CONTENT
    assert [note.partition(": ")[0] for note in raised.value.__notes__] == ["mirror", "mirror"]


def test_the_same_tag_on_every_page_ends(fake_registry: FaultyProxy) -> None:
    here = Reference(fake_registry.host, "test")
    page = Status(200, {"Link": '</v2/test/tags/list?last=a>; rel="next"'}, b'{"tags":["a"]}')
    fake_registry.script(Fault(page, path="/tags/", times=ALWAYS))

    with open_client() as client, pytest.raises(RegistryError, match="does not end"):
        client.tags(here)


def test_a_page_on_another_host_is_not_followed(fake_registry: FaultyProxy) -> None:
    here = Reference(fake_registry.host, "test")
    page = Status(200, {"Link": '<https://elsewhere.example/>; rel="next"'}, b'{"tags":["a"]}')
    fake_registry.script(Fault(page, path="/tags/", times=ALWAYS))

    with open_client() as client, pytest.raises(RegistryError, match="does not end"):
        client.tags(here)


@pytest.mark.parametrize(
    "headers",
    [
        {"Docker-Content-Digest": "sha256:1"},
        {"Docker-Content-Digest": NOWHERE, "Content-Length": str(1 << 30)},
    ],
)
def test_a_head_that_claims_too_much_is_refused(
    fake_registry: FaultyProxy, headers: dict[str, str]
) -> None:
    here = Reference(fake_registry.host, "test", "v1")
    fake_registry.script(
        Fault(Status(200, {"Content-Type": MANIFEST, "Content-Length": "5", **headers}), "HEAD")
    )

    with open_client() as client, pytest.raises(RegistryError):
        client.head(here)


def test_a_manifest_that_calls_itself_something_else_is_refused(
    fake_registry: FaultyProxy,
) -> None:
    here = Reference(fake_registry.host, "test", "v1")
    answer = Status(200, {"Content-Type": INDEX}, manifest_of())
    fake_registry.script(Fault(answer, path="/manifests/", times=ALWAYS))

    with open_client() as client, pytest.raises(RegistryError, match="calls itself"):
        client.manifest(here)


@pytest.mark.registry
def test_a_list_of_referrers_under_a_tag_keeps_what_others_wrote(
    repository: Reference,
) -> None:
    with open_client() as first, open_client() as second:
        image = put_image(first, repository, "v1", b"one")
        about = pinned(repository, image.digest)
        stored = {
            client.put_referrer(about, manifest_of(subject=image, note=str(number)), MANIFEST)
            for number, client in enumerate((first, second, first))
        }

        assert set(first.referrers(about)) == stored == set(second.referrers(about))
        assert list(first.tags(repository)) == [f"sha256-{hex_of(image.digest)}", "v1"]


@pytest.mark.registry
def test_threads_that_add_referrers_lose_none(repository: Reference) -> None:
    with open_client() as client:
        image = put_image(client, repository, "v1", b"one")
        about = pinned(repository, image.digest)

        def add(number: int, _tell: Progress) -> Descriptor:
            data = manifest_of(subject=image, note=str(number))
            return client.put_referrer(about, data, MANIFEST)

        stored = transfer([partial(add, number) for number in range(8)])

        assert set(client.referrers(about)) == set(stored)


def test_a_file_that_shrank_is_not_uploaded(through: FaultyProxy, tmp_path: Path) -> None:
    here = Reference(through.host, "test")
    (tmp_path / "source").write_bytes(CONTENT[:-1])

    with open_client() as client:
        with pytest.raises(RegistryError, match="has 51199 bytes, not 51200"):
            client.put_blob(here, tmp_path / "source", described(CONTENT))
        with pytest.raises(RegistryError, match="cannot read"):
            client.put_blob(here, tmp_path / "missing", described(CONTENT))

    assert through.count("POST") == 0


@pytest.mark.registry
def test_all_threads_may_share_a_client(repository: Reference, tmp_path: Path) -> None:
    contents = [bytes([number]) * 30_000 for number in range(12)]
    with open_client() as client:

        def there_and_back(content: bytes, tell: Progress) -> bytes:
            client.put_blob(repository, content, described(content), tell)
            target = tmp_path / str(content[0])
            client.fetch_blob(repository, described(content), target, tell)
            return target.read_bytes()

        reported: list[int] = []
        jobs = [partial(there_and_back, content) for content in contents]
        assert transfer(jobs, progress=reported.append) == contents

    assert sum(reported) == 2 * 12 * 30_000
