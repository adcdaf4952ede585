"""An ISO of our own root tree, beside the bare runs of mksquashfs and xorriso that it contains.

`cos iso` reads the artifact of system/cos as it lies in `build/`; the bare runs get the same tree
unpacked, with kernel and initrd in place, and the same options. Both end when the ISO is on
the disk.
"""

from collections.abc import Iterator
from pathlib import Path
from shutil import copy, rmtree

from bench.measure import COS, Cost, run
from bench.report import Result

TURNS = 3
MOST_BY_BARE = 1.15

OPTIONS = "-b 1024k -comp zstd -Xcompression-level 15"
"""As specs/images/cos.yaml has them."""

_BARE = f"""
mksquashfs "$1/root" "$1/iso/rootfs.squashfs" -noappend -no-progress -quiet {OPTIONS}
xorriso -as mkisofs -quiet -V COS_LIVE -r -J -o "$1/bare.iso" "$1/iso" && sync "$1/bare.iso"
"""


def measure_images(scratch: Path, destination: Path) -> Iterator[Result | str]:
    """Measure by turns; says so if there is no artifact to measure with."""
    found = sorted(destination.glob("cos-system-*.package.tar.zst"))
    if not found:
        yield f"images: {destination} has no artifact of system/cos"
        return
    place = scratch / "images"
    (place / "root").mkdir(parents=True)
    run(["tar", "-C", str(place / "root"), "--zstd", "-xpf", str(found[-1])])
    turns = [(_ours(place, found[-1]), _bare(place)) for _ in range(TURNS)]
    ours = min(mine.seconds for mine, _ in turns)
    bare = min(theirs.seconds for _, theirs in turns)
    yield Result(name="an ISO of our own tree", value=ours, unit="s")
    yield Result(name="  bare mksquashfs and xorriso", value=bare, unit="s")
    yield Result(name="  times these", value=ours / bare, unit="x", limit=MOST_BY_BARE)


def _ours(place: Path, artifact: Path) -> Cost:
    argv = [COS, "iso", f"file:{artifact}", "--output", str(place), "-x", OPTIONS, "--force"]
    return run(argv)


def _bare(place: Path) -> Cost:
    staged = place / "iso"
    rmtree(staged, ignore_errors=True)
    (staged / "boot").mkdir(parents=True)
    for name, target in (("vmlinuz", "kernel.xz"), ("initrd", "rootfs.xz")):
        copy(place / "root/boot" / name, staged / "boot" / target)
    (place / "bare.iso").unlink(missing_ok=True)
    return run(["sh", "-ec", _BARE, "sh", str(place)])
