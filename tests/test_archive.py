import io
import os
import resource
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.archive import DEFAULT_EPOCH, Clamp, Compression, Entry, Kind
from compiler.archive.compress import atomic_file, compressed_file, decompressed, remove_stale
from compiler.archive.scan import entries_of
from compiler.archive.tar import Source, folder_content, header_of, write_layer, write_tar
from compiler.errors import ArchiveError

OLD = 1_000_000_000


def packed(folder: Path, clamp: Clamp | None = None) -> bytes:
    sink = io.BytesIO()
    write_tar(entries_of(folder, clamp or Clamp()), folder_content(folder), sink)
    return sink.getvalue()


def members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()


def read_back(entry: Entry) -> tarfile.TarInfo:
    return members(header_of(entry._replace(size=0)) + bytes(1024))[0]


def test_entries_are_sorted_by_the_bytes_of_their_path(tmp_path: Path) -> None:
    for name in ("a", "a-b", "ä", "Z"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "b").touch()
    (tmp_path / "\udcff").mkdir()

    entries = entries_of(tmp_path, Clamp())

    assert [each.path for each in entries] == ["Z", "a", "a-b", "a/b", "ä", "\udcff"]


def test_the_first_path_of_a_linked_file_is_the_file_and_the_others_are_links(
    tmp_path: Path,
) -> None:
    (tmp_path / "z").write_text("text")
    (tmp_path / "b").hardlink_to(tmp_path / "z")
    (tmp_path / "c").hardlink_to(tmp_path / "z")

    entries = entries_of(tmp_path, Clamp())

    assert [(each.path, each.kind, each.target, each.size) for each in entries] == [
        ("b", Kind.FILE, "", 4),
        ("c", Kind.HARDLINK, "b", 0),
        ("z", Kind.HARDLINK, "b", 0),
    ]


