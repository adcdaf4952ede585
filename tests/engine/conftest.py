"""Engines to try: every one for the contract, containers for what only they can do."""

import fcntl
import shutil
from pathlib import Path

import pytest

from tests.engine.lab import Lab
from tests.servers.dockerd import DockerServer
from tests.servers.podman import PodmanServer

_DOCKER = (
    pytest.mark.container,
    pytest.mark.registry,
    pytest.mark.xdist_group("docker"),
)
_PODMAN = (
    pytest.mark.container,
    pytest.mark.registry,
    pytest.mark.xdist_group("podman"),
)
_BOXES = (
    pytest.param("overlay", marks=pytest.mark.container),
    pytest.param("docker", marks=_DOCKER),
    pytest.param("remote-docker", marks=_DOCKER),
)
_ENGINES = ("memory", *_BOXES, pytest.param("podman", marks=_PODMAN))
_LIBRARIES = (
    *("libc.so.6", "libselinux.so.1", "libacl.so.1", "libattr.so.1", "libcap.so.2"),
    *("libpcre2-8.so.0", "libcrypto.so.3", "libz.so.1", "libzstd.so.1"),
)
"""What the programs of coreutils need."""


@pytest.fixture(scope="session")
def small_image(test_cache: Path, base_image: Path) -> Path:
    """The folder of a root with a shell and coreutils, quick to send; never written to."""
    folder = test_cache / "small"
    with (test_cache / "small.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            part = test_cache / "small.part"
            shutil.rmtree(part, ignore_errors=True)
            _make_small(base_image, part)
            part.rename(folder)
    return folder


@pytest.fixture(params=_ENGINES)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    """A place to build in, once with each engine."""
    lab = Lab(tmp_path)
    if request.param == "memory":
        lab.use_memory()
    else:
        _use(request, lab)
    return lab


@pytest.fixture(params=_BOXES)
def boxes(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    """A place to build in with containers, once with each engine that has them."""
    lab = Lab(tmp_path)
    _use(request, lab)
    return lab


@pytest.fixture
def containers(tmp_path: Path, base_image: Path) -> Lab:
    """A place to build in with containers of the embedded engine."""
    lab = Lab(tmp_path)
    lab.use_overlay(base_image)
    return lab


@pytest.fixture
def docker(tmp_path: Path, small_image: Path, docker_server: DockerServer) -> Lab:
    """A place to build in with a Docker engine that shares our disk."""
    lab = Lab(tmp_path)
    lab.use_docker(small_image, docker_server.local)
    return lab


def _use(request: pytest.FixtureRequest, lab: Lab) -> None:
    """Let a lab use the engine that a parameter names."""
    if request.param == "overlay":
        lab.use_overlay(request.getfixturevalue("base_image"))
        return
    lab.use_docker(request.getfixturevalue("small_image"), _environment(request))


def _environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """Start the server that a parameter names; returns what leads to it."""
    if request.param == "podman":
        podman: PodmanServer = request.getfixturevalue("podman_server")
        return podman.local
    server: DockerServer = request.getfixturevalue("docker_server")
    return server.local if request.param == "docker" else server.remote


def _make_small(whole: Path, small: Path) -> None:
    """Take what a shell and coreutils are out of a base system."""
    listed = (whole / "var/lib/dpkg/info/coreutils.list").read_text().split()
    programs = [path for path in listed if path.startswith("/usr/bin/")]
    machine = next(whole.glob("usr/lib/*-linux-gnu*"))
    libraries = [f"/{machine.relative_to(whole)}/{name}" for name in _LIBRARIES]
    loader = [f"/{path.relative_to(whole)}" for path in machine.glob("ld-linux*")]
    others = ["/usr/bin/dash", "/usr/bin/sh", "/usr/bin/setsid", "/usr/sbin/ldconfig"]
    shutil.copytree(whole / "etc", small / "etc", symlinks=True)
    for path in (*programs, *libraries, *loader, *others):
        (small / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(whole / path[1:], small / path[1:], follow_symlinks=path not in others)
    for name in ("opt", "tmp", "srv", "root", "var/cache", "usr/lib64"):
        (small / name).mkdir(parents=True, exist_ok=True)
    (small / "tmp").chmod(0o1777)
    for link in ("bin", "sbin", "lib", "lib64"):
        (small / link).symlink_to(f"usr/{link}")
    for path in loader:
        (small / "usr/lib64" / Path(path).name).symlink_to(path)
