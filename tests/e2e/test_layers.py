"""Large packages in a real registry: what other programs and our client make of their layers."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import docker
import pytest

from compiler.archive.safety import Devices
from compiler.archive.unpack import unpack_tar
from compiler.oci import Reference
from tests.large import CAPABILITY, MB, Listing, fetched_bytes, fill_file, fill_large, listing
from tests.servers.dockerd import DockerServer
from tests.servers.proxy import FaultyProxy
from tests.servers.registry import RegistryServer

pytestmark = [pytest.mark.container, pytest.mark.registry, pytest.mark.xdist_group("docker")]


@dataclass(frozen=True)
class Large:
    """A large package, its place in a registry, and how to publish it."""

    folder: Path
    place: Reference

    @property
    def root(self) -> Path:
        """The folder that is packed."""
        return self.folder / "root"

    def cos(self, *arguments: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "compiler", *map(str, arguments)],
            capture_output=True, check=False, text=True,
            env={**os.environ, "COSIGN_PASSWORD": "x", "HOME": str(self.folder)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def publish(self, version: str) -> None:
        tree = self.folder / "tree" / version
        tree.mkdir(parents=True)
        (tree / "definition.yaml").write_text(f'name: l\ncategory: t\nversion: "{version}"\n')
        (tree / "build.yaml").write_text("image: scratch\n")
        build = self.folder / "build"
        self.cos("pack", f"t/l@{version}", "--source", self.root, "--destination", build,
                 "--compression", "zstd")  # fmt: skip
        self.cos("create-repo", "--tree", self.folder / "tree", "--packages", build, "--type",
                 "docker", "--output", str(self.place), "--push-images")  # fmt: skip

    def whole(self, version: str) -> Listing:
        """List what the archive of the package holds."""
        target = self.folder / f"whole-{version}"
        target.mkdir()
        unpack_tar(self.folder / f"build/l-t-{version}.package.tar.zst", target,
                   devices=Devices.MAKE)  # fmt: skip
        return listing(target)


@pytest.fixture(scope="module")
def large(registry_server: RegistryServer, tmp_path_factory: pytest.TempPathFactory) -> Large:
    """A package of 200 MB with links, owners and attributes, published in version 1."""
    made = Large(tmp_path_factory.mktemp("large"), registry_server.repository("large"))
    root = fill_large(made.root)
    fill_file(root / "bin/tool", 3000)
    for name in ("usr/lib/6/zz-tool", "usr/zz-tool"):
        os.link(root / "bin/tool", root / name)
    (root / "usr/link").symlink_to("lib/0")
    (root / "var/empty").mkdir(parents=True)
    os.chown(root / "usr/lib/3", 12, 34)
    (root / "usr/lib/3").chmod(0o2750)
    (root / "bin/tool").chmod(0o4711)
    os.setxattr(root / "usr/lib/5/0005", "security.capability", CAPABILITY)
    for path in sorted([*root.rglob("*"), root], reverse=True):
        os.utime(path, (1_000_000 + len(str(path)),) * 2, follow_symlinks=False)
    made.publish("1")
    return made


@pytest.fixture(scope="module")
def whole(large: Large) -> Listing:
    """What the package holds."""
    return large.whole("1")


@pytest.fixture
def layout(large: Large, tmp_path: Path) -> Iterator[Path]:
    """The image of the package, copied by skopeo."""
    copy = tmp_path / "copy"
    subprocess.run(
        ["skopeo", "copy", "--src-tls-verify=false", f"docker://{large.place}:l-t-1",
         f"oci:{copy}:x"],
        check=True, capture_output=True,
    )  # fmt: skip
    yield copy
    shutil.rmtree(copy)


def test_skopeo_and_umoci_make_the_package(layout: Path, whole: Listing, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"

    subprocess.run(["umoci", "unpack", "--image", f"{layout}:x", bundle], check=True,
                   capture_output=True)  # fmt: skip

    assert listing(bundle / "rootfs") == whole
    shutil.rmtree(bundle)


def layers_in(layout: Path) -> list[Path]:
    """Name the layers of the only image of a layout, the lowest first."""

    def read(digest: str) -> dict[str, list[dict[str, str]]]:
        text = (layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_text()
        found: dict[str, list[dict[str, str]]] = json.loads(text)
        return found

    (image,) = json.loads((layout / "index.json").read_text())["manifests"]
    layers = read(image["digest"])["layers"]
    return [layout / "blobs/sha256" / each["digest"].removeprefix("sha256:") for each in layers]


def flattened(layers: list[Path], archive: Path) -> None:
    """Write one archive of layers as Go programs do: the upper ones first, each path once."""
    seen: set[str] = set()
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as out:
        for layer in reversed(layers):
            with tarfile.open(layer) as tar:
                for member in tar:
                    if member.name not in seen:
                        seen.add(member.name)
                        out.addfile(member, tar.extractfile(member) if member.isreg() else None)


def test_the_upper_layers_first_they_make_the_package_too(
    layout: Path, whole: Listing, tmp_path: Path
) -> None:
    archive, target = tmp_path / "flat.tar", tmp_path / "target"
    flattened(layers_in(layout), archive)
    target.mkdir()

    subprocess.run(
        ["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--delay-directory-restore",
         "-C", target, "-xpf", archive],
        check=True,
    )  # fmt: skip

    assert len(layers_in(layout)) > 5
    assert listing(target) == whole
    archive.unlink()
    shutil.rmtree(target)


def test_docker_makes_the_package(
    large: Large, whole: Listing, docker_server: DockerServer, tmp_path: Path
) -> None:
    client = docker.DockerClient(base_url=docker_server.local["DOCKER_HOST"])
    archive, target = tmp_path / "exported.tar", tmp_path / "target"
    image = client.images.pull(str(large.place), tag="l-t-1")
    container = client.containers.create(image, command="none")

    with archive.open("wb") as file:
        pieces: Iterator[bytes] = cast("Any", container).export()
        file.writelines(pieces)
    container.remove()
    client.images.remove(image.tags[0], force=True)
    client.close()
    target.mkdir()
    subprocess.run(
        ["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", target, "-xpf",
         archive, "usr", "var", "bin"],
        check=True,
    )  # fmt: skip

    assert listing(target) == whole
    archive.unlink()
    shutil.rmtree(target)


def test_our_client_fetches_the_layers_that_an_upgrade_changes(
    large: Large,
    whole: Listing,
    proxy: FaultyProxy,
    registry_server: RegistryServer,
    tmp_path: Path,
) -> None:
    machine = tmp_path / "machine"
    machine.mkdir()
    there = Reference(proxy.host, large.place.repository)
    on_machine = ("--system-target", machine)
    large.cos(*on_machine, "repo", "add", "main", "--type", "docker", "--url", str(there), "-y")

    proxy.script()
    large.cos(*on_machine, "install", "-y", "t/l")
    first = fetched_bytes(proxy, registry_server)
    installed = listing(machine)
    (large.root / "usr/lib/2/0100").write_bytes(b"another")
    large.publish("2")
    proxy.script()
    large.cos(*on_machine, "upgrade", "-y")
    second = fetched_bytes(proxy, registry_server)

    assert (machine / "usr/lib/2/0100").read_bytes() == b"another"
    assert first > 200 * MB
    assert second < 0.15 * first
    assert {path: installed[path] for path in whole if path != "var"} == {
        path: each for path, each in whole.items() if path != "var"
    }
    found, wanted = listing(machine), large.whole("2")
    assert {path: found[path][-1] for path in wanted} == {
        path: each[-1] for path, each in wanted.items()
    }
    shutil.rmtree(machine)
