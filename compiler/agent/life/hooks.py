"""Hooks: stages of cloud-config that run around an operation, on the machine or in the new tree."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compiler.agent import setup
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.source import Inputs
from compiler.agent.life.host import Host
from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.log import Level, Log
from compiler.agent.root import Root

_BOUND = ("/dev", "/proc", "/sys", "/run")
"""What a hook in the new tree sees of the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Runs the hooks of one operation; with `strict` one that fails stops it."""

    host: Host
    operation: str
    strict: bool = False
    silent: bool = False
    paths: str = ""
    """Further folders of configuration, blank separated."""

    def before(self) -> None:
        """Run `before-OPERATION` on the machine, before anything is touched."""
        self._run("before", self.host.root)

    def after(self) -> None:
        """Run `after-OPERATION` on the machine, when the new tree is complete."""
        self._run("after", self.host.root)

    def post(self) -> None:
        """Run `post-OPERATION` on the machine, at the very end, all still mounted."""
        self._run("post", self.host.root)

    def after_chroot(self, tree: Path, mounts: Sequence[tuple[Path, str]]) -> None:
        """Run `after-OPERATION-chroot` in the new tree, with the machine's devices in it.

        `mounts` are folders with the path that each has in the tree.
        """
        with bound(self.host, tree, mounts):
            self._run("after", tree, "-chroot")

    def _run(self, moment: str, tree: Path, where: str = "") -> None:
        stage = f"{moment}-{self.operation}{where}"
        self.host.log.info(f"Running {stage} hook")
        level = Level.ERROR if self.silent else Level.INFO
        log = Log(self.host.log.info, level)
        with Root(tree) as root:
            machine = Machine(root, log)
            inputs = Inputs(root, machine.fetch, sys.stdin.buffer.read)
            env = {**self.host.environ, **({"CLOUD_INIT_PATHS": self.paths} if self.paths else {})}
            setup.run(stage, machine, inputs, env)
        if log.errors and self.strict:
            name = f"{'chroot' if where else moment}_{self.operation}".upper()
            raise LifeError(f"the hook {stage} failed", Phase[name])
        if log.errors:
            self.host.log.warning(f"the hook {stage} failed; --strict makes that an error")


@contextmanager
def bound(
    host: Host,
    tree: Path,
    mounts: Sequence[tuple[Path, str]] = (),
    machine: Sequence[str] = _BOUND,
) -> Iterator[None]:
    """Show a tree the machine's devices and other file systems for the block."""
    made: list[Path] = []
    try:
        for source, place in [*((Path(each), each) for each in machine), *mounts]:
            target = tree / place.lstrip("/")
            made.append(target)
            host.bind(source, target)
        yield
    finally:
        for each in reversed(made):
            host.unmount(each)
