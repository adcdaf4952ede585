"""`cos repo`: the repositories of a client's configuration, and who may sign them."""

import importlib
import os
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from pydantic import ValidationError

from compiler.archive.compress import atomic_file
from compiler.cli.client import (
    Output,
    client_config,
    confirm,
    open_client,
    printable,
    tell,
    without_secrets,
)
from compiler.cli.listing import shown, yaml_listing
from compiler.cli.report import reporter
from compiler.cli.rootfile import read_root_file
from compiler.cli.settings import Settings
from compiler.cli.trust import app as trust
from compiler.errors import (
    CompilerError,
    ImageError,
    InputError,
    OutsideError,
    TrustError,
    UsageError,
    unwritable,
)
from compiler.events import Noted
from compiler.oci import parse_repository
from compiler.repository.configured import RepositoryConfig, kind_of
from compiler.repository.index import RepositoryInfo
from compiler.repository.sources.http import HttpSettings, HttpSource
from compiler.repository.synced import Synced
from compiler.repository.trust.kept import refuse_unverifiable, seal_of
from compiler.store.images import host_platform
from compiler.system.client import Client
from compiler.system.config import Config, read_repository, repository_files

app = typer.Typer(add_completion=False, help="Repositories of a system.", no_args_is_help=True)
app.add_typer(trust)

_LARGEST = 1 << 20
_ADDED_PRIORITY = 99
_SHORT = 12
_ROOT_SUFFIX = ".root.json"
_Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of a repository.")]


@app.command("list")
def list_repositories(
    context: typer.Context,
    *,
    enabled: Annotated[bool, typer.Option("--enabled", help="Only those that are used.")] = False,
    kind: Annotated[str, typer.Option("-t", "--type", help="Only disk, http or docker.")] = "",
) -> None:
    """List repositories; with -q their names only."""
    settings: Settings = context.obj or Settings()
    with open_client(context) as client:
        for each in sorted(client.config.repositories, key=lambda each: each.priority):
            if (enabled and each not in client.used) or kind not in {"", each.type}:
                continue
            if settings.quiet:
                typer.echo(each.name)
                continue
            for line in _described(each, client):
                typer.echo(line)


@app.command("get")
def get(context: typer.Context, name: _Name, *, output: Output = "yaml") -> None:
    """Print the configuration of a repository; passwords and tokens are left out."""
    settings: Settings = context.obj or Settings()
    found = printable(repository_of(client_config(settings), name))
    typer.echo(shown(found, output))


