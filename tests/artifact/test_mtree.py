"""The mtree of an archive: it says of what was unpacked what is there, and nothing else."""

import hashlib
import os
import re
import stat
from pathlib import Path

import pytest
import yaml

from compiler.archive import Compression, Entry, Kind
from compiler.archive.tar import folder_content
from compiler.artifact.metadata import (
    ArtifactMetadata,
    index_entry,
    metadata_text,
    parse_metadata,
)
from compiler.artifact.mtree import Digests, archive_mtree, mtree_of
from compiler.artifact.pack import Artifact, describe, extract, pack, write_metadata
from compiler.artifact.roots import MountedRoots
from compiler.artifact.selection import select
from compiler.spec.package import BuildSpec, Definition, PackageSpec

HOSTILE = (
    "a b", "tab\there", "line\nbreak", "back\\slash", "#comment", "st*r?[x]", "ünï", "\udce9",
    "type=dir", "..x", "set", "\x7f", "\\040", "🐄", "e\u2028f",
)  # fmt: skip
SPEC = PackageSpec(
    definition=Definition(name="p", category="t", version="1"),
    build=BuildSpec(unpack=True),
    folder=Path("p"),
    definition_file=Path("p/definition.yaml"),
)
TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with everything that any user can make."""
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/su").write_text("su")
    (root / "usr/bin/su").chmod(0o4755)
    (root / "usr/bin/big").write_bytes(bytes(range(256)) * 1000)
    (root / "usr/bin/alias").hardlink_to(root / "usr/bin/su")
    (root / "usr/bin/0th").hardlink_to(root / "usr/bin/big")
    (root / "none").write_text("")
    (root / "none").chmod(0o400)
    (root / "empty").mkdir(mode=0o700)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    os.mkfifo(root / "pipe")
    (root / "link").symlink_to("usr/bin")
    (root / "odd").symlink_to("/a b\\*?\udcff=")
    for name in HOSTILE:
        (root / name).write_text(name.encode("utf-8", "surrogateescape").hex())
    return root


def packed(root: Path, destination: Path) -> tuple[Artifact, str]:
    """Pack a root; returns the artifact and the mtree that was made on the way."""
    selection = select(SPEC.build, MountedRoots(root, root))
    digests = Digests(folder_content(root))
    artifact = pack(
        selection,
        digests.read,
        destination=destination,
        package=SPEC.id,
        compression=Compression.ZSTD,
    )
    return artifact, mtree_of((each.entry for each in selection.members), digests.found)


def unvis(text: str) -> bytes:
    """Read a name as mtree(5) says; nothing but plain letters may stand there unescaped."""
    assert re.fullmatch(r"(?:[!-~])+", text)
    found = re.findall(rb"\\(\d{3})|\\(\\)|([^\\])", text.encode())
    return b"".join(bytes([int(octal, 8)]) if octal else slash or plain
                    for octal, slash, plain in found)  # fmt: skip


def parsed(mtree: str) -> dict[bytes, dict[str, str]]:
    """Read a mtree as its clients do: each name is in the folder that was opened last."""
    first, *lines = mtree.splitlines()
    assert first == "#mtree"
    inside: list[bytes] = []
    found = {}
    for line in lines:
        if line == "..":
            inside.pop()
            continue
        name, *words = line.split()
        pairs = dict(word.split("=", 1) for word in words)
        path = b"/".join([*inside, unvis(name)])
        assert path not in found
        found[path] = pairs
        if pairs["type"] == "dir":
            inside.append(unvis(name))
    assert inside == []
    return found


def looked_at(folder: Path) -> dict[bytes, dict[str, str]]:
    """Say of everything in a folder what a mtree has to say."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        words = {
            "type": TYPES[stat.S_IFMT(status.st_mode)],
            "uid": str(status.st_uid),
            "gid": str(status.st_gid),
            "mode": f"0{stat.S_IMODE(status.st_mode):o}",
        }
        if stat.S_ISREG(status.st_mode):
            words["size"] = str(status.st_size)
            words["sha256digest"] = hashlib.sha256(path.read_bytes()).hexdigest()
        if stat.S_ISLNK(status.st_mode):
            words["link"] = os.fsencode(path.readlink()).decode("latin-1")
        found[b"./" + os.fsencode(path.relative_to(folder))] = words
    return found


