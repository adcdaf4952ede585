"""What was fetched is kept for the next upgrade, within bounds: layers that stay the same."""

import os
from contextlib import suppress
from pathlib import Path

_SHARE = 4
"""At most this part of the file system, however large it may be: the rest is the owner's."""


def trim(folder: Path, most: int) -> int:
    """Remove the contents used longest ago until at most `most` bytes are left; returns how many.

    What is fetched half stays for the next try, but counts.
    """
    if not folder.is_dir():
        return 0
    status = os.statvfs(folder)
    most = min(most, status.f_blocks * status.f_frsize // _SHARE)
    found = []
    for path in [*(folder / "sha256").glob("*/*"), *(folder / "parts").glob("*")]:
        with suppress(OSError):
            about = path.stat()
            found.append((max(about.st_atime, about.st_mtime), about.st_size, path))
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
