"""Systems and machines for the tests of the life cycle."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.agent.life.lab import Bench, do, loop_disk, make_system

Machines = Callable[[], AbstractContextManager[Bench]]


@pytest.fixture(scope="session")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system of version 1."""
    return make_system(tmp_path_factory.mktemp("old"), "1")


@pytest.fixture(scope="session")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system of version 2."""
    return make_system(tmp_path_factory.mktemp("new"), "2")


@pytest.fixture(scope="session")
def installed_disk(tmp_path_factory: pytest.TempPathFactory, old: Path) -> Path:
    """A disk on which version 1 is installed, to be copied."""
    folder = tmp_path_factory.mktemp("installed")
    with loop_disk(folder / "disk", 1200) as device:
        Bench(folder / "root", device).install(old)
    return folder / "disk"


@pytest.fixture
def machine(installed_disk: Path, tmp_path: Path) -> Iterator[Bench]:
    """A machine on which version 1 is installed."""
    do("cp", "--sparse=always", "--reflink=auto", installed_disk, tmp_path / "disk")
    with loop_disk(tmp_path / "disk") as device:
        bench = Bench(tmp_path / "root", device)
        try:
            yield bench
        finally:
            bench.clear()
    (tmp_path / "disk").unlink()


@pytest.fixture
def blank(tmp_path: Path) -> Iterator[Bench]:
    """A machine with an empty disk."""
    with loop_disk(tmp_path / "disk", 1200) as device:
        bench = Bench(tmp_path / "root", device)
        try:
            yield bench
        finally:
            bench.clear()
    (tmp_path / "disk").unlink()


@pytest.fixture
def disk_of(tmp_path: Path) -> Callable[[int], AbstractContextManager[Bench]]:
    """Makes a machine with an empty disk of so many megabytes."""

    @contextmanager
    def make(megabytes: int) -> Iterator[Bench]:
        with loop_disk(tmp_path / f"disk-{megabytes}", megabytes) as device:
            yield Bench(tmp_path / f"root-{megabytes}", device)
        (tmp_path / f"disk-{megabytes}").unlink()

    return make
