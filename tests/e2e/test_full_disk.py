"""Images on disks that are too small for them: what is told, and what is left."""

import os
from pathlib import Path

import pytest

from compiler.errors import StoreError
from compiler.registry.memory import MemoryRegistry
from compiler.store.local import LocalStore
from compiler.store.pull import ImagePuller
from tests.cli.test_main import cos
from tests.e2e.lab import small_disk
from tests.store.test_pull import AMD64, NAME, push

pytestmark = pytest.mark.container

MAKE_ROOM = "make room, `cos gc` removes what is unused"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root of eight megabytes."""
    folder = tmp_path / "root"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / "big").write_bytes(os.urandom(8 << 20))
    return folder


def test_an_image_that_does_not_fit_into_the_store_is_told_by_its_name(tmp_path: Path) -> None:
    registry = MemoryRegistry()
    push(registry, "x" * (8 << 20), AMD64)
    with small_disk(tmp_path / "disk", "4m") as disk, LocalStore(disk / "store") as store:
        puller = ImagePuller(registry, store, AMD64)

        found = puller.bring(NAME)

    assert found is None
    error = puller.refusals[NAME]
    assert isinstance(error, StoreError)
    assert str(error) == f"{NAME}: {disk}/store: no space left on the disk ({MAKE_ROOM})"


@pytest.mark.parametrize("path", ["new/out", "."])
def test_of_an_image_that_does_not_fit_into_a_folder_nothing_stays(
    root: Path, tmp_path: Path, path: str
) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        done = cos("util", "unpack", f"dir:{root}", disk / path, cwd=tmp_path)

        assert list(disk.iterdir()) == []
    assert (done.returncode, done.stderr) == (
        3,
        f"error: dir:{root}: cannot be unpacked to {disk / path}: No space left on device"
        " (make room on its disk)\n",
    )


def test_a_folder_that_held_something_keeps_it_when_an_image_does_not_fit(
    root: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        (disk / "mine").write_text("mine")

        assert cos("util", "unpack", f"dir:{root}", disk, cwd=tmp_path).returncode == 3
        assert (disk / "mine").read_text() == "mine"


def test_a_full_disk_for_what_is_on_its_way_is_told_with_its_folder(
    root: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        image = f"dir:{root}"
        done = cos("util", "unpack", image, "out", cwd=tmp_path, TMPDIR=str(disk))

    assert done.returncode == 3
    assert done.stderr.startswith(f"error: {image}: {disk}/cos-")
    assert done.stderr.endswith(
        ": no space left on the disk (make room, or name another folder with $TMPDIR)\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_base_system_is_not_begun_on_a_disk_that_cannot_hold_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "20m") as disk:
        done = cos("--store", disk / "store", "image", "bootstrap", "debian:trixie", cwd=tmp_path)

    assert done.returncode == 3
    assert "has room for 2" in done.stderr
    assert "MB, debian:trixie takes 300 (make room, or name another --store)" in done.stderr