def test_times_of_the_run_are_clamped_and_older_ones_stay_in_whole_seconds(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    (tmp_path / "old").touch()
    (tmp_path / "ancient").touch()
    os.utime(tmp_path / "old", ns=(0, OLD * 10**9 + 999))
    os.utime(tmp_path / "ancient", ns=(0, -(10**9)))

    entries = entries_of(tmp_path, Clamp())

    assert {each.path: each.mtime for each in entries} == {
        "ancient": 0,
        "new": DEFAULT_EPOCH,
        "old": OLD,
    }


def test_xattrs_are_kept_except_those_of_overlayfs(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.setxattr(tmp_path / "folder", "user.comment", b"\x00\xff=\n")
    os.setxattr(tmp_path / "folder", "user.overlay.opaque", b"y")
    os.setxattr(tmp_path / "folder", "user.overlay.origin", b"x")

    (entry,) = entries_of(tmp_path, Clamp())

    assert entry.opaque
    assert entry.xattrs == {"user.comment": b"\x00\xff=\n"}


def test_a_folder_whose_content_lies_in_another_layer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    os.setxattr(tmp_path / "moved", "user.overlay.redirect", b"/old")

    with pytest.raises(ArchiveError) as caught:
        entries_of(tmp_path, Clamp())

    assert str(caught.value) == (
        "moved: a part of it lies in another layer"
        " (mount overlayfs with redirect_dir=off and metacopy=off)"
    )


def test_equal_folders_give_equal_bytes_wherever_and_whenever_they_were_made(
    tmp_path: Path,
) -> None:
    for name, order in (("one", "abc"), ("two", "cba")):
        for letter in order:
            (tmp_path / name / letter).mkdir(parents=True)
            (tmp_path / name / letter / "file").write_text(letter)

    assert packed(tmp_path / "one") == packed(tmp_path / "two")


def test_other_tools_read_the_archive(tmp_path: Path) -> None:
    source = tmp_path / "source"
    long = "x" * 120
    (source / "d" / long).mkdir(parents=True)
    (source / "d" / long / "é").write_text("text")
    (source / "link").symlink_to("y" * 150)
    (source / "big").write_bytes(os.urandom(300_000))

    found = members(packed(source))

    assert [(each.name, each.type, each.linkname) for each in found] == [
        ("big", tarfile.REGTYPE, ""),
        ("d", tarfile.DIRTYPE, ""),
        (f"d/{long}", tarfile.DIRTYPE, ""),
        (f"d/{long}/é", tarfile.REGTYPE, ""),
        ("link", tarfile.SYMTYPE, "y" * 150),
    ]


@given(
    path=st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300
    ).map(lambda text: text.strip("/") or "x"),
    uid=st.integers(0, 2**32 - 1),
    mtime=st.integers(0, 2**40),
    value=st.binary(max_size=50),
)
def test_every_header_is_read_back_as_it_was_written(
    path: str, uid: int, mtime: int, value: bytes
) -> None:
    entry = Entry(
        path=path,
        kind=Kind.FILE,
        mode=0o4755,
        uid=uid,
        gid=7,
        mtime=mtime,
        xattrs={"user.a": value},
    )

    found = read_back(entry)

    assert (found.name, found.mode, found.uid, found.gid, int(found.mtime)) == (
        path, 0o4755, uid, 7, mtime,
    )  # fmt: skip
    xattr = found.pax_headers["SCHILY.xattr.user.a"]
    assert xattr.encode("utf-8", "surrogateescape") == value


def test_a_name_that_is_not_utf8_is_kept() -> None:
    entry = Entry(path="caf\udce9", kind=Kind.FILE)

    found = read_back(entry)

    assert found.name == "caf\udce9"


def test_pax_records_stand_only_where_a_value_does_not_fit() -> None:
    plain = Entry(path="a" * 100, kind=Kind.FILE)
    split = Entry(path=f"{'a' * 150}/{'b' * 100}", kind=Kind.FILE)
    large = Entry(path="a", kind=Kind.FILE, size=8**11)

    assert [len(header_of(each)) for each in (plain, split, large)] == [512, 512, 1536]


def test_a_layer_writes_deletions_as_the_image_specification_says() -> None:
    entries = [
        Entry(path="etc", kind=Kind.FOLDER, mode=0o755, opaque=True),
        Entry(path="etc/gone", kind=Kind.WHITEOUT),
        Entry(path="top", kind=Kind.WHITEOUT),
    ]
    sink = io.BytesIO()

    write_layer(entries, lambda _entry: b"", sink)

    names = [each.name for each in members(sink.getvalue())]
    assert names == ["etc", "etc/.wh..wh..opq", "etc/.wh.gone", ".wh.top"]


def test_a_deletion_in_a_plain_archive_is_refused() -> None:
    entry = Entry(path="etc/gone", kind=Kind.WHITEOUT)

    with pytest.raises(ArchiveError) as caught:
        write_tar([entry], lambda _entry: b"", io.BytesIO())

    assert str(caught.value) == "etc/gone: a deletion cannot stand in a plain archive"


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_a_file_is_let_go_of_wherever_its_writing_fails(tmp_path: Path, taken: int) -> None:
    (tmp_path / "file").write_bytes(bytes(200_000))
    opened = []

    def content(entry: Entry) -> bytes | Source:
        opened.append(folder_content(tmp_path)(entry))
        return opened[-1]

    class Pipe(io.BytesIO):
        left = taken

        def write(self, _data: object, /) -> int:
            if not self.left:
                raise BrokenPipeError
            self.left -= 1
            return 0

    with pytest.raises(BrokenPipeError):
        write_tar(entries_of(tmp_path, Clamp()), content, Pipe())

    assert [file.closed for file in opened if isinstance(file, io.FileIO)] == [True]


@pytest.mark.parametrize("size", [10, 200_000])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changes_its_size_while_it_is_packed_is_an_error(
    tmp_path: Path, size: int, change: int
) -> None:
    (tmp_path / "file").write_bytes(bytes(size))
    entries = entries_of(tmp_path, Clamp())
    (tmp_path / "file").write_bytes(bytes(size + change))

    with pytest.raises(ArchiveError) as caught:
        write_tar(entries, folder_content(tmp_path), io.BytesIO())

    assert str(caught.value) == "file: the file changed while it was being packed"


@pytest.mark.parametrize("compression", list(Compression))
def test_the_number_of_threads_does_not_change_the_bytes(
    tmp_path: Path, compression: Compression
) -> None:
    piece = os.urandom(700_000) + bytes(500_000)
    results = []

    for threads in (1, 2, 4):
        with compressed_file(tmp_path / "file", compression, threads=threads) as sink:
            for _ in range(12):
                sink.write(piece)
        results.append((tmp_path / "file").read_bytes())

    assert results[0] == results[1] == results[2]
    with (tmp_path / "file").open("rb") as file, decompressed(file) as stream:
        assert stream.read() == piece * 12


@pytest.mark.parametrize("compression", list(Compression))
def test_the_size_of_the_pieces_does_not_change_the_bytes(
    tmp_path: Path, compression: Compression
) -> None:
    data = os.urandom(3_000_000) + bytes(6_000_000)
    results = []

    for piece in (len(data), 70_001):
        with compressed_file(tmp_path / "file", compression) as sink:
            for start in range(0, len(data), piece):
                sink.write(data[start : start + piece])
        results.append((sink.sha256, sink.size))

    assert results[0] == results[1]


@pytest.mark.parametrize("compression", list(Compression))
def test_an_empty_content_can_be_compressed(tmp_path: Path, compression: Compression) -> None:
    with compressed_file(tmp_path / "file", compression):
        pass

    with (tmp_path / "file").open("rb") as file, decompressed(file) as stream:
        assert stream.read() == b""


def test_a_file_that_could_not_be_finished_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")

    def write_and_stop() -> None:
        with atomic_file(tmp_path / "file") as file:
            file.write(b"after")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        write_and_stop()

    assert [each.read_text() for each in tmp_path.iterdir()] == ["before"]


@pytest.mark.parametrize("size", [1_200_000, 9_000_000])
def test_a_disk_that_is_full_is_an_error_of_whoever_writes_and_leaves_nothing(
    tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write_all() -> None:
        with compressed_file(tmp_path / "file", Compression.ZSTD) as sink:
            for start in range(0, size, 100_000):
                sink.write(data[start : start + 100_000])

    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_all()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert list(tmp_path.iterdir()) == []


def test_only_unfinished_files_that_nobody_writes_are_removed(tmp_path: Path) -> None:
    left = tmp_path / ".a.tar.0123.part"
    left.write_text("half")
    (tmp_path / "a.tar").write_text("whole")

    with atomic_file(tmp_path / "b.tar") as file:
        file.write(b"new")
        remove_stale(tmp_path)
    remove_stale(tmp_path / "nowhere")

    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.tar", "b.tar"]
