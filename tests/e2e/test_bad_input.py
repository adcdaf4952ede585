"""Input that is wrong, hostile or huge: each gets its place, its reason and its exit code."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.cli import main

DEFINITION = 'name: p\ncategory: t\nversion: "1"\n'
BUILD = "image: nowhere\nsteps:\n- make\n"
MEMORY = 400 << 10
"""Kilobytes that no bad input may take."""
SECONDS = 15.0

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{each}: &{each} [{','.join([f'*{chr(ord(each) - 1)}'] * 9)}]\n" for each in "bcdefghijkl"
)

FILES: dict[str, tuple[str, str | bytes, str]] = {
    "no YAML": (
        "definition.yaml", "{[}: x",
        "1:3: is not YAML: did not find expected node content while parsing a flow node"
        " (check the indentation and the quotes of this line and the one before)",
    ),
    "no text": ("build.yaml", b"image: \xff", "1:8: is not UTF-8 text: byte 0xff"),
    "UTF-16": (
        "definition.yaml", DEFINITION.encode("utf-16"), "1:1: is not UTF-8 text: byte 0xff"),
    "a NUL": (
        "build.yaml", b"image: a\0b",
        "1:9: holds the control character U+0000 (is this a text file?)",
    ),
    "a list": (
        "definition.yaml", "- a",
        "1:1: the file must be a map of keys and values, not a list",
    ),
    "a key twice": (
        "build.yaml", "image: a\nimage: b\n", "2:1: key 'image' is given twice (first at 1:1)"),
    "a bomb": ("build.yaml", BOMB, "6:4: aliases stand for more than 1000000 values"),
    "a bomb in a definition": (
        "definition.yaml", DEFINITION + BOMB, "9:4: aliases stand for more than 1000000 values"),
    "deep lists": (
        "build.yaml", f"steps: {'[' * 100000}", "1:135: nests lists and maps more than 128 deep"),
    "no name": ("definition.yaml", "category: t\n", "1:1: missing field 'name'"),
    "nothing": ("definition.yaml", "", " is empty (give it a 'name')"),
    "a number as version": (
        "definition.yaml", "name: p\ncategory: t\nversion: 1.10\n",
        "3:10: 'version' must be a string, not a number (write version: \"1.10\")",
    ),
    "a slash": (
        "definition.yaml", "name: a/b\ncategory: t\n",
        "1:7: 'name' must not hold '/' (it becomes part of file names and image tags)",
    ),
    "a blank": (
        "definition.yaml", "name: a b\ncategory: t\n",
        "1:7: 'name' must not hold white space (it becomes part of file names and image tags)",
    ),
    "a way out": (
        "definition.yaml", 'name: p\ncategory: ".."\n',
        "2:11: 'category' must not hold '..' (it becomes part of file names and image tags)",
    ),
    "a long version": (
        "definition.yaml", DEFINITION.replace('"1"', f'"{"1." * 5000}"'),
        "3:10: 'version' is too long: 10000 characters"
        " (name, category and version may have 200 bytes together)",
    ),
    "a template that loops": (
        "build.yaml", "image: a\nsteps:\n{{ range until 100000000 }}- x\n{{ end }}",
        "3:10: function 'until' failed: more than 100000 numbers",
    ),
    "loops within loops": (
        "build.yaml",
        "a: b\n{{ range until 9999 }}{{ range until 9999 }}{{ end }}{{ end }}",
        "2:54: iteration budget exceeded: limit 100000, requested 100001",
    ),
    "a template that calls itself": (
        "build.yaml", '{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}',
        "1:20: templates call each other without end",
    ),
    "a template that grows": (
        "build.yaml", 'steps: ["{{ repeat 2000000000 "x" }}"]',
        "1:13: function 'repeat' failed: more than 16777216 characters",
    ),
    "a template that fails": (
        "build.yaml", "image: a\nsteps:\n- {{ fail \"told you\" }}\n",
        "3:6: function 'fail' failed: told you",
    ),
    "a template that is none": (
        "build.yaml", "a: b\nc: {{ if }}", "2:10: missing value for command"),
    "a retrieved way out": (
        "build.yaml", BUILD + 'retrieve: ["../x"]\n',
        "4:11: retrieve: '../x' leads out of the destination"
        " (name files of the destination folder, or a URL)",
    ),
    "a ring": (
        "build.yaml", 'requires:\n- {name: p, category: t, version: ">=0"}\n',
        "2:3: cycle: t/p-1 -> t/p-1",
    ),
}  # fmt: skip
"""File, its content, and the error that it gives, without the name of the file."""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of one good package, in a tree of the current folder."""
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "tree" / "p"
    package.mkdir(parents=True)
    (package / "definition.yaml").write_text(DEFINITION)
    (package / "build.yaml").write_text(BUILD)
    return package


