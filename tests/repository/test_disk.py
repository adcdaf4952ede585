"""Repositories in folders: files, revisions, snapshots, and what a failure leaves behind."""

import os
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from compiler.archive import Compression
from compiler.artifact.pack import describe, pack, write_metadata
from compiler.artifact.roots import MountedRoots
from compiler.artifact.selection import select
from compiler.errors import CompilerError, Faults, UsageError
from compiler.repository.content import CACHE, load_cache
from compiler.repository.disk import (
    Repository,
    RepositoryOptions,
    create_repository,
    read_repository,
)
from compiler.spec.package import BuildSpec, Definition, PackageSpec

NOW = 1795389729
OPTIONS = RepositoryOptions(name="myrepo", description="My repo", now=NOW)
GOLDEN = "f0c36e64fbb825e1dedb88d334df1e459d6bcbd2d55e095e0a6d410b56e150d2"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of two packages, the first with a finalizer."""
    root = tmp_path / "tree"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        text = f"name: {name}\ncategory: t\nversion: '1'\nfree: key\n"
        (root / name / "definition.yaml").write_text(text)
        (root / name / "build.yaml").write_text("unpack: true\n")
    (root / "a/finalize.yaml").write_text("install:\n- echo {{.Values.name}}\n")
    (root / "a/run.sh").write_text("#!/bin/sh\n")
    (root / "a/run.sh").chmod(0o755)
    (root / "b/link").symlink_to("../a")
    return root


def spec(root: Path, name: str, *, hidden: bool = False) -> PackageSpec:
    folder = root / name
    finalizer = folder / "finalize.yaml"
    return PackageSpec(
        definition=Definition(name=name, category="t", version="1", hidden=hidden),
        build=BuildSpec(unpack=True),
        folder=folder,
        definition_file=folder / "definition.yaml",
        finalize_file=finalizer if finalizer.exists() else None,
    )


def build(package: PackageSpec, destination: Path, text: str = "x") -> Path:
    """Pack an artifact that holds one file; returns its archive."""
    name = package.definition.name
    root = destination.parent / "roots" / name
    root.mkdir(parents=True, exist_ok=True)
    (root / f"file-of-{name}").write_text(text)
    (root / f"file-of-{name}").chmod(0o644)
    selection = select(package.build, MountedRoots(root, root))
    artifact = pack(selection, root, destination=destination, package=package.id)
    write_metadata(describe(package, artifact, epoch=0), destination)
    return artifact.path


def create(
    tree: Path, folder: Path, options: RepositoryOptions = OPTIONS, *names: str
) -> Repository:
    specs = [spec(tree, name) for name in names or ("a", "b")]
    return create_repository(specs, [tree], artifacts=folder, output=folder, options=options)


@pytest.fixture
def built(tree: Path, tmp_path: Path) -> Path:
    """A folder with the artifacts of both packages."""
    folder = tmp_path / "build"
    for name in ("a", "b"):
        build(spec(tree, name), folder)
    return folder


def test_a_repository_has_luets_files(tree: Path, built: Path) -> None:
    create(tree, built)

    snapshot = "20261122232209"
    files = ["compilertree.tar.gz", "repository.meta.yaml.tar", "repository.yaml", "tree.tar.gz"]
    assert sorted(path.name for path in built.iterdir()) == sorted(
        [
            CACHE,
            *files,
            *(f"{snapshot}-{name}" for name in files),
            *(f"{name}-t-1.{end}" for name in "ab" for end in ("metadata.yaml", "package.tar")),
        ]
    )


def test_a_repository_that_was_written_is_read_again(tree: Path, built: Path) -> None:
    made = create(tree, built)

    found = read_repository(built)

    assert found == made
    assert [item.id.fingerprint for item in found.index.artifacts] == ["a-t-1", "b-t-1"]
    assert found.index.artifacts[0].files == ("file-of-a",)
    assert found.info.revision == 1
    assert found.info.last_update == str(NOW)
    assert found.tree["t/a/1/finalize.yaml"] == "install:\n- echo {{.Values.name}}\n"
    assert "free" not in found.tree["t/a/1/definition.yaml"]


def test_the_front_page_names_its_files_with_their_checksums(tree: Path, built: Path) -> None:
    create(tree, built)

    page = yaml.safe_load((built / "repository.yaml").read_text())

    files = {key: (file["filename"], file["compressiontype"])
             for key, file in page.pop("repo_files").items()}  # fmt: skip
    assert page == {
        "name": "myrepo",
        "description": "My repo",
        "type": "disk",
        "urls": [],
        "enable": True,
        "revision": 1,
        "last_update": "1795389729",
        "index": [],
    }
    assert files == {
        "tree": ("tree.tar.gz", "gzip"),
        "compilertree": ("compilertree.tar.gz", "gzip"),
        "meta": ("repository.meta.yaml.tar", "none"),
    }


def test_the_same_input_gives_the_same_repository(tree: Path, built: Path, tmp_path: Path) -> None:
    one = create(tree, built)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    tree.rename(elsewhere / "tree")
    os.utime(elsewhere / "tree/a/run.sh", (1, 1))
    specs = [spec(elsewhere / "tree", name) for name in ("b", "a")]

    two = create_repository(
        specs, [elsewhere / "tree"], artifacts=built, output=elsewhere / "out", options=OPTIONS
    )

    assert one == two
    assert (built / "repository.yaml").read_bytes() == (
        elsewhere / "out/repository.yaml"
    ).read_bytes()


def test_the_bytes_of_a_runtime_tree_do_not_move(tree: Path, built: Path) -> None:
    made = create(tree, built, replace(OPTIONS, tree_compression=Compression.NONE))

    assert made.info.repo_files["tree"].sha256 == GOLDEN


def test_the_compiler_tree_is_the_tree_as_given(tree: Path, built: Path) -> None:
    create(tree, built)

    with tarfile.open(built / "compilertree.tar.gz") as archive:
        members = [(m.name, m.mode, m.linkname, m.uid) for m in archive.getmembers()]
    assert members == [
        ("tree", 0o755, "", 0),
        ("tree/a", 0o755, "", 0),
        ("tree/a/build.yaml", 0o644, "", 0),
        ("tree/a/definition.yaml", 0o644, "", 0),
        ("tree/a/finalize.yaml", 0o644, "", 0),
        ("tree/a/run.sh", 0o755, "", 0),
        ("tree/b", 0o755, "", 0),
        ("tree/b/build.yaml", 0o644, "", 0),
        ("tree/b/definition.yaml", 0o644, "", 0),
        ("tree/b/link", 0o777, "../a", 0),
    ]


def test_what_was_built_inside_of_a_tree_is_no_part_of_it(tree: Path) -> None:
    output = tree / "build"
    for name in ("a", "b"):
        build(spec(tree, name), output)
    (tree / ".git").mkdir()
    create(tree, output)

    create(tree, output)

    with tarfile.open(output / "compilertree.tar.gz") as archive:
        names = archive.getnames()
    assert [name for name in names if name.startswith(("tree/build", "tree/.git"))] == []


def test_packages_without_an_artifact_and_artifacts_of_no_tree_are_left_out(
    tree: Path, built: Path
) -> None:
    (built / "b-t-1.metadata.yaml").unlink()

    assert [item.id.name for item in create(tree, built).index.artifacts] == ["a"]
    assert create(tree, built, OPTIONS, "b").index.artifacts == ()


def test_artifacts_of_no_tree_are_taken_from_metadata_when_that_is_asked_for(
    tree: Path, built: Path
) -> None:
    made = create(tree, built, replace(OPTIONS, from_metadata=True), "b")

    assert [item.id.name for item in made.index.artifacts] == ["a", "b"]
    assert sorted(made.tree) == ["t/a/1/definition.yaml", "t/b/1/definition.yaml"]


def test_each_run_counts_the_revision_up(tree: Path, built: Path) -> None:
    revisions = [create(tree, built).info.revision for _ in range(3)]

    assert revisions == [1, 2, 3]
    assert create(tree, built, replace(OPTIONS, reset_revision=True)).info.revision == 1


def test_a_front_page_that_cannot_be_read_stops_the_run(tree: Path, built: Path) -> None:
    page = built / "repository.yaml"
    page.write_text("revision: many\n")

    with pytest.raises(CompilerError) as caught:
        create(tree, built)

    assert str(caught.value) == (
        f"{page}: the last revision cannot be read (--reset-revision starts at 1 again)"
    )
    assert page.read_text() == "revision: many\n"
    assert sorted(path.name for path in built.iterdir() if "tree" in path.name) == []


def test_a_snapshot_stays_as_it_was(tree: Path, built: Path) -> None:
    first = create(tree, built, replace(OPTIONS, snapshot_id="first"))
    build(spec(tree, "a"), built, "something else")
    create(tree, built, replace(OPTIONS, snapshot_id="second"))

    kept = read_repository(built, "first-repository.yaml")

    assert kept.index == first.index
    assert kept.index != read_repository(built).index
    assert {key: file.filename for key, file in kept.info.repo_files.items()} == {
        "tree": "first-tree.tar.gz",
        "compilertree": "first-compilertree.tar.gz",
        "meta": "first-repository.meta.yaml.tar",
    }


def test_files_are_named_and_compressed_as_asked(tree: Path, built: Path) -> None:
    options = replace(
        OPTIONS,
        type="http",
        urls=("http://a", "http://b"),
        tree_filename="t.tar",
        tree_compression=Compression.ZSTD,
        meta_filename="m.tar",
        meta_compression=Compression.GZIP,
    )

    made = create(tree, built, options)

    assert read_repository(built) == made
    assert made.info.type == "http"
    assert made.info.urls == ("http://a", "http://b")
    assert made.info.repo_files["tree"].filename == "t.tar.zst"
    assert made.info.repo_files["meta"].filename == "m.tar.gz"


def test_archives_that_are_missing_or_damaged_are_all_named_and_nothing_is_written(
    tree: Path, built: Path
) -> None:
    (built / "a-t-1.package.tar").unlink()
    (built / "b-t-1.package.tar").write_bytes(b"")

    with pytest.raises(Faults) as caught:
        create(tree, built)

    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert [str(error) for error in caught.value.exceptions] == [
        f"{built}/a-t-1.package.tar: the archive of t/a-1 is missing (build t/a-1 again)",
        f"{built}/b-t-1.package.tar: has another checksum than its metadata says: {empty} "
        "(remove it, and build t/b-1 again)",
    ]
    assert not (built / "repository.yaml").exists()


def test_metadata_under_the_name_of_another_package_is_refused(tree: Path, built: Path) -> None:
    (built / "a-t-1.metadata.yaml").replace(built / "b-t-1.metadata.yaml")

    with pytest.raises(Faults) as caught:
        create(tree, built)

    assert [str(error) for error in caught.value.exceptions] == [
        f"{built}/b-t-1.metadata.yaml: describes t/a-1"
    ]


def test_archives_that_did_not_change_are_not_read_again(built: Path) -> None:
    for path in built.iterdir():
        os.utime(path, (1, 1))
    archive = built / "a-t-1.package.tar"
    verified = load_cache(built)
    verified.fresh[str(archive)] = []
    status = archive.stat()
    seen: list[object] = [
        status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, "known",
    ]  # fmt: skip
    remembered = replace(verified, known={str(archive): seen})

    assert remembered.sha256(archive) == "known"
    archive.write_bytes(b"")
    assert remembered.sha256(archive).startswith("e3b0c442")


def test_a_damaged_cache_is_no_cache(tree: Path, built: Path) -> None:
    for text in ("", "[]", "{", '{"format": 1, "archives": 3}', '{"format": 99}'):
        (built / CACHE).write_text(text)

        assert load_cache(built).known == {}

    assert len(create(tree, built).index.artifacts) == 2


def test_what_a_killed_run_left_is_cleaned_up(tree: Path, built: Path) -> None:
    (built / ".cos-repo.part").mkdir()
    (built / ".cos-repo.part/tree.tar.gz").write_text("half")

    create(tree, built)

    assert not (built / ".cos-repo.part").exists()


def test_a_file_of_the_repository_that_was_changed_is_found_out(tree: Path, built: Path) -> None:
    create(tree, built)
    (built / "tree.tar.gz").write_bytes(b"forged")

    with pytest.raises(CompilerError) as caught:
        read_repository(built)

    assert str(caught.value) == (
        f"{built}/tree.tar.gz: has another checksum than repository.yaml says"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(OPTIONS, type="ftp"), "'ftp' is no type of repository: disk, http or docker"),
        (replace(OPTIONS, tree_filename="../t"),
         "'../t' cannot be the name of a file of a repository"),
        (replace(OPTIONS, snapshot_id="a/b"),
         "'a/b' cannot be the name of a file of a repository"),
        (replace(OPTIONS, meta_filename="repository.yaml"),
         "the files of a repository need different names"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_refused_before_anything_is_made(
    tree: Path, tmp_path: Path, options: RepositoryOptions, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        create(tree, tmp_path / "out", options)

    assert str(caught.value) == message
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(tree: Path, built: Path, tmp_path: Path) -> None:
    output = tmp_path / "file"
    output.write_text("")

    with pytest.raises(UsageError) as caught:
        create_repository([], [tree], artifacts=built, output=output, options=OPTIONS)

    assert str(caught.value) == f"{output}: is not a folder"


def test_artifacts_below_are_found_and_the_topmost_wins(tree: Path, built: Path) -> None:
    build(spec(tree, "a"), built / "older", "old")
    (built / "b-t-1.metadata.yaml").replace(built / "older/b-t-1.metadata.yaml")
    (built / "b-t-1.package.tar").replace(built / "older/b-t-1.package.tar")

    made = create(tree, built)

    sizes = {item.id.name: item.sha256 for item in made.index.artifacts}
    assert sorted(sizes) == ["a", "b"]
    assert read_repository(built).index == made.index


def test_hidden_packages_keep_their_list_of_files(tree: Path, tmp_path: Path) -> None:
    package = spec(tree, "a", hidden=True)
    build(package, tmp_path / "build")

    made = create_repository(
        [package], [tree], artifacts=tmp_path / "build", output=tmp_path / "out", options=OPTIONS
    )

    assert made.index.artifacts[0].files == ("file-of-a",)
    assert "hidden: true" in made.tree["t/a/1/definition.yaml"]


KILLED_WHILE_RENAMING = """
import os, signal, sys
from pathlib import Path
from compiler.repository.disk import RepositoryOptions, create_repository

left = int(sys.argv[2])

def count(event, arguments):
    global left
    if event == "os.rename":
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
folder = Path(sys.argv[1])
create_repository([], [folder / "tree"], artifacts=folder / "build", output=folder / "build",
                  options=RepositoryOptions(now=1, snapshot_id="killed", from_metadata=True))
"""


def test_a_kill_at_any_rename_leaves_a_repository_that_the_next_run_mends(
    tree: Path, built: Path
) -> None:
    create(tree, built, replace(OPTIONS, snapshot_id="first"))
    first = read_repository(built, "first-repository.yaml")

    codes = []
    for renames in range(20):
        done = subprocess.run(
            [sys.executable, "-c", KILLED_WHILE_RENAMING, str(tree.parent), str(renames)],
            check=False,
            timeout=60,
        )
        codes.append(done.returncode)
        assert read_repository(built, "first-repository.yaml") == first
        if done.returncode == 0:
            break

    assert codes[-1] == 0
    assert set(codes[:-1]) == {-signal.SIGKILL}
    # one run was killed when all but its cache had its name: that one counts
    assert read_repository(built).info.revision == 3
    assert not (built / ".cos-repo.part").exists()
