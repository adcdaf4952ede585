"""What Podman does in another way than Docker, beside the contract of engines."""

from pathlib import Path

import pytest

from compiler.archive import DEFAULT_EPOCH, Clamp
from compiler.archive.scan import entries_of
from compiler.archive.tar import folder_content, write_layer
from compiler.engine import CacheMount
from tests.engine.lab import Built, Lab, copy, said, step
from tests.servers.podman import PodmanServer

pytestmark = [
    pytest.mark.container,
    pytest.mark.registry,
    pytest.mark.xdist_group("podman"),
]


@pytest.fixture
def podman(tmp_path: Path, small_image: Path, podman_server: PodmanServer) -> Lab:
    """A place to build in with Podman."""
    lab = Lab(tmp_path)
    lab.use_docker(small_image, podman_server.local)
    return lab


def packed(built: Built, file: Path) -> bytes:
    """Pack what changed, as the store does."""
    with file.open("wb") as sink:
        entries = entries_of(built.changes, Clamp(after=DEFAULT_EPOCH))
        write_layer(entries, folder_content(built.changes), sink)
    return file.read_bytes()


def test_layers_are_those_of_the_embedded_engine_byte_for_byte(
    podman: Lab, tmp_path: Path, small_image: Path
) -> None:
    (tmp_path / "embedded").mkdir()
    embedded = Lab(tmp_path / "embedded")
    embedded.use_overlay(small_image)
    steps = (
        "mkdir -p /opt/new /srv/x; echo one > /opt/new/a; ln /opt/new/a /opt/new/b; ln -s a /opt/c",
        "rm -rf /etc/dpkg; chown 7:8 /opt/new; chmod 4711 /opt/new/a; mkfifo /opt/pipe",
        "rm -r /srv; mkdir /srv; echo $HOME $PATH > /srv/env; mknod /opt/null c 1 3",
    )

    ours, theirs = (
        lab.build(*steps, copy("/etc/*", to="/kept/", stack=lab.base), "rm /kept/passwd")
        for lab in (embedded, podman)
    )

    assert theirs.paths() == ours.paths()
    assert packed(theirs, tmp_path / "theirs") == packed(ours, tmp_path / "ours")


def test_a_memory_folder_starts_empty(podman: Lab) -> None:
    memory = CacheMount(target="/etc/dpkg", tmpfs=True)

    built = podman.build(step("ls /etc/dpkg; echo 1 > /etc/dpkg/x", mounts=(memory,)))

    assert (said(built), built.paths()) == ([], {})
