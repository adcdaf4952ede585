"""Engines to try: every one for the contract, containers for what only they can do."""

from pathlib import Path

import pytest

from tests.engine.lab import Lab


@pytest.fixture(params=["memory", pytest.param("overlay", marks=pytest.mark.container)])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    """A place to build in, once with each engine."""
    lab = Lab(tmp_path)
    if request.param == "memory":
        lab.use_memory()
    else:
        lab.use_overlay(request.getfixturevalue("base_image"))
    return lab


@pytest.fixture
def containers(tmp_path: Path, base_image: Path) -> Lab:
    """A place to build in with containers."""
    lab = Lab(tmp_path)
    lab.use_overlay(base_image)
    return lab
