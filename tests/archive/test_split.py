"""Archives in parts: one unpacked over the other they make what the whole makes."""

import gzip
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.archive import Clamp
from compiler.archive.chunks import LARGEST
from compiler.archive.safety import Devices
from compiler.archive.scan import entries_of
from compiler.archive.split import parts_of, write_parts
from compiler.archive.tar import Sink, folder_content, write_tar
from compiler.archive.unpack import apply_layer, unpack_tar
from tests.large import CAPABILITY, MB, Listing, fill_file, listing

pytestmark = pytest.mark.container
"""Owners and capabilities take root, and archives that are split are large."""

AS_THEY_ARE = Clamp(epoch=0, after=2**62)


def written(folder: Path) -> Callable[[Callable[[Sink], None]], Path]:
    """Write parts into numbered files."""
    names = iter(range(1000))

    def write(fill: Callable[[Sink], None]) -> Path:
        stream = BytesIO()
        fill(stream)
        path = folder / f"part-{next(names)}.tar"
        path.write_bytes(stream.getvalue())
        return path

    return write


def split(archive: Path, folder: Path) -> list[Path]:
    folder.mkdir()
    return list(write_parts(archive, parts_of(archive), written(folder)))


def unpacked(archives: list[Path], target: Path) -> Listing:
    target.mkdir()
    for each in archives:
        apply_layer(each, target, devices=Devices.MAKE)
    return listing(target)