def build(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    """Run `cos build --all` in this process; returns its exit code and what it said."""
    with pytest.raises(SystemExit) as stop:
        main(["build", "--all", "--tree", "tree", "--store", "store", *arguments])
    assert not Path("build").exists()
    return int(stop.value.code or 0), capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_wrong_is_told_with_its_place(
    tree: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    name, text, message = FILES[case]
    (tree / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    code, said = build(capsys)

    assert (code, said[0]) == (1, f"error: tree/p/{name}:{message}")


def test_every_fault_of_a_file_is_told(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "definition.yaml").write_text("name: [a]\ncategory: {}\nversion: 1\nrequires: x\n")
    (tree / "build.yaml").write_text("image: []\nsteps: {a: b}\nunpack: maybe\n")

    code, said = build(capsys)

    assert code == 1
    assert [line.split(": ")[1] for line in said][:4] == [
        "tree/p/definition.yaml:1:7",
        "tree/p/definition.yaml:2:11",
        "tree/p/definition.yaml:3:10",
        "tree/p/definition.yaml:4:11",
    ]


def test_regular_expressions_that_are_none_are_told_before_anything_runs(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "build.yaml").write_text(
        BUILD + 'includes: ["(", "a{1000}{1000}"]\nexcludes: ["(?=x)"]'
    )

    code, said = build(capsys)
    filters = [line for line in said if "regular expression" in line]

    assert code == 1
    assert [line.split(": ")[1] for line in filters] == [
        "tree/p/build.yaml:4:12", "tree/p/build.yaml:4:17", "tree/p/build.yaml:5:12"]  # fmt: skip


def test_a_value_that_is_missing_stops_the_build_only(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "build.yaml").write_text("image: a\nsteps:\n- echo {{ .Values.nothing }}\n")

    code, said = build(capsys)

    assert code == 1
    assert (
        "error: tree/p/build.yaml:3:3: 'steps' holds '<no value>'"
        " (set nothing in a --values file or the definition)"
    ) in said
    with pytest.raises(SystemExit) as stop:
        main(["tree", "pkglist", "--tree", "tree"])
    assert stop.value.code == 0


def link_to_itself(package: Path) -> None:
    shutil.rmtree(package.parent)
    package.parent.symlink_to("tree")


def link_to_a_tree(package: Path) -> None:
    package.parent.rename("real")
    package.parent.symlink_to("real")


def file_for_a_tree(package: Path) -> None:
    shutil.rmtree(package.parent)
    package.parent.write_text("")


def no_tree(package: Path) -> None:
    shutil.rmtree(package.parent)


def pipe(package: Path) -> None:
    (package / "build.yaml").unlink()
    os.mkfifo(package / "build.yaml")


def endless(package: Path) -> None:
    (package / "definition.yaml").unlink()
    (package / "definition.yaml").symlink_to("/dev/zero")


def link_to_nothing(package: Path) -> None:
    (package / "definition.yaml").unlink()
    (package / "definition.yaml").symlink_to("nothing")


def link_in_a_ring(package: Path) -> None:
    (package / "definition.yaml").unlink()
    (package / "definition.yaml").symlink_to("definition.yaml")


def huge(package: Path) -> None:
    os.truncate(package / "build.yaml", 100 << 20)


def socket_beside(package: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str((package / "s").relative_to(Path.cwd())))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (link_to_a_tree, "tree: the tree is a symbolic link (name the folder itself: {cwd}/real)"),
        (file_for_a_tree, "tree: the tree is not a folder"),
        (no_tree, "tree: there is no such tree"),
        (pipe, "tree/p/build.yaml: is not a regular file"),
        (endless, "tree/p/definition.yaml: is not a regular file"),
        (link_to_nothing, "tree/p/definition.yaml: cannot be read: No such file or directory"),
        (
            link_in_a_ring,
            "tree/p/definition.yaml: cannot be read: Too many levels of symbolic links",
        ),
        (huge, "tree/p/build.yaml: is too large: 100 MiB, a spec may have 16 MiB"),
        (
            socket_beside,
            "tree/p/s: is neither a file, a folder nor a link"
            " (take it out of the package's folder)",
        ),
    ],
)
def test_a_path_that_is_no_plain_file_is_told(
    tree: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None], message: str
) -> None:
    spoil(tree)

    code, said = build(capsys)

    assert (code, said) == (1, [f"error: {message.format(cwd=Path.cwd())}"])


