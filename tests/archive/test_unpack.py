import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.archive import Clamp, Entry, Kind
from compiler.archive.members import Limits
from compiler.archive.safety import Devices
from compiler.archive.scan import entries_of
from compiler.archive.tar import folder_content, write_tar
from compiler.archive.unpack import apply_layer, copy_folder, unpack_layer, unpack_tar
from compiler.errors import ArchiveError

AS_THEY_ARE = Clamp(epoch=0, after=2**62)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, len(data), 0o755
    return (
        info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + data + bytes(-len(data) % 512)
    )


def archive(tmp_path: Path, *parts: bytes, end: bytes = bytes(1024)) -> Path:
    file = tmp_path / "archive.tar"
    file.write_bytes(b"".join(parts) + end)
    return file


def refusal(file: Path, target: Path, limits: Limits | None = None) -> str:
    with pytest.raises(ArchiveError) as caught:
        unpack_tar(file, target, limits=limits)
    return str(caught.value).removeprefix(f"{file}: ")


def test_what_was_packed_comes_out_the_same(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "source"
    (source / "bin").mkdir(parents=True)
    (source / "bin" / "tool").write_bytes(os.urandom(200_000))
    (source / "bin" / "tool").chmod(0o4711)
    os.setxattr(source / "bin" / "tool", "user.a", b"\xff\x00")
    (source / "bin" / "same").hardlink_to(source / "bin" / "tool")
    (source / "link").symlink_to("/nowhere")
    (source / "closed").mkdir(mode=0o555)
    os.utime(source / "bin", (5, 5))
    before = entries_of(source, AS_THEY_ARE)
    file = tmp_path / "archive.tar"
    with file.open("wb") as sink:
        write_tar(before, folder_content(source), sink)

    unpack_tar(file, target)

    assert entries_of(target, AS_THEY_ARE) == before
    assert (target / "bin" / "tool").read_bytes() == (source / "bin" / "tool").read_bytes()


def test_a_copied_folder_is_the_same(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "source"
    (source / "a" / "b").mkdir(parents=True)
    (source / "a" / "small").write_text("text")
    (source / "a" / "large").write_bytes(os.urandom(3_000_000))
    (source / "z").hardlink_to(source / "a" / "small")

    copy_folder(source, target)

    assert entries_of(target, AS_THEY_ARE) == entries_of(source, AS_THEY_ARE)
    assert (target / "a" / "large").read_bytes() == (source / "a" / "large").read_bytes()


@pytest.mark.parametrize(
    "compress",
    [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress],
)
def test_the_compression_is_known_by_its_first_bytes(
    tmp_path: Path, target: Path, compress: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / "archive"
    file.write_bytes(compress(member("file", data=b"text") + bytes(1024)))

    unpack_tar(file, target)

    assert (target / "file").read_text() == "text"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([member("../out")], "../out: the path leads out with '..'"),
        ([member("a/../../out")], "a/../../out: the path leads out with '..'"),
        (
            [member("a", tarfile.SYMTYPE, ".."), member("a/out")],
            "a/out: 'a' on the way to it is not a folder",
        ),
        (
            [member("a", tarfile.SYMTYPE, "/etc"), member("a/b/out")],
            "a/b/out: 'a' on the way to it is not a folder",
        ),
        (
            [member("a", tarfile.SYMTYPE, ".."), member("b", tarfile.LNKTYPE, "a/secret")],
            "b: 'a' on the way to it is not a folder",
        ),
        (
            [member("b", tarfile.LNKTYPE, "../secret")],
            "b: the path leads out with '..'",
        ),
        (
            [member("b", tarfile.LNKTYPE, "/etc/passwd")],
            "b: a hard link to '/etc/passwd', which is not there",
        ),
        ([member("dev", tarfile.CHRTYPE)], "dev: a device node is not allowed here"),
        ([member("x/" * 5000)], f"{('x/' * 30)}…: the path is longer than 4095 bytes"),
        ([member("x" * 300)], f"{'x' * 60}…: file name too long"),
        ([member("x", b"V")], "x: its type b'V' is unknown"),
    ],
)
def test_a_hostile_member_is_refused(
    tmp_path: Path, target: Path, parts: list[bytes], message: str
) -> None:
    (tmp_path / "secret").write_text("secret")

    assert refusal(archive(tmp_path, *parts), target) == message
    assert sorted(each.name for each in tmp_path.iterdir()) == ["archive.tar", "secret", "target"]


def test_an_absolute_path_is_one_below_the_target(tmp_path: Path, target: Path) -> None:
    unpack_tar(archive(tmp_path, member("/etc/file", data=b"text")), target)

    assert (target / "etc" / "file").read_text() == "text"


def test_a_link_is_replaced_by_a_later_file_and_never_written_through(
    tmp_path: Path, target: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    parts = [member("a", tarfile.SYMTYPE, "../secret"), member("a", data=b"new")]

    unpack_tar(archive(tmp_path, *parts), target)

    assert (tmp_path / "secret").read_text() == "secret"
    assert (target / "a").read_text() == "new"
    assert not (target / "a").is_symlink()


def test_of_members_with_one_name_the_last_stands(tmp_path: Path, target: Path) -> None:
    parts = [
        member("a", tarfile.DIRTYPE),
        member("a/b", data=b"1"),
        member("a", data=b"2"),
        member("c", data=b"1"),
        member("c", tarfile.DIRTYPE),
        member("c/d", data=b"3"),
    ]

    unpack_tar(archive(tmp_path, *parts), target)

    assert (target / "a").read_text() == "2"
    assert (target / "c" / "d").read_text() == "3"


def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path, target: Path) -> None:
    whole = member("a", data=b"x" * 2000) + member("b") + bytes(1024)
    file = tmp_path / "archive.tar"
    for length in (0, 1, 511, 512, 1000, 2511, 2513, 2559, 2561, 3000, 3071, 3073):
        file.write_bytes(whole[:length])

        assert "the archive ends too early" in refusal(file, target)


ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress, ZSTD])
@pytest.mark.parametrize("unpack", [unpack_tar, unpack_layer, apply_layer])
@pytest.mark.parametrize("filled", [True, False])
def test_an_archive_may_end_right_after_a_member(
    tmp_path: Path,
    target: Path,
    compress: Callable[[bytes], bytes],
    unpack: Callable[[Path, Path], None],
    *,
    filled: bool,
) -> None:
    (target / "old").mkdir()  # so that `apply_layer` goes through the archive twice
    long = "d/" * 100 + "b"
    file = tmp_path / "archive"
    whole = member("a", data=b"x" * 2000) + member(long, data=b"y")
    file.write_bytes(compress(whole if filled else whole[:-511]))

    unpack(file, target)

    assert (target / "a").read_bytes() == b"x" * 2000
    assert (target / long).read_bytes() == b"y"


