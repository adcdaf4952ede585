"""Programs of a root: run in it, as what it takes for `/`."""

import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from compiler.agent.root import Root
from compiler.errors import OutsideError
from compiler.process import Command, Finished, LineHandler, ask, run

_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_EXECUTABLE = 0o111


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program to run in a root, with variables besides those that we have; seconds at most."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None

    def __str__(self) -> str:
        """Print as somebody would type it."""
        return shlex.join(self.argv)


class Programs:
    """Runs programs in a root: by chroot for root, in a user namespace for anybody else."""

    def __init__(self, root: Root) -> None:
        self.root = root

    def has(self, name: str) -> bool:
        """Whether the root has a program of this name."""
        return any(self._runs(f"{folder}/{name}") for folder in _search())

    def has_tool(self, name: str) -> bool:
        """Whether the root or the machine has a tool of this name."""
        return self.has(name) or shutil.which(name, path=":".join(_search())) is not None

    def run(self, program: Program, on_line: LineHandler | None = None) -> Finished:
        """Run a program of the root to its end; raises `OutsideError` if it cannot start."""
        return run(self._inside(program), on_line=on_line)

    def ask(self, program: Program) -> tuple[Finished, str]:
        """Run a program of the root; return how it ended, and what it printed."""
        finished, answer = ask(self._inside(program), b"")
        return finished, answer.decode("utf-8", "replace")

    def run_tool(self, program: Program, on_line: LineHandler | None = None) -> Finished:
        """Run a tool for disks and the like: that of the root if it has one, else the machine's.

        Paths in its words are those that it has there: see `path_for`.
        """
        return run(self._tool(program), on_line=on_line)

    def ask_tool(self, program: Program) -> tuple[Finished, str]:
        """Run such a tool; return how it ended, and what it printed."""
        finished, answer = ask(self._tool(program), b"")
        return finished, answer.decode("utf-8", "replace")

    def path_for(self, tool: str, path: str) -> str:
        """Return the path by which `tool` finds what is at `path` of the root."""
        return path if self.root.is_machine or self.has(tool) else str(self.root.settled(path))

    def _tool(self, program: Program) -> Command:
        if self.has(program.argv[0]):
            return self._inside(program)
        return _command(program.argv, program)

    def _inside(self, program: Program) -> Command:
        return _command((*self._entrance(), *program.argv), program)

    def _entrance(self) -> tuple[str, ...]:
        if self.root.is_machine:
            return ()
        if os.geteuid() == 0:
            return ("chroot", str(self.root.path))
        return ("unshare", "--map-root-user", f"--root={self.root.path}", "--wd=/")

    def _runs(self, path: str) -> bool:
        status = self.root.status(path)
        return status is not None and bool(status.st_mode & _EXECUTABLE)


def check(program: Program, finished: Finished) -> None:
    """Raise `OutsideError` that names the whole command unless it succeeded."""
    if finished.code:
        said = "".join(f"\n    {line}" for line in finished.tail)
        raise OutsideError(f"`{program}` failed with exit code {finished.code}{said}")


def _command(argv: tuple[str, ...], program: Program) -> Command:
    """Make a call of it; raises `OutsideError` for what no program can be told."""
    env = {**os.environ, "PATH": ":".join(_search()), **program.env}
    if any("\0" in each for each in (*argv, *program.env.values())):
        raise OutsideError(f"`{program}` has a NUL character in a word".replace("\0", "\\0"))
    return Command(argv=argv, env=env, timeout=program.timeout)


def _search() -> tuple[str, ...]:
    ours = os.environ.get("PATH", os.defpath).split(":")
    return tuple(dict.fromkeys((*(each for each in ours if each.startswith("/")), *_FOLDERS)))
