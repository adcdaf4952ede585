"""A client: one system with its configuration and repositories, and what is done to it."""

import importlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self
from uuid import uuid4

from compiler.archive.safety import Devices
from compiler.errors import CompilerError, OutsideError, TrustError
from compiler.events import Noted, Reporter, silent
from compiler.repository.cache import Cache
from compiler.repository.configured import RepositoryConfig
from compiler.repository.sources import Source
from compiler.repository.sources.opening import Opening, open_source
from compiler.repository.sync import SyncTools, Trust, sync
from compiler.repository.synced import Shelf, Synced
from compiler.repository.trust.kept import kept_root, read_root, refuse_unverifiable, seal_of
from compiler.spec.package import PackageId
from compiler.system.audit import Missing, missing_files
from compiler.system.change import Change, Incoming, Options
from compiler.system.choice import Offers, Present, definitions_of
from compiler.system.config import Config
from compiler.system.conflicts import conflict_error
from compiler.system.database import Installed
from compiler.system.finalizer import Farewells, run_finalizers
from compiler.system.lookup import inside
from compiler.system.protect import Protection, read_protection
from compiler.system.root import System, is_writable
from compiler.system.solve import Decision, Solver
from compiler.system.transaction import apply, check, recover

_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a decision is carried out: luet's flags of the commands that change a system."""

    force: bool = False
    keep_protected: bool = False
    finalizer_env: Mapping[str, str] = field(default_factory=dict)


_PLAINLY = How()


