"""Two machines that share layers, archives and base images through a registry."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.marks import marked_sources
from compiler.oci import INDEX, Platform, Reference, platforms_of
from compiler.repository.oci import index_of
from tests.e2e.lab import BASE, Lab, on, on_base
from tests.registry.shelf import client_for
from tests.servers.registry import RegistryServer

pytestmark = [pytest.mark.container, pytest.mark.registry]

PASSWORD = {"COSIGN_PASSWORD": "x"}
TREE = {
    "base": on_base("echo base > /base"),
    "middle": on("base", "cat /base > /middle"),
    "top": on("middle", "cat /middle > /top"),
}


@pytest.fixture
def cache(registry_server: RegistryServer) -> Reference:
    """A repository for layers that nobody else has."""
    return registry_server.repository("cache")


@pytest.fixture
def labs(tmp_path: Path, little_base: Path) -> tuple[Lab, Lab, Lab]:
    """Machines with the same tree, each with a store of its own."""
    made = []
    for name in ("one", "two", "three"):
        place = tmp_path / name
        place.mkdir()
        lab = Lab(place, little_base)
        lab.tree(TREE)
        made.append(lab)
    return made[0], made[1], made[2]


def events(lab: Lab, *arguments: str) -> list[tuple[str, str]]:
    """Build, and tell which node was started for what."""
    done = lab.build(*arguments, "--log-format", "json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    return [(each["node"], each["action"]) for each in lines if each["event"] == "NodeStarted"]


def made(lab: Lab) -> dict[str, str]:
    """Name every file of the destination with the SHA-256 of its content, but no mark."""
    return {name: each for name, each in lab.built().items() if not name.endswith(".unverified")}


def marks(lab: Lab) -> list[str]:
    """Name the artifacts of the destination that are marked."""
    return sorted(path.name.removesuffix(".unverified") for path in lab.out.glob("*.unverified"))


def shared(cache: Reference, *options: str) -> tuple[str, ...]:
    return ("--image-repository", str(cache), *options)


def test_what_one_machine_built_the_other_only_downloads(
    labs: tuple[Lab, Lab, Lab], cache: Reference
) -> None:
    one, two, _ = labs
    events(one, "--all", *shared(cache, "--push"))

    assert events(two, "t/top", "--only-target-package", *shared(cache, "--pull")) == [
        ("t/top-1", "fetch")
    ]
    assert made(two) == {name: hash_ for name, hash_ in one.built().items() if "top" in name}
    assert marks(two) == ["top-t-1"]
    assert not any((two.store / "nodes").iterdir())


def test_only_what_is_built_upon_is_fetched(labs: tuple[Lab, Lab, Lab], cache: Reference) -> None:
    one, two, _ = labs
    events(one, "--all", *shared(cache, "--push"))
    two.tree({"top": on("middle", "cat /middle /base > /top")})

    started = events(two, "t/top", "--only-target-package", *shared(cache, "--pull"))

    assert sorted(started) == [
        ("t/base-1", "fetch"),
        ("t/middle-1", "fetch"),
        ("t/top-1", "build"),
    ]


def test_layers_that_are_there_already_are_pushed_when_asked_for(
    labs: tuple[Lab, Lab, Lab], cache: Reference
) -> None:
    one, two, _ = labs
    events(one, "--all")

    assert events(one, "--all", *shared(cache, "--push")) == []
    started = events(two, "--all", *shared(cache, "--pull"))

    assert {action for _, action in started} == {"fetch"}
    assert made(two) == one.built()


def test_archives_that_were_shared_without_documents_are_told_until_these_are_shared_too(
    labs: tuple[Lab, Lab, Lab], cache: Reference
) -> None:
    one, two, three = labs
    events(one, "--all", *shared(cache, "--push"))
    lacking = two.build("--all", "--sbom", *shared(cache, "--pull"))
    assert lacking.stderr.count("was shared without SBOMs and provenance") == len(TREE)

    events(one, "--all", "--sbom", *shared(cache, "--push"))
    whole = three.build("--all", "--sbom", *shared(cache, "--pull"))

    assert "without SBOMs" not in whole.stderr
    assert len(list(three.out.glob("*.cdx.json"))) == len(TREE)


def test_metadata_that_was_shared_without_an_mtree_is_completed(
    labs: tuple[Lab, Lab, Lab], cache: Reference
) -> None:
    one, two, three = labs
    events(one, "--all", *shared(cache, "--push"))

    started = events(two, "--all", "--mtree", *shared(cache, "--pull"))
    again = events(two, "--all", "--mtree", *shared(cache, "--pull"))
    events(three, "--all", "--mtree")

    assert {action for _, action in started} == {"fetch"}
    assert again == []
    assert made(two) == three.built()
    metadata = sorted(two.out.glob("*.metadata.yaml"))
    assert len(list(marked_sources(metadata))) == len(TREE), "what was completed is still in doubt"


def test_only_what_the_owner_of_the_key_signed_is_fetched(
    labs: tuple[Lab, Lab, Lab], cache: Reference, tmp_path: Path
) -> None:
    one, two, three = labs
    one.env |= PASSWORD
    for name in ("good", "other"):
        made = one.cos("key", "generate", "--output", tmp_path / name)
        assert made.returncode == 0, made.stderr
    secret, public = tmp_path / "good.key", tmp_path / "good.pub"
    events(one, "--all", *shared(cache, "--push", "--sign-key", str(secret)))

    trusted = shared(cache, "--pull", "--verify-key", str(public))
    doubted = shared(cache, "--pull", "--verify-key", str(tmp_path / "other.pub"))

    assert {action for _, action in events(two, "--all", *doubted)} == {"build"}
    assert {action for _, action in events(three, "--all", *trusted)} == {"fetch"}


def test_a_push_of_what_is_built_already_says_what_it_did(
    labs: tuple[Lab, Lab, Lab], registry_server: RegistryServer
) -> None:
    lab, place = labs[0], registry_server.repository()
    assert lab.build("--all").returncode == 0

    first = lab.build("--all", "--push", "--image-repository", str(place))
    second = lab.build("--all", "--push", "--image-repository", str(place))

    count = int(first.stderr.partition("nothing to do: ")[2].split()[0])
    assert first.returncode == second.returncode == 0
    assert (
        f"{place}: pushed the layers of {count} packages and the archives of {count};"
        " those of 0 and 0 were there"
    ) in first.stderr
    assert (
        f"{place}: pushed the layers of 0 packages and the archives of 0;"
        f" those of {count} and {count} were there"
    ) in second.stderr


def test_who_has_the_key_replaces_what_a_stranger_pushed(
    labs: tuple[Lab, Lab, Lab], cache: Reference, tmp_path: Path
) -> None:
    one, two, _ = labs
    one.env |= PASSWORD
    for name in ("good", "other"):
        made = one.cos("key", "generate", "--output", tmp_path / name)
        assert made.returncode == 0, made.stderr
    for name in ("other", "good"):
        events(one, "--all", *shared(cache, "--push", "--sign-key", f"{tmp_path / name}.key"))

    trusted = shared(cache, "--pull", "--wait", "--verify-key", str(tmp_path / "good.pub"))

    assert {action for _, action in events(two, "--all", *trusted)} == {"fetch"}


def key(lab: Lab, folder: Path, name: str = "good") -> tuple[str, str]:
    """Make a key pair; returns where its halves are."""
    lab.env |= PASSWORD
    made = lab.cos("key", "generate", "--output", folder / name)
    assert made.returncode == 0, made.stderr
    return f"{folder / name}.key", f"{folder / name}.pub"


def test_who_signs_fetches_nothing_that_is_not_signed(
    labs: tuple[Lab, Lab, Lab], cache: Reference, tmp_path: Path
) -> None:
    stranger, ours, others = labs
    secret, public = key(ours, tmp_path)
    events(stranger, "--all", *shared(cache, "--push"))
    signing = shared(cache, "--pull", "--push", "--sign-key", secret)

    assert {action for _, action in events(ours, "--all", *signing)} == {"build"}

    verifying = shared(cache, "--pull", "--verify-key", public)
    assert {action for _, action in events(others, "--all", *verifying)} == {"fetch"}


def test_what_was_fetched_unverified_is_never_signed_nor_what_is_built_on_it(
    labs: tuple[Lab, Lab, Lab], cache: Reference, tmp_path: Path
) -> None:
    stranger, ours, others = labs
    secret, public = key(ours, tmp_path)
    events(stranger, "--all", *shared(cache, "--push"))
    ours.tree({"top": on("middle", "cat /middle /base > /top"), "own": on_base("echo > /own")})
    others.tree({"top": on("middle", "cat /middle /base > /top"), "own": on_base("echo > /own")})
    assert ("t/middle-1", "fetch") in events(ours, "--all", *shared(cache, "--pull"))

    done = ours.build("--all", *shared(cache, "--push", "--sign-key", secret))

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("t/base-1, t/middle-1, t/top-1: not signed and not pushed") == 1
    assert "pushed the layers of 1 packages and the archives of 1; those of 0 and 0" in done.stderr
    verifying = shared(cache, "--pull", "--verify-key", public)
    assert sorted(events(others, "--all", *verifying)) == [
        ("t/base-1", "build"),
        ("t/middle-1", "build"),
        ("t/own-1", "fetch"),
        ("t/top-1", "build"),
    ]


def create(lab: Lab, secret: str, *more: str) -> "subprocess.CompletedProcess[str]":
    """Write the repository of the destination and sign it."""
    return lab.cos("create-repo", "--tree", "tree", "--packages", lab.out, "--output", lab.out,
                   "--root", "root.json", "--sign", secret, *more)  # fmt: skip


def begin(lab: Lab, secret: str) -> None:
    """Begin to sign the repository of an empty destination."""
    lab.out.mkdir(exist_ok=True)
    where = ("--tree", "tree", "--packages", lab.out, "--output", lab.out)
    for words in (
        ("create-repo", *where),
        ("repo", "init-trust", lab.out, "--root-key", secret, "--key", secret),
    ):
        done = lab.cos(*words)
        assert done.returncode == 0, done.stderr


def test_what_was_fetched_unverified_is_signed_in_no_repository_unless_that_is_asked_for(
    labs: tuple[Lab, Lab, Lab], cache: Reference, tmp_path: Path
) -> None:
    stranger, ours, _ = labs
    secret, public = key(ours, tmp_path)
    ours.tree({"own": on_base("echo > /own"), "top": on("middle", "cat /middle /base > /top")})
    begin(ours, secret)
    events(stranger, "--all", *shared(cache, "--push"))
    events(ours, "--all", *shared(cache, "--pull"))
    assert marks(ours) == ["base-t-1", "middle-t-1", "top-t-1"]

    refused = create(ours, secret)
    asked = create(ours, secret, "--sign-unverified")

    told = f"error: {ours.out}: not signed: no signature was checked of what came from others"
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(told)
    assert f": base-t-1, middle-t-1, top-t-1 from {cache} (`cos build" in refused.stderr
    assert asked.returncode == 0, asked.stderr

    started = events(ours, "--all", *shared(cache, "--pull", "--verify-key", public))
    signed = create(ours, secret)

    assert started == [("t/base-1", "build"), ("t/middle-1", "build"), ("t/top-1", "build")]
    assert marks(ours) == []
    assert signed.returncode == 0, signed.stderr


def test_what_was_fetched_verified_in_place_of_what_was_not_is_signed(
    labs: tuple[Lab, Lab, Lab], cache: Reference, tmp_path: Path
) -> None:
    publisher, ours, _ = labs
    ours.env |= PASSWORD
    secret, public = key(publisher, tmp_path)
    events(publisher, "--all", *shared(cache, "--push", "--sign-key", secret))
    begin(ours, secret)
    events(ours, "--all", *shared(cache, "--pull"))
    assert create(ours, secret).returncode == 1

    started = events(ours, "--all", *shared(cache, "--pull", "--verify-key", public))

    assert sorted(started) == [("t/base-1", "fetch"), ("t/middle-1", "fetch"), ("t/top-1", "fetch")]
    assert marks(ours) == []
    done = create(ours, secret)
    assert done.returncode == 0, done.stderr


def test_layers_that_a_store_has_unverified_count_in_a_later_build_without_a_pull(
    labs: tuple[Lab, Lab, Lab], cache: Reference
) -> None:
    stranger, ours, _ = labs
    events(stranger, "t/middle", *shared(cache, "--push"))
    events(ours, "t/top", "--only-target-package", *shared(cache, "--pull"))
    for file in ours.out.iterdir():
        file.unlink()
    ours.tree({"other": on("middle", "cat /middle > /other")})

    started = events(ours, "t/middle", "t/other", "--only-target-package")

    assert sorted(started) == [("t/middle-1", "pack"), ("t/other-1", "build")]
    assert marks(ours) == ["middle-t-1", "other-t-1"]


def test_a_final_image_that_is_kept_of_what_was_unverified_counts_in_what_is_built_on_it(
    labs: tuple[Lab, Lab, Lab], cache: Reference
) -> None:
    stranger, ours, _ = labs
    for lab in (stranger, ours):
        lab.tree({"base": on_base("echo base > /base") + "unpack: true\n"})
    events(stranger, "t/base", *shared(cache, "--push"))
    events(ours, "t/base", *shared(cache, "--pull", "--generate-final-images"))
    ours.tree({"child": f"image: {cache}:base-t-1\nsteps: ['cat /base > /child']\n"})

    assert events(ours, "t/child") == [("t/child-1", "build")]

    assert marks(ours) == ["base-t-1", "child-t-1"]


USERS = pytest.mark.parametrize(
    "build",
    [
        "requires: [{name: base, category: t, version: '>=0'}]\nrequires_final_images: true\n"
        "unpack: true\n",
        f"image: {BASE}\nretrieve: [base-t-1.package.tar.gz]\nsteps: ['echo > /user']\n"
        "requires: [{name: base, category: t, version: '>=0'}]\n",
    ],
)


@USERS
def test_what_uses_an_archive_that_was_fetched_unverified_is_not_signed(
    labs: tuple[Lab, Lab, Lab], cache: Reference, tmp_path: Path, build: str
) -> None:
    stranger, ours, others = labs
    secret, public = key(ours, tmp_path)
    base = on_base("echo base > /base") + "includes: ['^/base$']\n"
    for lab in labs:
        shutil.rmtree(lab.place / "tree")
        lab.tree({"base": base, "user": build})
    events(stranger, "t/base", *shared(cache, "--push"))
    assert ("t/base-1", "fetch") in events(ours, "--all", *shared(cache, "--pull"))

    done = ours.build("--all", *shared(cache, "--push", "--sign-key", secret))

    assert done.returncode == 1, done.stderr
    assert "error: nothing was pushed: t/base-1, t/user-1: not signed and not" in done.stderr
    assert "pushed the layers of 0 packages and the archives of 0; those of 0 and 0" in done.stderr
    verifying = shared(cache, "--pull", "--verify-key", public)
    assert {action for _, action in events(others, "--all", *verifying)} == {"build"}


@USERS
def test_an_archive_that_was_fetched_unverified_counts_although_its_layers_were_built_here(
    labs: tuple[Lab, Lab, Lab], cache: Reference, tmp_path: Path, build: str
) -> None:
    stranger, ours, _ = labs
    secret, _ = key(ours, tmp_path)
    for lab in labs:
        shutil.rmtree(lab.place / "tree")
        lab.tree({"base": on_base("echo base > /base") + "includes: ['^/base$']\n", "user": build})
    events(stranger, "t/base", *shared(cache, "--push"))
    events(ours, "t/base")
    for file in ours.out.iterdir():
        file.unlink()
    assert ("t/base-1", "fetch") in events(ours, "--all", *shared(cache, "--pull"))

    done = ours.build("--all", *shared(cache, "--push", "--sign-key", secret))

    assert done.returncode == 0, done.stderr
    assert "pushed the layers of 1 packages and the archives of 0; those of 0 and 0" in done.stderr


def test_the_first_push_counts_what_it_built_as_pushed(
    labs: tuple[Lab, Lab, Lab], cache: Reference
) -> None:
    done = labs[0].build("--all", *shared(cache, "--push"))

    assert done.returncode == 0, done.stderr
    told = "pushed the layers of 3 packages and the archives of 3; those of 0 and 0 were there"
    assert f"{cache}: {told}" in done.stderr


def test_a_base_image_is_pulled_by_its_name(
    labs: tuple[Lab, Lab, Lab], registry_server: RegistryServer
) -> None:
    one, two, _ = labs
    place = registry_server.repository("final")
    done = one.build("t/base", "--push-final-images-repository", str(place))
    assert done.returncode == 0, done.stderr
    image = f"{place}:base-t-1"
    two.tree({"child": f"image: {image}\npackage_dir: /\n"})

    done = two.build("t/child")

    assert done.returncode == 0, done.stderr
    listed = two.cos("image", "list").stdout
    assert image in listed


def pushing(place: Reference) -> tuple[tuple[str, ...], Reference]:
    """Return how the final image of `base` is pushed, and the tag that it gets."""
    words = ("t/base", "--push-final-images-repository", str(place))
    return words, replace(place, tag="base-t-1")


def test_a_final_image_joins_those_of_other_platforms(
    labs: tuple[Lab, Lab, Lab], registry_server: RegistryServer, tmp_path: Path
) -> None:
    lab = labs[0]
    final, tag = pushing(registry_server.repository("final"))
    events(lab, *final)
    with client_for(registry_server, tmp_path) as client:
        ours = platforms_of(client.manifest(tag).data, str(tag))
        (image,) = ours.values()
        client.put_manifest(tag, index_of({Platform("linux", "riscv64"): image}.items()), INDEX)

        events(lab, *final)
        both = client.manifest(tag)
        events(lab, *final)

        assert set(platforms_of(both.data, str(tag))) == {Platform("linux", "riscv64"), *ours}
        assert client.manifest(tag) == both


def test_a_final_image_that_is_there_stays_unless_another_is_forced_in(
    labs: tuple[Lab, Lab, Lab], registry_server: RegistryServer, tmp_path: Path
) -> None:
    lab = labs[0]
    final, tag = pushing(registry_server.repository("final"))
    events(lab, *final)
    lab.tree({"base": on_base("echo other > /base")})
    with client_for(registry_server, tmp_path) as client:
        first = client.manifest(tag)

        events(lab, *final)
        assert client.manifest(tag) == first

        events(lab, *final, "--push-final-images-force")
        assert client.manifest(tag) != first


def test_a_lock_pins_the_image_that_was_pulled_and_locked_builds_refuse_another(
    labs: tuple[Lab, Lab, Lab], registry_server: RegistryServer
) -> None:
    one, two, three = labs
    place = registry_server.repository("final")
    final = ("t/base", "--push-final-images-repository", str(place))
    one.tree({"base": on_base("echo base > /base") + "unpack: true\n"})
    events(one, *final)
    tree = {"child": f"image: {place}:base-t-1\nsteps: ['cp /base /child']\n"}
    for lab in (two, three):
        lab.tree(tree)
    assert two.cos("lock", "--tree", "tree").returncode == 0
    text = (two.place / "cos.lock").read_text()
    one.tree({"base": on_base("echo other > /base") + "unpack: true\n"})
    events(one, *final, "--push-final-images-force")

    (three.place / "cos.lock").write_text(text)
    locked = three.build("t/child", "--locked")

    assert locked.returncode == 0, locked.stderr
    assert two.build("t/child", "--locked").returncode == 0
    assert three.built() == two.built()
    assert three.cos("lock", "--tree", "tree", "--update").returncode == 0
    assert (three.place / "cos.lock").read_text() != text
    two.cos("image", "rm", f"{place}:base-t-1")
    (two.place / "cos.lock").unlink()
    refused = two.build("t/child", "--locked")
    assert refused.returncode == 1
    assert f"the image '{place}:base-t-1' is not locked (`cos lock` takes it in)" in refused.stderr


def test_without_a_registry_the_error_says_what_was_tried(
    labs: tuple[Lab, Lab, Lab], registry_server: RegistryServer
) -> None:
    lab = labs[0]
    lab.tree({"child": f"image: {registry_server.host}/nothing/here:1\nsteps: ['true']\n"})

    done = lab.build("t/child")

    assert done.returncode == 3
    assert f"'{registry_server.host}/nothing/here:1'" in done.stderr
    assert "is not in the store, and cannot be pulled" in done.stderr
