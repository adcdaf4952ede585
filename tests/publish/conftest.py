"""What tests of publications share: a registry whose signed metadata has begun, and packages."""

from pathlib import Path

import pytest

from compiler.registry.memory import MemoryRegistry
from tests.publish.shop import Shop
from tests.publish.test_trusted import begin


@pytest.fixture
def registry(tmp_path: Path) -> MemoryRegistry:
    made = MemoryRegistry()
    begin(made, tmp_path / "begin")
    return made


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.build("a")
    made.build("b")
    return made