@app.command("remove")
def remove(
    context: typer.Context,
    name: _Name,
    *,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Forget a repository that has a file of its own, its root, and what was fetched of it."""
    settings: Settings = context.obj or Settings()
    report = reporter(settings)
    config = client_config(settings)
    found = repository_of(config, name)
    files = [path for path in repository_files(config) if found in _described_in(path, config)]
    if not files:
        raise UsageError(
            f"{name} has no file of its own", hint="it is part of the configuration itself"
        )
    confirm([f"remove {path}" for path in files], report, yes=yes)
    with open_client(context, config=config) as client:
        shutil.rmtree(client.shelf.folder(found), ignore_errors=True)
    for path in files:
        path.unlink(missing_ok=True)
        _root_beside(path, found).unlink(missing_ok=True)
    report(Noted(f"{name} is removed"))


@app.command("update")
@app.command("up", hidden=True)
def update(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Repositories; [all used].")
    ] = None,
    *,
    force: Annotated[
        bool, typer.Option("-f/-F", "--force/--no-force", help="Also what is fresh enough.")
    ] = True,
    ignore_errors: Annotated[
        bool, typer.Option("-i", "--ignore-errors", help="Only warn of those that fail.")
    ] = False,
) -> None:
    """Fetch what repositories have."""
    with open_client(context) as client:
        asked = tuple(repository_of(client.config, each) for each in names or ()) or client.used
        for each in _synced(client, asked, force=force, ignore_errors=ignore_errors):
            typer.echo(f"{each.name}: revision {each.info.revision}, {len(each.packages)} packages")
        if client.failed and not ignore_errors:
            raise OutsideError(f"not all repositories could be updated: {', '.join(client.failed)}")


def _synced(
    client: Client, asked: Sequence[RepositoryConfig], *, force: bool, ignore_errors: bool
) -> tuple[Synced, ...]:
    """Bring repositories up to date; where errors are ignored, it may be that all fail."""
    try:
        return client.sync(asked, force=force, insist=True)
    except OutsideError as error:
        if not (ignore_errors and client.failed):
            raise
        tell(client, str(error), warning=True)
        return ()


@app.command("add")
def add(  # noqa: PLR0913  (one parameter for each of luet's options)
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Its name, or the file or address of its description."
        ),
    ],
    *,
    description: Annotated[str, typer.Option(help="Its description.")] = "",
    kind: Annotated[
        str, typer.Option("--type", help="disk, http or docker; [as the address looks].")
    ] = "",
    url: Annotated[str, typer.Option(help="Its address.")] = "",
    reference: Annotated[str, typer.Option(help="A snapshot: SNAPSHOT-repository.yaml.")] = "",
    priority: Annotated[
        int, typer.Option("-p", "--priority", help="Lower is preferred.")
    ] = _ADDED_PRIORITY,
    directory: Annotated[
        str, typer.Option("-o", "--dir", help="The folder that gets its file; [repos_confdir].")
    ] = "",
    username: Annotated[str, typer.Option(help="Who we are.")] = "",
    passwd: Annotated[str, typer.Option(help="The password that proves it.")] = "",
    root: Annotated[
        Path | None,
        typer.Option("--root", help="The root of its keys: nothing unsigned counts."),
    ] = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Add a repository: by its address, or by a file that describes it."""
    settings: Settings = context.obj or Settings()
    config, report = client_config(settings), reporter(settings)
    if url:
        given = {"name": source, "description": description, "urls": [url]}
        auth = {"username": username, "password": passwd} if username else {}
        made = _made(
            {
                **given,
                "type": kind or kind_of(url),
                "reference": reference,
                "priority": priority,
                "auth": auth,
            }
        )
    else:
        made = _described_at(source, config.general.http_timeout)
    folder = directory or next(iter(config.repos_confdir), "")
    if not folder:
        raise UsageError("there is no folder for it", hint="name one with --dir")
    path = config.inside(folder) / f"{made.name}.yaml"
    known = any(each.name == made.name for each in config.repositories)
    if known:
        raise CompilerError(f"there is a repository {made.name!r} already", hint=f"see {path}")
    root = _given_root(root, made, source)
    trusted = _checked_root(root) if root is not None else None
    if trusted is None and not made.root:
        refuse_unverifiable(made)
    if trusted is not None:
        made = made.model_copy(update={"root": _root_beside(path, made).name})
    confirm([f"{path}:", *_text(without_secrets(made)).splitlines()], report, yes=yes)
    if trusted is not None:  # first: the repository is never used without
        _write(_root_beside(path, made), trusted, mode=0o644)
    _write(path, _text(made).encode(), mode=0o600 if made.auth else 0o644)
    report(Noted(f"{made.name} is added"))
    if all(each.name != made.name for each in client_config(settings).repositories):
        words = "it counts within that system: here, the repositories of this machine are used"
        report(Noted(words))


def _described_in(path: Path, config: Config) -> tuple[RepositoryConfig, ...]:
    """Read a file of a repository as the configuration counts it."""
    return tuple(config.with_root(each, path) for each in read_repository(config.real(path)))


def _root_beside(path: Path, repository: RepositoryConfig) -> Path:
    """Say where `add` puts the root of the repository that `path` describes."""
    return path.with_name(f"{repository.name}{_ROOT_SUFFIX}")


def _given_root(given: Path | None, repository: RepositoryConfig, source: str) -> Path | None:
    """Find the root that a repository is added with: it may lie beside its description."""
    beside = bool(repository.root) and not repository.root.startswith("/")
    return given or (Path(source).parent / repository.root if beside else None)


def _checked_root(path: Path) -> bytes:
    """Read a root and check it; TUF's library is loaded for nothing else here."""
    data = read_root_file(path)
    roots = importlib.import_module("compiler.repository.trust.root")
    try:
        roots.check_root(data)
    except TrustError as error:
        raise TrustError(f"{path}: {error.message}", hint=error.hint) from error
    return data


def _described(repository: RepositoryConfig, client: Client) -> Iterator[str]:
    """Describe a repository for people."""
    state = "" if repository.is_used(host_platform().architecture) else ", not used"
    yield f"{repository.name}"
    if repository.description:
        yield f"  {repository.description}"
    known = _known(client, repository)
    if known is not None:
        yield f"  revision {known.revision} of {_day(known)}"
    yield f"  {repository.type}, priority {repository.priority}{state}"
    yield from _signed(repository, client)
    for url in repository.urls:
        yield f"  {url}"


def _signed(repository: RepositoryConfig, client: Client) -> Iterator[str]:
    """Say under which root a repository is used, or why it is not."""
    try:
        root = client.root_of(repository)
    except TrustError as error:
        yield f"  nothing of it is used: {error.message}"
        return
    if root is not None:
        yield f"  signed: root {seal_of(root)[:_SHORT]} is trusted"


def _known(client: Client, repository: RepositoryConfig) -> RepositoryInfo | None:
    try:
        stored = client.shelf.load(repository)
    except TrustError:  # without its root, which `_signed` tells
        return None
    return stored[0].info if stored else None


def _day(info: RepositoryInfo) -> str:
    try:
        return f"{datetime.fromtimestamp(int(info.last_update), UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return info.last_update or "no known time"


def repository_of(config: Config, name: str) -> RepositoryConfig:
    """Find a repository of the configuration; raises `CompilerError`."""
    found = next((each for each in config.repositories if each.name == name), None)
    if found is None:
        names = ", ".join(each.name for each in config.repositories)
        hint = f"there is {names}" if names else "`cos repo add` adds one"
        raise CompilerError(f"there is no repository {name!r}", hint=hint)
    return found


def _made(fields: dict[str, object]) -> RepositoryConfig:
    """Make a repository of options; what is added is used, and kept for a day, as with luet."""
    try:
        made = RepositoryConfig.model_validate({**fields, "enable": True, "cached": True})
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        message = fault["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"{fault['loc'][0] if fault['loc'] else 'repository'}: {message}"
        ) from error
    _check_addresses(made)
    return made


def _check_addresses(repository: RepositoryConfig) -> None:
    """Raise `UsageError` for an address that no repository of this type can have."""
    for url in repository.urls:
        if repository.type == "docker":
            if "://" in url:
                hint = f"leave out {url.partition('://')[0]}://"
                raise UsageError(f"{url}: is no name of a docker repository", hint=hint)
            try:
                parse_repository(url)
            except ImageError as error:
                raise UsageError(f"--url: {error.message}") from error
        elif repository.type == "http" and not url.startswith(("http://", "https://")):
            raise UsageError(f"{url}: does not begin with http:// or https://")


def _described_at(source: str, timeout: int) -> RepositoryConfig:
    """Read the description of a repository from a file, or from the web."""
    with TemporaryDirectory(prefix="cos-") as folder:
        path = Path(source)
        if source.startswith(("http://", "https://")):
            path = Path(folder) / "repository.yaml"
            site, _, name = source.rpartition("/")
            HttpSource(site, {}, HttpSettings(timeout=timeout)).bring(name, path, _LARGEST)
        elif not path.is_file():
            hint = "give --url and --type to add one by its name"
            raise InputError(f"{source}: there is no such file", hint=hint)
        found = read_repository(path)
    if not found:
        raise CompilerError(f"{source}: describes no repository")
    return found[0]


def _text(repository: RepositoryConfig) -> str:
    """Write the file of a repository."""
    return yaml_listing(repository.model_dump(mode="json", exclude_defaults=True))


def _write(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file that may hold a password, which nobody else is to read."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
    except OSError as error:
        raise unwritable(path, error) from error
