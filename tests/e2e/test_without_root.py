"""A user without any rights builds what root builds, to the byte, in user namespaces."""

import shutil
from pathlib import Path

import pytest

from compiler.process import Command, run
from tests.e2e.lab import BASE, little_root, on, on_base, write_tree
from tests.e2e.users import Somebody, python_for_all

TREE = {
    "one": on_base(
        "mkdir -p /opt/a && echo 1 > /opt/a/x && chown 33:33 /opt/a/x && chmod 4755 /opt/a/x",
        "ln /opt/a/x /opt/a/hard && ln -s x /opt/a/soft && mkfifo /opt/a/pipe",
    ),
    "two": on("one", "rm /opt/a/hard; echo 2 > /opt/b; chown 1000:1000 /opt/b")
    + "package_dir: /opt\n",
}


def build(who: Somebody, folder: Path, python: tuple[str, dict[str, str]]) -> dict[str, bytes]:
    """Import the base, build the tree, write a repository; returns every file that was made."""
    interpreter, env = python
    env = env | {"COS_STORE": str(folder / "store"), "SOURCE_DATE_EPOCH": "1700000000"}
    out, repository, tree = folder / "out", folder / "repository", who.place / "tree"
    for arguments in (
        ("image", "import", BASE, f"tar:{who.place / 'base.tar'}"),
        ("build", "--all", "--tree", str(tree), "--destination", str(out)),
        ("create-repo", "--tree", str(tree), "--packages", str(out), "--output", str(repository)),
    ):
        who.run(interpreter, "-m", "compiler", *arguments, env=env)
    made = sorted((*out.iterdir(), *repository.iterdir()))
    return {path.name: path.read_bytes() for path in made if not path.name.startswith(".")}


@pytest.mark.container
def test_a_user_without_rights_makes_the_same_artifacts_and_repository_as_root(
    place: Path, somebody: Somebody, base_image: Path
) -> None:
    little_root(base_image, place / "base")
    tar = ("tar", "-C", str(place / "base"), "-cf", str(place / "base.tar"), ".")
    run(Command(argv=tar)).check()
    write_tree(place / "tree", TREE)
    for name in (somebody.name, "root"):
        (place / f"of-{name}").mkdir()
        shutil.chown(place / f"of-{name}", name)

    python = python_for_all(place)
    theirs = build(somebody, place / f"of-{somebody.name}", python)
    roots = build(Somebody("root", place), place / "of-root", python)

    assert {name for name in roots if name.startswith(("one", "two"))} == {
        "one-t-1.metadata.yaml",
        "one-t-1.package.tar",
        "two-t-1.metadata.yaml",
        "two-t-1.package.tar",
    }
    assert theirs == roots
    assert (place / f"of-{somebody.name}" / "out").stat().st_uid != 0
