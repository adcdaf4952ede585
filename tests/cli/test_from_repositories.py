"""`--from-repositories`: building on packages that only repositories define."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from compiler.artifact.pack import describe, pack, write_metadata
from compiler.artifact.roots import MountedRoots
from compiler.artifact.selection import select
from compiler.oci import Reference
from compiler.registry.client import RegistryClient
from compiler.registry.settings import RegistrySettings
from compiler.repository.disk import RepositoryOptions, create_repository
from compiler.tree import load_tree
from tests.cli.machine import Machine, serving

BASE = {"tools": "image: nowhere\nunpack: true\nsteps: ['echo {{ .Values.flavor }}', 'cp data /']"}
OWN = {"app": "requires: [{category: t, name: tools, version: '>=0'}]\nsteps: ['true']"}
FLAVOR = {"flavor": "debian", "packages": ["one", "two"]}


def write(tree: Path, packages: dict[str, str]) -> None:
    for name, build in packages.items():
        folder = tree / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "definition.yaml").write_text(f'name: {name}\ncategory: t\nversion: "1"\n')
        (folder / "build.yaml").write_text(f"{build}\n")
        (folder / "data").write_text("data")


class Derivative(Machine):
    """Somebody with a tree of their own, and repositories that others published with theirs."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.values = place / "values.yaml"
        self.values.write_text(yaml.safe_dump(FLAVOR))
        write(place / "mine", OWN)

    def publish(self, name: str = "base", packages: dict[str, str] | None = None) -> Path:
        """Build and publish a tree as others do, with their values."""
        tree, output = self.place / name, self.place / f"{name}-repo"
        write(tree, BASE if packages is None else packages)
        (self.place / "empty").mkdir(exist_ok=True)
        loaded = load_tree([tree], values=FLAVOR)
        for spec in loaded.packages.values():
            selection = select(spec.build, MountedRoots(self.place / "empty", self.place / "empty"))
            made = pack(selection, self.place / "empty", destination=output, package=spec.id)
            write_metadata(describe(spec, made, epoch=0, values=FLAVOR), output)
        options = RepositoryOptions(now=1_700_000_000)
        create_repository(
            loaded.packages.values(), [tree], artifacts=output, output=output, options=options
        )
        return output

    def planned(self, *arguments: str | Path) -> dict[str, tuple[str, str]]:
        """Plan; gives the keys of each package's layer and artifact."""
        store = ("--store", self.place / "store")
        done = self.do("plan", "-q", "-o", "json", *store, *arguments)
        return {
            each["name"]: (each["key"], each["artifact_key"])
            for each in json.loads(done.stdout)["nodes"]
        }


@pytest.fixture
def derivative(tmp_path: Path) -> Derivative:
    return Derivative(tmp_path)


@contextmanager
def shown(derivative: Derivative, output: Path, kind: str, place: Reference) -> Iterator[str]:
    """Show a published tree as a repository of some type; gives its address."""
    if kind == "http":
        with serving(output) as url:
            yield url
    elif kind == "docker":
        derivative.do("create-repo", "--tree", derivative.place / "base", "--packages", output,
                      "--type", "docker", "--output", str(place), "--push-images")  # fmt: skip
        yield str(place)
    else:
        yield str(output)


@pytest.mark.parametrize(
    "kind", ["disk", "http", pytest.param("docker", marks=pytest.mark.registry)]
)
def test_packages_of_repositories_are_planned_as_they_were_built(
    derivative: Derivative, kind: str, request: pytest.FixtureRequest
) -> None:
    output = derivative.publish()
    named = derivative.planned(
        "t/app", "--tree", "base", "--tree", "mine", "--values", derivative.values
    )
    place = request.getfixturevalue("repository") if kind == "docker" else Reference("", "")

    with shown(derivative, output, kind, place) as url:
        shutil.rmtree(derivative.place / "base")
        derivative.use(kind, url, "base")
        found = derivative.planned("t/app", "--tree", "mine", "--from-repositories")

    assert found["tools"] == named["tools"]
    assert found["app"][0] == named["app"][0]


