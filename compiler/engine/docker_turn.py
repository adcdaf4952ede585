"""The turn of one container: some steps of a request that can run in it one after the other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from docker import APIClient

from compiler.engine import DEFAULT_PATH, CopyFiles, LayerRequest, Run
from compiler.engine.account import Account, account
from compiler.engine.docker_container import Container, NotStartedError, Stat, Take
from compiler.engine.docker_images import HANDED
from compiler.engine.failure import failure, not_started
from compiler.engine.host import Shown, Surroundings
from compiler.engine.lookup import Lowers
from compiler.errors import EngineError
from compiler.events import Reporter, StepOutput, StepStarted
from compiler.process import Finished, Output

_SHELLS = ("/bin/sh", "/usr/bin/sh", "/bin/bash", "/bin/busybox")
_ACCOUNTS = ("etc/passwd", "etc/group")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A request while it is worked on, by one thread."""

    request: LayerRequest
    around: Surroundings
    log: IO[bytes]
    report: Reporter
    api: APIClient

    def begin(self, action: Run | CopyFiles) -> None:
        """Say that an action begins."""
        self.report(StepStarted(self.request.name, action.text))
        self.log.write(f"$ {action.text}\n".encode(errors="surrogateescape"))

    def output(self) -> Output:
        """Make what passes on the output of a step."""
        return Output(lambda line: self.report(StepOutput(self.request.name, line)), self.log)

    @property
    def handed(self) -> Sequence[Shown]:
        """The files that steps are told of; the engine itself brings those for names."""
        return [file for file in self.around.files if file.target.startswith(f"{HANDED}/")]


def turns(request: LayerRequest) -> Iterator[tuple[Run, ...] | CopyFiles]:
    """Cut the actions of a request into turns: copies, and steps that can share a container.

    They can with the same network and the same caches. A folder in memory starts empty for each.
    """
    steps: list[Run] = []
    for action in request.actions:
        if steps and not (isinstance(action, Run) and _fits(steps[-1], action)):
            yield tuple(steps)
            steps = []
        if isinstance(action, Run):
            steps.append(action)
        else:
            yield action
    if steps:
        yield tuple(steps)


def _fits(one: Run, other: Run) -> bool:
    in_memory = any(mount.tmpfs for mount in one.mounts)
    return (one.network, one.mounts) == (other.network, other.mounts) and not in_memory


class Turn:
    """Some steps and the root that they start from; `place` is an empty folder."""

    def __init__(self, job: Job, steps: Sequence[Run], lowers: Lowers, place: Path) -> None:
        self.job = job
        self.steps = steps
        self.lowers = lowers
        self.shell = next((shell for shell in _SHELLS if lowers.followed(shell)), "")
        self._accounts = place / "accounts"
        self._seen: dict[str, Stat | None] = {}
        for path in _ACCOUNTS:
            found = lowers.followed(path)
            self._keep(path, found.read_bytes() if found is not None and found.is_file() else b"")

    @property
    def first(self) -> Run:
        """The step that the turn begins with; all have its network and its caches."""
        return self.steps[0]

    def environment(self, step: Run) -> list[str]:
        """Make the whole environment of a step; a name without a value is taken away."""
        around, home = self.job.around.env, self._account(step).home
        values = {"PATH": DEFAULT_PATH, "HOME": home, **around, **dict(step.env)}
        return ["HOSTNAME", *(f"{name}={value}" for name, value in values.items())]

    def run(self, box: Container) -> None:
        """Run the steps; raises `EngineError` for the first that fails."""
        if not self.shell:
            self._follow(self.first, box.run)
            return
        self._seen = {path: box.stat(f"/{path}") for path in _ACCOUNTS}
        for step in self.steps:
            if step is not self.first:
                self.job.begin(step)
            self._follow(step, partial(self._execute, box, step))

    def begin(self) -> None:
        """Say that the first step begins, which is before its container is made."""
        self.job.begin(self.first)

    def _execute(self, box: Container, step: Run, take: Take) -> int:
        """Run one step in the container, which starts with the first."""
        if step is self.first:
            box.keep()
        else:
            self._refresh(box, step)
        box.make_folders(step.directory or "/")
        return box.execute(step, self.environment(step), take)

    def _follow(self, step: Run, start: Callable[[Take], int]) -> None:
        """Run a step by `start`; raises `EngineError` if it fails or cannot start."""
        output, log = self.job.output(), self.job.request.log
        try:
            code = start(output.take)
        except NotStartedError as error:
            raise not_started(step, str(error), tail=output.tail(), log=log) from error
        except EngineError as error:
            error.step, error.log = step.text, str(log)
            raise
        output.end()
        if code:
            raise failure(step, Finished(step.argv[0], code, output.tail()), log=log)

    def _account(self, step: Run) -> Account:
        try:
            return account(self._accounts, step.user)
        except EngineError as error:
            error.step, error.log = step.text, str(self.job.request.log)
            raise

    def _refresh(self, box: Container, step: Run) -> None:
        """Read the accounts again that steps changed, if this one needs them."""
        for path in _ACCOUNTS if step.user else _ACCOUNTS[:1]:
            now = box.stat(f"/{path}")
            if now != self._seen[path]:
                self._seen[path] = now
                self._keep(path, box.read(f"/{path}"))

    def _keep(self, path: str, data: bytes) -> None:
        file = self._accounts / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
