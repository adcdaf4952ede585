"""Repositories as clients meet them: added, listed, brought up to date, and what is wrong."""

import base64
import hashlib
import json
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from compiler.oci import Reference
from compiler.registry.client import RegistryClient
from compiler.registry.settings import RegistrySettings
from tests.cli.machine import Machine, serving
from tests.repository.luet import luet_files, luet_tar, push_schema2
from tests.servers.registry import RegistryServer


@pytest.fixture
def web(machine: Machine) -> Machine:
    """A system without a repository."""
    machine.repositories.clear()
    return machine


def test_packages_come_from_the_web(web: Machine) -> None:
    with serving(web.shop.artifacts) as url:
        web.use("http", url)

        web.do("install", "-y", "t/app")

    assert web.installed() == ["t/app-1", "t/lib-1"]


@pytest.mark.registry
def test_packages_come_from_a_registry(web: Machine, repository: Reference) -> None:
    arguments = ("--tree", web.shop.tree, "--packages", web.shop.artifacts)
    web.do("create-repo", "--type", "docker", *arguments, "--output", str(repository),
           "--push-images")  # fmt: skip
    web.use("docker", str(repository))

    web.do("install", "-y", "t/app")
    web.stock("other-1", other="first")
    web.do("create-repo", "--type", "docker", *arguments, "--output", str(repository),
           "--push-images")  # fmt: skip
    web.do("install", "-y", "t/other")

    assert web.installed() == ["t/app-1", "t/lib-1", "t/other-1"]
    assert web.read("usr/other") == "first"


@pytest.mark.registry
def test_a_package_built_anew_in_a_registry_is_not_taken_from_the_cache(
    web: Machine, repository: Reference
) -> None:
    arguments = ("create-repo", "--type", "docker", "--tree", web.shop.tree, "--packages",
                 web.shop.artifacts, "--output", str(repository), "--push-images")  # fmt: skip
    web.do(*arguments)
    web.use("docker", str(repository))
    web.do("install", "-y", "t/other")

    web.stock("other-1", other="built anew")
    web.do(*arguments)
    web.do("upgrade", "-y", "--sync")

    assert web.read("usr/other") == "built anew"


def test_the_preferred_repository_gives_what_several_have(web: Machine, tmp_path: Path) -> None:
    other = Machine(tmp_path / "other")
    other.stock("lib-1", lib="of the other")
    web.use("disk", web.shop.artifacts, "far", priority=9)
    web.use("disk", other.shop.artifacts, "near", priority=1)

    web.do("install", "-y", "t/lib")

    assert web.read("usr/lib") == "of the other"
    assert [each["repository"] for each in web.found("t/lib")] == ["near", "far"]


def test_a_repository_that_does_not_answer_is_left_out_or_used_as_it_was(web: Machine) -> None:
    web.use("disk", web.shop.artifacts)
    with serving(web.shop.artifacts) as url:
        web.use("http", url, "web")
        web.do("search")

    done = web.do("search", "-q", "t/lib")

    assert done.stdout == "t/lib-1\nt/lib-1\n"
    assert done.stderr == (
        f"warning: web: {url}/repository.yaml: connection refused (tried 4 times)"
        " (check the port, and that the server runs); what was fetched before is used\n"
    )
    assert web.refused("repo", "update", code=3) == "not all repositories could be updated: web"
    ignoring = web.do("repo", "update", "-i")
    assert ignoring.stdout == "main: revision 1, 4 packages\n"
    assert ignoring.stderr.endswith("; it is left out\n")
    none = web.do("repo", "update", "-i", "web")
    assert none.stdout == ""
    assert none.stderr.startswith("warning: no repository can be used (web): ")


