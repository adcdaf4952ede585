"""Users without any rights, and an interpreter that they can run."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compiler.process import Command, run

CHECKOUT = Path(__file__).parents[2]
FOR_ALL = 0o755


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
