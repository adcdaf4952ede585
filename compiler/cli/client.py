"""What the commands that work on a system share: its configuration, questions, and the result."""

import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from compiler.cli.listening import Listening, listening
from compiler.cli.report import Relay
from compiler.cli.settings import Settings
from compiler.errors import CompilerError, OutsideError, UsageError
from compiler.events import Noted, Reporter
from compiler.oci import Platform, parse_reference
from compiler.registry import Registry
from compiler.repository.configured import RepositoryConfig
from compiler.repository.sources.http import HttpSettings
from compiler.repository.sources.opening import Opening
from compiler.store.images import host_platform
from compiler.system.client import Client, How
from compiler.system.config import Config, Surroundings, load_config
from compiler.system.solve import Decision
from compiler.system.summary import rows_of, stand_ins, table

Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]
Force = Annotated[
    bool, typer.Option("--force", help="Let files of packages overwrite those of others.")
]
NoDeps = Annotated[bool, typer.Option("--nodeps", help="Take no care of what packages need.")]
OnlyDeps = Annotated[
    bool, typer.Option("--onlydeps", help="Only what the named packages need, not themselves.")
]
DownloadOnly = Annotated[
    bool, typer.Option("--download-only", help="Fetch archives into the cache; change nothing.")
]
FinalizerEnv = Annotated[
    list[str], typer.Option("--finalizer-env", help="NAME=VALUE for finalizers; repeatable.")
]
Output = Annotated[str, typer.Option("-o", "--output", help="terminal, json or yaml")]

_CREDENTIALS = ("username", "password", "auth", "identitytoken", "registrytoken")


def client_config(settings: Settings) -> Config:
    """Read the configuration, and say on standard error what is doubtful in it."""
    overrides = dict(settings.overrides)
    overrides |= {"general.debug": "true"} if settings.debug else {}
    overrides |= {"general.quiet": "true"} if settings.quiet else {}
    surroundings = Surroundings(named=settings.config, environ=os.environ, options=overrides)
    loaded = load_config(surroundings)
    report = listening(settings, loaded.config)
    for warning in loaded.warnings:
        report(Noted(warning, warning=True))
    report.stop_if_warned()
    return loaded.config


@contextmanager
def open_client(
    context: typer.Context,
    *,
    makes_root: bool = False,
    config: Config | None = None,
    platform: Platform | None = None,
) -> Iterator[Client]:
    """Open the system that the configuration names; its root is made if it may be.

    `platform` is the one that packages are for, this machine's unless given. After an error a root
    that is new goes again, unless something was put into it.
    """
    settings: Settings = context.obj or Settings()
    config = config or client_config(settings)
    report = listening(settings, config)
    is_new = makes_root and not config.root.exists()
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="cos-", dir=_scratch(config)))
        if is_new:
            stack.enter_context(_new_root(config.root))
        opening = Opening(
            registry=_registries(settings, Path(folder), report),
            platform=platform or host_platform(),
            place=config.host_path,
            http=HttpSettings(timeout=config.general.http_timeout),
            report=report,
        )
        client = stack.enter_context(Client(config, opening, report))
        try:
            yield client
            report.stop_if_warned()
        except BaseException as error:
            report.write("error", str(error))
            if is_new:
                _clear_if_bare(client)
            raise


def _scratch(config: Config) -> Path | None:
    """Make the folder for what is needed for a while, if the configuration names one."""
    if config.scratch is not None:
        try:
            config.scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutsideError(f"{config.scratch}: cannot be made: {error.strerror}") from error
    return config.scratch


@contextmanager
def _new_root(root: Path) -> Iterator[None]:
    """Make the root of a system; raises `OutsideError`."""
    with ExitStack() as stack:
        try:
            stack.enter_context(making(root))
        except OSError as error:
            raise OutsideError(f"{root}: cannot be made: {error.strerror}") from error
        yield


def _clear_if_bare(client: Client) -> None:
    """Remove what is kept of repositories from a root that holds nothing else."""
    root, place = client.system.root, client.folder
    if client.system.database.installed() or place == root or not place.exists():
        return
    way = [each for each in (place, *place.parents) if each.is_relative_to(root)]
    if all(list(above.iterdir()) == [below] for below, above in pairwise(way)):
        shutil.rmtree(way[-2])


