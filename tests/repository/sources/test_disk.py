"""Sources that are folders of this machine."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.errors import NotFoundError, OutsideError, TooLongError
from compiler.repository.cache import Cache
from compiler.repository.sources import Mirrors
from compiler.repository.sources.disk import DiskSource
from tests.repository.sources.lab import ARCHIVE, CONTENT, NAME, SHA256


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system with less room than the archive needs."""
    disk = tmp_path / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.container
def test_a_full_disk_is_told_by_its_own_place_and_gets_its_room_back(
    folder: Path, small: Path
) -> None:
    part = small / "cache/parts" / SHA256

    with pytest.raises(OutsideError) as caught:
        DiskSource(folder).fetch(ARCHIVE, Cache(small / "cache"))

    assert str(caught.value) == (
        f"{part}: cannot be written: no space left on device (make room on its disk)"
    )
    assert not part.exists()
    (small / "smaller").write_bytes(bytes(32 << 10))


@pytest.mark.container
def test_a_full_disk_is_told_once_however_many_addresses_there_are(
    folder: Path, small: Path
) -> None:
    source = Mirrors([DiskSource(folder), DiskSource(folder)])

    with pytest.raises(OutsideError) as caught:
        source.fetch(ARCHIVE, Cache(small / "cache"))

    assert str(caught.value).count("no space left on device (make room on its disk)") == 1
    assert "then:" not in str(caught.value)


def test_an_archive_is_copied_once(folder: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")

    (path,) = DiskSource(folder).fetch(ARCHIVE, cache)
    (folder / NAME).unlink()

    assert path.read_bytes() == CONTENT
    assert DiskSource(folder).fetch(ARCHIVE, cache) == (path,)


def test_what_cannot_be_read_is_named_by_its_own_place(folder: Path, tmp_path: Path) -> None:
    (folder / "sub").mkdir()
    source, target = DiskSource(folder), tmp_path / "target"

    with pytest.raises(OutsideError, match=f"^{folder}/sub: is a directory$"):
        source.bring("sub", target, 9)
    with pytest.raises(NotFoundError, match=f"^{folder}/none: there is no such file$"):
        source.bring("none", target, 9)
    with pytest.raises(TooLongError, match=f"^{folder}/{NAME}: is larger than 9 bytes$"):
        source.bring(NAME, target, 9)
    shutil.rmtree(folder)
    with pytest.raises(OutsideError, match=f"^{folder}: there is no such folder "):
        source.bring(NAME, target, 9)