def test_repositories_are_listed_and_shown(web: Machine) -> None:
    web.use("disk", web.shop.artifacts, "one", priority=2, description="The first")
    web.use("http", "http://host", "two", enable=False, priority=1)

    assert web.do("repo", "list", "-q").stdout == "two\none\n"
    assert web.do("repo", "list", "-q", "--enabled").stdout == "one\n"
    assert web.do("repo", "list", "-q", "-t", "http").stdout == "two\n"
    assert web.do("repo", "list", "--enabled").stdout == (
        f"one\n  The first\n  disk, priority 2\n  {web.shop.artifacts}\n"
    )
    assert json.loads(web.do("repo", "get", "one", "-o", "json").stdout)["priority"] == 2
    got = yaml.safe_load(web.do("repo", "get", "two").stdout)
    assert got["type"] == "http"
    assert "root" not in got
    assert web.refused("repo", "get", "no") == "there is no repository 'no' (there is one, two)"


def test_a_repository_is_added_by_its_address(web: Machine) -> None:
    web.settings |= {"config_from_host": False, "repos_confdir": ["/etc/repos"]}

    done = web.do("repo", "add", "new", "--url", "http://host/x", "-y", "--description", "New",
                  "--username", "me", "--passwd", "secret", "-p", "7")  # fmt: skip

    file = web.root / "etc/repos/new.yaml"
    assert yaml.safe_load(file.read_text()) == {
        "name": "new", "description": "New", "urls": ["http://host/x"], "type": "http",
        "priority": 7, "enable": True, "cached": True,
        "auth": {"username": "me", "password": "secret"},
    }  # fmt: skip
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "secret" not in done.stderr
    assert "secret" not in web.do("repo", "get", "new").stdout
    assert "secret" not in web.do("config").stdout
    message = web.refused("repo", "add", "new", "--url", "http://host/y", "-y")
    assert message == f"there is a repository 'new' already (see {file})"


def test_links_of_a_system_lead_its_configuration_nowhere_outside(web: Machine) -> None:
    outside = web.place / "outside"
    outside.mkdir()
    web.settings |= {"repos_confdir": ["/etc/luet/repos"]}
    (web.root / "etc").mkdir()
    (web.root / "etc/luet").symlink_to(outside)
    web.env = {"COSIGN_PASSWORD": "pw"}
    web.do("key", "generate", "--output", "own")
    place = web.shop.artifacts
    web.do("repo", "init-trust", place, "--key", "own.key", "--root-key", "own.key")

    web.do("repo", "add", "mine", "--url", place, "--root", "root.json", "-y")

    folder = web.root / str(outside).lstrip("/") / "repos"
    assert sorted(path.name for path in folder.iterdir()) == ["mine.root.json", "mine.yaml"]
    assert list(outside.iterdir()) == []
    assert "  signed: root " in web.do("repo", "list").stdout
    web.do("repo", "remove", "mine", "-y")
    assert list(folder.iterdir()) == []


def test_a_repository_is_added_by_a_file_or_an_address_that_describes_it(web: Machine) -> None:
    web.settings |= {"config_from_host": False, "repos_confdir": ["/etc/repos"]}
    text = f"name: here\ntype: disk\nurls: [{web.shop.artifacts}]\nenable: true\n"
    described = web.place / "describes" / "here.yaml"
    described.parent.mkdir()
    described.write_text(text)

    web.do("repo", "add", described, "-y")
    described.write_text(text.replace("here", "there"))
    with serving(described.parent) as url:
        web.do("repo", "add", f"{url}/here.yaml", "-y")

    assert web.do("repo", "list", "-q").stdout == "here\nthere\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nothing",), 1,
         "nothing: there is no such file (give --url and --type to add one by its name)"),
        (("a/b", "--url", "/x"), 2, "name: 'a/b' cannot be the name of a repository"),
        (("x", "--url", "host/repo"), 2,
         "host/repo: which type of repository is this? (say it with --type)"),
        (("x", "--url", "localhost:80", "--type", "http"), 2,
         "localhost:80: does not begin with http:// or https://"),
        (("x", "--url", "https://host/x", "--type", "docker"), 2,
         "https://host/x: is no name of a docker repository (leave out https://)"),
        (("x", "--url", "host:80/x:latest", "--type", "docker"), 2,
         "--url: 'host:80/x:latest' is to be a repository, without tag or digest"),
        (("x", "--url", "/x", "--type", "ftp"), 2,
         "type: is one of disk, http, docker, not 'ftp'"),
        (("x", "--url", "/x", "--root", "/nowhere/root.json"), 1,
         "/nowhere/root.json: cannot be read: No such file or directory"
         " (--root names the file that `cos repo init-trust` wrote)"),
    ],
)  # fmt: skip
def test_a_repository_that_cannot_be_is_not_added(
    web: Machine, arguments: tuple[str, ...], code: int, message: str
) -> None:
    assert web.refused("repo", "add", "-y", *arguments, code=code) == message


