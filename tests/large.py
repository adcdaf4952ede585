"""Packages that are large enough for several layers, what is in folders, and what was fetched."""

import hashlib
import random
import re
from pathlib import Path

from compiler.archive import Clamp, Kind
from compiler.archive.scan import entries_of
from tests.servers.proxy import FaultyProxy
from tests.servers.registry import RegistryServer

MB = 1 << 20

CAPABILITY = bytes.fromhex("0100000200200000" + "00" * 12)
"""CAP_NET_RAW in the kernel's form (linux/capability.h, struct vfs_cap_data)."""

Listing = dict[str, tuple[object, ...]]
"""Paths, each with all that is known of it."""

_AS_THEY_ARE = Clamp(epoch=0, after=2**62)
_BLOB = re.compile(r"/blobs/sha256:([0-9a-f]{64})$")


def fill_file(path: Path, size: int, seed: int = 1) -> None:
    """Write a file that cannot be compressed: the same for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(size))  # noqa: S311  (not a secret)


def fill_large(folder: Path, megabytes: int = 200) -> Path:
    """Write files of half a megabyte into folders of a system."""
    for number in range(2 * megabytes):
        fill_file(folder / f"usr/lib/{number % 7}/{number:04}", MB // 2, number)
    return folder


def listing(folder: Path) -> Listing:
    """List all that a folder holds: kinds, owners, modes, times, xattrs, links and contents."""
    found: Listing = {}
    for entry in entries_of(folder, _AS_THEY_ARE):
        path = folder / entry.path
        data = path.read_bytes() if entry.kind is Kind.FILE else b""
        found[entry.path] = (*entry[1:], hashlib.sha256(data).hexdigest())
    return found


def fetched_bytes(proxy: FaultyProxy, server: RegistryServer) -> int:
    """Add up the contents that were fetched through a proxy since it was told something."""
    names = [found[1] for each in proxy.seen if each.method == "GET"
             if (found := _BLOB.search(each.path.partition("?")[0]))]  # fmt: skip
    return sum((server.blobs / name[:2] / name / "data").stat().st_size for name in names)