def test_all_means_the_trees_that_were_named(derivative: Derivative) -> None:
    derivative.use(
        "disk", derivative.publish(packages={**BASE, "unasked": "image: nowhere\nunpack: true"})
    )

    assert {*derivative.planned("--tree", "mine", "--from-repositories", "--all")} == {
        "app",
        "tools",
    }
    assert {*derivative.planned("--tree", "mine", "--from-repositories", "t/unasked")} == {
        "unasked"
    }


def test_trees_of_the_command_line_win(derivative: Derivative) -> None:
    derivative.use("disk", derivative.publish())
    write(derivative.place / "mine", {"tools": "image: nowhere\nsteps: ['echo mine']"})

    found = derivative.planned("--tree", "mine", "--from-repositories", "t/app")

    assert found == derivative.planned("--tree", "mine", "t/app")


def test_values_files_win_over_what_packages_were_built_with(derivative: Derivative) -> None:
    derivative.use("disk", derivative.publish())
    other = derivative.place / "other.yaml"
    other.write_text("flavor: fedora\n")
    merged = derivative.place / "merged.yaml"
    merged.write_text(yaml.safe_dump({**FLAVOR, "flavor": "fedora"}))

    found = derivative.planned(
        "--tree", "mine", "--from-repositories", "--values", other, "t/tools"
    )

    assert found == derivative.planned("--tree", "base", "--values", merged, "t/tools")


@pytest.mark.parametrize(
    ("priorities", "preferred"), [((1, 2), "one"), ((2, 1), "two"), ((1, 1), "one")]
)
def test_of_several_repositories_the_preferred_one_wins(
    derivative: Derivative, priorities: tuple[int, int], preferred: str
) -> None:
    for name, priority in zip(("one", "two"), priorities, strict=True):
        packages = {"tools": f"image: nowhere\nsteps: ['echo {name}']"}
        derivative.use("disk", derivative.publish(name, packages), name, priority=priority)

    found = derivative.planned("--tree", "mine", "--from-repositories", "t/tools")

    assert found["tools"][0] == derivative.planned("--tree", preferred, "t/tools")["tools"][0]


def test_what_was_fetched_is_kept_until_the_repository_has_something_new(
    derivative: Derivative,
) -> None:
    asked = ("--tree", "mine", "--from-repositories", "t/app")
    with serving(derivative.publish()) as url:
        derivative.use("http", url, "base", cached=True)
        first = derivative.planned(*asked)
    again = derivative.planned(*asked)

    derivative.repositories.clear()
    changed = derivative.publish(packages={"tools": "image: nowhere\nsteps: ['echo new']"})
    derivative.use("disk", changed, "base")

    assert again == first
    assert derivative.planned(*asked)["tools"] != first["tools"]


@pytest.mark.parametrize(
    "command",
    [("plan", "--all"), ("build", "--all"), ("tree", "validate"), ("tree", "pkglist"), ("lock",),
     ("create-repo",)],
)  # fmt: skip
def test_without_a_repository_it_is_said_how_to_get_one(
    derivative: Derivative, command: tuple[str, ...]
) -> None:
    assert derivative.refused(*command, "--tree", "mine", "--from-repositories", code=2) == (
        "--from-repositories: no repository is configured"
        " (`cos repo add` adds one, and --config FILE names the configuration)"
    )


def test_a_repository_without_trees_is_left_out_and_told(derivative: Derivative) -> None:
    output = derivative.publish()
    page = yaml.safe_load((output / "repository.yaml").read_text())
    del page["repo_files"]["compilertree"]
    (output / "repository.yaml").write_text(yaml.safe_dump(page))
    derivative.use("disk", output, "base")

    done = derivative.cos("plan", "--tree", "mine", "--from-repositories", "t/app")

    assert done.returncode == 1
    assert "warning: base: has no trees to build from; left out" in done.stderr
    assert "requires t/tools" in done.stderr