def test_what_is_not_signed_does_not_count_once_the_root_is_known(web: Machine) -> None:
    web.settings |= {"config_from_host": False, "repos_confdir": ["/etc/repos"]}
    web.env = {"COSIGN_PASSWORD": "pw"}
    inside = web.root / "repository"
    web.do("key", "generate", "--output", "root")
    web.do("key", "generate", "--output", "online")
    web.do("repo", "init-trust", web.shop.artifacts, "--key", "online.key", "--root-key",
           "root.key")  # fmt: skip
    web.shop.artifacts.rename(inside)

    web.do("repo", "add", "signed", "--url", "/repository", "--root", "root.json", "-y")
    web.do("install", "-y", "t/lib")
    (inside / "repository.yaml").write_text("changed, and nobody with the root looks at it\n")
    assert web.do("repo", "update").stdout == "signed: revision 1, 4 packages\n"
    (page,) = inside.glob("signed-*-repository.yaml")
    text = page.read_text()
    page.write_text(f"{text}# changed\n")

    size = page.stat().st_size
    assert web.refused("repo", "update") == (
        f"signed: {page.name} is not what was signed: more than {size - 10} bytes"
        " (the repository may be changing just now; if this stays, do not trust it)"
    )
    page.write_text(text)
    assert web.do("repo", "update").stdout == "signed: revision 1, 4 packages\n"


def test_a_repository_that_is_to_be_verified_is_never_used_without_a_root(web: Machine) -> None:
    described = web.place / "main.yaml"
    described.write_text(
        f"name: main\ntype: disk\nurls: [{web.shop.artifacts}]\nenable: true\nverify: true\n"
    )
    said = (
        "main: 'verify: true' without a root verifies nothing (name the root of its keys with"
        " 'root:', or add it with `cos repo add --root`)"
    )

    assert web.refused("repo", "add", described, "-y") == said
    web.use("disk", web.shop.artifacts, verify=True)
    assert web.refused("install", "-y", "t/lib") == said
    assert "  nothing of it is used: main: 'verify: true'" in web.do("repo", "list").stdout
    assert not (web.root / "usr").exists()


def test_a_repository_says_that_it_is_signed_and_is_forgotten_with_its_root(web: Machine) -> None:
    web.settings |= {"repos_confdir": [str(web.place / "repos")]}
    web.env = {"COSIGN_PASSWORD": "pw"}
    web.do("key", "generate", "--output", "own")
    place = web.shop.artifacts
    web.do("repo", "init-trust", place, "--key", "own.key", "--root-key", "own.key")
    web.do("repo", "add", "mine", "--url", place, "--root", "root.json", "-y")

    listed = web.do("repo", "list").stdout
    folder = web.root / str(web.place / "repos").lstrip("/")
    there = sorted(path.name for path in folder.iterdir())
    web.do("repo", "remove", "mine", "-y")

    assert there == ["mine.root.json", "mine.yaml"]
    assert list(folder.iterdir()) == []
    digest = hashlib.sha256((web.place / "root.json").read_bytes()).hexdigest()
    assert f"  signed: root {digest[:12]} is trusted\n" in listed
    assert web.do("repo", "list", "-q").stdout == ""
    assert not (web.root / "db/repos/mine").exists()
    assert web.refused("repo", "remove", "mine") == (
        "there is no repository 'mine' (`cos repo add` adds one)"
    )


