"""How provenance names trees that nobody tracks."""

import shutil
from pathlib import Path

import pytest

from compiler.build.trees import tree_resource


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree, with what builds leave in it."""
    root = tmp_path / "tree"
    for path in ("a/build.yaml", "a/files/run", ".git/HEAD", ".cos/store/x", "build/a.tar"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    (root / "a/link").symlink_to("build.yaml")
    return root


def digest(root: Path) -> str:
    found = tree_resource(root, without=[root / "build"])
    assert (found.name, found.uri) == ("tree", "")
    return found.digests["sha256"]


def test_a_tree_has_the_same_digest_wherever_it_lies(tree: Path, tmp_path: Path) -> None:
    before = digest(tree)
    shutil.copytree(tree, tmp_path / "other", symlinks=True)
    shutil.rmtree(tmp_path / "other/.git")
    (tmp_path / "other/.cos/store/x").write_text("another build")
    (tmp_path / "other/build/a.tar").write_text("another build")

    assert digest(tmp_path / "other") == before


@pytest.mark.parametrize("change", ["content", "mode", "name", "link"])
def test_whatever_changes_in_a_tree_changes_its_digest(tree: Path, change: str) -> None:
    before = digest(tree)

    if change == "content":
        (tree / "a/build.yaml").write_text("other")
    elif change == "mode":
        (tree / "a/files/run").chmod(0o755)
    elif change == "name":
        (tree / "a/files/run").rename(tree / "a/files/walk")
    else:
        (tree / "a/link").unlink()
        (tree / "a/link").symlink_to("files/run")

    assert digest(tree) != before
