"""A place for builds by the real command: short trees, a small base, a store of its own."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from compiler.store.importer import import_image
from compiler.store.local import LocalStore

BASE = "little"
_PROGRAMS = ("cat", "chmod", "chown", "cp", "dash", "date", "dd", "head", "ln", "ls",
             "mkdir", "mkfifo", "mknod", "mv", "perl", "rm", "seq", "sleep", "stat",
             "touch", "true")  # fmt: skip
_LIBRARIES = ("ld-linux*", "libacl.*", "libattr.*", "libc.*", "libcrypt.*", "libm.*",
              "libpcre2-8.*", "libselinux.*")  # fmt: skip


def little_root(system: Path, root: Path) -> None:
    """Copy out of a whole system what steps with a shell need: five megabytes, imported at once."""
    for folder in ("usr/bin", "usr/lib64", "etc", "tmp"):
        (root / folder).mkdir(parents=True)
    wanted = [system / "usr" / "bin" / name for name in _PROGRAMS]
    for pattern in _LIBRARIES:
        wanted += system.glob(f"usr/lib/*-linux-gnu/{pattern}")
        wanted += system.glob(f"usr/lib64/{pattern}")
    for path in wanted:
        target = root / path.relative_to(system)
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", path, target], check=True)
    for link, folder in (("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")):
        (root / link).symlink_to(folder)
    (root / "bin" / "sh").symlink_to("dash")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")


def write_tree(folder: Path, packages: Mapping[str, str]) -> Path:
    """Write one package of category `t` and version 1 for each name, with that `build.yaml`."""
    for name, build in packages.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "definition.yaml").write_text(f'name: {name}\ncategory: t\nversion: "1"\n')
        (folder / name / "build.yaml").write_text(build)
    return folder


def on_base(*steps: str) -> str:
    """Write the `build.yaml` of a package that starts from the small base."""
    return f"image: {BASE}\n" + steps_text(steps)


def on(requires: str, *steps: str) -> str:
    """Write the `build.yaml` of a package that requires others, named with blanks between."""
    lines = [f'- {{name: {each}, category: t, version: ">=0"}}' for each in requires.split()]
    return "\n".join(["requires:", *lines, ""]) + steps_text(steps)


def steps_text(steps: tuple[str, ...]) -> str:
    """Write steps, each as a block so that no character needs quotes."""
    blocks = "".join(f"- |-\n  {step.replace(chr(10), chr(10) + '  ')}\n" for step in steps)
    return f"steps:\n{blocks}" if steps else ""


@dataclass
class Lab:
    """A folder with a tree, a store that holds the small base, and a destination."""

    place: Path
    base: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put the base into the store."""
        self.store, self.out = self.place / "store", self.place / "out"
        with LocalStore(self.store) as store:
            import_image(store, BASE, f"dir:{self.base}")
            store.flush()

    def tree(self, packages: Mapping[str, str]) -> Path:
        """Write the tree anew."""
        return write_tree(self.place / "tree", packages)

    def command(self, *arguments: str | Path) -> list[str]:
        """Say how `cos` is started, without the current folder among the modules."""
        return [sys.executable, "-P", "-m", "compiler", *map(str, arguments)]

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment that commands run in."""
        return {**os.environ, "COS_STORE": str(self.store), **self.env, **more}

    def cos(
        self, *arguments: str | Path, cwd: Path | None = None, **env: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run one command to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(**env),
            cwd=cwd or self.place,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=120,
            check=False,
        )

    def start(self, *arguments: str | Path, **env: str) -> "subprocess.Popen[str]":
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environment(**env),
            cwd=self.place,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def build(self, *arguments: str | Path, **env: str) -> "subprocess.CompletedProcess[str]":
        """Build from the tree into the destination; without arguments, everything."""
        given = arguments or ("--all",)
        argv = ("build", "--tree", "tree", "--destination", self.out, *given)
        return self.cos(*argv, cwd=self.place, **env)

    def built(self) -> dict[str, str]:
        """Name every file of the destination with the SHA-256 of its content."""
        return contents(self.out)

    def faults(self) -> list[str]:
        """List what is wrong with the store, or left behind in it."""
        with LocalStore(self.store) as store:
            left = [f"left: {each.name}" for each in (self.store / "scratch").iterdir()]
            return [*store.verify(), *left]


def contents(folder: Path) -> dict[str, str]:
    """Name every file below a folder with the SHA-256 of its content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """Mount an empty disk of that size for as long as the context lasts."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)