@pytest.fixture
def signed(web: Machine) -> Machine:
    """A machine that was given the root of the repository in its own folder."""
    web.settings |= {"config_from_host": False, "repos_confdir": ["/etc/repos"]}
    web.env = {"COSIGN_PASSWORD": "pw"}
    web.do("key", "generate", "--output", "own")
    web.do("repo", "init-trust", web.shop.artifacts, "--key", "own.key", "--root-key", "own.key")
    web.shop.artifacts.rename(web.root / "repository")
    web.do("repo", "add", "mine", "--url", "/repository", "--root", "root.json", "-y")
    return web


def test_a_mistyped_address_of_a_signed_repository_is_told(web: Machine) -> None:
    web.env = {"COSIGN_PASSWORD": "pw"}
    web.do("key", "generate", "--output", "own")
    web.do("repo", "init-trust", web.shop.artifacts, "--key", "own.key", "--root-key", "own.key")
    with serving(web.shop.artifacts) as url:
        web.use("http", f"{url}/typo", root=str(web.place / "root.json"))

        told = web.refused("repo", "update")

    assert told.removeprefix("no repository can be used (main): ") == (
        f"main: is not signed, although its root is known: {url}/typo/trust/timestamp.json: there"
        " is no such file (are its address and type right? `cos repo get` shows them; nothing"
        " unsigned is taken, and its owner's `cos repo refresh` brings a timestamp back that was"
        " lost)"
    )


def test_a_forgotten_type_of_a_signed_repository_is_told(web: Machine) -> None:
    web.env = {"COSIGN_PASSWORD": "pw"}
    web.do("key", "generate", "--output", "own")
    web.do("repo", "init-trust", web.shop.artifacts, "--key", "own.key", "--root-key", "own.key")

    told = web.refused("create-repo", "--tree", web.shop.tree, "--packages", web.shop.artifacts,
                       "--output", "registry.example/os/cos", "--sign", "own.key",
                       "--root", "root.json")  # fmt: skip

    assert told == (
        "registry.example/os/cos: is not signed: there is no such folder"
        " (is the name right? a repository in a registry needs --type docker)"
    )
    assert not (web.place / "registry.example").exists()


def test_the_root_counts_after_the_caches_were_emptied(signed: Machine) -> None:
    signed.do("repo", "update")
    shutil.rmtree(signed.root / "db")
    (signed.root / "db").mkdir()
    shutil.rmtree(signed.root / "repository/trust")

    message = signed.refused("install", "-y", "t/lib")

    assert message.startswith("mine: ")
    assert signed.installed() == []


def test_the_root_counts_under_another_name_of_the_repository(signed: Machine) -> None:
    file = signed.root / "etc/repos/mine.yaml"
    file.write_text(file.read_text().replace("name: mine", "name: other"))
    shutil.rmtree(signed.root / "repository/trust")

    message = signed.refused("install", "-y", "t/lib")

    assert message.startswith("other: ")


def test_a_root_that_is_gone_is_no_reason_to_go_on_without(signed: Machine) -> None:
    root = signed.root / "etc/repos/mine.root.json"
    root.unlink()

    message = signed.refused("install", "-y", "t/lib")

    reason = f"{root}: cannot be read: No such file or directory"
    assert message == f"{reason} (without its root, nothing of the repository is used)"
    assert f"  nothing of it is used: {reason}\n" in signed.do("repo", "list").stdout


def test_a_system_takes_the_root_along_wherever_it_is_mounted(signed: Machine) -> None:
    moved = signed.place / "moved"
    signed.root.rename(moved)
    signed.root = moved
    signed.settings |= {"system": {"rootfs": str(moved), "database_path": "/db"}}

    signed.do("install", "-y", "t/lib")

    assert yaml.safe_load(signed.read("etc/repos/mine.yaml"))["root"] == "mine.root.json"
    assert "  signed: root " in signed.do("repo", "list").stdout


