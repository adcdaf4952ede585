"""Every file of tests/data/faults has one fault; its first lines say the expected messages."""

import os
import time
from pathlib import Path

import pytest

from compiler.errors import Faults
from compiler.tree import load_tree

FILES = sorted((Path(__file__).parents[1] / "data" / "faults").glob("*.yaml"))


def messages(root: Path) -> list[str]:
    """Load a tree; gives what is wrong with it, paths without the root."""
    try:
        load_tree([root])
    except Faults as faults:
        return [str(each).replace(f"{root}{os.sep}", "") for each in faults.exceptions]
    return []


def write(root: Path, **files: str | bytes) -> Path:
    """Write the spec files of one package."""
    folder = root / "p"
    folder.mkdir(parents=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / f"{name}.yaml").write_bytes(data)
    return root


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_fault_is_told_where_it_was_written(file: Path, tmp_path: Path) -> None:
    text = file.read_text()
    expected = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# p/")]
    kind = file.stem.partition("-")[0]
    files = {kind: text}
    if kind == "build":
        files["definition"] = 'name: p\ncategory: c\nversion: "1.0"\n'
    root = write(tmp_path, **files)

    assert messages(root) == expected
    assert expected


def test_all_faults_of_a_tree_are_told_at_once_sorted_by_place(tmp_path: Path) -> None:
    write(tmp_path / "b", definition="name: 1\nversion: 2\n")
    write(tmp_path / "a", definition="name: p\n", build="steps: x\nimage: [y]\n")

    assert messages(tmp_path) == [
        "a/p/build.yaml:1:8: 'steps' must be a list of strings, not a string "
        "(write it as a list: one line for each, starting with '- ')",
        "a/p/build.yaml:2:8: 'image' must be a string, not a list",
        "b/p/definition.yaml:1:7: 'name' must be a string, not a number (write name: \"1\")",
        "b/p/definition.yaml:2:10: 'version' must be a string, not a number (write version: \"2\")",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: a\x00b", "1:8: holds the control character U+0000 (is this a text file?)"),
        (b"a: 1\nname: \xff", "2:7: is not UTF-8 text: byte 0xff"),
        (b"name: [", "1:8: is not YAML: did not find expected node content while parsing a flow "
                     "node (check the indentation and the quotes of this line and the one before)"),
        (b"[" * 100_000, "1:129: nests lists and maps more than 128 deep"),
        (b"- " * 100_000, "1:257: nests lists and maps more than 128 deep"),
        (b"name: &a [*a]", "1:7: an anchor's value contains itself"),
        (b"", "is empty (give it a 'name')"),
        (b"\xef\xbb\xbfnaem: x", "1:1: missing field 'name'"),
    ],
    ids=["nul", "latin1", "syntax", "deep-flow", "deep-block", "ring", "empty", "bom"],
)  # fmt: skip
def test_a_file_that_is_no_spec_is_told_so(content: bytes, message: str, tmp_path: Path) -> None:
    write(tmp_path, definition=content)

    (found,) = messages(tmp_path)

    assert found in (f"p/definition.yaml:{message}", f"p/definition.yaml: {message}")


def test_exploding_aliases_are_stopped_early(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    write(tmp_path, definition="\n".join(lines))

    assert messages(tmp_path) == [
        "p/definition.yaml:6:5: aliases stand for more than 1000000 values"
    ]


def test_a_huge_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    write(tmp_path, definition="name: p")
    with (tmp_path / "p" / "build.yaml").open("wb") as file:
        file.truncate(100 << 20)
    start = time.monotonic()

    found = messages(tmp_path)

    assert found == ["p/build.yaml: is too large: 100 MiB, a spec may have 16 MiB"]
    assert time.monotonic() - start < 1


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, definition="name: p")
    os.mkfifo(tmp_path / "p" / "build.yaml")
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "definition.yaml").symlink_to("nowhere")

    assert messages(tmp_path) == [
        "p/build.yaml: is not a regular file",
        "q/definition.yaml: cannot be read: No such file or directory",
    ]
