"""Engines to try: every one for the contract, containers for what only they can do."""

from pathlib import Path

import pytest

from tests.engine.lab import Lab
from tests.servers.dockerd import DockerServer

_DOCKER = (
    pytest.mark.container,
    pytest.mark.registry,
    pytest.mark.xdist_group("docker"),
)


@pytest.fixture(
    params=[
        "memory",
        pytest.param("overlay", marks=pytest.mark.container),
        pytest.param("docker", marks=_DOCKER),
        pytest.param("remote-docker", marks=_DOCKER),
    ]
)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    """A place to build in, once with each engine."""
    lab = Lab(tmp_path)
    if request.param == "memory":
        lab.use_memory()
        return lab
    base: Path = request.getfixturevalue("base_image")
    if request.param == "overlay":
        lab.use_overlay(base)
        return lab
    server: DockerServer = request.getfixturevalue("docker_server")
    lab.use_docker(base, server.local if request.param == "docker" else server.remote)
    return lab


@pytest.fixture
def containers(tmp_path: Path, base_image: Path) -> Lab:
    """A place to build in with containers."""
    lab = Lab(tmp_path)
    lab.use_overlay(base_image)
    return lab
