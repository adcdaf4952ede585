"""The files of a package's folder: what steps see, and what counts for the key."""

import os
import socket
import stat
from pathlib import Path

import pytest

from compiler.context import context_files, fill_workspace
from compiler.errors import SpecError


def folder_with(place: Path, **files: str) -> Path:
    folder = place / "p"
    folder.mkdir()
    for name, text in {"build.yaml": "steps: []", "definition.yaml": "name: p", **files}.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def paths(folder: Path, *texts: str) -> list[str]:
    return [each.path for each in context_files(folder, texts=texts)]


def test_spec_files_alone_are_no_context(tmp_path: Path) -> None:
    assert paths(folder_with(tmp_path)) == []


def test_spec_files_are_left_out_beside_others(tmp_path: Path) -> None:
    assert paths(folder_with(tmp_path, a__conf="x", finalize__yaml="y")) == ["a.conf"]


def test_a_spec_file_that_a_step_names_is_there(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)

    assert paths(folder, "grep name /luetbuild/definition.yaml") == ["definition.yaml"]


def test_a_spec_file_that_a_file_of_the_folder_names_is_there(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, make__sh="cat definition.yaml")

    assert paths(folder) == ["definition.yaml", "make.sh"]


def test_a_file_of_that_name_deeper_down_is_an_ordinary_one(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    (folder / "sub").mkdir()
    (folder / "sub" / "build.yaml").write_text("x")

    assert paths(folder) == ["sub", "sub/build.yaml"]


def test_mode_bits_that_a_umask_decides_do_not_count(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, a="x")
    (folder / "a").chmod(0o664)
    (folder / "d").mkdir(mode=0o775)
    (folder / "d").chmod(0o775)
    before = context_files(folder)

    (folder / "a").chmod(0o644)
    (folder / "d").chmod(0o755)

    assert context_files(folder) == before


@pytest.mark.parametrize(("mode", "counts"), [(0o755, True), (0o700, True), (0o600, False)])
def test_of_the_mode_only_whether_it_is_executable_counts(
    tmp_path: Path, *, mode: int, counts: bool
) -> None:
    folder = folder_with(tmp_path, a="x")
    (folder / "a").chmod(0o644)
    before = context_files(folder)

    (folder / "a").chmod(mode)

    assert (context_files(folder) != before) is counts


def test_a_link_counts_by_where_it_leads_and_is_never_followed(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    (folder / "loop").symlink_to(".")
    (folder / "out").symlink_to("/etc/passwd")
    before = context_files(folder)
    (folder / "out").unlink()
    (folder / "out").symlink_to("/etc/group")

    assert [each.path for each in before] == ["loop", "out"]
    assert context_files(folder)[0] == before[0]
    assert context_files(folder)[1] != before[1]


def test_times_do_not_count(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, a="x")
    before = context_files(folder)
    os.utime(folder / "a", (1, 1))

    assert context_files(folder) == before


def test_a_socket_is_refused_by_name(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s"))

        with pytest.raises(SpecError) as caught:
            context_files(folder)

    assert str(caught.value) == (
        f"{folder}/s: is neither a file, a folder nor a link (take it out of the package's folder)"
    )


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    os.mkfifo(folder / "f")

    with pytest.raises(SpecError) as caught:
        context_files(folder)

    assert str(caught.value).startswith(f"{folder}/f: is neither a file")


def test_a_folder_that_is_gone_is_an_error_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        context_files(tmp_path / "gone")

    assert str(caught.value) == f"{tmp_path}/gone: cannot be read: No such file or directory"


def test_a_name_that_is_not_text_is_kept(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    (folder / os.fsdecode(b"\xff\n")).write_text("x")

    assert paths(folder) == [os.fsdecode(b"\xff\n")]


def test_the_workspace_holds_just_what_counts_with_one_time(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, run__sh="echo")
    (folder / "run.sh").chmod(0o755)
    (folder / "d").mkdir(mode=0o750)
    (folder / "d" / "link").symlink_to("/etc/passwd")
    workspace = tmp_path / "workspace"
    workspace.mkdir()

    fill_workspace(folder, context_files(folder), workspace, epoch=1_600_000_000)

    found = {
        str(path.relative_to(workspace)): (
            stat.filemode(path.lstat().st_mode),
            path.lstat().st_mtime,
        )
        for path in sorted(workspace.rglob("*"))
    }
    assert found == {
        "d": ("drwxr-xr-x", 1_600_000_000),
        "d/link": ("lrwxrwxrwx", 1_600_000_000),
        "run.sh": ("-rwxr-xr-x", 1_600_000_000),
    }
