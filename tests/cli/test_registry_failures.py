"""Whatever a registry does wrong: each command names it, says what helps, and ends with code 3."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from compiler.oci import Reference
from compiler.registry.client import RegistryClient
from compiler.registry.settings import RegistrySettings
from tests.cli.machine import Machine
from tests.cli.test_main import cos
from tests.publish.shop import Shop
from tests.registry.shelf import NOWHERE, put_image, tagged
from tests.servers.modern import ModernRegistry
from tests.servers.proxy import (
    ALWAYS,
    Fault,
    FaultyProxy,
    Says,
    Status,
    WrongBytes,
    WrongLength,
    run_proxy,
)
from tests.servers.registry import ANYWHERE, make_certificates, server_context

LOGIN = "(`cos login`, `docker login` or a file named by REGISTRY_AUTH_FILE gives credentials)"
LATER = {"Retry-After": "7200"}
"""Longer than anybody waits: so it is an error at once."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a server does, what is told of it, and what helps."""

    told: str
    hint: str
    faults: tuple[Fault, ...] = ()
    host: str = ""
    """Another host than the server's; HOST stands for its port on an address that wants TLS."""
    certificate: tuple[str, int] | None = None
    """The address that the certificate is for, and how many days it holds; None without TLS."""
    trusted: bool = True
    """Whether its authority is trusted."""


def always(deed: Status | WrongBytes | WrongLength | Says, method: str = "", path: str = "") -> Row:
    """Begin a row of something that happens to all such requests."""
    return Row("", "", (Fault(deed, method, path, times=ALWAYS),))


def said(row: Row, told: str, hint: str) -> Row:
    """Say what is told of it."""
    return replace(row, told=told, hint=hint)


