"""What tests of sources share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repository.sources.lab import CONTENT, NAME, Site, serving
from tests.servers.proxy import FaultyProxy, run_proxy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository's folder."""
    made = tmp_path / "served"
    made.mkdir()
    (made / NAME).write_bytes(CONTENT)
    (made / "repository.yaml").write_bytes(b"page")
    return made


@pytest.fixture
def proxy(folder: Path) -> Iterator[FaultyProxy]:
    """A server of that folder, which does what it is told besides."""
    with serving(folder) as host, run_proxy(host) as running:
        yield running


@pytest.fixture
def site(proxy: FaultyProxy, tmp_path: Path) -> Site:
    """A source that reads from it."""
    return Site(proxy, tmp_path)
