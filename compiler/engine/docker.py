"""Runs steps through an engine that speaks Docker's API: Docker 20.10 and later, Podman's socket.

It gives the same layers as the embedded engine. The stack of layers is sent as an image, once; the
steps of a request run in one container on it, and what they changed is fetched when they have ended
(see `docker_images` and `docker_changes`). Another container takes over in the middle where steps
ask for other networks or caches than those before them, and after files were copied into the root,
which is done here.

The workspace, and caches, are our own folders where the engine may read them: a socket of this
machine, and root. Elsewhere the workspace travels there and back as an archive, in whole seconds,
and caches stay in volumes of the engine, named `cos-toolkit-<cache>`.

What remains different from the embedded engine, and can be seen by steps only: `/.dockerenv` (with
Podman `/run/.containerenv`, and the variable HOSTNAME) is there, `/etc/mtab` is a link to
`/proc/mounts`, `/etc/hosts` and `/etc/resolv.conf` are those that the engine makes, its seccomp and
AppArmor profiles hold, and the order of lines on the two streams of output is only nearly kept.
Podman leaves that link in the layer if one of the root hides the whole of `/etc`.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from docker.errors import APIError
from docker.types import Mount

from compiler.engine import WORKSPACE, CacheMount, CopyFiles, LayerRequest, Network, Run
from compiler.engine.buildroot import USUAL_PLACES
from compiler.engine.changes import minimise
from compiler.engine.confine import is_folder
from compiler.engine.docker_changes import fetch, move_times
from compiler.engine.docker_container import (
    LIMITS,
    MODEST_LIMITS,
    Container,
    LimitedError,
    Setup,
    container,
)
from compiler.engine.docker_daemon import Daemon, remove_container
from compiler.engine.docker_images import HANDED, Part, Stacks, lay_ground
from compiler.engine.docker_places import places_above
from compiler.engine.docker_turn import Job, Turn, turns
from compiler.engine.docker_workspace import bring_workspace, hand_over, send_workspace
from compiler.engine.host import surroundings
from compiler.engine.local import LocalRoots, Scratch
from compiler.engine.lookup import Lowers
from compiler.engine.merge import drop_needless, put_over
from compiler.errors import CompilerError, EngineError, Interrupted, OutsideError
from compiler.events import Reporter
from compiler.oci import Digest

_NOTHING = Path("/dev/null/nothing")
_MADE_ANEW = ("etc", "dev")
"""Folders in which engines replace files before a container starts, which moves their times."""


class DockerEngine:
    """Runs steps in containers of the engine that `environ` names; raises `OutsideError` for none.

    `layer_path` finds the folder of a layer, `scratch` lends empty folders on the same file
    system, `caches` holds the folders of cache mounts by name. Proxies and certificates are looked
    up in `environ`, too.
    """

    def __init__(
        self,
        layer_path: Callable[[Digest], Path],
        scratch: Scratch,
        caches: Path,
        *,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._scratch = scratch
        self._caches = caches
        self._environ = environ
        self._local = LocalRoots(layer_path, scratch)
        self._daemon = Daemon(environ)
        self._stacks = Stacks(self._daemon, layer_path, scratch)
        self._lock = threading.Lock()
        self._live: set[str] = set()
        self._stopped = False
        self._limits = LIMITS
        self._shares = None if self._daemon.facts.shares else False

    def stop(self) -> None:
        """Remove all containers that run; what was being built raises `Interrupted`."""
        with self._lock:
            self._stopped = True
            live = list(self._live)
        with (
            suppress(OutsideError),
            self._daemon.answering("stop containers of the Docker engine"),
            self._daemon.client() as api,
        ):
            for each in live:
                remove_container(api, each)

    def build(self, request: LayerRequest, report: Reporter) -> None:
        """Fill `request.changes`; raises `EngineError` with the failed step, its output and log.

        An engine or a disk that fails is an `OutsideError`; a stop is `Interrupted`.
        """
        self._local.enter()
        try:
            with self._daemon.answering(f"build {request.name} with the Docker engine"):
                self._build(request, report)
        except (CompilerError, OSError) as error:
            if self._stopped:
                raise Interrupted(f"{request.name} was stopped") from error
            if isinstance(error, OSError):
                raise OutsideError(f"cannot build {request.name}: {error}") from error
            raise

    @contextmanager
    def mounted(self, root: tuple[Digest, ...]) -> Iterator[Path]:
        """Show the stack of layers as one read-only folder while the context lasts."""
        with self._local.mounted(root) as folder:
            yield folder

    def _build(self, request: LayerRequest, report: Reporter) -> None:
        with (
            self._scratch() as place,
            request.log.open("ab", buffering=0) as log,
            self._daemon.client() as api,
        ):
            around = surroundings(place, self._environ)
            job = Job(request=request, around=around, log=log, report=report, api=api)
            for turn in turns(request):
                if isinstance(turn, CopyFiles):
                    self._copy(job, turn)
                else:
                    self._run_all(job, turn)
        lowers = Lowers(self._local.lowers(request.root))
        drop_needless(request.changes, lowers)
        minimise(request.changes, lambda path: lowers.find(str(path)) or _NOTHING)

    def _copy(self, job: Job, action: CopyFiles) -> None:
        job.begin(action)
        try:
            self._local.copy(action, job.request)
        except EngineError as error:
            error.log = str(job.request.log)
            raise

    def _run_all(self, job: Job, steps: Sequence[Run]) -> None:
        """Run steps in one container, or in one each where the root has no shell to wait with."""
        with self._scratch() as place:
            turn = Turn(job, steps, self._lowers(job.request, place), place)
            if turn.shell or len(steps) == 1:
                self._take(turn, place)
                return
        for step in steps:
            self._run_all(job, (step,))

    def _lowers(self, request: LayerRequest, place: Path) -> Lowers:
        """Put together what the next container's root is made of."""
        ground = place / "ground"
        ground.mkdir(mode=0o755)
        above = [request.changes] if _has_any(request.changes) else []
        return Lowers(
            [
                *above,
                *self._local.lowers(request.root),
                lay_ground(ground, podman=self._daemon.facts.podman),
            ]
        )

    def _take(self, turn: Turn, place: Path) -> None:
        """Run the steps of a turn in a container, and put what they changed over the rest."""
        turn.begin()
        above = self._above(turn, place)
        try:
            self._take_with(turn, above)
        except LimitedError:
            self._limits = MODEST_LIMITS
            self._take_with(turn, above)

    def _take_with(self, turn: Turn, above: Sequence[Part]) -> None:
        """Run the steps of a turn in one container."""
        job = turn.job
        with (
            self._stacks.image(job.api, job.request.root, above) as image,
            self._container(turn, image) as box,
        ):
            self._fill(turn, box)
            before = _times(box)
            turn.run(box)
            box.end()
            self._fetch(turn, box, before)

    def _above(self, turn: Turn, place: Path) -> list[Part]:
        """Say what lies above the root: what was changed so far, and places for mounts."""
        changes = turn.job.request.changes
        parts = [Part("changes", lambda _: changes)] if changes in turn.lowers.layers else []
        caches = [(mount.target, True) for mount in turn.first.mounts]
        wanted = [*USUAL_PLACES, (HANDED, True), *caches]
        stub = places_above(turn.lowers, wanted, place)
        return [*parts, Part("places", lambda _: stub)] if stub else parts

    @contextmanager
    def _container(self, turn: Turn, image: str) -> Iterator[Container]:
        """Make the container of a turn; from now on, `stop` ends it."""
        with container(turn.job.api, self._setup(turn, image)) as box:
            with self._lock:
                if self._stopped:
                    raise Interrupted(f"stopped before {turn.job.request.name} was built")
                self._live.add(box.id)
            try:
                yield box
            finally:
                with self._lock:
                    self._live.discard(box.id)

    def _setup(self, turn: Turn, image: str) -> Setup:
        """Say what the container of a turn is made of."""
        shares = self._sees(turn, image)
        step = turn.first
        mounts = [self._workspace(turn.job.request, shares=shares)]
        asked = [each for each in step.mounts if each.tmpfs and self._daemon.facts.podman]
        mounts += [self._cache(each, shares=shares) for each in step.mounts if each not in asked]
        if turn.job.handed:
            mounts.append(Mount(HANDED, None, no_copy=True))
        return Setup(
            image=image,
            run=self._daemon.run,
            network=step.network or turn.job.request.network,
            mounts=mounts,
            tmpfs=[each.target for each in asked],
            shell=turn.shell,
            step=None if turn.shell else step,
            env=() if turn.shell else turn.environment(step),
            limits=self._limits,
        )

    def _sees(self, turn: Turn, image: str) -> bool:
        """Tell whether the engine sees our folders, which is tried once."""
        with self._lock:
            if self._shares is None:
                mounts = [self._workspace(turn.job.request, shares=True)]
                setup = Setup(
                    image=image, run=self._daemon.run, network=Network.NONE, mounts=mounts
                )
                try:
                    with container(turn.job.api, setup):
                        self._shares = True
                except APIError:
                    self._shares = False
            return self._shares

    def _workspace(self, request: LayerRequest, *, shares: bool) -> Mount:
        if shares:
            return Mount(WORKSPACE, str(request.workspace), type="bind")
        return Mount(WORKSPACE, None, no_copy=True)

    def _cache(self, cache: CacheMount, *, shares: bool) -> Mount:
        if cache.tmpfs:
            return Mount(cache.target, None, type="tmpfs", tmpfs_mode=0o1777)
        if cache.cache in {"", ".", ".."} or "/" in cache.cache:
            raise EngineError(f"{cache.cache!r} cannot be the name of a cache")
        if not shares:
            return Mount(cache.target, f"cos-toolkit-{cache.cache}", no_copy=True)
        folder = self._caches / cache.cache
        folder.mkdir(parents=True, exist_ok=True)
        return Mount(cache.target, str(folder), type="bind")

    def _fill(self, turn: Turn, box: Container) -> None:
        """Bring into a container what its steps need and its image does not have."""
        if not self._shares:
            send_workspace(turn.job.request.workspace, box, self._scratch)
        if turn.job.handed:
            hand_over(turn.job.handed, box)

    def _fetch(self, turn: Turn, box: Container, before: Mapping[str, str]) -> None:
        """Put what an ended container changed over what was changed before."""
        changes, facts = turn.job.request.changes, self._daemon.facts
        if not self._shares:
            bring_workspace(turn.job.request.workspace, box, self._scratch)
        with self._scratch() as place:
            delta = place if _has_any(changes) else changes
            fetch(
                turn.job.api,
                box,
                delta,
                readable=bool(self._shares) and facts.whole and self._local.mounts,
                scratch=self._scratch,
            )
            if not self._shares:
                move_times(delta, facts)
            after = _times(box)
            for name in _MADE_ANEW:
                if before[name] == after[name]:
                    _restore_time(delta / name, turn.lowers.find(name))
            if delta != changes:
                put_over(delta, changes)


def _times(box: Container) -> dict[str, str]:
    """Look at the folders whose times an engine moves."""
    found = {name: box.stat(f"/{name}") for name in _MADE_ANEW}
    return {name: "" if status is None else status.changed for name, status in found.items()}


def _restore_time(folder: Path, original: Path | None) -> None:
    """Give a folder, of which steps changed nothing but what is in its files, its time again."""
    if is_folder(folder) and original is not None and is_folder(original):
        status = original.lstat()
        os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))


def _has_any(folder: Path) -> bool:
    return next(folder.iterdir(), None) is not None
