"""The `cos` command as users run it, with a store that holds the bootstrapped base."""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compiler.process import Command, run
from compiler.store.importer import import_image
from compiler.store.local import LocalStore
from tests.e2e.lab import Lab, little_root
from tests.e2e.own_tree import BuiltTree, make_build_tree
from tests.e2e.users import FOR_ALL, Somebody

Cos = Callable[..., "subprocess.CompletedProcess[str]"]
BASES = ("debian:trixie", "debian:bookworm")
"""The names that trees of these tests give the base; what they test does not depend on which."""


@pytest.fixture(scope="session")
def base_store(tmp_path_factory: pytest.TempPathFactory, base_tar: Path) -> Path:
    """A store with the base in it, shared by all tests and test processes of a run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    root = shared / "base-store"
    with (shared / "base-store.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            with LocalStore(root) as store:
                for name in BASES:
                    import_image(store, name, f"tar:{base_tar}")
                store.flush()
    return root


@pytest.fixture
def cos(base_store: Path) -> Cos:
    """Run `cos` with the shared store; keyword arguments go to `subprocess.run`."""

    def run(
        *arguments: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "compiler", *map(str, arguments)],
            env={**os.environ, "COS_STORE": str(base_store), **(env or {})},
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def little_base(tmp_path_factory: pytest.TempPathFactory, base_image: Path) -> Path:
    """The folder of a root that is just large enough for a shell."""
    root = tmp_path_factory.mktemp("little") / "root"
    little_root(base_image, root)
    return root


@pytest.fixture
def lab(tmp_path: Path, little_base: Path) -> Lab:
    """A place to build in, with a store of its own that holds the small base."""
    return Lab(tmp_path, little_base)


@pytest.fixture(scope="session")
def own_tree(tmp_path_factory: pytest.TempPathFactory) -> BuiltTree:
    """Build the tree once for all workers, into the checkout's own store."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "own-tree"
    with (shared / "own-tree.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_build_tree(folder)
        return BuiltTree(folder, make_build_tree(folder))


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody reaches, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="cos-without-root-") as name:
        Path(name).chmod(FOR_ALL)
        yield Path(name)


@pytest.fixture
def somebody(place: Path) -> Iterator[Somebody]:
    """A new user, gone afterwards."""
    name = f"cos-test-{os.getpid()}"
    for file in ("/etc/subuid", "/etc/subgid"):
        Path(file).touch()  # without these, a user gets no ranges
    run(Command(argv=("useradd", "--no-create-home", "--home-dir", str(place), name))).check()
    try:
        yield Somebody(name, place)
    finally:
        run(Command(argv=("userdel", name))).check()