def test_a_root_that_an_earlier_version_kept_in_the_cache_goes_on_to_count(signed: Machine) -> None:
    file = signed.root / "etc/repos/mine.yaml"
    file.write_text(file.read_text().replace("root: mine.root.json\n", ""))
    kept = signed.root / "db/repos/mine/trust/root.json"
    kept.parent.mkdir(parents=True)
    (signed.root / "etc/repos/mine.root.json").rename(kept)
    shutil.rmtree(signed.root / "repository/trust")

    assert "  signed: root " in signed.do("repo", "list").stdout
    assert signed.refused("install", "-y", "t/lib").startswith("mine: ")


def test_a_root_beside_the_description_comes_with_it(signed: Machine) -> None:
    described = signed.place / "given"
    described.mkdir()
    text = "name: given\ntype: disk\nurls: [/repository]\nenable: true\nroot: keys.json\n"
    (described / "given.yaml").write_text(text)
    shutil.copy(signed.place / "root.json", described / "keys.json")

    signed.do("repo", "add", described / "given.yaml", "-y")

    assert (signed.root / "etc/repos/given.root.json").read_bytes() == (
        signed.place / "root.json"
    ).read_bytes()
    assert signed.do("repo", "list").stdout.count("  signed: root ") == 2


def test_a_signed_repository_comes_from_a_web_server(web: Machine) -> None:
    web.env = {"COSIGN_PASSWORD": "pw"}
    web.do("key", "generate", "--output", "root")
    web.do("key", "generate", "--output", "online")
    web.do("repo", "init-trust", web.shop.artifacts, "--key", "online.key", "--root-key",
           "root.key")  # fmt: skip
    with serving(web.shop.artifacts) as url:
        web.use("http", url, root=str(web.place / "root.json"))

        web.do("install", "-y", "t/lib")

    assert web.installed() == ["t/lib-1"]


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _newer(folder: Path) -> None:
    path = folder / "repository.yaml"
    page = yaml.safe_load(path.read_text())
    page["repo_files"]["meta"]["compressiontype"] = "lz9"
    path.write_text(yaml.safe_dump(page))


def _without_tree(folder: Path) -> None:
    path = folder / "repository.yaml"
    page = yaml.safe_load(path.read_text())
    del page["repo_files"]["tree"]
    path.write_text(yaml.safe_dump(page))


def _damaged(folder: Path) -> None:
    with (folder / "tree.tar.gz").open("ab") as file:
        file.write(b"x")


def _no_yaml(folder: Path) -> None:
    (folder / "repository.yaml").write_text("<html>")


_WRONG: list[tuple[Callable[[Path], None], str]] = [
    (_empty, "{place}/repository.yaml: there is no such file"
             " (is this a repository? `cos create-repo` makes one)"),
    (_newer, "{place}: repository.meta.yaml.tar is compressed as 'lz9'"
             " (that is newer than this version of cos: update it)"),
    (_without_tree, "{place}: repository.yaml names no 'tree'"
                    " (`cos create-repo` writes all of it: publish the repository again)"),
    (_damaged, "{place}: tree.tar.gz has another checksum than repository.yaml says"
               " (it may be changing just now, or be damaged)"),
    (_no_yaml, "{place}: repository.yaml: does not hold a mapping of names to values"
               " (it is damaged, or newer than this version of cos: publish it again, or update"
               " cos)"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), _WRONG)