def test_after_a_header_for_all_members_an_archive_may_end_as_well(
    tmp_path: Path, target: Path
) -> None:
    common = tarfile.TarInfo.create_pax_global_header({"comment": "x"})

    unpack_tar(archive(tmp_path, common, member("a", data=b"x"), end=b""), target)

    assert (target / "a").read_text() == "x"
    assert "the archive ends too early" in refusal(archive(tmp_path, common, end=b""), target)


def test_an_archive_that_ends_between_the_headers_of_a_member_is_refused(
    tmp_path: Path, target: Path
) -> None:
    name = member("x" * 150)[:-512]

    assert "the archive ends too early" in refusal(
        archive(tmp_path, member("a"), name, end=b""), target
    )


def test_a_member_of_holes_is_whole_with_its_last_block(tmp_path: Path, target: Path) -> None:
    (tmp_path / "sparse").write_bytes(b"x" * 4096)
    os.truncate(tmp_path / "sparse", 1 << 20)
    packed = subprocess.run(
        ["tar", "-cSf", "-", "sparse"], cwd=tmp_path, check=True, capture_output=True
    ).stdout.rstrip(b"\0")

    unpack_tar(archive(tmp_path, packed, end=b""), target)

    assert (target / "sparse").read_bytes() == (tmp_path / "sparse").read_bytes()
    assert "the archive ends too early" in refusal(archive(tmp_path, packed[:-1], end=b""), target)


@pytest.mark.parametrize("missing", [1, 3, 4, 5, 1003])
@pytest.mark.parametrize("frames", [1, 2])
def test_compressed_data_that_is_cut_off_is_refused_although_all_members_are_there(
    tmp_path: Path, target: Path, missing: int, frames: int
) -> None:
    codec = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    data = codec.compress(member("a", data=os.urandom(300_000)))
    data += codec.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    rest = codec.flush()  # an empty block and the checksum
    if frames == 2:
        rest += ZSTD(b"") + b"\x50\x2a\x4d\x18" + struct.pack("<I", 1000) + bytes(1000)
    file = tmp_path / "archive"
    file.write_bytes(data + rest)
    unpack_tar(file, target)
    file.write_bytes((data + rest)[:-missing] if missing <= len(rest) else data)

    assert "ends too early" in refusal(file, target)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, ZSTD])