def test_trees_that_are_not_what_the_repository_names_are_refused(derivative: Derivative) -> None:
    output = derivative.publish()
    (output / "compilertree.tar.gz").write_bytes(b"something else")
    derivative.use("disk", output, "base")

    assert derivative.refused("plan", "--tree", "mine", "--from-repositories", "t/app", code=3) == (
        f"{output}: compilertree.tar.gz has another checksum than repository.yaml says"
        " (it has changed since it was asked: try again)"
    )


def test_a_tree_is_valid_whose_requirements_repositories_have(derivative: Derivative) -> None:
    derivative.use("disk", derivative.publish())
    asked = ("--tree", "mine", "--from-repositories")

    assert "which no package satisfies" in derivative.cos("tree", "validate", *asked[:2]).stdout
    assert derivative.do("tree", "validate", *asked).stdout == (
        "1 package checked: 0 errors, 0 warnings\n"
    )
    assert derivative.do("tree", "pkglist", *asked).stdout.split() == ["t/app", "t/tools"]


def test_requirements_of_repositories_are_told_without_building(derivative: Derivative) -> None:
    derivative.use("disk", derivative.publish())

    done = derivative.do("build", "--pretend", "--tree", "mine", "--from-repositories", "t/app")

    assert done.stdout == "t/tools-1 required for t/app-1\n"


def test_of_a_signed_repository_only_trees_that_were_signed_are_taken(
    derivative: Derivative,
) -> None:
    output, place = derivative.publish(), derivative.place
    derivative.env["COSIGN_PASSWORD"] = "x"  # noqa: S105  (of a key that lives as long as the test)
    derivative.do("key", "generate", "--output", place / "own")
    key = place / "own.key"
    derivative.do(
        "repo", "init-trust", output, "--root-key", key, "--key", key, "--root", place / "root.json"
    )
    derivative.use("disk", output, "base", root=str(place / "root.json"), cached=True)
    asked = ("--tree", "mine", "--from-repositories", "t/app")
    for known in output.glob("signed-*compilertree*"):
        known.rename(place / known.name)
        known.write_bytes(b"something else")

    refused = derivative.refused("plan", *asked)
    for moved in place.glob("signed-*"):
        moved.rename(output / moved.name)

    assert "is not what was signed" in refused
    assert {*derivative.planned(*asked)} == {"tools", "app"}
    assert {*derivative.planned(*asked)} == {"tools", "app"}


@pytest.mark.registry
def test_trees_of_a_signed_repository_in_a_registry_are_those_that_were_signed(
    derivative: Derivative, repository: Reference
) -> None:
    output, place = derivative.publish(), derivative.place
    derivative.env["COSIGN_PASSWORD"] = "x"  # noqa: S105  (of a key that lives as long as the test)
    derivative.do("key", "generate", "--output", place / "own")
    key, root = place / "own.key", place / "root.json"
    derivative.do(
        "repo", "init-trust", str(repository), "--root-key", key, "--key", key, "--root", root
    )
    publish = ("create-repo", "--type", "docker", "--push-images", "--output")
    derivative.do(*publish, str(repository), "--tree", place / "base", "--packages", output,
                  "--sign", key, "--root", root)  # fmt: skip
    derivative.use("docker", str(repository), "base", root=str(root))
    asked = ("--tree", "mine", "--from-repositories", "t/app")

    signed = derivative.planned(*asked)
    forged = derivative.publish("forged", {"tools": "image: nowhere\nsteps: ['echo forged']"})
    elsewhere = replace(repository, repository=f"{repository.repository}-forged")
    derivative.do(*publish, str(elsewhere), "--tree", place / "forged", "--packages", forged)
    with RegistryClient(RegistrySettings()) as client:
        tags = client.tags(elsewhere)
    for tag in tags:
        subprocess.run(
            ["skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false",
             f"docker://{elsewhere}:{tag}", f"docker://{repository}:{tag}"],
            check=True, capture_output=True,
        )  # fmt: skip

    assert derivative.planned(*asked) == signed
    derivative.repositories.clear()
    derivative.use("docker", str(repository), "base")
    assert derivative.planned(*asked)["tools"] != signed["tools"]
