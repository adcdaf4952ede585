"""The cache of what was fetched: what stays in it when something goes wrong."""

import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compiler.errors import OutsideError
from compiler.repository.cache import Cache

SHA256 = "0" * 64


def left(folder: Path) -> list[str]:
    """List the unfinished files and all that lies beside them."""
    return sorted(path.name for path in (folder / "parts").iterdir())


def add_to_a_full_disk(cache: Cache, written: bytes) -> None:
    """Write as much as there is room for, and fail."""
    with cache.adding(SHA256) as part:
        part.write_bytes(written)
        raise OSError(errno.ENOSPC, "full")


@pytest.mark.parametrize("written", [b"", b"the beginning"])
def test_a_full_disk_leaves_at_most_what_the_next_try_goes_on_with(
    tmp_path: Path, written: bytes
) -> None:
    cache = Cache(tmp_path)

    with pytest.raises(OSError, match="full"):
        add_to_a_full_disk(cache, written)

    assert left(tmp_path) == ([SHA256] if written else [])
    with cache.adding(SHA256) as part:
        assert (part.read_bytes() if part.exists() else b"") == written
        part.write_bytes(b"all of it")
        kept = cache.keep(part, SHA256)
    assert kept.read_bytes() == b"all of it"
    assert left(tmp_path) == []


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    (tmp_path / "sha256").write_text("in the way")
    (tmp_path / "notes").write_text("in the way")

    part = tmp_path / "part"
    part.write_bytes(b"all of it")

    with pytest.raises(OutsideError, match=f"^{tmp_path}: cannot be written: "):
        cache.keep(part, SHA256)
    with pytest.raises(OutsideError, match=f"^{tmp_path}: cannot be written: "):
        cache.note("key", [SHA256])


def test_only_one_at_a_time_has_an_unfinished_file(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    alone = threading.Lock()
    met = []

    def add(number: int) -> None:
        with cache.adding(SHA256) as part:
            if not alone.acquire(blocking=False):
                met.append(number)
                return
            part.write_bytes(b"x")
            part.unlink()
            alone.release()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(400)))

    assert met == []
    assert left(tmp_path) == []