def error_body(code: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()


ANY = {
    "unknown host": Row(
        "the host no-such-host.invalid is unknown",
        "(check the name, and that the network and its name servers work)",
        host="no-such-host.invalid",
    ),
    "refused": Row(
        "127.0.0.1:1 refused the connection (tried 3 times)",
        "(check the port, and that the registry runs)",
        host="127.0.0.1:1",
    ),
    "unauthorised": said(
        always(Status(401, {"WWW-Authenticate": 'Basic realm="x"'})),
        "the registry wants credentials, or has no such repository",
        LOGIN,
    ),
    "credentials of no known kind": said(
        always(Status(401, {"WWW-Authenticate": "Negotiate"})),
        "the registry wants credentials of no known kind",
        "(passwords and tokens are known; a proxy before the registry may ask for others)",
    ),
    "forbidden": said(
        always(Status(403, {}, error_body("DENIED"))), "the registry forbids it", LOGIN
    ),
    "no registry": said(
        always(Status(404)),
        "is not an OCI registry",
        "(it answers GET /v2/ with 404: check its name and port; a network may want a login in a"
        " browser first)",
    ),
    "a page for everything": said(
        always(Status(200, {"Content-Type": "text/html"}, b"<html>log in</html>")),
        "is not an OCI registry",
        "(it answers GET /v2/ with 200 text/html: check its name and port; a network may want a"
        " login in a browser first)",
    ),
    "a network that wants a login": said(
        always(Status(511)),
        "the registry failed with 511",
        "(this network wants a login first: open any page in a browser)",
    ),
    "an authority that nobody knows": Row(
        "is not trusted: unable to get local issuer certificate",
        "(put its authority into /etc/docker/certs.d/HOST/ca.crt or SSL_CERT_FILE)",
        certificate=(ANYWHERE, 1),
        trusted=False,
    ),
    "a certificate of another host": Row(
        "is not trusted: IP address mismatch, certificate is not valid for '0.0.0.0'.",
        "(ask for it by a name that its certificate has, or have its certificate made anew)",
        certificate=("127.0.0.1", 1),
    ),
    "a certificate that has expired": Row(
        "is not trusted: certificate has expired",
        "(check the clock of this machine; if it is right, the registry needs a new one)",
        certificate=(ANYWHERE, -1),
    ),
    "no TLS": Row(
        "TLS with HOST failed: wrong version number",
        "(a registry without TLS has to be named as insecure)",
        host="HOST",
    ),
    "too many requests": said(
        always(Status(429, LATER)),
        "the registry limits requests; it asks to wait 7200 s",
        "(log in to be allowed more, or try again later)",
    ),
    "fails": said(
        always(Status(503, LATER, b"<html>busy</html>")),
        "the registry failed with 503",
        "(try again later; if it stays, the registry's own log says why)",
    ),
    "a circle": said(
        always(Status(307, {"Location": "/v2/again"})),
        "redirects more than 5 times (tried 2 times)",
        "(what stands before the registry, or its storage, is set up to lead in a circle)",
    ),
}
"""What every command is told in the same way."""

SPOILED = "(a proxy on the way may spoil what comes; else the registry is damaged: push it again)"
READ = {
    **ANY,
    "not found": said(
        always(Status(404, {}, error_body("MANIFEST_UNKNOWN"))),
        "the registry does not have it: manifest_unknown",
        "(check how it is written; what is private may look absent as long as nobody logs in)",
    ),
    "another digest": said(
        always(Says({"Docker-Content-Digest": NOWHERE}), "GET", "/manifests/"),
        "what came has another digest (tried 2 times)",
        SPOILED,
    ),
    "another blob": said(always(WrongBytes(), path="/blobs/"), "what came has another", SPOILED),
    "another length": said(always(WrongLength(10), path="/blobs/"), " bytes", SPOILED),
    "no manifest": said(
        always(Status(200, {}, b"{]"), "GET", "/manifests/"),
        "what came is not a manifest or index",
        SPOILED,
    ),
}
"""What is told by commands that read an image."""

PUSH = {
    **ANY,
    "not to be written": said(
        always(Status(405), "POST"),
        "the registry answered with 405",
        "(the registry, or this repository, may be for reading only)",
    ),
    "too large": said(
        always(Status(413), "PUT"),
        "the registry answered with 413",
        "(what stands before the registry limits the size of uploads: have it raised)",
    ),
    "full": said(
        always(Status(507), "POST"),
        "the registry failed with 507",
        "(the registry has no room left: have it cleaned up)",
    ),
    "stored as something else": said(
        always(Says({"Docker-Content-Digest": NOWHERE}), "PUT", "/manifests/"),
        f"the registry stored it as {NOWHERE}",
        SPOILED,
    ),
}
"""What is told by commands that write."""

CLIENT = {
    **ANY,
    **{name: row for name, row in READ.items() if name != "not found"},
    "no repository": said(
        always(Status(404, {}, error_body("MANIFEST_UNKNOWN")), path="/repository.yaml$"),
        "the registry does not have it: manifest_unknown",
        "(is this a repository? `cos create-repo` makes one)",
    ),
    "no index": said(
        always(
            Status(404, {}, error_body("MANIFEST_UNKNOWN")), path="/manifests/(?!repository.yaml)"
        ),
        "the registry does not have it: manifest_unknown",
        "(check how it is written; what is private may look absent as long as nobody logs in)",
    ),
}
"""What is told by commands of clients."""


@dataclass
class Scene:
    """A registry that is whole, as seen past a server that does what a row says."""

    direct: RegistryClient
    behind: Reference
    stack: ExitStack
    folder: Path

    def begin(self, row: Row) -> tuple[Reference, dict[str, str]]:
        """Run the server of a row; returns the repository there, and the environment for it."""
        tls, env = None, {"HOME": str(self.folder)}
        if row.certificate is not None:
            authority = make_certificates(self.folder, *row.certificate)
            tls = server_context(self.folder)
            env |= {"SSL_CERT_FILE": str(authority)} if row.trusted else {}
        proxy: FaultyProxy = self.stack.enter_context(run_proxy(self.behind.registry, tls))
        proxy.script(*map(replace, row.faults))
        strict = f"{ANYWHERE}:{proxy.server_port}"
        host = row.host.replace("HOST", strict) or (strict if tls else proxy.host)
        return Reference(host, self.behind.repository), env


@pytest.fixture
def scene(modern_registry: ModernRegistry, tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        direct = stack.enter_context(RegistryClient(RegistrySettings(certificate_folders=())))
        yield Scene(direct, Reference(modern_registry.host, "team/repo"), stack, tmp_path)


def check(row: Row, place: Reference, stderr: str) -> None:
    """The last line names the place, what happened, and what helps."""
    line = stderr.rstrip().rpartition("\n")[2]
    assert f"{place.registry}" in line
    assert place.repository in line
    assert row.told.replace("HOST", place.registry) in line
    assert line.endswith(row.hint.replace("HOST", place.registry)), line
    assert "Traceback" not in stderr


@pytest.mark.parametrize("name", READ)
def test_who_pulls_is_told_what_is_wrong(scene: Scene, name: str) -> None:
    put_image(scene.direct, scene.behind, "v1", b"one")
    place, env = scene.begin(READ[name])
    store, root = scene.folder / "store", scene.folder / "root"

    done = cos(
        "--store", store, "util", "unpack", str(tagged(place, "v1")), root, cwd=scene.folder, **env
    )

    check(READ[name], place, done.stderr)
    assert done.returncode == 3
    assert not root.exists()
    assert not list(store.glob("blobs/sha256/*"))


@pytest.mark.container
def test_who_installs_onto_a_full_disk_is_told(scene: Scene) -> None:
    machine = Machine(scene.folder / "machine")
    machine.shop.build("a", os.urandom(1 << 20).hex())
    machine.shop.publish(scene.direct, target=scene.behind)
    place, machine.env = scene.begin(Row("", ""))
    machine.use("docker", str(place))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", machine.root], check=True)
    try:
        (machine.root / "db").mkdir()
        done = machine.cos("install", "-y", "t/a")
        parts = list(machine.root.glob("db/packages/parts/*"))
        installed = (machine.root / "file-of-a").exists()
    finally:
        subprocess.run(["umount", machine.root], check=True)

    assert done.returncode == 3
    assert f"error: {place}:a-t-1: cannot write " in done.stderr
    assert done.stderr.lower().endswith("no space left on device (make room on its disk)\n")
    assert not parts
    assert not installed


@pytest.mark.parametrize("name", PUSH)
def test_who_pushes_is_told_what_is_wrong(scene: Scene, name: str) -> None:
    shop = Shop(scene.folder / "shop")
    shop.build("a")
    place, env = scene.begin(PUSH[name])

    done = cos(
        *("create-repo", "--type", "docker", "--push-images", "--tree", shop.tree),
        *("--packages", shop.artifacts, "--output", str(place)),
        cwd=scene.folder,
        **env,
    )

    check(PUSH[name], place, done.stderr)
    assert done.returncode == 3
    assert scene.direct.head(tagged(scene.behind, "repository.yaml")) is None


@pytest.mark.parametrize("name", CLIENT)
def test_a_client_is_told_what_is_wrong(scene: Scene, name: str) -> None:
    machine = Machine(scene.folder / "machine")
    machine.shop.build("a")
    machine.shop.publish(scene.direct, target=scene.behind)
    place, machine.env = scene.begin(CLIENT[name])
    machine.use("docker", str(place))

    done = machine.cos("repo", "update")

    check(CLIENT[name], place, done.stderr)
    assert done.returncode == 3
    assert not list(machine.root.glob("db/repos/main/*.yaml"))


OTHERS: Mapping[str, Callable[[str], tuple[str, ...]]] = {
    "verify": lambda place: ("verify", f"{place}:v1", "--key", "key.pub"),
    "sign": lambda place: ("sign", f"{place}:v1", "--key", "key.key"),
    "check": lambda place: ("registry", "check", place),
    "gc": lambda place: ("registry", "gc", place),
}


@pytest.mark.parametrize("name", ["forbidden", "a page for everything", "fails"])
@pytest.mark.parametrize("command", OTHERS)
def test_the_other_commands_tell_it_as_well(scene: Scene, command: str, name: str) -> None:
    place, env = scene.begin(ANY[name])
    env["COSIGN_PASSWORD"] = ""
    assert cos("key", "generate", "--output", "key", cwd=scene.folder, **env).returncode == 0

    done = cos(*OTHERS[command](str(place)), cwd=scene.folder, **env)

    check(ANY[name], place, done.stderr)
    assert done.returncode == 3


def test_who_verifies_a_tag_that_is_not_there_is_told_what_to_look_at(scene: Scene) -> None:
    row = replace(READ["not found"], told="the registry has no such image", faults=())
    place, env = scene.begin(row)
    env["COSIGN_PASSWORD"] = ""
    assert cos("key", "generate", "--output", "key", cwd=scene.folder, **env).returncode == 0

    done = cos("verify", f"{place}:v1", "--key", "key.pub", cwd=scene.folder, **env)

    check(row, place, done.stderr)
    assert done.returncode == 3


@pytest.mark.parametrize("option", ["--image-repository", "--push-final-images-repository"])
@pytest.mark.parametrize("name", ["refused", "a page for everything", "fails"])
def test_where_nothing_can_be_pushed_to_nothing_is_built(
    scene: Scene, name: str, option: str
) -> None:
    shop = Shop(scene.folder / "shop")
    shop.build("a")
    place, env = scene.begin(ANY[name])
    push = ["--push"] if option == "--image-repository" else []

    done = cos(
        *("--store", scene.folder / "store", "build", "--tree", shop.tree, "--all"),
        *(*push, option, str(place)),
        cwd=scene.folder,
        **env,
    )

    check(ANY[name], place, done.stderr)
    assert "cannot push to it" in done.stderr
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1


def test_a_name_without_a_registry_is_told_how_it_was_understood(scene: Scene) -> None:
    shop = Shop(scene.folder / "shop")
    shop.build("a")

    done = cos(
        *("create-repo", "--type", "docker", "--push-images", "--tree", shop.tree),
        *("--packages", shop.artifacts, "--output", "team/repo"),
        cwd=scene.folder,
        HTTPS_PROXY="http://127.0.0.1:1",
        HOME=str(scene.folder),
    )

    assert done.returncode == 3
    assert done.stderr.endswith(
        "; team/repo names no registry, so it is taken for docker.io/team/repo)\n"
    )
