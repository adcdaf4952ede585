"""What tests of commands share."""

from pathlib import Path

import pytest

from tests.cli.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A system, and on its disk a repository of an app, its library, and a package besides."""
    made = Machine(tmp_path)
    made.stock("app-1", "lib-1", "other-1", "secret-1")
    made.use("disk", made.shop.artifacts)
    return made
