"""One call of `cos build`: plans and builds until nothing changes the plan any more."""

import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Protocol

from compiler.archive.compress import remove_stale
from compiler.cli.report import Relay
from compiler.cli.settings import Settings
from compiler.errors import CompilerError, Faults, UsageError
from compiler.events import Noted
from compiler.graph import BuildGraph
from compiler.lock import Lock
from compiler.oci import Image
from compiler.plan import Action
from compiler.preflight import faults_of, warnings_of
from compiler.request import Elsewhere, Planned, Request, plan_request
from compiler.store import Cache
from compiler.store.local import LocalStore
from compiler.tree import Tree

_NAMED = 3
"""How many clashing paths a warning names before it only counts the rest."""

_WAIT = 5.0
"""Seconds between two looks for what others are building, as luet has it."""


_REMIND = 60.0
"""Seconds of waiting after which that is said again; then after twice as many, and so on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingOptions:
    """The options of a build that speak of registries, as they were given.

    `image_repository` is where layers are looked for and pushed to, `pull_repositories` are more
    places to look. `final_repository` takes final images; "" means the image repository.
    """

    image_repository: str = ""
    pull_repositories: tuple[str, ...] = ()
    pull: bool = False
    push: bool = False
    wait: bool = False
    sign_key: str = ""
    verify_key: tuple[str, ...] = ()
    final_images: bool = False
    push_final_images: bool = False
    force_final_images: bool = False
    final_repository: str = ""

    @property
    def makes_final_images(self) -> bool:
        """Whether there is anything to do for final images."""
        return self.final_images or self.push_final_images

    def check(self) -> None:
        """Raise `UsageError` for options that do not go together."""
        if self.wait and not self.pull:
            raise UsageError("--wait waits for what --pull fetches", hint="add --pull")
        if self.push and not self.image_repository:
            raise UsageError("--push needs a place", hint="name it with --image-repository")
        if self.pull and not (self.image_repository or self.pull_repositories):
            raise UsageError("--pull needs a place", hint="name it with --image-repository")
        if self.makes_final_images and not (self.final_repository or self.image_repository):
            hint = "name it with --push-final-images-repository"
            raise UsageError("final images need a repository", hint=hint)


@dataclass(frozen=True, slots=True)
class Locking:
    """The project's lock, and whether images that it does not name are refused."""

    path: Path
    lock: Lock
    refuses: bool = False


@dataclass(slots=True)
class Waiting:
    """Since when others are waited for, in seconds since 1970, and when to speak of it again."""

    clock: Callable[[], float] = time.time
    since: float | None = None
    due: float = _REMIND

    def reminder(self, names: str) -> str:
        """Say that what is waited for is still missing, and since when; "" if it is too early."""
        now = self.clock()
        if self.since is None:
            self.since = now
        waited = now - self.since
        if waited < self.due:
            return ""
        self.due = 2 * waited
        begun = datetime.fromtimestamp(self.since, UTC)
        return (
            f"still waiting for others to build {names}, since {begun:%H:%M:%S} UTC "
            f"({waited / 60:.0f} min)"
        )


class Sharing(Protocol):
    """What a build does with registries; see `compiler.cli.sharing`."""

    @property
    def cache(self) -> Cache | None:
        """The layers and archives that others share."""

    def check_targets(self) -> None:
        """Raise `RegistryError` if no registry answers where something is to be pushed to."""

    def lookup(self, name: str) -> Image | None:
        """Find a base image that the store does not have."""

    def refusals(self) -> Mapping[str, CompilerError]:
        """Say which images no registry gave, and why."""

    def look_again(self) -> None:
        """Ask anew for what was not there."""

    def bring_images(self, planned: Planned) -> None:
        """Bring the layers of base images here."""

    def push_rest(self, planned: Planned, request: Request) -> None:
        """Push what was reused."""

    def final_images(self, planned: Planned, destination: Path) -> None:
        """Make the final images of the targets."""


