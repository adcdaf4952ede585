"""`cos create-repo` and `cos serve-repo`: repositories of what was built, and serving them."""

import importlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from compiler.archive import DEFAULT_EPOCH, Compression
from compiler.artifact.metadata import SUFFIX
from compiler.cli.report import reporter
from compiler.cli.settings import Settings
from compiler.cli.tree_options import FromRepositories
from compiler.errors import CompilerError, InputError, Interrupted, UsageError
from compiler.events import Noted
from compiler.repository.content import metadata_files
from compiler.repository.disk import (
    DOCKER,
    Repository,
    RepositoryOptions,
    create_repository,
)
from compiler.repository.http import RepositoryServer, make_server
from compiler.repository.index import REPOSITORY, parse_repository
from compiler.repository.trust import FOLDER as TRUST
from compiler.spec.package import PackageSpec
from compiler.tree import load_tree

_SHOWN = 5
_GRACE = 5.0
"""Seconds that answers which are on their way get when the server is stopped."""

app = typer.Typer(help="Repositories of artifacts.", no_args_is_help=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Title:
    """What a repository is called, what it is, and which trees it is made of."""

    name: str
    description: str
    type: str
    urls: tuple[str, ...]
    trees: tuple[str, ...]
    priority: int = 0


_Trees = Annotated[
    list[str], typer.Option("--tree", "-t", help="Trees; later ones win. Comma lists work.")
]
_Values = Annotated[list[Path], typer.Option("--values", help="Values files; the last wins.")]
_Packages = Annotated[Path, typer.Option(help="Where the artifacts are.")]
_Output = Annotated[
    str, typer.Option(help="The folder of the repository, or its name in a registry.")
]
_Name = Annotated[str, typer.Option(help="The repository's name.")]
_Description = Annotated[str, typer.Option("--descr", help="Its description.")]
_Urls = Annotated[list[str], typer.Option(help="Where clients will find it.")]
_Type = Annotated[str, typer.Option("--type", help="disk, http, or docker: in a registry.")]
_Compression = Annotated[str, typer.Option(help="none, gzip or zstd.")]
_FileName = Annotated[str, typer.Option(help="File name; the suffix is added.")]
_Reset = Annotated[bool, typer.Option("--reset-revision", help="Count from 1 again.")]
_Snapshot = Annotated[str, typer.Option(help="Name under which this state is kept; [the time].")]
_Metadata = Annotated[
    bool, typer.Option("--from-metadata", help="Also take artifacts that are in no tree.")
]
_Dockerfiles = Annotated[bool, typer.Option("--dockerfiles", help="Dockerfiles are packages too.")]
_Push = Annotated[bool, typer.Option("--push-images", help="For type docker: bring it up.")]
_ForcePush = Annotated[
    bool, typer.Option("--force-push", help="For type docker: packages that did not change too.")
]
_Repair = Annotated[
    bool,
    typer.Option(
        "--repair", help="For type docker: packages whose tags were moved or are damaged, too."
    ),
]
_Sign = Annotated[
    list[str],
    typer.Option("--sign", help="A private key that signs what is published; repeatable."),
]
_Resign = Annotated[
    list[str],
    typer.Option(
        "--resign",
        help="For type docker: a public key from before --sign's; listed images that it signed are "
        "signed anew; repeatable.",
    ),
]
_Root = Annotated[
    Path | None,
    typer.Option("--root", help="The root of the repository's signed metadata, to sign it, too."),
]
_SignUnverified = Annotated[
    bool,
    typer.Option(
        "--sign-unverified",
        help="Also artifacts from others, or made of such, of which no signature was checked.",
    ),
]
_Older = Annotated[
    bool,
    typer.Option(
        "--older-state",
        help="For type docker: go on from an older signed state where the newest was spoiled.",
    ),
]
_ContentTrust = Annotated[
    str, typer.Option("--content-trust", help="A Notary server at which tags are signed, too.")
]
_Prune = Annotated[
    bool, typer.Option("--prune", help="For type docker: drop packages that are not published.")
]
_Backend = Annotated[str, typer.Option(help="For type docker.")]
_Repo = Annotated[
    str,
    typer.Option(
        help="A repository of the configuration, whose name, description, type, addresses, "
        "priority and tree are taken where no other option says them."
    ),
]


@app.command("create-repo")
def create_repo(  # noqa: PLR0913  (one parameter for each of luet's options)
    context: typer.Context,
    *,
    tree: _Trees = ["."],  # noqa: B006  (read only, and how typer is told a default)
    values: _Values = [],  # noqa: B006  (read only, and how typer is told a default)
    packages: _Packages = Path("build"),
    output: _Output = "build",
    name: _Name = "luet",
    description: _Description = "luet",
    urls: _Urls = [],  # noqa: B006  (read only, and how typer is told a default)
    kind: _Type = "disk",
    tree_compression: _Compression = "gzip",
    tree_filename: _FileName = "tree.tar",
    meta_compression: _Compression = "none",
    meta_filename: _FileName = "repository.meta.yaml.tar",
    reset_revision: _Reset = False,
    snapshot_id: _Snapshot = "",
    from_metadata: _Metadata = False,
    dockerfiles: _Dockerfiles = False,
    push_images: _Push = False,
    force_push: _ForcePush = False,
    repair: _Repair = False,
    prune: _Prune = False,
    sign: _Sign = [],  # noqa: B006  (read only, and how typer is told a default)
    resign: _Resign = [],  # noqa: B006  (read only, and how typer is told a default)
    root: _Root = None,
    older_state: _Older = False,
    content_trust: _ContentTrust = "",
    sign_unverified: _SignUnverified = False,
    backend: _Backend = "docker",
    repo: _Repo = "",
    from_repositories: FromRepositories = False,
) -> None:
    """Write a repository of those packages of the trees that have an artifact."""
    settings: Settings = context.obj or Settings()
    title = Title(
        name=name,
        description=description,
        type=kind,
        urls=tuple(_listed(urls)),
        trees=tuple(_listed(tree)),
    )
    if repo:
        title = _configured().title(context, repo, title)
    options = RepositoryOptions(
        name=title.name,
        description=title.description,
        urls=title.urls,
        type=title.type,
        priority=title.priority,
        tree_compression=_compression("--tree-compression", tree_compression),
        tree_filename=tree_filename,
        meta_compression=_compression("--meta-compression", meta_compression),
        meta_filename=meta_filename,
        reset_revision=reset_revision,
        snapshot_id=snapshot_id,
        from_metadata=from_metadata,
        vouches=(bool(sign) or bool(content_trust)) and not sign_unverified,
        **_times(settings),
    )
    options.check()
    in_registry = {
        "--push-images": push_images,
        "--force-push": force_push,
        "--repair": repair,
        "--prune": prune,
        "--resign": bool(resign),
        "--older-state": older_state,
    }
    without = {} if options.type == DOCKER else in_registry
    _pass_over({**without, "--backend": backend != "docker"}, options.type)
    if (root is not None or options.type != DOCKER) and bool(sign) != (root is not None):
        raise UsageError("--root FILE and --sign KEY go together: what signs, and for which root")
    roots = [Path(each) for each in title.trees]
    loaded = load_tree(roots, values=(*settings.values, *values), dockerfiles=dockerfiles)
    with TemporaryDirectory(prefix="cos-") as scratch:
        known = _configured().specs(context, Path(scratch)) if from_repositories else {}
        specs = tuple({**known, **loaded.packages}.values())
        wanted = None if from_metadata else specs
        _tell_lacking(wanted, packages, settings, is_pruned=prune and options.type == DOCKER)
        if options.type == DOCKER:
            publishing = importlib.import_module("compiler.cli.publishing")
            publishing.publish(
                publishing.Source(packages=specs, roots=roots, artifacts=packages),
                output,
                options,
                publishing.Publishing(
                    push=push_images,
                    force=force_push,
                    repair=repair,
                    prune=prune,
                    sign=sign,
                    resign=resign,
                    root=root,
                    older=older_state,
                    content_trust=content_trust,
                ),
                settings,
            )
            return
        folder = Path(output)
        if root is not None:
            _trusting().check_keys(context.obj, folder, sign, root)
        if not _is_given(context, "name"):
            _tell_name(folder, options.name)
        made = create_repository(specs, roots, artifacts=packages, output=folder, options=options)
    _tell(made, folder)
    _sign(context, folder, sign, root, unverified=sign_unverified)


def _tell_name(folder: Path, name: str) -> None:
    """Warn if the repository in a folder gets another name, which nobody asked for."""
    path = folder / REPOSITORY
    try:
        before = parse_repository(path.read_text(encoding="utf-8"), str(path)).name
    except (OSError, CompilerError, UnicodeDecodeError):  # there is none, or it is damaged
        return
    if before not in {"", name}:
        words = f"was called {before!r} before; --name {before} gives it that name again"
        typer.echo(f"warning: {folder}: the repository {name!r} {words}", err=True)


def _is_given(context: typer.Context, parameter: str) -> bool:
    """Tell whether the command line, or the repository that it names, has an option."""
    source = context.get_parameter_source(parameter)
    return bool(context.params.get("repo")) or (source is not None and source.name != "DEFAULT")


def _tell_lacking(
    specs: Sequence[PackageSpec] | None, packages: Path, settings: Settings, *, is_pruned: bool
) -> None:
    """Say which packages have no artifact, since the repository will not list these.

    All artifacts are listed where `specs` is None. Raises `InputError` if none is to be, and all
    others are to be dropped.
    """
    there = metadata_files(packages)
    if specs is None:
        return
    if not specs:
        message = f"the trees have no package, so none of the {len(there)} artifacts is listed"
        hint = "--tree names the trees, --from-metadata lists all artifacts"
        if is_pruned:
            raise InputError(f"{message}: --prune would drop all that is published", hint=hint)
        reporter(settings)(Noted(f"{packages}: {message} ({hint})", warning=True))
        return
    lacking = sorted(str(each.id) for each in specs if each.id.fingerprint + SUFFIX not in there)
    is_empty = len(lacking) == len(specs)
    message = f"{packages}: has no artifact of {len(lacking)} of the {len(specs)} packages"
    if is_empty and is_pruned:
        hint = "--packages names the folder that `cos build` writes"
        raise InputError(f"{message}: --prune would drop all that is published", hint=hint)
    if lacking:
        shown = ", ".join(lacking[:_SHOWN]) + (" …" if len(lacking) > _SHOWN else "")
        reporter(settings)(Noted(f"{message}: {shown}", warning=is_empty))


def _trusting() -> Any:  # noqa: ANN401  (a module)
    """Load what signs, and with it the libraries that take time."""
    return importlib.import_module("compiler.cli.trusting")


def _sign(
    context: typer.Context, folder: Path, keys: list[str], root: Path | None, *, unverified: bool
) -> None:
    """Sign what a folder holds now, or say that it is not signed although it was."""
    if keys and root is not None:
        _trusting().sign(context.obj, str(folder), keys, root, unverified=unverified)
    elif (folder / TRUST / "timestamp.json").exists():
        text = (
            f"warning: {folder}: clients with its root see the state before until `cos repo sign`"
        )
        typer.echo(text, err=True)


@app.command("serve-repo")
def serve_repo(
    *,
    directory: Annotated[Path, typer.Option("--dir", help="The repository.")] = Path(),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 9090,
    address: Annotated[str, typer.Option(help="0.0.0.0 serves other machines too.")] = "127.0.0.1",
) -> None:
    """Serve a repository over HTTP until Ctrl-C."""
    with make_server(directory, address=address, port=port) as server:
        typer.echo(f"serving {directory} at http://{address}:{server.server_port}", err=True)
        _serve(server)
        typer.echo("stopped", err=True)


def _serve(server: RepositoryServer) -> None:
    """Serve until a signal comes; in a thread, since the library's loop swallows its exception.

    The signal may come before the loop has begun, when asking it to end would wait for ever: so
    the asking is left to a thread of its own, and neither thread keeps the process alive.
    """
    serving = threading.Thread(target=server.serve_forever, name="serve-repo", daemon=True)
    try:
        serving.start()
        serving.join()
    except (KeyboardInterrupt, Interrupted):
        threading.Thread(target=server.shutdown, name="stop", daemon=True).start()
        serving.join(_GRACE)


def _times(settings: Settings) -> dict[str, int]:
    """Say what time it is, for the repository and for what is in its archives."""
    stamp = settings.source_date_epoch
    if stamp is None:
        return {"now": int(time.time()), "epoch": DEFAULT_EPOCH}
    return {"now": stamp, "epoch": stamp}


def _configured() -> Any:  # noqa: ANN401  (a module)
    """Load what knows the repositories of the configuration; most calls do not need it."""
    return importlib.import_module("compiler.cli.configured")


def _pass_over(given: dict[str, bool], kind: str) -> None:
    """Say which options have no effect on this type of repository."""
    for option, is_given in given.items():
        if is_given:
            typer.echo(f"warning: {option} has no effect with --type {kind}", err=True)


def _tell(made: Repository, output: Path) -> None:
    """Print what was written."""
    info, count = made.info, len(made.index.artifacts)
    typer.echo(f"{output}: repository {info.name}, revision {info.revision}, packages: {count}")


def _listed(given: list[str]) -> list[str]:
    """Split the comma lists of a repeatable option."""
    return [part for each in given for part in each.split(",") if part]


def _compression(option: str, word: str) -> Compression:
    """Read the name of a compression."""
    try:
        return Compression(word)
    except ValueError:
        raise UsageError(f"{option} is none, gzip or zstd, not {word[:40]!r}") from None
