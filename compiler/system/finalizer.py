"""Runs what packages want to have run once on the machine that installs them (`finalize.yaml`).

In a root other than `/` the commands run in a container (luet's `box`): own processes, mounts and
network, nothing of this machine but its kernel.
"""

import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from compiler.engine import DEFAULT_PATH, Network
from compiler.engine.account import account
from compiler.engine.container import KERNEL_MOUNTS, Container, Mount, command
from compiler.engine.failure import runtime_message
from compiler.engine.namespace import prepare
from compiler.errors import CompilerError, OutsideError
from compiler.events import Noted, Reporter, StepOutput, StepStarted, silent
from compiler.process import Command, Finished, LineHandler, Streams, attached, run
from compiler.spec.finalizer import parse_finalizer
from compiler.spec.package import PackageId
from compiler.system.database import Installed
from compiler.system.folders import split
from compiler.system.lookup import Lookup
from compiler.system.root import System

_SHELL = ("sh", "-c")
_SHOWN = 5


class Moment(Enum):
    """When a finalizer runs: after its package came, or before it goes."""

    INSTALL = "install"
    UNINSTALL = "uninstall"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A program to run in a root, with its whole environment and what it gets mounted.

    PATH and HOME are set if `env` does not. `user` is a `name[:group]` of the root, or ids.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    directory: str = "/"
    user: str = ""
    network: Network = Network.NONE


def run_finalizers(
    system: System,
    packages: Sequence[Installed],
    env: Mapping[str, str],
    *,
    moment: Moment = Moment.INSTALL,
    reporter: Reporter = silent,
) -> None:
    """Run the finalizers of `packages`, in the order given: that in which they need each other.

    A failure is reported as a warning and the others go on; at the end a `CompilerError` names all
    that failed. Those that succeeded are marked in the database, so that they are not run again.
    """
    failed = []
    for package in packages:
        if package.finalizer is None:
            continue
        try:
            finalize(system.root, package, env, moment=moment, reporter=reporter)
        except CompilerError as error:
            reporter(Noted(f"{package.id}: its finalizer failed: {error}", warning=True))
            failed.append(str(package.id))
        else:
            if moment is Moment.INSTALL:
                system.database.mark_finalized([package.id])
    if failed:
        raise _failure(failed, moment)


def _failure(failed: Sequence[str], moment: Moment) -> CompilerError:
    """Name the packages whose finalizers failed."""
    done = "installed" if moment is Moment.INSTALL else "removed all the same"
    hint = f"the packages are {done}; see the warnings above"
    words = "a finalizer" if len(failed) == 1 else f"{len(failed)} finalizers"
    return CompilerError(f"{words} failed: {', '.join(failed)}", hint=hint)


class Farewells:
    """Runs what packages want to have done before they go, one by one, and keeps what failed."""

    def __init__(self, system: System, env: Mapping[str, str], reporter: Reporter) -> None:
        self._system = system
        self._env = env
        self._reporter = reporter
        self._failed: list[str] = []

    def say(self, package: PackageId) -> None:
        """Run the finalizer of a package that is installed still; a failure is a warning."""
        going = [each for each in self._system.database.installed() if each.id == package]
        moment = Moment.UNINSTALL
        try:
            run_finalizers(self._system, going, self._env, moment=moment, reporter=self._reporter)
        except CompilerError:
            self._failed.append(str(package))

    @property
    def failure(self) -> CompilerError | None:
        """What to raise at the end; None if nothing failed."""
        return _failure(self._failed, Moment.UNINSTALL) if self._failed else None


def run_in_root(root: Path, task: Task, on_line: LineHandler | None = None) -> Finished:
    """Run a program in a root, as a container; its exit code is in what is returned.

    Raises `OutsideError` or `EngineError` when it cannot be started. Folders that only the
    container needed (/proc, /dev …) are removed from the root again.
    """
    with _boxed(root, task) as (command, messages):
        finished = run(command, on_line=on_line)
        if finished.code:
            _check_started(root, task, runtime_message(messages, finished.tail))
    return finished


