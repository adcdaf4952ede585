"""Our own system on its way to machines: published and signed, installed, upgraded, rolled back."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from compiler.oci import Reference
from tests.e2e.own_tree import CHECKOUT, BuiltTree, cos, values
from tests.servers.registry import RegistryServer

pytestmark = [pytest.mark.container, pytest.mark.registry, pytest.mark.xdist_group("own-tree")]

TREE = ("--tree", "tree", "--values", values("debian"))


@dataclass(frozen=True)
class Channel:
    """A repository of our system in a registry, and the folder of those who sign it."""

    place: Reference
    folder: Path

    def do(self, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run a command that has to succeed."""
        done = cos(*arguments, COSIGN_PASSWORD="x")  # noqa: S106  (of keys that only this test has)
        assert done.returncode == 0, done.stderr
        return done

    def publish(self, artifacts: Path, *trees: str | Path) -> None:
        """Publish artifacts, signed."""
        self.do("create-repo", *TREE, *trees, "--packages", artifacts, "--type", "docker",
                "--output", str(self.place), "--name", "cos", "--push-images",
                "--sign", self.folder / "online.key",
                "--root", self.folder / "root.json")  # fmt: skip


@pytest.fixture(scope="module")
def channel(
    registry_server: RegistryServer, own_tree: BuiltTree, tmp_path_factory: pytest.TempPathFactory
) -> Channel:
    """Version 0.1.0 of the system, published and signed."""
    folder = tmp_path_factory.mktemp("channel")
    made = Channel(registry_server.repository("os"), folder)
    for name in ("root", "online"):
        made.do("key", "generate", "--output", folder / name)
    made.do("repo", "init-trust", str(made.place), "--root-key", folder / "root.key",
            "--key", folder / "online.key", "--root", folder / "root.json")  # fmt: skip
    made.publish(own_tree.folder)
    return made


@pytest.fixture
def machine(channel: Channel, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The options of an empty folder that is told of the repository, and of its root."""
    target = tmp_path / "machine"
    target.mkdir()
    options = ("--system-target", str(target))
    channel.do(*options, "repo", "add", "main", "--type", "docker", "--url", str(channel.place),
               "--root", channel.folder / "root.json", "-y")  # fmt: skip
    yield options
    shutil.rmtree(target)


def release(machine: tuple[str, str]) -> str:
    """Read which version a machine says that it has."""
    lines = (Path(machine[1]) / "etc/os-release").read_text().splitlines()
    return next(line for line in lines if line.startswith("VERSION="))


def installed(channel: Channel, machine: tuple[str, str]) -> list[str]:
    return channel.do(*machine, "-q", "search", "--installed").stdout.split()


def test_the_system_is_installed_upgraded_and_rolled_back_with_trust(
    channel: Channel, machine: tuple[str, str], tmp_path: Path
) -> None:
    channel.do(*machine, "install", "-y", "system/cos")
    target = Path(machine[1])
    assert (target / "boot/vmlinuz").is_symlink()
    assert (target / "usr/sbin/init").is_symlink()
    assert release(machine) == 'VERSION="0.1.0"'

    overlay = tmp_path / "overlay"
    shutil.copytree(CHECKOUT / "tree/system/cos", overlay / "system/cos")
    collection = overlay / "system/cos/collection.yaml"
    collection.write_text(collection.read_text().replace('"0.1.0"', '"0.2.0"'))
    later = tmp_path / "later"
    channel.do("build", *TREE, "--tree", overlay, "--destination", later, "--compression", "zstd",
               "--only-target-package", "system/cos@0.2.0")  # fmt: skip
    channel.publish(later, "--tree", overlay)
    channel.do(*machine, "repo", "update", "--force")
    channel.do(*machine, "upgrade", "-y")
    assert release(machine) == 'VERSION="0.2.0"'
    assert installed(channel, machine) == ["system/cos-0.2.0"]

    channel.do(*machine, "install", "-y", "system/cos@0.1.0")
    assert release(machine) == 'VERSION="0.1.0"'
    assert installed(channel, machine) == ["system/cos-0.1.0"]


def test_nothing_is_published_past_the_signed_metadata(
    channel: Channel, own_tree: BuiltTree
) -> None:
    done = cos("create-repo", *TREE, "--packages", own_tree.folder, "--type", "docker",
               "--output", str(channel.place), "--push-images")  # fmt: skip

    assert (done.returncode, done.stderr) == (
        2,
        f"error: {channel.place}: has signed metadata, which would not be signed "
        "(--root names its root, --sign a private key that the root names)\n",
    )


def test_a_machine_that_knows_another_root_takes_nothing(
    channel: Channel, machine: tuple[str, str], tmp_path: Path
) -> None:
    key, other = tmp_path / "stranger.key", tmp_path / "other.json"
    channel.do("key", "generate", "--output", key.with_suffix(""))
    channel.do("repo", "init-trust", f"{channel.place}-other", "--root-key", key, "--key", key,
               "--root", other)  # fmt: skip
    channel.do(*machine, "repo", "add", "other", "--type", "docker", "--url", str(channel.place),
               "--root", other, "-y")  # fmt: skip

    done = cos(*machine, "install", "-y", "system/cos-features")

    assert done.returncode == 1
    assert "timestamp.json is signed by other keys than those that its root names" in done.stderr
    assert installed(channel, machine) == []
