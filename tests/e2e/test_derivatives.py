"""The two samples: one by a Dockerfile over a published system, one over a published tree."""

import json
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import docker
import pytest
import yaml

from tests.e2e.own_tree import CHECKOUT, BuiltTree, cos
from tests.image.trees import FILES
from tests.servers.dockerd import DockerServer

SAMPLES = CHECKOUT / "examples"
SYSTEM = ("registry.example/cos/releases-debian", "cos-system-0.1.0")
FAST = ("--squash-no-compression", "--no-date")


def published_system(folder: Path, shell: Path) -> Path:
    """Make the archive of a small system, with a shell for what a Dockerfile runs."""
    root = folder / "system"
    subprocess.run(["cp", "-a", shell, root], check=True)
    for path, content in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    for name in ("vmlinuz", "initrd"):
        (root / "boot" / name).symlink_to(f"{name}-6")
    (root / "system/oem").mkdir(parents=True)
    archive = folder / "system.tar"
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
    return archive


def docker_built(server: DockerServer, system: Path, target: Path) -> None:
    """Build the sample's Dockerfile over an archive, and save what comes of it."""
    client = docker.DockerClient(base_url=server.local["DOCKER_HOST"])
    try:
        client.api.import_image_from_file(str(system), repository=SYSTEM[0], tag=SYSTEM[1])
        image, _ = client.images.build(
            path=str(SAMPLES / "sample-image"), tag="sample:1", network_mode="none", rm=True
        )
        with target.open("wb") as file:
            file.writelines(image.save(named=True))
    finally:
        for name in ("sample:1", ":".join(SYSTEM)):  # the server is shared
            with suppress(docker.errors.ImageNotFound):
                client.images.remove(name, force=True)
        client.close()


def squashed_root(iso: Path, folder: Path) -> Path:
    """Unpack the root of an ISO."""
    argv: list[str | Path] = ["xorriso", "-osirrox", "on", "-indev", iso,
                              "-extract_single", "/rootfs.squashfs", folder / "rootfs"]  # fmt: skip
    subprocess.run(argv, check=True, capture_output=True)
    unpack: list[str | Path] = [
        "unsquashfs",
        "-no-progress",
        "-d",
        folder / "root",
        folder / "rootfs",
    ]
    subprocess.run(unpack, check=True, capture_output=True)
    return folder / "root"


@pytest.mark.container
@pytest.mark.registry
@pytest.mark.xdist_group("docker")
def test_a_dockerfile_over_a_published_system_makes_an_iso_of_it(
    docker_server: DockerServer, little_base: Path, tmp_path: Path
) -> None:
    system = published_system(tmp_path, little_base)
    docker_built(docker_server, system, tmp_path / "sample.tar")
    store = {"COS_STORE": str(tmp_path / "store")}

    imported = cos("image", "import", "sample:1", f"docker-archive:{tmp_path / 'sample.tar'}",
                   **store)  # fmt: skip
    made = cos("iso", "oci:sample:1", *FAST, "-o", tmp_path, "--name", "sample", **store)

    assert (imported.returncode, made.returncode) == (0, 0), imported.stderr + made.stderr
    root = squashed_root(tmp_path / "sample.iso", tmp_path)
    ours = root / "system/oem/10_sample.yaml"
    assert stat.S_IMODE(ours.stat().st_mode) == 0o600
    assert (
        ours.read_text() == (SAMPLES / "sample-image/files/system/oem/10_sample.yaml").read_text()
    )
    assert 'GRUB_ENTRY_NAME="Sample image"' in (root / "etc/cos/config").read_text()
    for path, content in FILES.items():
        assert (root / path).read_bytes() == content


@pytest.fixture
def configured(own_tree: BuiltTree, tmp_path: Path) -> tuple[str, ...]:
    """The options of a command that knows our tree as a repository only."""
    place = {"name": "cos", "type": "disk", "urls": [str(own_tree.folder)], "enable": True}
    config = {"system": {"rootfs": str(tmp_path)}, "repositories": [place]}
    (tmp_path / "luet.yaml").write_text(yaml.safe_dump(config))
    return ("--config", str(tmp_path / "luet.yaml"))


SAMPLE = ("--tree", str(SAMPLES / "sample-os/tree"), "--from-repositories")


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_over_a_repository_nothing_of_the_system_is_built_again(
    configured: tuple[str, ...], tmp_path: Path
) -> None:
    done = cos(*configured, "plan", *SAMPLE, "--destination", tmp_path / "out",
               "-o", "json", "system/sampleOS")  # fmt: skip

    assert done.returncode == 0, done.stderr
    nodes = {each["name"]: each["action"] for each in json.loads(done.stdout)["nodes"]}
    assert {"base", "cos-root", "cos", "greeter", "sampleOS"} <= nodes.keys()
    ours = {"greeter", "sampleOS"}
    assert {action for name, action in nodes.items() if name not in ours} == {"pack"}


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_the_sample_is_built_over_a_repository(configured: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = cos(*configured, "build", *SAMPLE, "--destination", out, "--compression", "zstd",
               "--only-target-package", "system/sampleOS")  # fmt: skip

    assert done.returncode == 0, done.stderr
    built = BuiltTree(out, "")
    texts, modes = {}, {}
    for archive, member in built.members("sampleOS-system-1.0.0"):
        modes[member.name] = member.mode
        if member.name in {"etc/os-release", "boot/vmlinuz"}:
            file = archive.extractfile(member) if member.isfile() else None
            texts[member.name] = file.read().decode() if file else member.linkname
    assert 'NAME="Sample OS"' in texts["etc/os-release"]
    assert texts["boot/vmlinuz"].startswith("vmlinuz-")
    assert modes["system/oem/10_sample.yaml"] == 0o600
    assert {"usr/bin/greeter", "system/oem/04_accounting.yaml", "usr/bin/cos-agent"} <= modes.keys()
