"""Runs a plan: what may start, what follows a failure, and what is told about it."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from compiler.artifact.pack import Artifact
from compiler.build.inventory import Inventory, Origin, remove_documents
from compiler.build.nodes import NodeBuilder, StackClash
from compiler.build.packing import Packer
from compiler.build.settings import BuildSettings, Tools
from compiler.build.trees import tree_resource
from compiler.errors import CompilerError, RegistryError, TrustError
from compiler.events import NodeFailed, NodeFinished, NodeStarted, Noted, RunPlanned
from compiler.graph import BuildGraph, NodeId
from compiler.graph.network import urgency
from compiler.packed import ArtifactForm, document_files, files_of, shared_files
from compiler.plan import Action, PlanNode
from compiler.store import Cache

__all__ = ["BuildSettings", "Outcome", "Tools", "run_plan"]

_BUILD = "build"
_PACK = "pack"
_FETCH = "fetch"
_DOWNLOAD = "download"
_PUSH = "push"
_UPLOAD = "upload"
_DESCRIBE = "describe"
_LAST = frozenset({_PACK, _DESCRIBE, _PUSH, _UPLOAD})
"""What is still done after a failure, with what was built before it."""
_TOLD = frozenset({_BUILD, _PACK, _FETCH, _DOWNLOAD})
"""What people and programs hear the end of; the rest follows by itself."""
_TRANSFERS = 4
"""Contents that travel at the same time: each is many requests already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended: what was made, what failed, and which roots must be chains.

    `clashes` is not a failure: with what was learnt, a new plan builds those nodes on chains.
    Neither is `unfetched`: what could not be fetched, a new plan builds.
    """

    built: tuple[NodeId, ...] = ()
    packed: tuple[NodeId, ...] = ()
    unchanged: tuple[NodeId, ...] = ()
    clashes: tuple[StackClash, ...] = ()
    unfetched: tuple[NodeId, ...] = ()
    failures: tuple[CompilerError, ...] = ()


@dataclass(frozen=True, slots=True)
class _Task:
    """One piece of work: a node's layers or its archive, made, brought here, or given to others."""

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
    unfetched: list[NodeId] = field(default_factory=list)
    failures: list[CompilerError] = field(default_factory=list)

    def outcome(self) -> Outcome:
        """Put everything into the result."""
        return Outcome(
            built=tuple(self.built),
            packed=tuple(self.packed),
            unchanged=tuple(self.unchanged),
            clashes=tuple(self.clashes),
            unfetched=tuple(self.unfetched),
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


def _origin(settings: BuildSettings) -> Origin:
    """Say where the specs come from; trees are read only if somebody is told."""
    if not settings.documents:
        return Origin()
    left_out = (settings.destination,)
    return Origin(tree=tuple(tree_resource(each, without=left_out) for each in settings.trees))


@contextmanager
def _ended(mark: str) -> Iterator[None]:
    """Leave a run when all threads have ended that have its mark in their names.

    A pool does not wait for a thread that it was starting when a signal was raised.
    """
    try:
        yield
    finally:
        for each in threading.enumerate():
            if mark in each.name:
                each.join()


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
        self._documents = settings.documents
        self._mtree = settings.mtree
        self._packed: dict[NodeId, Sequence[Artifact]] = {}
        self._inventory = Inventory(tools.store, settings, _origin(settings), tools.report)
        self._destination = settings.destination
        self._compression = settings.compression
        self._progress = _Progress()
        self._fetches = any(each.fetches for each in plan)
        self._works: Mapping[str, Callable[[PlanNode], bool]] = {
            _BUILD: self._build,
            _PACK: self._pack,
            _FETCH: self._fetch,
            _DOWNLOAD: self._download,
            _PUSH: self._push,
            _UPLOAD: self._upload,
            _DESCRIBE: self._describe,
        }
        self._pushes = settings.pushes and tools.cache is not None
        self._graph = graph
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
        mark = f"-{id(self):x}"
        with (
            _ended(mark),
            ThreadPoolExecutor(self._concurrency, f"build{mark}") as builds,
            ThreadPoolExecutor(max(1, self._concurrency // 2), f"pack{mark}") as packs,
            ThreadPoolExecutor(_TRANSFERS, f"transfer{mark}") as transfers,
        ):
            pools = {_BUILD: builds, _PACK: packs, _DESCRIBE: packs}
            try:
                while True:
                    for task in self._ready(waiting):
                        del waiting[task]
                        pool = pools.get(task.kind, transfers)
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
            builds = node.action is Action.BUILD
            kinds = {
                _FETCH: node.fetches,
                _DOWNLOAD: node.downloads,
                _BUILD: builds,
                _PUSH: builds and self._pushes,
                _PACK: node.packs,
                _DESCRIBE: node.packs and self._documents,
                _UPLOAD: node.packs and self._pushes,
            }
            yield from (_Task(kind, node.id) for kind, wanted in kinds.items() if wanted)

    def _before(self, task: _Task) -> set[_Task]:
        """Name the tasks that must be done before `task`."""
        node = self._plan[task.node]
        if task.kind == _PUSH:
            return {_Task(_BUILD, task.node)}
        if task.kind == _DESCRIBE:
            return {_Task(_PACK, task.node)}
        if task.kind == _UPLOAD:
            return {_Task(_DESCRIBE if self._documents else _PACK, task.node)}
        if task.kind in {_FETCH, _DOWNLOAD}:
            return set()
        below = self._layers_below(task.node)
        if task.kind == _PACK:
            return below | self._layers_of(task.node)
        archives = (*node.node.joined, *node.node.retrieved)
        below |= {_Task(_PACK, each) for each in archives if self._plan[each].packs}
        return below | {_Task(_DOWNLOAD, each) for each in archives if self._plan[each].downloads}

    def _layers_of(self, node: NodeId) -> set[_Task]:
        """Name what brings the layers of a node about, if they are not there."""
        planned = self._plan[node]
        if planned.fetches:
            return {_Task(_FETCH, node)}
        return {_Task(_BUILD, node)} if planned.action is Action.BUILD else set()

    def _layers_below(self, node: NodeId) -> set[_Task]:
        """Name what brings about the layers that a node stands on or copies from."""
        needed = self._graph.nodes[node].needs
        found = {task for each in needed for task in self._layers_of(each)}
        if self._fetches:  # a layer comes alone: what it stands on may still be under way
            roots = (root for each in (node, *needed) for root in self._graph.root(each))
            found |= {task for each in roots for task in self._layers_of(each)}
        return found

    def _ready(self, waiting: dict[_Task, set[_Task]]) -> list[_Task]:
        """Name the tasks that may start now; after a failure, only what ends what was begun."""
        stopped = self._progress.failures or self._progress.unfetched
        ready = [
            task
            for task, before in waiting.items()
            if before <= self._progress.done and (task.kind in _LAST or not stopped)
        ]
        return sorted(ready, key=lambda task: (task.kind, -self._urgency[task.node]))

    def _work(self, task: _Task) -> bool:
        """Do one task, in a thread of its pool; tells whether something new came of it."""
        node = self._plan[task.node]
        started = time.monotonic()
        fresh = self._works[task.kind](node)
        action = task.kind if fresh else "unchanged"
        if task.kind in _TOLD:
            self._tools.report(NodeFinished(str(node.id), action, time.monotonic() - started))
        return fresh

    def _build(self, node: PlanNode) -> bool:
        """Build the layers of a node; tells whether its steps ran."""
        self._tools.report(NodeStarted(str(node.id), _BUILD, node.reason))
        joined = [self._archive(each) for each in node.node.joined]
        for each in node.node.retrieved:
            self._archive(each)
        return self._builder.build(node, joined)

    def _pack(self, node: PlanNode) -> bool:
        """Pack the archive of a node."""
        if node.action is Action.PACK:
            self._tools.report(NodeStarted(str(node.id), _PACK, node.reason))
        record = self._builder.record(node.id)
        artifacts = self._packer.pack(node, record)
        self._archives[node.id] = artifacts[0].path
        if self._documents:
            self._packed[node.id] = artifacts
        else:
            remove_documents(self._destination, [each.package for each in artifacts])
            self._packer.unmark(node, artifacts)
        return True

    def _describe(self, node: PlanNode) -> bool:
        """Write beside the artifacts of a node what is in them and how they were made."""
        record, artifacts = self._builder.record(node.id), self._packed.pop(node.id)
        self._inventory.write(node, record, artifacts)
        self._packer.unmark(node, artifacts)
        return True

    def _fetch(self, node: PlanNode) -> bool:
        """Fetch the layers of a node."""
        self._tools.report(NodeStarted(str(node.id), _FETCH, node.reason))
        self._cache.fetch_node(node.keys.layer)
        return True

    def _download(self, node: PlanNode) -> bool:
        """Fetch the archive of a node, and what belongs to it."""
        if not node.fetches:
            self._tools.report(NodeStarted(str(node.id), _FETCH, node.reason))
        files = shared_files(node.node.spec, node.keys, self._compression)
        self._cache.fetch_artifact(node.keys.artifact, files, self._destination)
        if self._mtree:
            self._packer.add_mtrees(node)
        names = [name for name, _ in document_files(node.node.spec, node.keys)]
        if self._documents and not all((self._destination / name).exists() for name in names):
            words = "was shared without SBOMs and provenance, so it has none here"
            hint = "`build --push --sbom` shares them; without --pull they are made here"
            self._tools.report(Noted(f"{node.id}: {words} ({hint})", warning=True))
        return True

    def _push(self, node: PlanNode) -> bool:
        """Give the layers of a node to others."""
        self._cache.push_node(self._builder.record(node.id))
        return True

    def _upload(self, node: PlanNode) -> bool:
        """Give the archive of a node, and what belongs to it, to others."""
        form = ArtifactForm(self._compression, self._documents)
        files = dict(files_of(node.node.spec, node.keys, form))
        self._cache.push_artifact(node.keys.artifact, files, self._destination)
        return True

    @property
    def _cache(self) -> Cache:
        """The cache, which there is when a plan fetches or pushes."""
        if self._tools.cache is None:
            raise CompilerError("the plan fetches, but there is nothing to fetch from")
        return self._tools.cache

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
        except (RegistryError, TrustError) as error:
            self._take_refusal(task, error)
        except CompilerError as error:
            progress.failures.append(error)
            self._tools.report(NodeFailed(str(task.node), str(error)))
        else:
            progress.done.add(task)
            kept = {_PACK: progress.packed, _BUILD: progress.built}.get(task.kind)
            if kept is not None:
                (kept if fresh else progress.unchanged).append(task.node)

    def _take_refusal(self, task: _Task, error: CompilerError) -> None:
        """Do without the cache where that is possible: what it does not give is built here."""
        if task.kind in {_FETCH, _DOWNLOAD}:
            keys = self._plan[task.node].keys
            self._cache.refuse(keys.layer if task.kind == _FETCH else keys.artifact)
            self._progress.unfetched.append(task.node)
            self._tools.report(Noted(f"{task.node} is built here: {error}", warning=True))
        else:
            self._progress.failures.append(error)
            self._tools.report(NodeFailed(str(task.node), str(error)))
