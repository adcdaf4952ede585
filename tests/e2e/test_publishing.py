"""Repositories in a real registry, as other programs see them."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from compiler.oci import Reference
from tests.e2e.lab import Lab, on_base
from tests.servers.cosign import Cosign
from tests.servers.dockerd import DockerServer
from tests.servers.notary import PASSPHRASES, NotaryServer
from tests.servers.registry import RegistryServer

pytestmark = [pytest.mark.container, pytest.mark.registry]

TREE = {
    "base": on_base("echo base > /base") + "unpack: true\n",
    "tool": on_base("mkdir -p /usr/bin", "echo tool > /usr/bin/tool"),
}


@pytest.fixture
def built(lab: Lab) -> Lab:
    """A tree whose packages are built."""
    lab.tree(TREE)
    done = lab.build("--all", "--compression", "zstd")
    assert done.returncode == 0, done.stderr
    return lab


@pytest.fixture
def place(registry_server: RegistryServer) -> Reference:
    return registry_server.repository("os")


def publish(lab: Lab, place: Reference, *options: str) -> str:
    argv = ("create-repo", "--tree", "tree", "--packages", str(lab.out), "--type", "docker",
            "--output", str(place), "--push-images", *options)  # fmt: skip
    done = lab.cos(*argv)
    assert done.returncode == 0, done.stderr
    return done.stdout


def skopeo(*arguments: str) -> str:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_push_images_the_registry_hears_of_nothing(built: Lab, place: Reference) -> None:
    done = built.cos("create-repo", "--tree", "tree", "--packages", built.out, "--type", "docker",
                     "--output", str(place))  # fmt: skip

    assert done.stdout == (
        f"{place}: repository luet, revision 1, packages: 2; "
        "--push-images would bring up 2 of them\n"
    )
    tags = subprocess.run(
        ["skopeo", "list-tags", "--tls-verify=false", f"docker://{place}"],
        capture_output=True,
        check=False,
    )
    assert tags.returncode != 0


def test_skopeo_copies_a_package_with_all_its_files(
    built: Lab, place: Reference, tmp_path: Path
) -> None:
    publish(built, place)

    skopeo("copy", "--src-tls-verify=false", f"docker://{place}:base-t-1", f"oci:{tmp_path}/copy:x")
    inspected = json.loads(
        skopeo("inspect", "--tls-verify=false", "--config", f"docker://{place}:base-t-1")
    )

    assert inspected["os"] == "linux"
    subprocess.run(
        ["umoci", "unpack", "--rootless", "--image", f"{tmp_path}/copy:x", f"{tmp_path}/bundle"],
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "bundle/rootfs/base").read_text() == "base\n"
    assert (tmp_path / "bundle/rootfs/bin/sh").is_symlink()


def test_cosign_verifies_what_was_signed_while_publishing(
    built: Lab, place: Reference, cosign: Cosign, tmp_path: Path
) -> None:
    built.env["COSIGN_PASSWORD"] = "x"  # noqa: S105  (of a key that only this test has)
    assert built.cos("key", "generate", "--output", tmp_path / "own").returncode == 0

    publish(built, place, "--sign", str(tmp_path / "own.key"))

    for tag in ("base-t-1", "tool-t-1", "tool-t-1.metadata.yaml", "repository.yaml"):
        cosign.do("verify", "--key", tmp_path / "own.pub", "--insecure-ignore-tlog",
                  f"{place}:{tag}")  # fmt: skip
        verified = built.cos("verify", "--key", tmp_path / "own.pub", f"{place}:{tag}")
        assert verified.returncode == 0, verified.stderr


@pytest.fixture
def attested(built: Lab, place: Reference, tmp_path: Path) -> Lab:
    """The tree built anew with documents, and published under the key `own.key`."""
    built.env["COSIGN_PASSWORD"] = "x"  # noqa: S105  (of a key that only this test has)
    assert built.cos("key", "generate", "--output", tmp_path / "own").returncode == 0
    assert built.build("--all", "--compression", "zstd", "--sbom").returncode == 0
    publish(built, place, "--sign", str(tmp_path / "own.key"))
    return built


@pytest.mark.parametrize(
    "names",
    [
        ("provenance", "slsaprovenance1", "provenance"),
        ("cyclonedx", "cyclonedx", "cdx"),
        ("spdx", "spdxjson", "spdx"),
        ("spdxjson", "spdxjson", "spdx"),
    ],
    ids=" ".join,
)
def test_what_is_said_of_a_published_package_is_verified_by_cosign_and_by_us(
    attested: Lab, place: Reference, cosign: Cosign, tmp_path: Path, names: tuple[str, str, str]
) -> None:
    ours, theirs, suffix = names
    document = json.loads((attested.out / f"tool-t-1.{suffix}.json").read_text())

    told = cosign.do("verify-attestation", "--key", tmp_path / "own.pub",
                     "--insecure-ignore-tlog", "--type", theirs, f"{place}:tool-t-1")  # fmt: skip
    statement = json.loads(base64.b64decode(json.loads(told)["payload"]))
    verified = attested.cos("verify", "--key", tmp_path / "own.pub", "--attestation", ours,
                            "-o", "json", f"{place}:tool-t-1")  # fmt: skip

    said = statement["predicate"]
    assert said == (document["predicate"] if suffix == "provenance" else document)
    assert verified.returncode == 0, verified.stderr
    (image,) = json.loads(verified.stdout)["images"]
    assert [each["statement"] for each in image["attestations"]] == [statement]


def test_what_is_said_of_a_package_goes_and_stays_with_its_image(
    attested: Lab, place: Reference, tmp_path: Path
) -> None:
    asked = ("verify", "--key", str(tmp_path / "own.pub"), "--attestation", "cyclonedx",
             "--attestation", "spdx", "--attestation", "provenance")  # fmt: skip
    before = attested.cos(*asked, f"{place}:base-t-1", f"{place}:tool-t-1")
    for file in attested.out.glob("tool-t-1*"):
        file.unlink()
    shutil.rmtree(attested.place / "tree/tool")
    publish(attested, place, "--sign", str(tmp_path / "own.key"), "--prune")

    collected = attested.cos("registry", "gc", str(place), "--keep", "0")

    tags = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{place}"))["Tags"]
    digests = [line.rpartition(":")[2] for line in before.stdout.splitlines()]
    assert (before.returncode, collected.returncode) == (0, 0), collected.stderr
    assert [f"sha256-{digest}.att" in tags for digest in digests] == [True, False]
    assert attested.cos(*asked, f"{place}:base-t-1").returncode == 0


def test_docker_lists_what_content_trust_signed(
    built: Lab, place: Reference, notary_server: NotaryServer, tmp_path: Path
) -> None:
    folder = notary_server.docker_folder(tmp_path / "home")
    env = {"HOME": str(folder.parent), "DOCKER_CONFIG": str(folder), **PASSPHRASES}

    built.env.update(env)
    publish(built, place, "--content-trust", notary_server.url)

    told = subprocess.run(
        ["/usr/bin/docker", "trust", "inspect", f"{place}:base-t-1"],
        env={**os.environ, **env, "DOCKER_CONTENT_TRUST_SERVER": notary_server.url},
        capture_output=True,
        text=True,
        check=True,
    )
    (signed,) = json.loads(told.stdout)[0]["SignedTags"]
    head = skopeo(
        "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{place}:base-t-1"
    )
    assert signed["SignedTag"] == "base-t-1"
    assert signed["Digest"] == head.strip().removeprefix("sha256:")


def test_a_password_is_taken_from_docker_and_asked_for_by_name_if_it_is_missing(
    built: Lab, password_registry: RegistryServer, tmp_path: Path
) -> None:
    place = password_registry.repository("os")
    denied = built.cos("create-repo", "--tree", "tree", "--packages", built.out, "--type", "docker",
                       "--output", str(place), "--push-images", HOME=str(tmp_path))  # fmt: skip
    assert denied.returncode == 3
    assert str(place) in denied.stderr

    login = f"{password_registry.user}:{password_registry.password}"
    encoded = base64.b64encode(login.encode()).decode()
    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {password_registry.host: {"auth": encoded}}})
    )
    built.env["DOCKER_CONFIG"] = str(tmp_path)
    publish(built, place)


def test_collection_explains_and_removes(built: Lab, place: Reference) -> None:
    publish(built, place, "--snapshot-id", "one")
    (built.place / "tree/tool/definition.yaml").write_text(
        'name: tool\ncategory: t\nversion: "2"\n'
    )
    assert built.build("--all", "--compression", "zstd").returncode == 0
    publish(built, place, "--prune", "--snapshot-id", "two")

    told = built.cos("registry", "gc", str(place), "--keep", "1", "--dry-run").stdout
    assert "remove  tool-t-1  (only snapshots that go list it)" in told
    assert "keep    tool-t-2  (the index or a snapshot kept names it)" in told
    removed = built.cos("registry", "gc", str(place), "--keep", "1")

    assert removed.returncode == 0, removed.stderr
    tags = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{place}"))["Tags"]
    assert sorted(tag for tag in tags if tag.startswith(("tool", "base"))) == [
        "base-t-1", "base-t-1.metadata.yaml", "tool-t-2", "tool-t-2.metadata.yaml",
    ]  # fmt: skip


def test_a_moved_tag_is_found_and_repaired(built: Lab, place: Reference) -> None:
    publish(built, place)
    skopeo("copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false",
           f"docker://{place}:base-t-1", f"docker://{place}:tool-t-1")  # fmt: skip

    found = built.cos("registry", "check", str(place))
    assert found.returncode == 1
    assert found.stdout.startswith("tool-t-1  (its image says ")
    assert "1 of 2 packages are not as they are listed" in found.stderr
    repaired = publish(built, place, "--repair")

    assert "1 of them new or changed" in repaired
    after = built.cos("registry", "check", str(place))
    assert (after.returncode, after.stdout) == (
        0,
        f"{place}: all 2 packages are as they are listed\n",
    )


def test_after_stolen_keys_a_signed_repository_begins_again_under_new_ones(
    built: Lab, place: Reference, tmp_path: Path
) -> None:
    built.env["COSIGN_PASSWORD"] = ""
    for name in ("root", "online", "new"):
        assert built.cos("key", "generate", "--output", str(tmp_path / name)).returncode == 0
    root, key = str(tmp_path / "root.json"), str(tmp_path / "online.key")
    new, new_public = str(tmp_path / "new.key"), str(tmp_path / "new.pub")
    begun = built.cos("repo", "init-trust", str(place), "--root-key", str(tmp_path / "root.key"),
                      "--key", key, "--root", root)  # fmt: skip
    assert begun.returncode == 0, begun.stderr
    machine = tmp_path / "machine"
    machine.mkdir()
    on_machine = ("--system-target", str(machine))
    publish(built, place, "--sign", key, "--root", root)
    shutil.copy(root, tmp_path / "first.json")
    added = built.cos(*on_machine, "repo", "add", "main", "--type", "docker", "--url", str(place),
                      "--root", str(tmp_path / "first.json"), "-y")  # fmt: skip
    assert added.returncode == 0, added.stderr
    assert built.cos(*on_machine, "install", "-y", "t/tool").returncode == 0

    restarted = built.cos("repo", "rotate", str(place), "--root-key", str(tmp_path / "root.key"),
                          "--key", new, "--replace", f"online={new_public}", "--restart",
                          "--root", root)  # fmt: skip
    assert restarted.returncode == 0, restarted.stderr
    assert "nothing is signed yet" in restarted.stdout
    refused = built.cos(*on_machine, "install", "-y", "t/base")
    assert refused.returncode != 0
    publish(built, place, "--sign", new, "--root", root, "--prune", "--force-push")

    done = built.cos(*on_machine, "install", "-y", "t/base")
    assert done.returncode == 0, done.stderr
    checked = built.cos("registry", "check", str(place), "--root", root)
    assert checked.returncode == 0, checked.stderr
    thief = built.cos("create-repo", "--tree", "tree", "--packages", str(built.out), "--type",
                      "docker", "--output", str(place), "--push-images", "--sign", key,
                      "--root", root)  # fmt: skip
    assert thief.returncode == 1


def test_a_new_key_signs_what_the_old_one_signed(
    built: Lab, place: Reference, tmp_path: Path
) -> None:
    built.env["COSIGN_PASSWORD"] = ""
    for name in ("old", "new"):
        assert built.cos("key", "generate", "--output", str(tmp_path / name)).returncode == 0
    publish(built, place, "--sign", str(tmp_path / "old.key"))
    signed = ("verify", f"{place}:tool-t-1", "--key", str(tmp_path / "new.pub"))
    assert built.cos(*signed).returncode == 1

    publish(
        built, place, "--sign", str(tmp_path / "new.key"), "--resign", str(tmp_path / "old.pub")
    )

    assert built.cos(*signed).returncode == 0


def test_collection_goes_on_past_a_snapshot_that_cannot_be_read(
    built: Lab, place: Reference
) -> None:
    publish(built, place, "--snapshot-id", "one")
    source, broken = (
        f"docker://{place}:base-t-1.metadata.yaml",
        f"docker://{place}:odd-repository.yaml",
    )
    skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false", source, broken)

    collected = built.cos("registry", "gc", str(place), "--keep", "0")

    assert collected.returncode == 1
    assert "remove  one-repository.yaml  (a snapshot older" in collected.stdout
    assert f"error: {place}: a tag cannot be read: odd-repository.yaml (" in collected.stderr
    told = built.cos("registry", "gc", str(place), "--keep", "0", "--dry-run")
    assert told.returncode == 1
    assert (
        f"keep    odd-repository.yaml  (cannot be read: {place}:odd-repository.yaml" in told.stdout
    )


@pytest.mark.xdist_group("docker")
def test_docker_runs_a_published_package(
    built: Lab, place: Reference, docker_server: DockerServer
) -> None:
    publish(built, place)

    env = {**os.environ, **docker_server.local}
    done = subprocess.run(
        ["/usr/bin/docker", "run", "--rm", "--network", "none", f"{place}:base-t-1",
         "/bin/sh", "-c", "cat /base"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    removed = ["/usr/bin/docker", "image", "rm", "--force", f"{place}:base-t-1"]
    subprocess.run(removed, env=env, check=True, capture_output=True)

    assert done.stdout == "base\n", done.stderr