@contextmanager
def making(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; after an error those that are new and empty go again."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # something is in it
            for each in missing:
                each.rmdir()
        raise


def _registries(
    settings: Settings, folder: Path, report: Reporter
) -> Callable[[RepositoryConfig], Registry]:
    """Make clients of registries once they are needed: what they are made of takes time to load."""
    made: dict[str, Registry] = {}

    def open_one(config: RepositoryConfig) -> Registry:
        names = [parse_reference(url).registry for url in config.urls]
        others = sorted({*names} - {*names[-1:]})
        key = json.dumps([config.auth, names if config.auth else (), others], sort_keys=True)
        if key not in made:
            file = auth_file(names, config.auth, folder)
            made[key] = registry_with(settings, file, report, replaceable=others)
        return made[key]

    return open_one


def registry_with(
    settings: Settings, file: Path | None, report: Reporter, *, replaceable: Iterable[str] = ()
) -> Registry:
    """Return a client of registries that uses the credentials of `auth_file` before others.

    See `RegistrySettings` for `replaceable`.
    """
    registries = importlib.import_module("compiler.cli.registries")
    client: Registry = registries.open_registry(
        settings, file, report=report, replaceable=replaceable
    )
    return client


def auth_file(hosts: Sequence[str], auth: Mapping[str, str], folder: Path) -> Path | None:
    """Write credentials as registry clients read them, for nobody else to read."""
    given = {name: auth[name] for name in _CREDENTIALS if auth.get(name)}
    if not given:
        return None
    path = folder / f"auth-{len(list(folder.iterdir()))}.json"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump({"auths": {host: dict(given) for host in hosts}}, file)
    return path


def printable(repository: RepositoryConfig) -> dict[str, object]:
    """Describe a repository as people may see it: luet's fields, and a root if it has one."""
    without = set() if repository.root else {"root"}
    return without_secrets(repository).model_dump(mode="json", exclude=without)


def without_secrets(repository: RepositoryConfig) -> RepositoryConfig:
    """Show a repository as people may see it."""
    hidden = {name: text if name == "username" else "***" for name, text in repository.auth.items()}
    return repository.model_copy(update={"auth": hidden})


def environment(given: Sequence[str], option: str) -> dict[str, str]:
    """Read a list of NAME=VALUE; raises `UsageError`."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(f"{option} is NAME=VALUE, not {text[:80]!r}")
        found[name] = value
    return found


def carry_out(
    client: Client, decision: Decision, how: How, *, yes: bool, download_only: bool = False
) -> None:
    """Show what is to happen, ask, and do it."""
    offers = client.offers if decision.come else client.no_offers
    for text in stand_ins(decision, client.installed, offers):
        tell(client, text, warning=True)
    confirm(table(rows_of(decision, offers)), client.report, yes=yes)
    with _watched(client.report):
        change = client.fetch(decision)
    if download_only:
        tell(client, f"{len(change.install)} fetched into {client.cache.folder}")
        return
    if isinstance(client.report, Listening):
        client.report.stop_if_warned()
    client.carry_out(change, how)


def _watched(report: Reporter) -> AbstractContextManager[None]:
    """Show what is fetched, where there is a terminal: what draws it takes time to load."""
    if isinstance(report, Relay) and sys.stderr.isatty():
        watching: AbstractContextManager[None] = importlib.import_module(
            "compiler.cli.live"
        ).watched(report)
        return watching
    return nullcontext()


def confirm(lines: Sequence[str], report: Reporter, *, yes: bool) -> None:
    """Show `lines`, and ask whether to go on; with `yes` they are only reported.

    Raises `UsageError` where nobody can answer, `CompilerError` for a no.
    """
    for line in lines:
        if yes:
            report(Noted(line))
        else:
            typer.echo(line, err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on", hint="-y changes things without asking")
    # not `typer.confirm`, which writes a blank to standard output
    typer.echo("Go on? [y/N] ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CompilerError("stopped: nothing was changed")


def tell(client: Client, message: str, *, warning: bool = False) -> None:
    """Say something that is no result."""
    client.report(Noted(message, warning=warning))