def test_links_that_lead_in_a_ring_are_not_followed(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "loop").symlink_to(".")
    (tree.parent / "up").symlink_to("..")

    with pytest.raises(SystemExit):
        main(["tree", "pkglist", "--tree", "tree"])

    assert capsys.readouterr().out == "t/p\n"


def test_two_packages_of_one_name_in_a_folder_are_told(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "definition.yaml").unlink()
    one = '{name: q, category: t, version: "1"'
    (tree / "collection.yaml").write_text(f"packages:\n- {one}}}\n- {one}, description: x}}\n")

    code, said = build(capsys)

    assert (code, said) == (
        1,
        [
            "error: tree/p/collection.yaml:3:10: t/q-1 is defined twice in this folder"
            " (first at tree/p/collection.yaml:2:10; give one of them another name or version)"
        ],
    )


def test_a_file_that_may_not_be_read_is_told(tree: Path) -> None:
    (tree / "build.yaml").chmod(0)
    without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", "--"]
    guard = without if os.geteuid() == 0 else []

    done = subprocess.run([*guard, *PLAN], env=ENV, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (
        1, "error: tree/p/build.yaml: cannot be read: Permission denied\n")  # fmt: skip


PLAN = [sys.executable, "-m", "compiler", "plan", "--all", "--tree", "tree", "--store", "store"]
ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}


MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""Runs a command and prints its memory in KiB: a process starts with what the one before it had,
so a large one, as that of the tests, cannot measure itself."""


def many_steps(package: Path) -> None:
    (package / "build.yaml").write_text("image: a\nsteps:\n" + "- echo word\n" * 100_000)


def long_line(package: Path) -> None:
    (package / "build.yaml").write_text(f"image: a\nsteps:\n- {'x' * 5_000_000}\n")


def hungry_regex(package: Path) -> None:
    call = 'regexMatch "(a+)+$" (printf "%sb" (repeat 40 "a"))'
    (package / "build.yaml").write_text(f"image: a\nsteps:\n- 'echo {{{{ {call} }}}}'\n")


def bomb(package: Path) -> None:
    (package / "build.yaml").write_text(BOMB)


def huge_values(package: Path) -> None:
    (package / "definition.yaml").write_text(f"{DEFINITION}description: '{'y' * 9_000_000}'\n")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [(many_steps, 0), (long_line, 0), (hungry_regex, 0), (bomb, 1), (huge, 1), (huge_values, 0)],
)
def test_time_and_memory_are_bounded(tree: Path, spoil: Callable[[Path], None], code: int) -> None:
    spoil(tree)
    started = time.monotonic()

    measured = [sys.executable, "-c", MEASURE, *PLAN]
    done = subprocess.run(measured, env=ENV, capture_output=True, text=True, check=False)

    assert done.returncode == code, done.stderr
    assert int(done.stdout) < MEMORY
    assert time.monotonic() - started < SECONDS
