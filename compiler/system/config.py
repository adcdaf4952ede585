"""The configuration of a client: luet's `luet.yaml`, and `cos.yaml` of the same shape.

Where the same thing is said several times, options of the command line win over the environment
(`COS_…`, then `LUET_…`, with `__` between the parts of a key), and that over the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from compiler.errors import CompilerError, Faults, InputError, Location
from compiler.repository.configured import RepositoryConfig
from compiler.spec.fields import closest
from compiler.spec.load import read_text
from compiler.spec.yaml import KeyPath, YamlFaults, parse, places
from compiler.system.lookup import inside
from compiler.system.sections import (
    General,
    Logging,
    Section,
    Solver,
    SystemSection,
    Texts,
    Variable,
)

PREFERRED_PRIORITY, FOLDER_PRIORITY = 0, 9999
"""The priority of a repository that names none: in the file itself, and in a folder's file."""

_PREFIXES = ("COS_", "LUET_")
_CONFDIR = "/etc/luet/repos.conf.d"
_PROTECT_CONFDIR = "/etc/luet/config.protect.d"
_SUFFIXES = (".yml", ".yaml")


_IDLE = {
    "general": ("same_owner", "show_build_output"),
    "logging": ("json_format",),
    "solver": ("type", "rate", "discount", "max_attempts"),
}
"""Keys that decide about what luet does, and have no effect here; not those about its looks."""


