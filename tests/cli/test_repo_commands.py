"""`cos create-repo` and `cos serve-repo`, as processes."""

import http.client
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from compiler.artifact.pack import describe, pack, write_metadata
from compiler.artifact.roots import MountedRoots
from compiler.artifact.selection import select
from compiler.repository.disk import read_repository
from compiler.spec.package import BuildSpec, Definition, PackageSpec

COS = (sys.executable, "-m", "compiler")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with two trees, and the artifacts of what is in them."""
    for name in ("one", "two"):
        folder = tmp_path / name / "package"
        folder.mkdir(parents=True)
        (folder / "definition.yaml").write_text(f'name: {name}\ncategory: t\nversion: "1"\n')
        (folder / "build.yaml").write_text("unpack: true\nimage: debian\n")
        package = PackageSpec(
            definition=Definition(name=name, category="t", version="1"),
            build=BuildSpec(unpack=True, image="debian"),
            folder=folder,
            definition_file=folder / "definition.yaml",
        )
        selection = select(package.build, MountedRoots(folder, folder))
        artifact = pack(selection, folder, destination=tmp_path / "build", package=package.id)
        write_metadata(describe(package, artifact, epoch=0), tmp_path / "build")
    return tmp_path


def cos(place: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COS, *arguments],
        cwd=place,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_create_repo_writes_a_repository_of_all_trees(place: Path) -> None:
    done = cos(
        place, "create-repo", "--tree", "one,two", "--name", "mine", "--descr", "My own",
        "--urls", "http://a,http://b", "--urls", "http://c", "--type", "http",
        "--tree-compression", "zstd", "--meta-compression", "gzip", "--snapshot-id", "s1",
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "build: repository mine, revision 1, packages: 2\n"
    found = read_repository(place / "build", "s1-repository.yaml")
    assert [item.id.name for item in found.index.artifacts] == ["one", "two"]
    assert found.info.urls == ("http://a", "http://b", "http://c")
    assert found.info.description == "My own"
    assert found.info.repo_files["meta"].filename == "s1-repository.meta.yaml.tar.gz"


def test_source_date_epoch_is_the_time_of_a_repository(place: Path) -> None:
    arguments = ("create-repo", "-t", "one", "-t", "two", "--reset-revision")

    cos(place, *arguments, SOURCE_DATE_EPOCH="1600000000")
    first = {path.name: path.read_bytes() for path in (place / "build").glob("*.tar.gz")}
    cos(place, *arguments, SOURCE_DATE_EPOCH="1600000000")

    page = yaml.safe_load((place / "build/repository.yaml").read_text())
    assert page["last_update"] == "1600000000"
    assert (place / "build/20200913122640-repository.yaml").exists()
    assert first == {path.name: path.read_bytes() for path in (place / "build").glob("*.tar.gz")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--type", "docker", "--output", "host/name:tag"),
         "--output: 'host/name:tag' is to be a repository, without tag or digest"),
        (("--tree-compression", "bogus"),
         "--tree-compression is none, gzip or zstd, not 'bogus'"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_a_wrong_usage(
    place: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = cos(place, "create-repo", "--tree", "one", *arguments)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")


def test_a_repository_is_signed_as_it_is_written_and_keys_are_looked_at_first(place: Path) -> None:
    secret = {"COSIGN_PASSWORD": "x"}
    for name in ("own", "other"):
        cos(place, "key", "generate", "--output", name, **secret)
    create = ("create-repo", "--tree", "one,two", "--packages", "build")
    assert cos(place, *create).returncode == 0
    assert cos(place, "repo", "init-trust", "build", "--root-key", "own.key", "--key", "own.key",
               **secret).returncode == 0  # fmt: skip

    unsigned = cos(place, *create)
    signed = cos(place, *create, "--sign", "own.key", "--root", "root.json", **secret)
    refused = cos(place, *create, "--sign", "other.key", "--root", "root.json", **secret)

    assert unsigned.stderr == (
        "warning: build: clients with its root see the state before until `cos repo sign`\n"
    )
    assert signed.stdout.splitlines()[0] == "build: repository luet, revision 3, packages: 2"
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        "error: build: targets: 1 of the keys that the root names have to sign, none of them is"
        " given (given are the root root.json and other.key) ("
    )
    assert read_repository(place / "build").info.revision == 3


def test_what_is_signed_for_a_time_that_is_over_is_warned_of(place: Path) -> None:
    then = {"COSIGN_PASSWORD": "", "SOURCE_DATE_EPOCH": "1700000000"}
    create = ("create-repo", "--tree", "one", "--packages", "build")
    cos(place, "key", "generate", "--output", "own", **then)
    cos(place, *create)
    cos(place, "repo", "init-trust", "build", "--root-key", "own.key", "--key", "own.key", **then)

    done = cos(place, *create, "--sign", "own.key", "--root", "root.json", **then)

    assert done.returncode == 0, done.stderr
    assert "warning: SOURCE_DATE_EPOCH is 2023-11-14, so the timestamp that was" in done.stderr


def test_a_repository_that_loses_its_name_is_warned_of(place: Path) -> None:
    words = ("create-repo", "--tree", "one")
    assert cos(place, *words, "--name", "mine").stderr == ""

    renamed = cos(place, *words)

    assert renamed.stderr == (
        "warning: build: the repository 'luet' was called 'mine' before;"
        " --name mine gives it that name again\n"
    )
    assert cos(place, *words, "--name", "ours").stderr == ""


def test_options_for_registries_have_no_effect_on_disk(place: Path) -> None:
    done = cos(place, "create-repo", "--tree", "one", "--push-images", "--backend", "img")

    assert done.returncode == 0
    assert done.stderr == (
        "warning: --push-images has no effect with --type disk\n"
        "warning: --backend has no effect with --type disk\n"
    )


def test_a_damaged_archive_fails_the_command(place: Path) -> None:
    (place / "build/one-t-1.package.tar").unlink()

    done = cos(place, "create-repo", "--tree", "one")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: build/one-t-1.package.tar: the archive of t/one-1 is missing "
        "(build t/one-1 again)\n"
    )


def fetch(url: str) -> bytes:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=10)) as connection:
        connection.request("GET", parts.path)
        return connection.getresponse().read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_repo_serves_until_it_is_stopped(place: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [*COS, "serve-repo", "--dir", "build", "--port", "0"],
        cwd=place,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stderr is not None
            line = server.stderr.readline()
            url = line.removeprefix("serving build at ").strip()
            text = fetch(f"{url}/one-t-1.metadata.yaml")
            server.send_signal(number)
            _, rest = server.communicate(timeout=30)
        finally:
            server.kill()

    assert text == (place / "build/one-t-1.metadata.yaml").read_bytes()
    assert (server.returncode, rest) == (0, "stopped\n")


def test_serve_repo_needs_a_folder(place: Path) -> None:
    done = cos(place, "serve-repo", "--dir", "nowhere")

    assert (done.returncode, done.stderr) == (2, "error: nowhere: is not a folder\n")


@pytest.fixture
def configured(place: Path) -> Path:
    """The same, with a configuration that knows a repository of what `two` has."""
    folder = place / "known"
    cos(place, "create-repo", "--tree", "two", "--output", str(folder))
    (place / "two/package/finalize.yaml").write_text("install: [echo two]\n")
    cos(place, "create-repo", "--tree", "two", "--output", str(folder))
    config = {
        "system": {"rootfs": str(place)},
        "repositories": [
            {"name": "known", "description": "Known", "type": "disk", "urls": [str(folder)],
             "priority": 3, "enable": True, "treepath": "one"}
        ],
    }  # fmt: skip
    (place / ".luet.yaml").write_text(yaml.safe_dump(config))
    return place


def test_a_configured_repository_says_what_options_do_not(configured: Path) -> None:
    done = cos(configured, "create-repo", "--repo", "known", "--descr", "Other words")

    page = yaml.safe_load((configured / "build/repository.yaml").read_text())
    assert done.stdout == "build: repository known, revision 1, packages: 1\n"
    assert (page["name"], page["description"], page["priority"], page["urls"]) == (
        "known", "Other words", 3, [str(configured / "known")],
    )  # fmt: skip
    assert [each.id.name for each in read_repository(configured / "build").index.artifacts] == [
        "one"
    ]


def test_packages_that_only_repositories_define_are_listed_when_asked(configured: Path) -> None:
    plain = cos(configured, "create-repo", "--tree", "one")
    done = cos(configured, "create-repo", "--tree", "one", "--from-repositories")

    assert plain.stdout == "build: repository luet, revision 1, packages: 1\n"
    assert done.stdout == "build: repository luet, revision 2, packages: 2\n"
    tree = read_repository(configured / "build").tree
    assert tree["t/two/1/finalize.yaml"] == "install: [echo two]\n"


def test_a_repository_that_is_not_configured_is_told(configured: Path) -> None:
    done = cos(configured, "create-repo", "--repo", "other")

    assert (done.returncode, done.stderr) == (
        1, "error: there is no repository 'other' (there is known)\n",
    )  # fmt: skip


def test_packages_without_an_artifact_are_told(place: Path) -> None:
    for file in (place / "build").glob("two-*"):
        file.unlink()
    (place / "empty").mkdir()
    create = ("create-repo", "--tree", "one,two", "--output", "build")

    some = cos(place, *create)
    none = cos(place, *create, "--packages", "empty")

    assert (some.returncode, none.returncode) == (0, 0)
    assert some.stderr == "build: has no artifact of 1 of the 2 packages: t/two-1\n"
    assert none.stderr == (
        "warning: empty: has no artifact of 2 of the 2 packages: t/one-1, t/two-1\n"
    )


def test_trees_without_a_package_list_nothing_and_that_is_told(place: Path) -> None:
    (place / "bare").mkdir()
    create = ("create-repo", "--tree", "bare", "--packages", "build")

    done = cos(place, *create, "--output", "build")
    pruned = cos(place, *create, "--type", "docker", "--output", "a.test/b", "--prune")
    all_of_them = cos(place, *create, "--output", "build", "--from-metadata")

    said = "the trees have no package, so none of the 2 artifacts is listed"
    hint = "(--tree names the trees, --from-metadata lists all artifacts)\n"
    assert (done.returncode, done.stderr) == (0, f"warning: build: {said} {hint}")
    assert pruned.returncode == 1
    assert pruned.stderr == f"error: {said}: --prune would drop all that is published {hint}"
    assert (all_of_them.returncode, all_of_them.stderr) == (0, "")


def test_nothing_at_all_is_no_reason_to_drop_what_is_published(place: Path) -> None:
    (place / "empty").mkdir()
    done = cos(
        place, "create-repo", "--tree", "one,two", "--type", "docker", "--output", "a.test/b",
        "--packages", "empty", "--prune", "--push-images",
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr == (
        "error: empty: has no artifact of 2 of the 2 packages: --prune would drop all that is"
        " published (--packages names the folder that `cos build` writes)\n"
    )
