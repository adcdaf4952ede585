"""What was fetched is kept for the next upgrade, within bounds: layers that stay the same."""

from contextlib import suppress
from pathlib import Path


def trim(folder: Path, most: int) -> int:
    """Remove the contents used longest ago until at most `most` bytes are left; returns how many.

    What is fetched half stays for the next try, but counts.
    """
    found = []
    for path in [*(folder / "sha256").glob("*/*"), *(folder / "parts").glob("*")]:
        with suppress(OSError):
            status = path.stat()
            found.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    size = sum(each[1] for each in found)
    removed = 0
    for _, bytes_, path in sorted(found):
        if size <= most:
            break
        with suppress(OSError):
            path.unlink()
            size -= bytes_
            removed += 1
    return removed
