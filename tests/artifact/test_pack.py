"""Archives on disk: their bytes, and what is left after a failure."""

import hashlib
import os
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from compiler.archive import Clamp, Compression, Entry
from compiler.archive.scan import entries_of
from compiler.artifact import archive_name
from compiler.artifact.metadata import build_time, read_metadata
from compiler.artifact.pack import Artifact, describe, extract, pack, write_metadata
from compiler.artifact.roots import MountedRoots
from compiler.artifact.selection import Member, Selection, cut, select
from compiler.errors import ArchiveError, OutsideError, SpecError, UsageError
from compiler.spec.package import BuildSpec, Definition, PackageId, PackageSpec, Subpackage

EPOCH = 1577836800
GOLDEN = "a3cdacc28c4ee8d45300d4091efcd0b69ebd5c1bb6a42a9ae93a553c4170f85c"

SPEC = PackageSpec(
    definition=Definition(name="p", category="t", version="1.0+3"),
    build=BuildSpec(
        image="debian:trixie",
        steps=("make",),
        subpackages=(Subpackage(name="q", category="t", version="2", includes=("/y$",)),),
    ),
    folder=Path("p"),
    definition_file=Path("p/definition.yaml"),
)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A builder's root, what steps changed in it, and the root with these changes."""
    builder, changes, root = tmp_path / "builder", tmp_path / "changes", tmp_path / "root"
    for each in (builder, changes, root):
        for name, mode in (("etc", 0o755), ("tmp", 0o1777), ("root", 0o700)):
            (each / name).mkdir(parents=True)
            (each / name).chmod(mode)
    for each in (builder, root):
        (each / "usr/lib").mkdir(parents=True)
        (each / "lib").symlink_to("usr/lib")
        (each / "outside").symlink_to("/")
    for each in (builder, changes, root):
        (each / "etc/passwd").write_text("root\n")
        (each / "etc/passwd").chmod(0o644)
    for each in (changes, root):
        (each / "etc/hard").hardlink_to(each / "etc/passwd")
        (each / "tmp/f").write_text("f\n")
        (each / "root/ü ü").write_text("u\n")
        (each / "new").mkdir(mode=0o750)
        os.setxattr(each / "new", "user.kept", b"1")
        (each / "new/y").write_text("y\n")
        (each / "new/big").write_bytes(b"0123456789abcdef" * 8192)
        os.mkfifo(each / "new/pipe")
        (each / "new/link").symlink_to("/nowhere")
        for path in ("tmp/f", "root/ü ü", "new/y", "new/big", "new/pipe"):
            (each / path).chmod(0o644)
        (each / "new").chmod(0o750)
    return builder, changes, root


def roots_of(folders: tuple[Path, Path, Path]) -> MountedRoots:
    builder, changes, root = folders
    return MountedRoots(root, builder, changes=entries_of(changes, Clamp()))


def packed(
    folders: tuple[Path, Path, Path],
    destination: Path,
    compression: Compression = Compression.NONE,
) -> Artifact:
    selection = select(SPEC.build, roots_of(folders))
    return pack(
        selection, folders[2], destination=destination, package=SPEC.id, compression=compression
    )