class Client:
    """Works on the system that a configuration names. Close it, or use it as a context."""

    def __init__(self, config: Config, opening: Opening, report: Reporter = silent) -> None:
        self.config = config
        self.report = report
        """Hears what happens."""
        self._opening = opening
        self._stack = ExitStack()
        self._sources: dict[str, Source] = {}
        self._trusted: dict[str, Trust] = {}
        self.system = self._stack.enter_context(_open_system(config))
        self.asks_anew = False
        """Whether repositories are asked although what is known of them is fresh enough."""
        self.failed: dict[str, CompilerError] = {}
        """Repositories that could not be used, and why."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything."""
        self._stack.close()

    @cached_property
    def cache(self) -> Cache:
        """Where fetched archives are: below the database's folder, as in luet."""
        path = f"{self.config.system.database_path}/{self.config.system.pkgs_cache_path}"
        return Cache(self._inside(path) if is_writable(self.folder) else self._scratch)

    @cached_property
    def folder(self) -> Path:
        """The folder of the database and of all that is kept beside it."""
        return self._inside(self.config.system.database_path)

    @cached_property
    def shelf(self) -> Shelf:
        """Where the states of repositories are; a copy, where nothing can be written."""
        folder = self.folder / "repos"
        if is_writable(self.folder):
            return Shelf(folder, self._seal)
        copy = self._scratch / "repos"
        if folder.is_dir():
            shutil.copytree(folder, copy, ignore_dangling_symlinks=True)
        return Shelf(copy, self._seal)

    @cached_property
    def _scratch(self) -> Path:
        return Path(
            self._stack.enter_context(TemporaryDirectory(prefix="cos-", dir=self.config.scratch))
        )

    @property
    def used(self) -> tuple[RepositoryConfig, ...]:
        """The repositories that count on this machine, in the order of the configuration."""
        architecture = self._opening.platform.architecture
        return tuple(each for each in self.config.repositories if each.is_used(architecture))

    @cached_property
    def repositories(self) -> tuple[Synced, ...]:
        """What all repositories have, brought up to date; those that fail are told and left out.

        Raises `TrustError` for one that is not signed as it has to be, `OutsideError` if all fail.
        """
        return self.sync(self.used, force=self.asks_anew)

    @cached_property
    def installed(self) -> tuple[Installed, ...]:
        """What is installed."""
        return self.system.database.installed()

    @cached_property
    def offers(self) -> Offers:
        """What repositories offer."""
        return Offers(self.repositories)

    @cached_property
    def solver(self) -> Solver:
        """Decides about this system."""
        return Solver(self.installed, self.offers)

    @property
    def no_offers(self) -> Offers:
        """What there is without any repository."""
        return Offers(())

    @property
    def local_solver(self) -> Solver:
        """Decides about what is installed alone; asks no repository."""
        return Solver(self.installed, self.no_offers)

    def sync(
        self, configs: Sequence[RepositoryConfig], *, force: bool = False, insist: bool = False
    ) -> tuple[Synced, ...]:
        """Bring repositories up to date, several at the same time.

        With `force` also what is fresh enough; with `insist` what was kept before does not do.
        """
        tools = SyncTools(shelf=self.shelf, report=self.report, force=force, insist=insist)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sync") as pool:
            running = [pool.submit(self._sync, config, tools) for config in configs]
        found = []
        for config, future in zip(configs, running, strict=True):
            error = future.exception()
            if error is None:
                found.append(future.result())
            elif isinstance(error, TrustError) or not isinstance(error, CompilerError):
                raise error
            else:
                self.failed[config.name] = error
        self._tell_failures(found)
        return tuple(found)

    def _tell_failures(self, found: Sequence[Synced]) -> None:
        if self.failed and not found:
            names = ", ".join(sorted(self.failed))
            reasons = "; ".join(map(str, self.failed.values()))
            raise OutsideError(f"no repository can be used ({names}): {reasons}")
        for name, error in self.failed.items():
            self.report(Noted(f"{name}: {error}; it is left out", warning=True))

    def _sync(self, config: RepositoryConfig, tools: SyncTools) -> Synced:
        source = self.source(config)
        return sync(config, source, tools, self._trusted.get(config.name))

    def trust_folder(self, config: RepositoryConfig) -> Path:
        """Return where the root of a repository's keys is kept, and what was seen of it."""
        return self.shelf.folder(config) / "trust"

    def root_of(self, config: RepositoryConfig) -> bytes | None:
        """Return the root of a repository: what its configuration names, or what was kept.

        Raises `TrustError` where there is none, and the configuration wants to have it verified.
        """
        if config.root:
            return read_root(self.config.host_path(config.root))
        root = kept_root(self.trust_folder(config))
        if root is None:
            refuse_unverifiable(config)
        return root

    def _seal(self, config: RepositoryConfig) -> str:
        return seal_of(self.root_of(config))

    def source(self, config: RepositoryConfig) -> Source:
        """Return where a repository's files come from; with a root, only what was signed comes."""
        if config.name not in self._sources:
            self._sources[config.name] = self._open(config)
        return self._sources[config.name]

    def _open(self, config: RepositoryConfig) -> Source:
        """Open a source, one that compares everything if the repository's root is known."""
        root = self.root_of(config)
        if root is None:
            return open_source(config, self._opening)
        folder = self.trust_folder(config)
        trust = importlib.import_module("compiler.repository.trust.sources")  # start-up time
        source: Source
        source, self._trusted[config.name] = trust.signed_source(
            config, self._opening, folder, root
        )
        return source

    def _forget(self) -> None:
        """Look at what is installed anew."""
        for name in ("installed", "solver"):
            self.__dict__.pop(name, None)

    def damaged(self, *, contents: bool = False) -> list[Missing]:
        """List the installed packages that have files missing, or changed ones with `contents`."""
        self._forget()
        besides = self._protection() if contents else None
        return list(missing_files(self.system, self.installed, besides=besides))

    @contextmanager
    def changing(self, how: How = _PLAINLY) -> Iterator[None]:
        """Be the only one who changes the system; ends what was stopped before."""
        with self.system.lock():
            farewells = Farewells(self.system, self._env(how), self.report)
            recovered = recover(self.system, self.report, farewell=farewells.say)
            if recovered is not None:
                self.report(Noted(str(recovered), warning=True))
            self._forget()
            yield

    def fetch(self, decision: Decision) -> Change:
        """Bring the archives of all that comes into the cache, several at the same time."""
        workers = min(_AT_ONCE, self.config.general.concurrency * 2)
        with ThreadPoolExecutor(workers, thread_name_prefix="fetch") as pool:
            running = [pool.submit(self._fetch, each, decision) for each in decision.come]
            try:
                incoming = tuple(future.result() for future in running)
            except BaseException:
                for future in running:
                    future.cancel()
                raise
        return Change(install=incoming, remove=decision.go)

    def _fetch(self, package: PackageId, decision: Decision) -> Incoming:
        offer = self.offers.get(package)
        if offer is None:
            raise CompilerError(f"{package} is in no repository")
        metadata = offer.repository.metadata(package)
        self.report(Noted(f"fetching {package}"))
        config = offer.repository.config
        found = self.source(config).fetch(metadata, self.cache)
        return Incoming(
            metadata=metadata,
            archive=found if config.type == "docker" else found[0],
            repository=config.name,
            finalizer=offer.package.finalizer,
            requested=package[:2] in decision.asked,
        )

    def carry_out(self, change: Change, how: How) -> None:
        """Change the system, all of it or nothing, and run finalizers.

        Raises what `apply` does; `CompilerError` at the end if finalizers failed.
        """
        options = Options(
            force=how.force,
            protection=self._protection(),
            keep_protected=how.keep_protected,
            devices=Devices.allowed(),
        )
        if not how.force:
            conflicts = check(change, self.system, options)
            if conflicts:
                raise conflict_error(conflicts)
        env = self._env(how)
        farewells = Farewells(self.system, env, self.report)
        change = replace(change, parting=self._parting(change))
        try:
            apply(change, self.system, options, self.report, farewell=farewells.say)
        except CompilerError:
            self._forget()
            parting = frozenset(change.parting)
            if any(each.id in parting and not each.finalized for each in self.installed):
                self.catch_up(how)  # they stay, after their farewell
            raise
        self._forget()
        failures = [farewells.failure]
        failures += self._finalize({each.id for each in change.install}, env)
        for failure in filter(None, failures):
            raise failure

    def catch_up(self, how: How) -> None:
        """Run the finalizers that did not run the last time; what fails is told, and waits on."""
        list(self._finalize(set(), self._env(how)))

    def _env(self, how: How) -> dict[str, str]:
        """The variables of finalizers: what the configuration gives them, and the command line."""
        return {each.key: each.value for each in self.config.finalizer_envs} | {**how.finalizer_env}

    def _parting(self, change: Change) -> tuple[PackageId, ...]:
        """List what goes for good and has a finalizer, each before what it needs."""
        staying = {each.id[:2] for each in change.install}
        gone = set(change.remove)
        going = [each for each in self.installed if each.id in gone and each.id[:2] not in staying]
        ordered = _ordered(going, self.installed)[::-1]
        return tuple(each.id for each in ordered if each.finalizer is not None)

    def _finalize(
        self, come: set[PackageId], env: Mapping[str, str]
    ) -> Iterator[CompilerError | None]:
        """Run the finalizers of what came; before them, those that did not run the last time."""
        unfinished = [each for each in self.installed if not each.finalized]
        waiting = _ordered(unfinished, self.installed)
        for late, packages in (
            (True, [each for each in waiting if each.id not in come]),
            (False, [each for each in waiting if each.id in come]),
        ):
            try:
                run_finalizers(self.system, packages, env, reporter=self.report)
            except CompilerError as error:
                yield None if late else error

    def _protection(self) -> Protection:
        if self.config.config_protect_skip:
            return Protection()
        named = self.config.config_protect_confdir
        folders = [self.config.host_path(each) for each in named]
        own = [self.config.inside(each) for each in named]
        return read_protection(list(dict.fromkeys([*folders, *own])), self.config.real)

    def _inside(self, path: str) -> Path:
        """Find a path of the system, without following a link out of it."""
        return inside(self.system.root, path)


