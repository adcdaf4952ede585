"""What tests of systems share."""

from pathlib import Path

import pytest

from tests.system.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A root to install into."""
    return Lab(tmp_path)