def headers(archive: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(archive) as tar:
        return list(tar)


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A folder with all that an archive can hold, 80 MB."""
    root = tmp_path / "system"
    for number in range(160):
        fill_file(root / f"usr/{'share' if number % 2 else 'lib'}/{number:03}", MB // 2, number)
    long = root / "usr/share" / ("long-" * 30) / "näme-日本"
    fill_file(long / "file", 5000)
    (root / "bin").mkdir()
    fill_file(root / "bin/tool", 3000)
    for name in ("usr/lib/zz-tool", "usr/share/zz-tool"):
        os.link(root / "bin/tool", root / name)
    os.link(root / "usr/share/001", root / "usr/share/002-again")
    (root / "usr/share/zz-link").symlink_to("../lib/000")
    os.mkfifo(root / "usr/share/zz-pipe")
    (root / "var/empty").mkdir(parents=True)
    os.chown(root / "usr/share", 12, 34)
    os.chown(root / "usr/share/159", 3_000_000, 5)
    (root / "usr/share").chmod(0o2750)
    (root / "usr/share/157").chmod(0o4711)
    os.setxattr(root / "usr/share/155", "user.colour", b"blue\0")
    os.setxattr(root / "usr/share/155", "security.capability", CAPABILITY)
    os.setxattr(root / "usr", "user.shape", b"round")
    for path in sorted([*root.rglob("*"), root], reverse=True):
        os.utime(path, (1_000_000 + len(str(path)),) * 2, follow_symlinks=False)
    return root


@pytest.fixture
def archive(system: Path, tmp_path: Path) -> Path:
    """The folder as an artifact's archive."""
    path = tmp_path / "archive.tar"
    with path.open("wb") as file:
        write_tar(entries_of(system, AS_THEY_ARE), folder_content(system), file)
    return path


def test_parts_unpacked_over_each_other_are_the_whole(
    archive: Path, system: Path, tmp_path: Path
) -> None:
    parts = split(archive, tmp_path / "parts")

    assert len(parts) > 2
    assert unpacked(parts, tmp_path / "target") == listing(system)


def test_so_they_are_for_an_archive_of_another_program_and_for_gnu_tar_itself(
    system: Path, tmp_path: Path
) -> None:
    archive, target = tmp_path / "archive.tar.gz", tmp_path / "target"
    options = ("--xattrs", "--xattrs-include=*", "--numeric-owner")
    subprocess.run(["tar", *options, "-C", system, "-czf", archive, "."], check=True)

    parts = split(archive, tmp_path / "parts")
    target.mkdir()
    for part in parts:
        subprocess.run(["tar", *options, "-C", target, "-xpf", part], check=True)

    assert len(parts) > 2
    assert listing(target) == listing(system)


def test_every_part_is_an_archive_that_needs_no_other(archive: Path, tmp_path: Path) -> None:
    known = {each.name for each in headers(archive) if each.isdir()}

    for part in split(archive, tmp_path / "parts"):
        seen: set[str] = set()
        for member in headers(part):
            above = [str(each) for each in Path(member.name).parents][:-1]
            assert {each for each in above if each in known} <= seen
            assert not member.islnk() or member.linkname in seen
            assert member.name not in seen
            seen.add(member.name)


def test_the_same_archive_gives_the_same_parts_however_it_is_compressed(
    archive: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "archive.tar.gz"
    packed.write_bytes(gzip.compress(archive.read_bytes(), 1))

    plain = [each.read_bytes() for each in split(archive, tmp_path / "plain")]

    assert [each.read_bytes() for each in split(packed, tmp_path / "packed")] == plain


def test_a_small_change_leaves_most_parts_as_they_are(
    archive: Path, system: Path, tmp_path: Path
) -> None:
    before = {each.read_bytes() for each in split(archive, tmp_path / "before")}
    when = (system / "usr/lib/004").stat().st_mtime
    fill_file(system / "usr/lib/004", MB // 2, seed=0)
    os.utime(system / "usr/lib/004", (when, when))
    with archive.open("wb") as file:
        write_tar(entries_of(system, AS_THEY_ARE), folder_content(system), file)

    after = [each.read_bytes() for each in split(archive, tmp_path / "after")]

    assert len([each for each in after if each not in before]) == 1


def plain(name: str, data: bytes = b"") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info, data


def link(name: str, target: str, kind: bytes = tarfile.LNKTYPE) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


ODD = {
    "a deletion": [plain(".wh.a")],
    "a deletion of a folder's content": [plain("z/.wh..wh..opq")],
    "a path twice": [plain("a", b"again")],
    "a hard link to what is not there": [link("l", "nowhere")],
    "a way through a link": [link("l", "z", tarfile.SYMTYPE), plain("l/x")],
    "a way out": [plain("../x")],
}


def made(path: Path, more: list[tuple[tarfile.TarInfo, bytes]], comment: str = "") -> Path:
    """Write an archive that is large enough to be split, with something more at its end."""
    headers = {"comment": comment} if comment else {}
    with (
        gzip.open(path, "wb", 1) if path.suffix == ".gz" else path.open("wb") as stream,
        tarfile.open(
            fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, pax_headers=headers
        ) as archive,
    ):
        members = [plain("a", bytes(MB)), plain("b", bytes(LARGEST)), plain("c", bytes(MB))]
        for info, data in [*members, *more]:
            archive.addfile(info, BytesIO(data))
    return path


@pytest.mark.parametrize("what", ODD)
def test_what_would_not_come_out_the_same_stays_whole(what: str, tmp_path: Path) -> None:
    assert len(parts_of(made(tmp_path / "plain.tar", []))) == 3

    assert parts_of(made(tmp_path / "odd.tar", ODD[what])) == ()


def test_an_archive_with_a_header_for_all_members_stays_whole(tmp_path: Path) -> None:
    archive = made(tmp_path / "archive.tar", [], comment="for all")

    assert parts_of(archive) == ()


def test_one_large_file_is_not_split(tmp_path: Path) -> None:
    root = tmp_path / "root"
    fill_file(root / "recovery.squashfs", 60 * MB)
    archive = tmp_path / "archive.tar"
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)

    assert parts_of(archive) == ()


NAMES = st.lists(st.sampled_from("ab-.é"), min_size=1, max_size=3).map("".join)
BOOLEANS, NUMBERS = st.booleans(), st.integers(0, 100)
PATHS = st.lists(NAMES.filter(lambda name: name not in {".", ".."}), min_size=1, max_size=3)


@settings(max_examples=10, deadline=None)
@given(paths=st.lists(PATHS.map("/".join), min_size=3, max_size=9, unique=True), data=st.data())
def test_any_tree_comes_out_the_same(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], data: st.DataObject
) -> None:
    place = tmp_path_factory.mktemp("any")
    root = place / "root"
    root.mkdir()
    done: list[Path] = []
    for number, path in enumerate(paths):
        file = root / path
        if any(each in done for each in [file, *file.parents]) or file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        is_link: bool = data.draw(BOOLEANS)
        if done and is_link:
            os.link(done[data.draw(NUMBERS) % len(done)], file)
        else:
            with file.open("wb") as sparse:
                sparse.truncate(9 * MB + number)
        done.append(file)
    archive = place / "archive.tar"
    with archive.open("wb") as out:
        write_tar(entries_of(root, AS_THEY_ARE), folder_content(root), out)

    parts = split(archive, place / "parts") or [archive]

    target = place / "target"
    target.mkdir()
    for part in parts:
        unpack_tar(part, target)
    assert entries_of(target, AS_THEY_ARE) == entries_of(root, AS_THEY_ARE)
    subprocess.run(["rm", "-rf", place], check=True)


SPLIT = """
import re, sys
from pathlib import Path
from compiler.repository.oci import layers_of_archive
layers = layers_of_archive(Path(sys.argv[1]), folder=Path(sys.argv[2]))
peak = re.search("VmHWM: *([0-9]+) kB", Path("/proc/self/status").read_text().replace("\t", " "))
print(len(layers), int(peak[1]) // 1024)
"""
"""Prints how many layers there are, and the peak of memory in MB: that of getrusage(2) counts what
the process had before it began to run another program."""


def test_splitting_takes_little_memory_however_large_the_archive_is(tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w") as tar:
        for number in range(1000):
            tar.addfile(*_numbered(number))

    count, megabytes = layers_and_peak(archive, tmp_path)

    assert 1 < count <= 40
    assert megabytes < 300


def test_long_headers_of_many_links_are_not_kept_in_memory(tmp_path: Path) -> None:
    archive = made(
        tmp_path / "archive.tar.gz",
        [_commented(link(f"link-{number}", "a")) for number in range(30_000)],
    )

    count, megabytes = layers_and_peak(archive, tmp_path)

    assert count == 1
    assert megabytes < 250


def test_long_headers_of_few_links_leave_an_archive_in_parts(tmp_path: Path) -> None:
    more = [_commented(link(f"link-{number}", "a")) for number in range(100)]

    assert len(parts_of(made(tmp_path / "archive.tar", more))) == 3


@pytest.mark.parametrize(("levels", "count"), [(199, 3000), (2000, 100), (20_000, 1)])
def test_paths_of_many_folders_are_not_kept_in_memory(
    tmp_path: Path, levels: int, count: int
) -> None:
    name = "n" * (3900 // levels or 1)
    more = [plain("/".join([str(number), *[name] * levels]), b"") for number in range(count)]
    archive = made(tmp_path / "archive.tar.gz", more)

    layers, megabytes = layers_and_peak(archive, tmp_path)

    assert layers == 1
    assert megabytes < 250


def layers_and_peak(archive: Path, folder: Path) -> tuple[int, int]:
    """Make layers of an archive in a process of its own: how many, and its peak in MB."""
    done = subprocess.run(
        [sys.executable, "-c", SPLIT, archive, folder], capture_output=True, check=True, text=True
    )
    count, megabytes = map(int, done.stdout.split())
    return count, megabytes


def _commented(member: tuple[tarfile.TarInfo, bytes]) -> tuple[tarfile.TarInfo, bytes]:
    """Give a member a long comment, which is in its header."""
    member[0].pax_headers = {"comment": "x" * 8000}
    return member


def _numbered(number: int) -> tuple[tarfile.TarInfo, BytesIO]:
    info = tarfile.TarInfo(f"file-{number:04}")
    info.size = MB
    return info, BytesIO(bytes(MB))