def test_the_same_files_give_the_same_bytes_everywhere_and_always(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    members = select(SPEC.build, roots_of(folders)).members
    of_root = [Member(m.entry._replace(uid=0, gid=0), m.source) for m in members]

    artifact = pack(
        Selection(tuple(of_root)), folders[2], destination=tmp_path / "out", package=SPEC.id
    )

    assert artifact.sha256 == GOLDEN
    assert artifact.path == tmp_path / "out/p-t-1.0+3.package.tar"
    assert hashlib.sha256(artifact.path.read_bytes()).hexdigest() == artifact.sha256
    assert artifact.path.stat().st_size == artifact.size


def test_an_archive_holds_what_was_selected(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    artifact = packed(folders, tmp_path / "out", Compression.GZIP)

    with tarfile.open(artifact.path) as archive:
        members = archive.getmembers()
        assert [(m.name, m.mode, m.linkname) for m in members] == [
            ("etc", 0o755, ""),
            ("etc/hard", 0o644, ""),
            ("new", 0o750, ""),
            ("new/big", 0o644, ""),
            ("new/link", 0o777, "/nowhere"),
            ("new/pipe", 0o644, ""),
            ("new/y", 0o644, ""),
            ("root", 0o700, ""),
            ("root/ü ü", 0o644, ""),
            ("tmp", 0o1777, ""),
            ("tmp/f", 0o644, ""),
        ]
        assert {m.mtime for m in members} == {EPOCH}
        assert members[2].pax_headers == {"SCHILY.xattr.user.kept": "1"}
        passwd = archive.extractfile("etc/hard")
        assert passwd is not None
        assert passwd.read() == b"root\n"
    assert artifact.files == (
        "etc/hard", "new/big", "new/link", "new/pipe", "new/y", "root/ü ü", "tmp/f",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("compression", "suffix"),
    [(Compression.NONE, ""), (Compression.GZIP, ".gz"), (Compression.ZSTD, ".zst")],
)
def test_every_compression_holds_the_same_archive(
    folders: tuple[Path, Path, Path], tmp_path: Path, compression: Compression, suffix: str
) -> None:
    plain = packed(folders, tmp_path / "out")

    artifact = packed(folders, tmp_path / "out", compression)

    assert artifact.path.name == f"p-t-1.0+3.package.tar{suffix}"
    if compression is Compression.ZSTD:
        with zstandard.open(artifact.path, "rb") as stream:
            assert stream.read() == plain.path.read_bytes()


def test_a_package_dir_is_packed_from_where_it_lies(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    build = BuildSpec(image="debian", package_dir="/new", includes=("^/(y|big)$",))
    selection = select(build, roots_of(folders))

    artifact = pack(selection, folders[2], destination=tmp_path, package=SPEC.id)

    with tarfile.open(artifact.path) as archive:
        assert archive.getnames() == ["big", "y"]
        extracted = archive.extractfile("y")
        assert extracted is not None
        assert extracted.read() == b"y\n"


def test_a_package_dir_behind_a_link_is_not_followed(
    folders: tuple[Path, Path, Path],
) -> None:
    build = BuildSpec(image="debian", package_dir="/outside/etc")

    selection = select(build, roots_of(folders))

    assert selection.members == ()
    assert selection.warnings == (
        "package_dir '/outside/etc' is no folder in the root: the artifact is empty",
    )


def test_a_path_behind_a_link_of_the_builder_is_not_there(
    folders: tuple[Path, Path, Path],
) -> None:
    (folders[0] / "usr/lib/x").write_text("")
    roots = roots_of(folders)

    assert roots.in_builder("usr/lib/x")
    assert roots.in_builder("lib")
    assert not roots.in_builder("lib/x")
    assert not roots.in_builder("etc/passwd/x")


def test_subpackages_have_their_own_archive_and_metadata(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    parent = select(SPEC.build, roots_of(folders))
    selection = cut(parent, includes=("/y$",), excludes=())

    artifact = pack(selection, folders[2], destination=tmp_path, package=PackageId("t", "q", "2"))
    path = write_metadata(describe(SPEC, artifact, epoch=EPOCH), tmp_path)

    metadata = read_metadata(path)
    assert path.name == "q-t-2.metadata.yaml"
    assert metadata.id == PackageId("t", "q", "2")
    assert metadata.files == ("new/y",)
    assert metadata.seed == "debian:trixie"


def test_an_empty_artifact_is_an_archive_without_members(tmp_path: Path) -> None:
    selection = select(BuildSpec(image="debian"), MountedRoots(tmp_path, tmp_path))

    artifact = pack(selection, Path(), destination=tmp_path, package=SPEC.id)

    with tarfile.open(artifact.path) as archive:
        assert archive.getmembers() == []


def test_metadata_says_when_and_from_what_an_artifact_was_made(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    artifact = packed(folders, tmp_path, Compression.ZSTD)

    path = write_metadata(describe(SPEC, artifact, epoch=EPOCH, values={"a": 1}), tmp_path)

    metadata = read_metadata(path)
    assert path == tmp_path / "p-t-1.0+3.metadata.yaml"
    assert metadata.sha256 == artifact.sha256
    assert metadata.archive == "p-t-1.0+3.package.tar.zst"
    assert metadata.timestamp == build_time(EPOCH, artifact.sha256)
    assert metadata.timestamp.startswith(f"{datetime.fromtimestamp(EPOCH, UTC):%Y-%m-%d %H:%M:%S}.")
    assert metadata.values == ({"a": 1},)
    assert metadata.build == SPEC.build
    assert str(tmp_path) not in path.read_text()


def test_a_file_that_changes_while_it_is_packed_leaves_no_archive(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    selection = select(SPEC.build, roots_of(folders))
    (folders[2] / "new/y").write_text("longer than before")
    out = tmp_path / "out"

    with pytest.raises(ArchiveError) as caught:
        pack(selection, folders[2], destination=out, package=SPEC.id)

    assert str(caught.value) == "new/y: the file changed while it was being packed"
    assert list(out.iterdir()) == []


def test_a_destination_that_is_a_file_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("")
    selection = select(None, MountedRoots(tmp_path, tmp_path))

    with pytest.raises(UsageError) as caught:
        pack(selection, Path(), destination=out, package=SPEC.id)

    assert str(caught.value) == f"{out}: is not a folder"


def test_a_destination_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    selection = select(None, MountedRoots(tmp_path, tmp_path))

    with pytest.raises(OutsideError) as caught:
        pack(selection, Path(), destination=Path("/proc/cos"), package=SPEC.id)

    assert str(caught.value) == (
        "/proc/cos/p-t-1.0+3.package.tar: cannot be written: No such file or directory"
    )


def test_a_name_that_leads_elsewhere_names_no_archive() -> None:
    with pytest.raises(SpecError) as caught:
        archive_name(PackageId("t", "../p", "1"), Compression.NONE)

    assert str(caught.value) == "'../p-t-1' cannot be the name of a file"


def test_artifacts_are_unpacked_over_each_other_and_later_files_win(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    first = packed(folders, tmp_path / "one", Compression.ZSTD)
    (folders[2] / "new/y").write_text("Y\n")
    selection = select(BuildSpec(package_dir="/", includes=("/y$",)), roots_of(folders))
    second = pack(selection, folders[2], destination=tmp_path / "two", package=SPEC.id)
    target = tmp_path / "target"
    target.mkdir()

    extract(first.path, target)
    extract(second.path, target)

    assert (target / "new/y").read_text() == "Y\n"
    assert (target / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (target / "new").stat().st_mode & 0o7777 == 0o750
    assert os.getxattr(target / "new", "user.kept") == b"1"


def test_an_artifact_that_is_missing_cannot_be_unpacked(tmp_path: Path) -> None:
    with pytest.raises(OutsideError) as caught:
        extract(tmp_path / "nothing", tmp_path)

    assert str(caught.value) == (
        f"{tmp_path}/nothing: cannot be unpacked: No such file or directory"
    )


def test_a_root_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    roots = MountedRoots(tmp_path / "nothing", tmp_path)

    with pytest.raises(OutsideError) as caught:
        tuple(select(BuildSpec(unpack=True), roots).members)

    assert str(caught.value) == "/: cannot be read: No such file or directory"


def test_entries_of_the_root_are_folders_and_files(folders: tuple[Path, Path, Path]) -> None:
    roots = roots_of(folders)

    found = [roots.entry(path) for path in ("new", "new/y", "lib", "lib/x", "new/pipe", "none")]

    assert [entry.path if isinstance(entry, Entry) else None for entry in found] == [
        "new", "new/y", None, None, None, None,
    ]  # fmt: skip
    assert found[0] is not None
    assert found[0].xattrs == {"user.kept": b"1"}