def attach_in_root(root: Path, task: Task, streams: Streams) -> int:
    """Run a program in a root, on our own streams; returns its exit code, raises as above."""
    with _boxed(root, task) as (command, messages):
        code = attached(command, streams)
        if code:
            _check_started(root, task, runtime_message(messages, ()))
    return code


@contextmanager
def _boxed(root: Path, task: Task) -> Iterator[tuple[Command, Path]]:
    """Prepare a container; gives how to start it, and the file with what the runtime says."""
    prepare()
    container = Container(
        root=root.absolute(),
        argv=task.argv,
        env={"PATH": DEFAULT_PATH, "HOME": "/root", **task.env},
        directory=task.directory,
        account=account(root, task.user),
        mounts=task.mounts,
        network=task.network,
    )
    targets = [(mount.target, mount.is_folder) for mount in (*KERNEL_MOUNTS, *task.mounts)]
    with tempfile.TemporaryDirectory(prefix="cos-box-") as bundle, _places(root, targets):
        yield command(container, Path(bundle)), Path(bundle) / "messages"


def _check_started(root: Path, task: Task, said: str) -> None:
    """Raise `OutsideError` if the runtime says why the program did not run."""
    if said:
        raise OutsideError(f"{task.argv[0]}: cannot be started in {root}: {said}")


def finalize(
    root: Path,
    package: Installed,
    env: Mapping[str, str],
    *,
    moment: Moment = Moment.INSTALL,
    reporter: Reporter = silent,
) -> None:
    """Run the commands of one package in a root; the first that fails ends it.

    Raises `CompilerError`.
    """
    name = str(package.id)
    source = f"{name}/finalize.yaml"
    finalizer = parse_finalizer(package.finalizer or "", package.definition, source)
    commands = finalizer.install if moment is Moment.INSTALL else finalizer.uninstall
    for text in commands:
        reporter(StepStarted(name, text))
        argv = (*(finalizer.shell or _SHELL), text)
        finished = _run(root, argv, env, lambda line: reporter(StepOutput(name, line)))
        if finished.code:
            said = "".join(f"\n    {line}" for line in finished.tail[-_SHOWN:])
            raise CompilerError(f"{text!r} ended with exit code {finished.code}{said}")


def _run(
    root: Path, argv: tuple[str, ...], env: Mapping[str, str], on_line: LineHandler
) -> Finished:
    """Run a command: in `/` as a plain process, with our own environment if none is set."""
    if root.resolve() == Path("/"):
        own = dict(env) if env else None
        return run(Command(argv=argv, env=own, directory=root), on_line=on_line)
    return run_in_root(root, Task(argv=argv, env=env), on_line)


@contextmanager
def _places(root: Path, targets: Sequence[tuple[str, bool]]) -> Iterator[None]:
    """Make what the container's mounts need in the root, and take it away again."""
    made: list[str] = []
    lookup = Lookup(root)
    try:
        for target, is_folder in targets:
            if target.startswith("/dev/"):
                continue  # in a file system of the container's own
            _make(root, lookup, lookup.settle(target), is_folder=is_folder, made=made)
        yield
    finally:
        lookup.forget()
        for place in reversed(made):
            _remove(root / place, lookup.status(place))
        lookup.close()


def _make(root: Path, lookup: Lookup, place: str, *, is_folder: bool, made: list[str]) -> None:
    if not place or lookup.status(place) is not None:
        return
    _make(root, lookup, split(place)[0], is_folder=True, made=made)
    if is_folder:
        (root / place).mkdir()
    else:
        (root / place).touch()
    made.append(place)


def _remove(path: Path, status: os.stat_result | None) -> None:
    with suppress(OSError):
        if status is not None and stat.S_ISDIR(status.st_mode):
            path.rmdir()
        elif status is not None and stat.S_ISREG(status.st_mode) and not status.st_size:
            path.unlink()