def test_a_compressed_archive_that_is_cut_off_is_refused(
    tmp_path: Path, target: Path, compress: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / "archive"
    file.write_bytes(compress(member("a", data=os.urandom(5000)) + bytes(1024))[:-2000])

    with pytest.raises(ArchiveError, match=f"^{file}: "):
        unpack_tar(file, target)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, ZSTD])
def test_a_compressed_archive_whose_content_changed_is_refused(
    tmp_path: Path, target: Path, compress: Callable[[bytes], bytes]
) -> None:
    whole = bytearray(compress(member("a", data=os.urandom(5000)) + bytes(1024)))
    whole[3000] ^= 1
    file = tmp_path / "archive"
    file.write_bytes(whole)

    with pytest.raises(ArchiveError, match=f"^{file}: "):
        unpack_tar(file, target)


def test_a_size_that_lies_is_refused(tmp_path: Path, target: Path) -> None:
    info = tarfile.TarInfo("a")
    info.size = 10**15
    lying = info.tobuf(tarfile.GNU_FORMAT)

    assert refusal(archive(tmp_path, lying), target) == "a: the archive ends too early"


def test_a_header_that_claims_to_be_huge_takes_no_memory(tmp_path: Path, target: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 10**12
    huge = info.tobuf(tarfile.GNU_FORMAT)

    assert refusal(archive(tmp_path, huge), target) == "a header is larger than 8 MiB"


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, target: Path) -> None:
    file = tmp_path / "archive"
    file.write_bytes(gzip.compress(member("zeros", data=bytes(5_000_000)) + bytes(1024)))

    by_size = refusal(file, target, Limits(size=1_000_000))
    by_ratio = refusal(file, target, Limits(ratio=10, ratio_after=2_000_000))
    by_members = refusal(file, target, Limits(members=0))

    assert by_size == "zeros: unpacks to more than 1000000 bytes"
    assert by_ratio == "zeros: unpacks to more than 10 times its size"
    assert by_members == "has more than 0 members"


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_archive_is_refused_or_read_but_never_crashes(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["a", "ä" * 80, "x" * 150]))
    whole = bytearray(member(name, data=b"text") + member("b", tarfile.SYMTYPE, "c") + bytes(1024))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))

    with tarfile_folder() as (file, target):
        file.write_bytes(whole)
        with suppress(ArchiveError):
            unpack_tar(file, target)


class tarfile_folder:  # noqa: N801  (used as a function)
    """A fresh folder for each example: pytest's is one for all of them."""

    def __enter__(self) -> tuple[Path, Path]:
        import tempfile  # noqa: PLC0415

        self._folder = tempfile.TemporaryDirectory()
        target = Path(self._folder.name) / "target"
        target.mkdir()
        return Path(self._folder.name) / "archive", target

    def __exit__(self, *_error: object) -> None:
        self._folder.cleanup()


@pytest.mark.container
@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_sparse_files_of_gnu_tar_are_put_together(tmp_path: Path, target: Path, form: str) -> None:
    content = b"start" + bytes(3_000_000) + b"middle" + bytes(2_000_000)
    with (tmp_path / "sparse").open("wb") as file:
        file.write(b"start")
        file.seek(3_000_000, os.SEEK_CUR)
        file.write(b"middle")
        file.truncate(len(content))
    command = ["tar", "-C", str(tmp_path), f"--format={form}", "-Scf", "archive.tar", "sparse"]
    subprocess.run(command, check=True, cwd=tmp_path)

    unpack_tar(tmp_path / "archive.tar", target)

    assert (target / "sparse").read_bytes() == content


