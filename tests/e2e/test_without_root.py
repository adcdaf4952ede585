"""A user without any rights builds what root builds, to the byte, in user namespaces."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from compiler.process import Command, run
from tests.e2e.lab import BASE, little_root, on, on_base, write_tree

CHECKOUT = Path(__file__).parents[2]
FOR_ALL = 0o755
TREE = {
    "one": on_base(
        "mkdir -p /opt/a && echo 1 > /opt/a/x && chown 33:33 /opt/a/x && chmod 4755 /opt/a/x",
        "ln /opt/a/x /opt/a/hard && ln -s x /opt/a/soft && mkfifo /opt/a/pipe",
    ),
    "two": on("one", "rm /opt/a/hard; echo 2 > /opt/b; chown 1000:1000 /opt/b")
    + "package_dir: /opt\n",
}


@dataclass(frozen=True)
class Somebody:
    """A user with nothing but a range of subordinate ids (subuid(5)); none for root."""

    name: str
    place: Path

    def run(self, *argv: str, env: Mapping[str, str]) -> None:
        """Run a program as this user, to its end."""
        who = ("--reuid", self.name, "--regid", self.name, "--clear-groups")
        prefix = () if self.name == "root" else ("setpriv", *who)
        subprocess.run([*prefix, *argv], env={**os.environ, **env}, cwd=self.place, check=True)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody reaches, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="cos-without-root-") as name:
        Path(name).chmod(FOR_ALL)
        yield Path(name)


@pytest.fixture
def somebody(place: Path) -> Iterator[Somebody]:
    """A new user, gone afterwards."""
    name = f"cos-test-{os.getpid()}"
    for file in ("/etc/subuid", "/etc/subgid"):
        Path(file).touch()  # without these, a user gets no ranges
    run(Command(argv=("useradd", "--no-create-home", "--home-dir", str(place), name))).check()
    try:
        yield Somebody(name, place)
    finally:
        run(Command(argv=("userdel", name))).check()


def is_for_all(path: Path) -> bool:
    """Tell whether everybody can reach and read a file or folder."""
    open_above = all(each.stat().st_mode & 0o001 for each in path.parents)
    return open_above and bool(path.stat().st_mode & 0o004)


def python_for_all(place: Path) -> tuple[str, dict[str, str]]:
    """Find an interpreter for everybody, and the environment in which it finds `cos`.

    That of these tests may lie in root's home; then it is the system's of the same version, or a
    copy of its own.
    """
    own = Path(sys.executable).resolve()
    system = Path("/usr/bin") / f"python{sys.version_info.major}.{sys.version_info.minor}"
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    chosen = next((each for each in (own, system) if each.exists() and is_for_all(each)), None)
    if chosen is None:
        env["PYTHONHOME"] = str(place / "python")
        env["LD_LIBRARY_PATH"] = str(place / "python" / "lib")
        chosen = copied_python(Path(sys.base_prefix), own, place / "python")
    paths = [Path(sysconfig.get_path("purelib")), CHECKOUT / "compiler"]
    shown = [each if is_for_all(each) else copied(each, place / each.name) for each in paths]
    env["PYTHONPATH"] = f"{shown[0]}:{shown[1].parent}"
    return str(chosen), env


def copied(folder: Path, target: Path) -> Path:
    """Copy what Python loads from a folder, readable for everybody."""
    unneeded = shutil.ignore_patterns("__pycache__", "mypy*", "ruff*", "test", "site-packages")
    shutil.copytree(folder, target, symlinks=True, ignore=unneeded)
    run(Command(argv=("chmod", "-R", "a+rX", str(target)))).check()
    return target


def copied_python(prefix: Path, program: Path, target: Path) -> Path:
    """Copy an interpreter with its library."""
    (target / "lib").mkdir(parents=True)
    library = Path(sysconfig.get_path("stdlib"))
    copied(library, target / "lib" / library.name)
    for shared in prefix.glob("lib/libpython*"):
        shutil.copy(shared, target / "lib")
    (target / "bin").mkdir()
    shutil.copy(program, target / "bin")
    target.chmod(FOR_ALL)
    return target / "bin" / program.name


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