class Building(Protocol):
    """What runs plans; see `compiler.cli.building`."""

    def run(self, planned: Planned) -> bool:
        """Build what a plan says; tells whether another plan is needed."""

    def check(self, planned: Planned) -> None:
        """Build the targets again and compare."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is asked for, and what it is done with."""

    tree: Tree
    request: Request
    store: LocalStore
    report: Relay
    settings: Settings
    name: str
    """What this call's nodes are kept for; the next call of that name replaces them."""
    options: SharingOptions
    locking: Locking
    trees: Sequence[Path] = ()
    """The folders that `tree` was read from."""
    backend: str = "overlay"
    pause: Callable[[float], None] = time.sleep
    _told: set[str] = field(default_factory=set)

    def build(self) -> Planned:
        """Plan and build until nothing changes the plan any more."""
        remove_stale(self.request.destination)
        if self.options.push or self.options.push_final_images:
            self.sharing.check_targets()
        while True:
            planned = self._plan()
            keys = [each.layer for each in planned.keys.values()]
            if self._is_work_left(planned):
                # Until all is built, the nodes of the last good build are kept as well.
                self.store.keep(f"{self.name}\nunfinished", keys)
                if any(each.action is not Action.FETCH for each in planned.nodes):
                    self._bring_images(planned)
                if self.building().run(planned):
                    continue
                self.store.keep(f"{self.name}\nunfinished", ())
            self.store.keep(self.name, keys)
            if self.options.push:
                self.sharing.push_rest(planned, self.request)
            if self.options.makes_final_images:
                self.sharing.final_images(planned, self.request.destination)
            return planned

    def building(self) -> Building:
        """Load what runs plans only when there is something to run: start-up time."""
        module = importlib.import_module("compiler.cli.building")
        building: Building = module.Building(self)
        return building

    @cached_property
    def sharing(self) -> Sharing:
        """Load what talks to registries only when there is something to ask them."""
        module = importlib.import_module("compiler.cli.sharing")
        sharing: Sharing = module.RegistrySharing(
            self.options,
            self.settings,
            self.store,
            report=self.report,
            lock=self.locking.lock,
        )
        return sharing

    def _plan(self) -> Planned:
        """Plan, say what is odd, and raise `Faults` for what keeps the plan from being built."""
        waiting = Waiting()
        while True:
            cache = self.sharing.cache if self.options.pull else None
            elsewhere = Elsewhere(cache=cache, image=self._image, admit=self._admit)
            planned = plan_request(self.tree, self.request, self.store, elsewhere)
            notes = (*chain_warnings(planned.graph), *map(str, warnings_of(planned)))
            for message in notes:
                self._tell(message)
            faults = [*faults_of(planned, self._refusals()), *self._differences(planned)]
            if faults:
                raise Faults.of(faults)
            if not (self.options.wait and self._waits_for(planned, waiting)):
                return planned
            self.pause(_WAIT)
            self.sharing.look_again()

    def _admit(self, names: Sequence[str]) -> None:
        """Raise `Faults` for images that are not locked, if they have to be: nobody is asked."""
        faults = [*self.locking.lock.missing(names, self.locking.path)]
        if self.locking.refuses and faults:
            raise Faults.of(faults)

    def _image(self, name: str) -> Image | None:
        """Look a base image up in the store, and elsewhere if it is not there.

        Where all images have to be locked, registries are asked for digests only.
        """
        found = self.store.image(name)
        if found is None and self.locking.refuses and not self.locking.lock.is_pinned(name):
            return None
        return self.sharing.lookup(name) if found is None else found

    def _refusals(self) -> Mapping[str, CompilerError]:
        """Say which images no registry gave; nothing is loaded for that."""
        return self.sharing.refusals() if "sharing" in self.__dict__ else {}

    def _bring_images(self, planned: Planned) -> None:
        """Bring the layers of base images that are known, but were never needed here so far."""
        if "sharing" in self.__dict__:
            self.sharing.bring_images(planned)

    def _differences(self, planned: Planned) -> Iterator[CompilerError]:
        """Compare the images of a plan with the lock: an error if asked for, else a warning."""
        lock, path = self.locking.lock, self.locking.path
        if self.locking.refuses or lock.images:
            for fault in lock.differences(planned.images, path):
                if self.locking.refuses:
                    yield fault
                else:
                    self._tell(str(fault))

    def _waits_for(self, planned: Planned, waiting: Waiting) -> bool:
        """Tell whether requirements are still to be built by others; says so, and now and then."""
        targets = set(planned.graph.targets)
        missing = [
            each for each in planned.nodes if each.action is Action.BUILD and each.id not in targets
        ]
        if missing:
            names = ", ".join(str(each.id) for each in missing)
            self._tell(f"waiting for others to build {names}")
            reminder = waiting.reminder(names)
            if reminder:
                self._tell(reminder)
        return bool(missing)

    def _tell(self, message: str) -> None:
        """Warn, once of each thing."""
        if message not in self._told:
            self._told.add(message)
            self.report(Noted(message, warning=True))

    def _is_work_left(self, planned: Planned) -> bool:
        """Tell whether a plan does anything, and say so if not."""
        if any(each.action is not Action.REUSE for each in planned.nodes):
            return True
        if planned.nodes:
            message = f"nothing to do: {len(planned.nodes)} packages are built and unchanged"
        else:
            message = "nothing was asked for: name packages, or pass --all or --full"
        self.report(Noted(message))
        return False


def chain_warnings(graph: BuildGraph) -> Iterator[str]:
    """Say which roots had to be chains, and what some packages therefore do not see."""
    for node in graph.nodes.values():
        if node.clash:
            rest = len(node.clash) - _NAMED
            more = f" and {rest} more" if rest > 0 else ""
            paths = ", ".join(f"/{path}" for path in node.clash[:_NAMED])
            yield f"{node.id}: its requirements are chained, since they change {paths}{more}"
        if node.unseen:
            unseen = ", ".join(map(str, node.unseen))
            yield f"{node.id} does not see {unseen}: they start from another image"