def test_xattrs_of_overlayfs_in_an_archive_are_left_out(tmp_path: Path, target: Path) -> None:
    info = tarfile.TarInfo("a")
    info.type = tarfile.DIRTYPE
    info.pax_headers = {"SCHILY.xattr.user.overlay.redirect": "/etc", "SCHILY.xattr.user.b": "c"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as writer:
        writer.addfile(info)

    unpack_tar(archive(tmp_path, buffer.getvalue()), target)

    assert os.listxattr(target / "a") == ["user.b"]


@pytest.mark.container
def test_a_layer_is_unpacked_in_overlay_form(tmp_path: Path, target: Path) -> None:
    parts = [
        member("etc", tarfile.DIRTYPE),
        member("etc/.wh..wh..opq"),
        member("etc/new", data=b"1"),
        member("usr/.wh.gone"),
        member("both", data=b"1"),
        member(".wh.both"),
        member(".wh.again"),
        member("again", tarfile.DIRTYPE),
        member(".wh..wh.plnk"),
    ]

    unpack_layer(archive(tmp_path, *parts), target, devices=Devices.MAKE)

    found = {each.path: (each.kind, each.opaque) for each in entries_of(target, Clamp())}
    assert found == {
        "again": (Kind.FOLDER, True),
        "both": (Kind.FILE, False),
        "etc": (Kind.FOLDER, True),
        "etc/new": (Kind.FILE, False),
        "usr": (Kind.FOLDER, False),
        "usr/gone": (Kind.WHITEOUT, False),
    }


@pytest.mark.parametrize("name", ["a/.wh...", "a/.wh.", "a/.wh.."])
def test_a_deletion_of_no_name_is_refused(tmp_path: Path, target: Path, name: str) -> None:
    file = archive(tmp_path, member(name))

    with pytest.raises(ArchiveError) as caught:
        unpack_layer(file, target)

    assert str(caught.value) == f"{file}: {name}: a deletion of nothing"


@pytest.mark.container
def test_devices_owners_and_capabilities_come_out_as_root(tmp_path: Path, target: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    entries = [
        Entry(path="null", kind=Kind.CHARACTER, mode=0o666, device=(1, 3)),
        Entry(path="pipe", kind=Kind.FIFO, mode=0o600, uid=7, gid=8),
        Entry(
            path="ping",
            kind=Kind.FILE,
            mode=0o4755,
            uid=5,
            gid=6,
            xattrs={"security.capability": capability},
        ),
    ]
    file = tmp_path / "archive.tar"
    with file.open("wb") as sink:
        write_tar(entries, lambda _entry: b"", sink)

    unpack_tar(file, target, devices=Devices.MAKE)

    assert stat.S_ISCHR((target / "null").stat().st_mode)
    found = {each.path: each for each in entries_of(target, AS_THEY_ARE)}
    assert found == {each.path: each for each in entries}


def owned(name: str, mode: int, uid: int, gid: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.size = mode, uid, gid, 4
    return info.tobuf(tarfile.PAX_FORMAT) + b"text" + bytes(508)


MIXED = [
    (f"{folder}/{number}", mode, uid, gid)
    for folder in ("one", "two")
    for number, (mode, uid, gid) in enumerate(
        [
            (0o644, 0, 0),
            (0o600, 0, 0),
            (0o644, 0, 0),
            (0o755, 0, 0),
            (0o755, 0, 0),
            (0o666, 0, 0),
            (0o4755, 0, 0),
            (0o755, 7, 0),
            (0o755, 0, 0),
            (0o644, 0, 7),
            (0o2711, 7, 7),
            (0o000, 0, 0),
            (0o644, 0, 0),
        ]
    )
]


def allow_plain(folder: Path) -> None:
    """Do nothing: an ordinary folder."""


def give_group(folder: Path) -> None:
    """Let what is made in a folder get its group."""
    os.chown(folder, 0, 9)
    folder.chmod(0o2755)


def give_acl(folder: Path) -> None:
    """Set a default ACL (acl(5), version 2 of its xattr): owner rwx, group r-x, others nothing."""
    entries = struct.pack("<IHHIHHIHHI", 2, 1, 7, 2**32 - 1, 4, 5, 2**32 - 1, 32, 0, 2**32 - 1)
    os.setxattr(folder, "system.posix_acl_default", entries)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
@pytest.mark.parametrize("prepare", [allow_plain, give_group, give_acl])
def test_modes_and_owners_are_those_of_the_archive_whatever_files_are_born_with(
    umask: int, prepare: Callable[[Path], None], tmp_path: Path, target: Path
) -> None:
    prepare(target)
    file = archive(tmp_path, *(owned(*each) for each in MIXED))

    before = os.umask(umask)
    try:
        unpack_tar(file, target)
    finally:
        os.umask(before)

    found = [(name, (target / name).stat()) for name, *_ in MIXED]
    seen = [(n, stat.S_IMODE(each.st_mode), each.st_uid, each.st_gid) for n, each in found]
    assert seen == MIXED