class Config(Section):
    """The whole configuration, with luet's keys and defaults."""

    logging: Logging = Field(default_factory=Logging)
    general: General = Field(default_factory=General)
    system: SystemSection = Field(default_factory=SystemSection)
    solver: Solver = Field(default_factory=Solver)
    repos_confdir: Texts = (_CONFDIR,)
    config_protect_confdir: Texts = (_PROTECT_CONFDIR,)
    config_protect_skip: bool = False
    config_from_host: bool = True
    plugin: Texts = ()
    repositories: Annotated[
        tuple[RepositoryConfig, ...], BeforeValidator(lambda value: value or ())
    ] = ()
    finalizer_envs: Annotated[tuple[Variable, ...], BeforeValidator(lambda value: value or ())] = ()

    @property
    def root(self) -> Path:
        """The root directory of the system."""
        return Path(self.system.rootfs)

    @property
    def scratch(self) -> Path | None:
        """The folder for what is needed for a while; None for that of this machine."""
        given = "tmpdir_base" in self.system.model_fields_set
        return Path(self.system.tmpdir_base) if given else None

    @property
    def idle(self) -> list[str]:
        """The keys of luet that are set to something else than their defaults, without effect."""
        idle = [
            f"{section}.{key}"
            for section, keys in _IDLE.items()
            for key in keys
            if _is_set(getattr(self, section), key)
        ]
        metapath = any(each.metapath for each in self.repositories)
        return [*idle, *(["plugin"] if self.plugin else []), *(["metapath"] if metapath else [])]

    @property
    def in_memory(self) -> bool:
        """Whether nothing is to be remembered: every engine but luet's own means that."""
        return self.system.database_engine != "boltdb"

    def host_path(self, path: str) -> Path:
        """Say where a path of the configuration is: on this machine, or in the system's root."""
        return Path(path) if self.config_from_host else self.inside(path)

    def inside(self, path: str) -> Path:
        """Find a path of the system, without following a link out of it; raises `CompilerError`."""
        return inside(self.root, path)

    def real(self, path: Path) -> Path:
        """Find what may be a link; one of the system leads to something inside of it."""
        root, whole = self.root.absolute(), path.absolute()
        if not whole.is_relative_to(root):
            return path
        return self.inside(str(whole.relative_to(root)))

    def with_root(self, repository: RepositoryConfig, file: Path) -> RepositoryConfig:
        """Return a repository that `file` describes, its root as `host_path` takes it.

        A root that is not absolute lies beside the file, wherever the system is mounted.
        """
        if not repository.root or repository.root.startswith("/"):
            return repository
        place = self.real(file.absolute().parent / repository.root)
        if not self.config_from_host:
            place = "/" / place.relative_to(self.root.absolute())
        return repository.model_copy(update={"root": str(place)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where configuration is looked for, and what overrides it: dotted keys to values as text."""

    named: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    here: Path = Path()
    machine: Path = Path("/etc")

    def file(self) -> Path | None:
        """Find the file that counts; None if there is none.

        Raises `InputError` when the one that was named is not there.
        """
        if self.named is not None:
            if not self.named.is_file():
                raise InputError(f"--config {self.named}: there is no such file")
            return self.named
        return next((path for path in self._places() if path.is_file()), None)

    def _places(self) -> Iterator[Path]:
        """List where a file may be: the first that is there counts, at each place `cos` first."""
        home = self.environ.get("HOME")
        for folder in (self.here, *([Path(home)] if home else [])):
            yield folder / ".cos.yaml"
            yield folder / ".luet.yaml"
        yield self.machine / "cos" / "cos.yaml"
        yield self.machine / "luet" / "luet.yaml"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, with all repositories that belong to it, and doubts about what was read."""

    config: Config
    file: Path | None
    warnings: tuple[str, ...] = ()


def load_config(surroundings: Surroundings) -> Loaded:
    """Read everything that belongs to the configuration.

    Raises `Faults` with all that is wrong, each with its file and line; a file cannot be wrong in
    a way that is not told.
    """
    reader = _Reader()
    path = surroundings.file()
    value = reader.mapping(path) if path is not None else {}
    origins = _override(value, surroundings)
    config = reader.model(Config, value, path, origins)
    files = _host_files(config) if config else []
    if config and not (files or config.repositories):
        files = _system_files(config)
    found = [
        (each, file)
        for file in files
        for each in reader.repository(config.real(file) if config else file)
    ]
    if config is None or reader.faults:
        raise Faults.of(reader.faults)
    described = [config.with_root(each, file) for each, file in found]
    repositories = _unique((*config.repositories, *described), reader.warnings)
    config = config.model_copy(update={"repositories": repositories})
    if config.idle:
        reader.warnings.append(f"set, but of no effect here: {', '.join(config.idle)}")
    return Loaded(config, path, tuple(reader.warnings))


def repository_files(config: Config) -> list[Path]:
    """List all files that hold one repository each, of this machine and of the system.

    Those of the system count only where this machine's own configuration has none.
    """
    return list(dict.fromkeys([*_host_files(config), *_system_files(config)]))


def _host_files(config: Config) -> list[Path]:
    return _files([config.host_path(each) for each in config.repos_confdir])


def _system_files(config: Config) -> list[Path]:
    return _files([config.inside(each) for each in config.repos_confdir])


def read_repository(path: Path) -> tuple[RepositoryConfig, ...]:
    """Read a file of one repository, as `repos.conf.d` holds them; raises `Faults`."""
    reader = _Reader()
    found = tuple(reader.repository(path))
    if reader.faults:
        raise Faults.of(reader.faults)
    return found


class _Reader:
    """Reads files into models, and collects what is wrong with them."""

    def __init__(self) -> None:
        self.faults: list[CompilerError] = []
        self.warnings: list[str] = []
        self._texts: dict[Path, str] = {}

    def mapping(self, path: Path) -> dict[str, object]:
        """Read a file as plain values, keys in lower case as luet reads them."""
        try:
            text = self._texts[path] = read_text(str(path))
            value = _lowered(parse(text))
        except CompilerError as error:
            self.faults.append(error)
            return {}
        except YamlFaults as error:
            for fault in error.faults:
                place = Location(str(path), fault.line, fault.column)
                self.faults.append(CompilerError(fault.message, location=place, hint=fault.hint))
            return {}
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        self.faults.append(CompilerError("is not a map of keys", location=Location(str(path), 1)))
        return {}

    def model(
        self,
        model: type[Config],
        value: Mapping[str, object],
        path: Path | None,
        origins: Mapping[str, str],
    ) -> Config | None:
        """Make the configuration, noting every fault with its place."""
        self._doubt(model, value, path, ())
        try:
            return model.model_validate(value)
        except ValidationError as error:
            self._note(error, path, origins)
            return None

    def repository(self, path: Path) -> Iterator[RepositoryConfig]:
        """Read a file of one repository."""
        value = self.mapping(path)
        if not value:
            return
        self._doubt(RepositoryConfig, value, path, ())
        try:
            yield RepositoryConfig.model_validate({"priority": FOLDER_PRIORITY, **value})
        except ValidationError as error:
            self._note(error, path, {})

    def _note(self, error: ValidationError, path: Path | None, origins: Mapping[str, str]) -> None:
        for fault in error.errors(include_url=False, include_context=False):
            where = _key_path(fault["loc"])
            name = ".".join(map(str, where))
            message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
            said = f"{name}: {message[:1].lower()}{message[1:]}"
            origin = origins.get(name)
            place = Location(origin) if origin else self._place(path, where)
            self.faults.append(CompilerError(said, location=place))

    def _place(self, path: Path | None, where: KeyPath) -> Location | None:
        """Find where a value was written, or, if it is missing, what should hold it."""
        if path is None or path not in self._texts:
            return None
        written = {_lower_path(key): place for key, place in places(self._texts[path]).items()}
        while where and where not in written:
            where = where[:-1]
        line, column = written[where].value if where in written else (1, 1)
        return Location(str(path), line, column)

    def _doubt(
        self, model: type[BaseModel], value: object, path: Path | None, where: KeyPath
    ) -> None:
        """Warn of keys that are unknown, but near to one that is not."""
        if not isinstance(value, dict):
            return
        for key, item in value.items():
            known = model.model_fields.get(str(key))
            if known is None:
                near = closest(str(key), frozenset(model.model_fields))
                if near:
                    place = self._place(path, (*where, key))
                    message = f"{place}: unknown key {key!r} (did you mean {near!r}?)"
                    self.warnings.append(message)
            elif isinstance(known.annotation, type) and issubclass(known.annotation, BaseModel):
                self._doubt(known.annotation, item, path, (*where, key))
        if model is Config and isinstance(value.get("repositories"), list):
            for number, item in enumerate(value["repositories"]):
                self._doubt(RepositoryConfig, item, path, ("repositories", number))


def _override(value: dict[str, object], surroundings: Surroundings) -> dict[str, str]:
    """Put environment and options over what the file says; returns what comes from where."""
    origins = {}
    for key in _plain_keys(Config):
        text, origin = surroundings.options.get(key), "the command line"
        for prefix in _PREFIXES:
            if text is None:
                origin = prefix + key.upper().replace(".", "__")
                text = surroundings.environ.get(origin)
        if text is None:
            continue
        target: object = value
        *above, last = key.split(".")
        for name in above:
            target = target.setdefault(name, {}) if isinstance(target, dict) else None
        if isinstance(target, dict):
            target[last] = text
            origins[key] = origin
    return origins


def _plain_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """List the dotted keys that a text can give: no maps, and no lists of them."""
    for name, known in model.model_fields.items():
        if isinstance(known.annotation, type) and issubclass(known.annotation, BaseModel):
            yield from _plain_keys(known.annotation, f"{prefix}{name}.")
        elif name not in {"repositories", "finalizer_envs"}:
            yield f"{prefix}{name}"


def _files(folders: Sequence[Path]) -> list[Path]:
    """List the files of the folders, in luet's order; a folder need not be there."""
    found: list[Path] = []
    for folder in folders:
        if folder.is_dir():
            found += sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    return found


def _unique(
    repositories: Sequence[RepositoryConfig], warnings: list[str]
) -> tuple[RepositoryConfig, ...]:
    """Keep the first of several repositories of one name."""
    found: dict[str, RepositoryConfig] = {}
    for each in repositories:
        if each.name in found and found[each.name] != each:
            warnings.append(f"the repository {each.name!r} is configured twice; the first counts")
        found.setdefault(each.name, each)
    return tuple(found.values())


def _lowered(value: object) -> object:
    """Write all keys in lower case; what is below `auth` is nobody's keys but its own."""
    if isinstance(value, list):
        return [_lowered(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {str(key).lower(): _lowered(item) for key, item in value.items()}


def _is_set(section: Section, key: str) -> bool:
    """Whether a key was given, and another value than its default."""
    default = type(section).model_fields[key].get_default(call_default_factory=True)
    return key in section.model_fields_set and getattr(section, key) != default


def _lower_path(path: KeyPath) -> KeyPath:
    return tuple(step.lower() if isinstance(step, str) else step for step in path)


def _key_path(where: tuple[int | str, ...]) -> KeyPath:
    """Drop what is no key from where pydantic found something."""
    return tuple(step for step in where if isinstance(step, int) or step.islower())