def test_a_repository_that_is_wrong_is_told_on_disk_and_on_the_web(
    web: Machine, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(web.shop.artifacts)
    place = str(web.shop.artifacts)
    web.use("disk", place)

    on_disk = web.refused("repo", "update", code=3)
    web.repositories.clear()
    with serving(web.shop.artifacts) as url:
        web.use("http", url)
        on_the_web = web.refused("search", code=3)

    assert on_disk == f"no repository can be used (main): {message.format(place=place)}"
    assert on_the_web == f"no repository can be used (main): {message.format(place=url)}"


@pytest.mark.parametrize(
    ("kind", "url", "message"),
    [
        ("disk", "/nowhere",
         "/nowhere: there is no such folder (is the disk that has it mounted?)"),
        ("http", "http://127.0.0.1:1/x",
         "http://127.0.0.1:1/x/repository.yaml: connection refused (tried 4 times)"
         " (check the port, and that the server runs)"),
        ("docker", "127.0.0.1:1/x",
         "127.0.0.1:1/x:repository.yaml: cannot fetch the manifest: 127.0.0.1:1 refused the"
         " connection (tried 3 times) (check the port, and that the registry runs)"),
        ("docker", "no-such-host.invalid/x",
         "no-such-host.invalid/x:repository.yaml: cannot fetch the manifest: the host"
         " no-such-host.invalid is unknown"
         " (check the name, and that the network and its name servers work)"),
        ("docker", "BAD NAME",
         "main: 'BAD NAME' is not an image name (`urls` has HOST[:PORT]/NAME)"),
        ("http", "ftp://x", "ftp://x: is no address of a web server"),
    ],
)  # fmt: skip
def test_a_repository_that_cannot_be_asked_is_told_with_what_may_help(
    web: Machine, kind: str, url: str, message: str
) -> None:
    web.use(kind, url)

    told = web.refused("repo", "update", code=3)

    assert told == f"no repository can be used (main): {message}"


@pytest.mark.parametrize(("kind", "prefix", "times"), [("http", "http://", 4), ("docker", "", 3)])
def test_only_the_last_of_servers_that_are_not_there_is_asked_again(
    web: Machine, kind: str, prefix: str, times: int
) -> None:
    urls = [f"{prefix}127.0.0.1:1/x", f"{prefix}127.0.0.1:2/x"]
    web.repositories.append({"name": "main", "type": kind, "urls": urls, "enable": True})

    told = web.refused("repo", "update", code=3)

    first, _, last = told.partition("; then: ")
    assert "127.0.0.1:1/x" in first
    assert "tried" not in first
    assert f"(tried {times} times)" in last


def test_a_web_server_that_is_unknown_is_told_with_what_may_help(web: Machine) -> None:
    web.use("http", "http://no-such-host.invalid")

    told = web.refused("repo", "update", code=3)

    assert told.startswith(
        "no repository can be used (main): http://no-such-host.invalid/repository.yaml: "
    )
    assert told.endswith(
        " (tried 4 times) (check the name, and that the network and its name servers work)"
    )


class _Guarded(SimpleHTTPRequestHandler):
    """Serves files to who says the password."""

    def do_GET(self) -> None:
        """Answer one request."""
        if self.headers["Authorization"] == f"Basic {base64.b64encode(b'me:secret').decode()}":
            super().do_GET()
        else:
            self.send_error(401)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def guarded(web: Machine) -> Iterator[str]:
    """The repository on a web server that wants a password; gives its address."""
    handler = partial(_Guarded, directory=str(web.shop.artifacts))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("auth", [{}, {"username": "me", "password": "wrong"}, {"token": "x"}])
def test_a_web_server_that_refuses_us_is_told(
    web: Machine, guarded: str, auth: dict[str, str]
) -> None:
    web.use("http", guarded, auth=auth)

    told = web.refused("repo", "update", code=3)

    assert told == (
        f"no repository can be used (main): {guarded}/repository.yaml: the server wants other"
        " credentials (give the repository 'auth' with a 'token', or 'username' and 'password')"
    )


@pytest.mark.parametrize(
    "auth",
    [
        {"username": "me", "password": "secret"},
        {"basic": base64.b64encode(b"me:secret").decode()},
    ],
)
def test_a_web_server_gets_the_credentials_of_its_repository(
    web: Machine, guarded: str, auth: dict[str, str]
) -> None:
    web.use("http", guarded, auth=auth)

    assert web.do("repo", "update").stdout == "main: revision 1, 4 packages\n"


def test_what_is_no_registry_is_told(web: Machine) -> None:
    with serving(web.shop.artifacts) as url:
        host = url.removeprefix("http://")
        web.use("docker", f"{host}/x")

        told = web.refused("repo", "update", code=3)

    assert told.startswith(
        f"no repository can be used (main): {host}/x:repository.yaml: cannot fetch the manifest:"
        f" {host} is not an OCI registry (it answers GET /v2/ with 404 "
    )


@pytest.mark.registry
def test_a_registry_without_the_repository_is_told(web: Machine, repository: Reference) -> None:
    web.use("docker", str(repository))

    told = web.refused("repo", "update", code=3)

    assert told == (
        f"no repository can be used (main): {repository}:repository.yaml: cannot fetch the"
        " manifest: the registry does not have it: manifest unknown"
        " (is this a repository? `cos create-repo` makes one)"
    )


@pytest.mark.registry
@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ({}, "the registry wants credentials, or has no such repository"),
        ({"username": "ali", "password": "wrong"},
         "the registry does not accept the credentials of 'ali' for this"),
    ],
)  # fmt: skip
def test_a_registry_that_refuses_us_is_told(
    web: Machine, password_registry: RegistryServer, auth: dict[str, str], message: str
) -> None:
    target = password_registry.repository()
    web.use("docker", str(target), auth=auth)

    told = web.refused("repo", "update", code=3)

    assert told == (
        f"no repository can be used (main): {target}:repository.yaml: {message} (`cos login`,"
        " `docker login` or a file named by REGISTRY_AUTH_FILE gives credentials)"
    )


