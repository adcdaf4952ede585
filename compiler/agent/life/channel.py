"""A channel as a source: a repository of packages, whose signed root says what is genuine.

Its configuration is that of `cos`: /etc/cos/cos.yaml or /etc/luet/luet.yaml. What was seen of its
signatures is kept on the persistent partition, so that nothing older is ever taken later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compiler.agent.life.finalizing import Final, run_finals
from compiler.agent.life.host import Host
from compiler.agent.life.image import open_registry
from compiler.agent.life.inventory import Inventory, of_archives
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.life.source import Archives, Opening, System, Wanted
from compiler.archive.safety import Devices
from compiler.archive.unpack import apply_layer, unpack_tar
from compiler.errors import CompilerError, Faults, OutsideError, ResolutionError, TrustError
from compiler.events import Event, Noted
from compiler.registry import Registry
from compiler.repository.configured import RepositoryConfig
from compiler.repository.sources import Source
from compiler.repository.sources.opening import Opening as SourceOpening
from compiler.repository.sources.opening import open_source
from compiler.repository.sync import SyncTools, sync
from compiler.repository.synced import Shelf, Synced
from compiler.repository.trust.kept import read_root, seal_of
from compiler.repository.trust.sources import signed_source
from compiler.spec.package import PackageId
from compiler.store.images import host_platform
from compiler.system.choice import Offers
from compiler.system.config import Config, Surroundings, load_config
from compiler.system.solve import InstallOptions, Solver

_STATES = "repos"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """Packages that make up a system, in the order in which they need each other."""

    parts: Sequence[Archives]
    origin: str
    digest: str
    host: Host
    finals: Sequence[Final] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """What finalizers get as their environment."""

    @property
    def contents(self) -> Sequence[str]:
        """The names in the cache of what all packages are made of."""
        return [name for part in self.parts for name in part.contents]

    def inventory(self) -> Inventory:
        """List the archives of all packages."""
        paths = [path for part in self.parts for path in part.paths]
        return of_archives(paths, layers=any(part.layers for part in self.parts))

    def fill(self, target: Path) -> None:
        """Unpack one package after another, then run what they want to have run."""
        for part in self.parts:
            for path in part.paths:
                unpack = apply_layer if part.layers else unpack_tar
                unpack(path, target, devices=Devices.allowed())
        run_finals(self.host, target, self.finals, self.env)


def fetch(wanted: Wanted, opening: Opening) -> System:
    """Fetch a package and what it needs, in the newest version that is signed.

    Raises `LifeError`.
    """
    with open_registry(opening) as registry:
        config = _configuration(opening)
        channel = _Channel(opening, registry, config)
        with during(Phase.DOWNLOAD):
            come, offers = _decided(wanted, channel)
            parts = [channel.fetch(package, offers) for package in come]
    return Packages(
        parts=parts,
        origin=f"channel:{come[-1]}",
        digest=parts[-1].digest,
        host=opening.host,
        finals=_finals(come, offers),
        env={each.key: each.value for each in config.finalizer_envs},
    )


def _finals(come: Sequence[PackageId], offers: Offers) -> list[Final]:
    """List what packages want to have run, in their order."""
    found = [offer.package for each in come if (offer := offers.get(each)) is not None]
    return [Final(definition=each.definition, text=each.finalizer) for each in found
            if each.finalizer]  # fmt: skip


def look(wanted: Wanted, opening: Opening) -> None:
    """Find a package and what it needs in channels that are signed; raises `LifeError`."""
    with open_registry(opening) as registry, during(Phase.DOWNLOAD):
        _decided(wanted, _Channel(opening, registry, _configuration(opening)))


def _decided(wanted: Wanted, channel: "_Channel") -> tuple[Sequence[PackageId], Offers]:
    """Say which packages make up what is wanted, the main one last."""
    offers = Offers(channel.repositories())
    solver = Solver((), offers)
    try:
        decision = solver.install([solver.named(wanted.name)], InstallOptions())
    except ResolutionError as error:
        raise LifeError(str(error), Phase.SOURCE) from error
    return decision.come, offers


def _configuration(opening: Opening) -> Config:
    with during(Phase.CONFIG):
        surroundings = Surroundings(
            environ=opening.host.environ,
            here=Path("/nonexistent"),
            machine=opening.host.path("/etc"),
        )
        try:
            config = load_config(surroundings).config
        except Faults as faults:
            raise LifeError("; ".join(map(str, faults.exceptions)), Phase.CONFIG) from faults
    used = [each for each in config.repositories if each.is_used(host_platform().architecture)]
    if not used:
        message = "no release channel is configured"
        hint = "--docker-image IMAGE takes an image; /etc/luet/luet.yaml names channels"
        raise LifeError(message, Phase.NO_SOURCE, hint=hint)
    return config.model_copy(update={"repositories": tuple(used)})


class _Channel:
    """The repositories of a configuration."""

    def __init__(self, opening: Opening, registry: Registry, config: Config) -> None:
        self._opening = opening
        self._config = config
        self._cache = opening.larder()
        self._places = SourceOpening(
            registry=lambda _config: registry,
            platform=host_platform(),
            place=opening.host.path,
            report=self._hear,
        )
        self._sources: dict[str, Source] = {}

    def repositories(self) -> list[Synced]:
        """Bring all repositories up to date; raises `TrustError`, `OutsideError` if none can."""
        shelf = Shelf(self._opening.cache / _STATES, lambda config: seal_of(self._root(config)))
        tools = SyncTools(shelf=shelf, report=self._hear, force=True, insist=True)
        found, failed = [], []
        for config in self._config.repositories:
            try:
                found.append(self._sync(config, shelf, tools))
            except TrustError:
                raise
            except CompilerError as error:
                failed.append(f"{config.name}: {error}")
        if not found:
            raise OutsideError(f"no channel can be used: {'; '.join(failed)}")
        for each in failed:
            self._opening.host.log.warning(f"{each}; it is left out")
        return found

    def _sync(self, config: RepositoryConfig, shelf: Shelf, tools: SyncTools) -> Synced:
        root = self._root(config)
        if root is None:
            self._sources[config.name] = open_source(config, self._places)
            return sync(config, self._sources[config.name], tools)
        folder = shelf.folder(config) / "trust"
        source, trust = signed_source(config, self._places, folder, root)
        self._sources[config.name] = source
        return sync(config, source, tools, trust)

    def _root(self, config: RepositoryConfig) -> bytes | None:
        """Return the root of the keys of a repository; None where nothing is checked.

        Raises `TrustError` if there is none and something is checked.
        """
        if not self._opening.verify:
            return None
        if not config.root:
            hint = "`root:` in its configuration names the file; --no-verify takes it without"
            raise TrustError(f"{config.name}: no root says who may sign it", hint=hint)
        return read_root(self._opening.host.path(config.root))

    def fetch(self, package: PackageId, offers: Offers) -> Archives:
        """Fetch one package into the cache."""
        offer = offers.get(package)
        if offer is None:
            raise OutsideError(f"{package} is in no repository")
        metadata = offer.repository.metadata(package)
        self._opening.host.log.info(f"Fetching {package}")
        config = offer.repository.config
        paths = self._sources[config.name].fetch(metadata, self._cache)
        layers = config.type == "docker"
        digest = f"sha256:{metadata.sha256}" if metadata.sha256 else ""
        return Archives(
            paths=tuple(paths),
            origin=str(package),
            digest=digest,
            layers=layers,
            contents=[path.name for path in paths],
        )

    def _hear(self, event: Event) -> None:
        if isinstance(event, Noted):
            say = self._opening.host.log.warning if event.warning else self._opening.host.log.debug
            say(event.message)
