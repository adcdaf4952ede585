"""What many tests share: one bootstrapped base system, kept from run to run."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from compiler.engine.bootstrap import base_system, bootstrap
from compiler.events import silent
from compiler.process import Command, run

pytest_plugins = [
    "tests.servers.registry",
    "tests.servers.dockerd",
    "tests.servers.podman",
    "tests.servers.proxy",
    "tests.servers.modern",
    "tests.servers.cosign",
    "tests.servers.notary",
]

CHECKOUT = Path(__file__).parent.parent

# How long an example takes says how busy the machine is, and nothing about us.
settings.register_profile("cos", deadline=None)
settings.load_profile("cos")


@pytest.fixture(scope="session")
def test_cache() -> Path:
    """A folder that outlives the run: `COS_TEST_CACHE`, else `build/test-cache` of the checkout."""
    folder = Path(os.environ.get("COS_TEST_CACHE") or CHECKOUT / "build" / "test-cache")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def base_tar(test_cache: Path) -> Path:
    """A root tar of Debian trixie (minbase), made once; test processes wait for each other."""
    tar = test_cache / "trixie.tar"
    with (test_cache / "trixie.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tar.exists():
            bootstrap(base_system("debian:trixie"), tar, silent)
    return tar


@pytest.fixture(scope="session")
def base_image(test_cache: Path, base_tar: Path) -> Path:
    """The folder of that root, to be used as a layer and never written to."""
    folder = test_cache / "trixie"
    with (test_cache / "trixie.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            part = test_cache / "trixie.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            argv = ("tar", "--numeric-owner", "-xpf", str(base_tar), "-C", str(part))
            run(Command(argv=argv)).check()
            part.rename(folder)
    return folder