@pytest.mark.registry
def test_the_credentials_of_a_repository_are_its_own(
    web: Machine, password_registry: RegistryServer, tmp_path: Path
) -> None:
    target = password_registry.repository()
    auth = {"username": password_registry.user, "password": password_registry.password}
    login = tmp_path / "auth.json"
    entry = {"username": auth["username"], "password": auth["password"]}
    login.write_text(json.dumps({"auths": {target.registry: entry}}))
    web.env = {"REGISTRY_AUTH_FILE": str(login)}
    web.do("create-repo", "--type", "docker", "--tree", web.shop.tree, "--packages",
           web.shop.artifacts, "--output", str(target), "--push-images")  # fmt: skip
    web.env = {}
    web.use("docker", str(target), auth=auth)

    assert web.do("repo", "update").stdout == "main: revision 1, 4 packages\n"


def _check_luet(machine: Machine) -> None:
    """Install from the repository, by selectors that luet could not follow."""
    machine.do("install", "-y", "cat/a")
    assert machine.installed() == ["cat/a-1.0+1", "cat/b-0.2.rc1-1+7"]
    assert (machine.read("usr/a"), machine.read("usr/b")) == ("1.0+1", "0.2.rc1-1+7")
    assert [each["files"] for each in machine.found("cat/b")] == [["usr/b"]]
    assert machine.do("upgrade", "-y", "--sync").stderr.endswith("everything is up to date\n")


def test_a_repository_that_luet_wrote_is_used_from_disk_and_web(web: Machine) -> None:
    folder = web.place / "of-luet"
    folder.mkdir()
    for name, data in luet_files().items():
        (folder / name).write_bytes(data)
    (folder / "20260101-repository.yaml").write_bytes((folder / "repository.yaml").read_bytes())
    web.use("disk", folder, reference="20260101-repository.yaml")

    _check_luet(web)
    web.repositories.clear()
    web.do("uninstall", "-y", "cat/a", "cat/b")
    with serving(folder) as url:
        web.use("http", url)
        _check_luet(web)


@pytest.mark.registry
def test_a_repository_that_luet_wrote_is_used_from_a_registry(
    web: Machine, repository: Reference
) -> None:
    with RegistryClient(RegistrySettings()) as registry:
        for name, data in luet_files().items():
            is_package = name.endswith(".package.tar.gz")
            tag = name.removesuffix(".package.tar.gz").replace("+", "-")
            layer = data if is_package else luet_tar({name: data}, packed=True)
            push_schema2(registry, replace(repository, tag=tag), layer)
    web.use("docker", str(repository))

    _check_luet(web)
