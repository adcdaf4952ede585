"""Runs a plan: what may start, what follows a failure, and what is told about it."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from compiler.build.nodes import NodeBuilder, StackClash
from compiler.build.packing import Packer
from compiler.build.settings import BuildSettings, Tools
from compiler.errors import CompilerError
from compiler.events import NodeFailed, NodeFinished, NodeStarted, RunPlanned
from compiler.graph import BuildGraph, NodeId
from compiler.graph.network import urgency
from compiler.plan import Action, PlanNode

__all__ = ["BuildSettings", "Outcome", "Tools", "run_plan"]

_BUILD = "build"
_PACK = "pack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended: what was made, what failed, and which roots must be chains.

    `clashes` is not a failure: with what was learnt, a new plan builds those nodes on chains.
    """

    built: tuple[NodeId, ...] = ()
    packed: tuple[NodeId, ...] = ()
    unchanged: tuple[NodeId, ...] = ()
    clashes: tuple[StackClash, ...] = ()
    failures: tuple[CompilerError, ...] = ()


@dataclass(frozen=True, slots=True)
class _Task:
    """One piece of work: the layers of a node, or its archive."""

    kind: str
    node: NodeId


@dataclass(slots=True)
class _Progress:
    """What a run has done so far; only the scheduling thread touches it."""

    done: set[_Task] = field(default_factory=set)
    built: list[NodeId] = field(default_factory=list)
    packed: list[NodeId] = field(default_factory=list)
    unchanged: list[NodeId] = field(default_factory=list)
    clashes: list[StackClash] = field(default_factory=list)
    failures: list[CompilerError] = field(default_factory=list)

    def outcome(self) -> Outcome:
        """Put everything into the result."""
        return Outcome(
            built=tuple(self.built),
            packed=tuple(self.packed),
            unchanged=tuple(self.unchanged),
            clashes=tuple(self.clashes),
            failures=tuple(self.failures),
        )


def run_plan(
    plan: Sequence[PlanNode], graph: BuildGraph, tools: Tools, settings: BuildSettings
) -> Outcome:
    """Build and pack what `plan` says, independent nodes at the same time.

    A failure stops what depends on it and nothing new is started; what runs is finished. Errors
    that the user can mend are in the outcome; anything else is raised at once.
    """
    count = {action: sum(each.action is action for each in plan) for action in Action}
    tools.report(RunPlanned(count[Action.BUILD], count[Action.PACK], count[Action.REUSE]))
    return _Run(plan, graph, tools, settings).run()


class _Run:
    """One run of a plan, from its first task to its last."""

    def __init__(
        self, plan: Sequence[PlanNode], graph: BuildGraph, tools: Tools, settings: BuildSettings
    ) -> None:
        self._plan = {each.id: each for each in plan}
        self._tools = tools
        self._builder = NodeBuilder(graph, plan, tools, settings)
        self._packer = Packer(graph, tools, settings)
        self._concurrency = settings.concurrency
        self._archives: dict[NodeId, Path] = {}
        self._destination = settings.destination
        self._compression = settings.compression
        self._progress = _Progress()
        self._urgency = urgency(graph, self._expected_seconds)

    def _expected_seconds(self, node: NodeId) -> float:
        """Guess how long a node takes, by what it took last time."""
        planned = self._plan.get(node)
        if planned is None or planned.action is not Action.BUILD:
            return 0.0
        latest = self._tools.store.latest(node.package.title)
        return latest.seconds if latest is not None else 1.0

    def run(self) -> Outcome:
        """Start what may start until nothing is left or something failed."""
        waiting = {task: self._before(task) for task in self._tasks()}
        running: dict[Future[bool], _Task] = {}
        with (
            ThreadPoolExecutor(self._concurrency, "build") as builds,
            ThreadPoolExecutor(max(1, self._concurrency // 2), "pack") as packs,
        ):
            try:
                while True:
                    for task in self._ready(waiting):
                        del waiting[task]
                        pool = builds if task.kind == _BUILD else packs
                        running[pool.submit(self._work, task)] = task
                    if not running:
                        return self._progress.outcome()
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        self._take(running.pop(future), future)
            except BaseException:
                stop: Callable[[], None] = getattr(self._tools.engine, "stop", lambda: None)
                stop()
                for future in running:
                    future.cancel()
                raise

    def _tasks(self) -> Iterator[_Task]:
        """List the work of the plan, in build order."""
        for node in self._plan.values():
            if node.action is Action.BUILD:
                yield _Task(_BUILD, node.id)
            if node.packs:
                yield _Task(_PACK, node.id)

    def _before(self, task: _Task) -> set[_Task]:
        """Name the tasks that must be done before `task`."""
        node = self._plan[task.node]
        if task.kind == _PACK:
            return {_Task(_BUILD, task.node)} if node.action is Action.BUILD else set()
        below = {
            _Task(_BUILD, each)
            for each in node.node.needs
            if self._plan[each].action is Action.BUILD
        }
        archives = (*node.node.joined, *node.node.retrieved)
        return below | {_Task(_PACK, each) for each in archives if self._plan[each].packs}

    def _ready(self, waiting: dict[_Task, set[_Task]]) -> list[_Task]:
        """Name the tasks that may start now; after a failure, only what packs finished layers."""
        ready = [
            task
            for task, before in waiting.items()
            if before <= self._progress.done and (task.kind == _PACK or not self._progress.failures)
        ]
        return sorted(ready, key=lambda task: (task.kind, -self._urgency[task.node]))

    def _work(self, task: _Task) -> bool:
        """Do one task, in a thread of its pool; tells whether something new came of it."""
        node = self._plan[task.node]
        started = time.monotonic()
        if task.kind == _BUILD:
            self._tools.report(NodeStarted(str(node.id), _BUILD, node.reason))
            joined = [self._archive(each) for each in node.node.joined]
            for each in node.node.retrieved:
                self._archive(each)
            fresh = self._builder.build(node, joined)
        else:
            if node.action is Action.PACK:
                self._tools.report(NodeStarted(str(node.id), _PACK, node.reason))
            record = self._builder.record(node.id)
            self._archives[node.id] = self._packer.pack(node, record).path
            fresh = True
        action = task.kind if fresh else "unchanged"
        self._tools.report(NodeFinished(str(node.id), action, time.monotonic() - started))
        return fresh

    def _archive(self, node: NodeId) -> Path:
        """Find the archive of a node that another one joins."""
        packed = self._archives.get(node)
        return packed or self._packer.checked_archive(self._plan[node])

    def _take(self, task: _Task, future: Future[bool]) -> None:
        """Take in what a finished task says."""
        progress = self._progress
        try:
            fresh = future.result()
        except StackClash as clash:
            progress.clashes.append(clash)
        except CompilerError as error:
            progress.failures.append(error)
            self._tools.report(NodeFailed(str(task.node), str(error)))
        else:
            progress.done.add(task)
            kept = progress.packed if task.kind == _PACK else progress.built
            (kept if fresh else progress.unchanged).append(task.node)