def test_an_mtree_says_of_every_path_what_lies_there_once_the_archive_is_unpacked(
    root: Path, tmp_path: Path
) -> None:
    artifact, mtree = packed(root, tmp_path / "out")
    target = tmp_path / "target"
    target.mkdir()

    extract(artifact.path, target)

    said = parsed(mtree)
    assert said.pop(b".") == {"type": "dir"}
    for words in said.values():
        if "link" in words:
            words["link"] = unvis(words["link"]).decode("latin-1")
    assert said == looked_at(target)
    assert mtree.isascii()


def test_an_archive_that_lies_there_has_the_mtree_that_was_made_when_it_was_packed(
    root: Path, tmp_path: Path
) -> None:
    artifact, mtree = packed(root, tmp_path / "out")

    assert archive_mtree(artifact.path) == mtree


def test_names_stand_sorted_below_their_folders_in_the_words_that_luets_plugin_knows() -> None:
    file = Entry("b/f", Kind.FILE, mode=0o644, size=1)
    entries = [
        Entry("b", Kind.FOLDER, mode=0o755, uid=5, gid=6, mtime=99),
        file,
        Entry("b/g", Kind.HARDLINK, target="b/f"),
        Entry("b/a", Kind.SYMLINK, mode=0o777, target="f f"),
        Entry("b/e", Kind.FILE, mode=0o2000),
        Entry("b/lost", Kind.HARDLINK, target="elsewhere"),
        Entry("a", Kind.BLOCK, mode=0o660, device=(8, 1)),
        Entry("b-c", Kind.CHARACTER, mode=0, device=(1, 3)),
        Entry("d/", Kind.FOLDER, mode=0o700),
        Entry("e/f/g", Kind.FIFO, mode=0o600),
        Entry(".", Kind.FOLDER, mode=0o700),
    ]

    mtree = mtree_of(entries, {"b/f": "ab"})

    empty = hashlib.sha256(b"").hexdigest()
    assert mtree == (
        "#mtree\n"
        ". type=dir\n"
        "a type=block uid=0 gid=0 mode=0660\n"
        "b type=dir uid=5 gid=6 mode=0755\n"
        "a type=link uid=0 gid=0 mode=0777 link=f\\040f\n"
        f"e type=file uid=0 gid=0 mode=02000 size=0 sha256digest={empty}\n"
        "f type=file uid=0 gid=0 mode=0644 size=1 sha256digest=ab\n"
        "g type=file uid=0 gid=0 mode=0644 size=1 sha256digest=ab\n"
        "..\n"
        "b-c type=char uid=0 gid=0 mode=0\n"
        "d type=dir uid=0 gid=0 mode=0700\n"
        "..\n"
        "e type=dir\n"
        "f type=dir\n"
        "g type=fifo uid=0 gid=0 mode=0600\n"
        "..\n..\n..\n"
    )


def test_metadata_has_the_mtree_under_a_key_that_is_passed_over(root: Path, tmp_path: Path) -> None:
    artifact, mtree = packed(root, tmp_path)
    plain = describe(SPEC, artifact, epoch=0)

    path = write_metadata(plain, tmp_path, mtree)

    text = path.read_text()
    assert yaml.safe_load(text)["mtree"] == mtree
    assert yaml.safe_load(text) == yaml.safe_load(metadata_text(plain)) | {"mtree": mtree}
    assert parse_metadata(text, "p") == parse_metadata(metadata_text(plain), "p")


@pytest.mark.parametrize("head", ["|\n", "|-\n", "|+\n", ">\n", "|2\n"], ids=repr)
def test_mtrees_that_others_wrote_are_passed_over_wherever_they_stand(head: str) -> None:
    metadata = ArtifactMetadata(
        runtime=SPEC.definition,
        built=SPEC.definition,
        archive="p.tar",
        sha256="0" * 64,
        compression="none",
        files=("a/b", "c"),
    )
    text = metadata_text(metadata)
    block = f"mtree: {head}  #mtree v2.0\n\n  # .\n  files:\n  - x\n\n"

    assert parse_metadata(text + block, "p") == metadata
    assert parse_metadata(text.replace("\nfiles:", f"\n{block}files:"), "p") == metadata
    assert parse_metadata(block + text, "p") == metadata
    assert "mtree" not in index_entry(parse_metadata(text + block, "p"))
