"""The embedded engine: crun containers over kernel overlayfs, without a daemon."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from compiler.engine import DEFAULT_PATH, WORKSPACE, CacheMount, CopyFiles, LayerRequest, Run
from compiler.engine.account import Account, account
from compiler.engine.buildroot import USUAL_PLACES, BuildRoot
from compiler.engine.changes import minimise
from compiler.engine.confine import make_folders
from compiler.engine.container import KERNEL_MOUNTS, Container, Mount, command
from compiler.engine.copying import copy_files
from compiler.engine.failure import failure
from compiler.engine.host import Surroundings, surroundings
from compiler.engine.namespace import prepare
from compiler.engine.stack import Stack, mounted
from compiler.errors import EngineError, OutsideError, room_hint
from compiler.events import Reporter, StepOutput, StepStarted
from compiler.oci import Digest
from compiler.process import Running, run

Scratch = Callable[[], AbstractContextManager[Path]]


class OverlayEngine:
    """Runs steps on this machine; needs root or user namespaces, see `namespace.prepare`.

    `layer_path` finds the folder of a layer, `scratch` lends empty folders on the same file
    system, `caches` holds the folders of cache mounts by name, `environ` is where proxies and
    certificates of this machine are looked up.
    """

    def __init__(
        self,
        layer_path: Callable[[Digest], Path],
        scratch: Scratch,
        caches: Path,
        *,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._layer_path = layer_path
        self._scratch = scratch
        self._caches = caches
        self._environ = environ
        self._namespace = prepare()
        self._running = Running()

    def stop(self) -> None:
        """Kill all steps that run; what was being built raises `Interrupted`."""
        self._running.stop()

    def build(self, request: LayerRequest, report: Reporter) -> None:
        """Fill `request.changes`; raises `EngineError` with the failed step, its output and log.

        A disk that is full or fails is an `OutsideError`; a stop is `Interrupted`.
        """
        self._namespace.enter()
        try:
            self._build(request, report)
        except OSError as error:
            where = error.filename or request.changes
            reason = (error.strerror or str(error)).lower()
            hint = room_hint(error, "make room, `cos gc` removes what is unused")
            message = f"cannot build {request.name}: {where}: {reason}"
            raise OutsideError(message, hint=hint) from error

    def _build(self, request: LayerRequest, report: Reporter) -> None:
        lowers = self._lowers(request.root)
        with self._scratch() as place, request.log.open("ab", buffering=0) as log:
            around = surroundings(place, self._environ)
            with BuildRoot(place, lowers, request.changes, USUAL_PLACES) as root:
                job = _Job(request, root, place, around, log, report)
                for action in request.actions:
                    self._act(job, action)
            self._minimise(request)

    @contextmanager
    def mounted(self, root: tuple[Digest, ...]) -> Iterator[Path]:
        """Show the stack of layers as one read-only folder while the context lasts."""
        self._namespace.enter()
        with self._scratch() as place, mounted(Stack(lowers=self._lowers(root), place=place)) as at:
            yield at

    def _lowers(self, root: tuple[Digest, ...]) -> list[Path]:
        """Find the folders of a stack, topmost first, each once: the kernel refuses repetitions."""
        return [self._layer_path(layer) for layer in dict.fromkeys(reversed(root))]

    def _act(self, job: "_Job", action: Run | CopyFiles) -> None:
        job.report(StepStarted(job.request.name, action.text))
        job.log.write(f"$ {action.text}\n".encode(errors="surrogateescape"))
        if isinstance(action, Run):
            self._run(job, action)
        else:
            self._copy(job, action)

    def _run(self, job: "_Job", step: Run) -> None:
        bundle = job.new_folder()
        mounts = self._mounts(job, step)
        job.provide(mounts, step.directory)
        try:
            who = account(job.root.folder, step.user)
        except EngineError as error:
            error.step, error.log = step.text, str(job.request.log)
            raise
        container = Container(
            root=job.root.folder,
            argv=step.argv,
            env=_environment(step, job.around, who),
            directory=step.directory or "/",
            account=who,
            mounts=mounts,
            network=step.network or job.request.network,
        )
        finished = run(
            command(container, bundle),
            on_line=lambda line: job.report(StepOutput(job.request.name, line)),
            log=job.log,
            running=self._running,
        )
        if finished.code:
            messages = bundle / "messages"
            raise failure(step, finished, messages=messages, log=job.request.log)

    def _copy(self, job: "_Job", action: CopyFiles) -> None:
        with ExitStack() as context:
            folder = action.folder or context.enter_context(self.mounted(action.stack))
            with job.root.showing(job.request.workspace):
                try:
                    copy_files(action, folder, job.root.folder)
                except EngineError as error:
                    raise _with_log(error, job.request.log) from error

    def _mounts(self, job: "_Job", step: Run) -> list[Mount]:
        """List what a step gets mounted besides what the kernel offers, in order."""
        mounts = [Mount(target=WORKSPACE, source=str(job.request.workspace))]
        for shown in job.around.files:
            options = () if shown.writable else ("ro",)
            mounts.append(Mount(target=shown.target, source=str(shown.source), options=options))
        mounts += [self._cache(cache) for cache in step.mounts]
        return mounts

    def _cache(self, cache: CacheMount) -> Mount:
        if cache.tmpfs:
            return Mount(target=cache.target, kind="tmpfs", source="tmpfs", options=("mode=1777",))
        if cache.cache in {"", ".", ".."} or "/" in cache.cache:
            raise EngineError(f"{cache.cache!r} cannot be the name of a cache")
        folder = self._caches / cache.cache
        folder.mkdir(parents=True, exist_ok=True)
        return Mount(target=cache.target, source=str(folder))

    def _minimise(self, request: LayerRequest) -> None:
        """Compare the changes with the root as it was, which is mounted only if that is needed."""
        with ExitStack() as context:
            before: list[Path] = []

            def below(path: Path) -> Path:
                if not before:
                    before.append(context.enter_context(self.mounted(request.root)))
                return before[0] / path

            minimise(request.changes, below)


@dataclass(slots=True)
class _Job:
    """A request while it is worked on."""

    request: LayerRequest
    root: BuildRoot
    place: Path
    around: Surroundings
    log: IO[bytes]
    report: Reporter
    _folders: int = 0

    def new_folder(self) -> Path:
        """Make another folder in scratch."""
        self._folders += 1
        folder = self.place / f"step{self._folders}"
        folder.mkdir()
        return folder

    def provide(self, mounts: Sequence[Mount], directory: str) -> None:
        """Make the root ready for a step: places for its mounts, and its working directory."""
        places = [(mount.target, mount.is_folder) for mount in (*KERNEL_MOUNTS, *mounts)]
        self.root.provide([place for place in places if not _is_ours(place[0])])
        inside = _within(directory, WORKSPACE)
        if inside is not None:
            make_folders(self.request.workspace, inside)
        elif not _is_ours(directory):
            make_folders(self.root.folder, directory)


def _is_ours(target: str) -> bool:
    """Tell whether a path lies in a file system that every container gets anew."""
    return any(_within(target, top) for top in ("/dev", "/proc", "/sys"))


def _within(path: str, folder: str) -> str | None:
    """Return `path` relative to `folder`, "" for itself, None if it is not inside."""
    relative = os.path.relpath(os.path.join("/", path), folder)  # noqa: PTH118  (pure text)
    if relative == ".":
        return ""
    return None if relative.split("/")[0] == ".." else relative


def _environment(step: Run, around: Surroundings, who: Account) -> dict[str, str]:
    """Put the step's own variables over what every step gets."""
    return {"PATH": DEFAULT_PATH, "HOME": who.home, **around.env, **dict(step.env)}


def _with_log(error: EngineError, log: Path) -> EngineError:
    return EngineError(error.message, step=error.step, log=str(log), hint=error.hint)