def in_order(packages: Iterable[Installed]) -> list[Installed]:
    """Sort packages so that each comes after those of them that it needs."""
    known = {each.id: each for each in packages}
    present = Present(definitions_of(known.values()).values())
    done: dict[PackageId, Installed] = {}

    def visit(first: PackageId) -> None:
        path = [(first, iter(_needs(known[first], present)))]
        seen = {first}
        while path:
            package, rest = path[-1]
            need = next((each for each in rest if each not in done and each not in seen), None)
            if need is None:
                done[package] = known[package]
                path.pop()
            else:
                seen.add(need)
                path.append((need, iter(_needs(known[need], present))))

    for each in sorted(known):
        if each not in done:
            visit(each)
    return list(done.values())


def _ordered(some: Sequence[Installed], packages: Iterable[Installed]) -> Sequence[Installed]:
    """Sort some of `packages` as `in_order` does, also where others stand between them."""
    chosen = {each.id for each in some}
    return [each for each in in_order(packages) if each.id in chosen] if len(some) > 1 else some


def _needs(package: Installed, present: Present) -> list[PackageId]:
    return [id_ for need in package.definition.requires for id_ in present.answers(need)]


@contextmanager
def _open_system(config: Config) -> Iterator[System]:
    """Open the system; one that is to remember nothing has its database in a folder that goes."""
    if not config.in_memory:
        with System(config.root, config.system.database_path) as system:
            yield system
        return
    name = f".cos-memory-{uuid4().hex}"
    try:
        with System(config.root, f"/{name}") as system:
            yield system
    finally:
        shutil.rmtree(config.root / name, ignore_errors=True)
