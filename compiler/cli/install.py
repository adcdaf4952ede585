"""`cos install`, `upgrade`, `uninstall`, `replace`, `reinstall`: what changes a system."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from compiler.cli.client import (
    DownloadOnly,
    FinalizerEnv,
    Force,
    NoDeps,
    OnlyDeps,
    Yes,
    carry_out,
    environment,
    open_client,
    tell,
)
from compiler.errors import ResolutionError, UsageError
from compiler.spec.package import PackageId, Requirement
from compiler.system.client import Client, How
from compiler.system.solve import Decision, InstallOptions, RemoveOptions

app = typer.Typer(help="Packages of a system.", no_args_is_help=True)

_Packages = Annotated[
    list[str], typer.Argument(metavar="PKG", help="category/name, with @VERSION if needed.")
]
_Optional = Annotated[
    list[str] | None, typer.Argument(metavar="PKG", help="Installed packages: category/name.")
]
_Relax = Annotated[
    bool, typer.Option("--relax", help="Take no care of what is installed and needs otherwise.")
]
_Sync = Annotated[
    bool, typer.Option("--sync", help="Also what was built anew in the same version.")
]
_Clean = Annotated[
    bool, typer.Option("--clean", help="Remove what no repository has any more, if not needed.")
]
_Universe = Annotated[
    bool, typer.Option("--universe", help="Of no effect: everything is looked at anyway.")
]
_Full = Annotated[bool, typer.Option("--full", help="Of no effect; luet had it.")]
_OsCheck = Annotated[
    bool, typer.Option("--oscheck", help="Afterwards reinstall what has files missing.")
]
_RemoveFull = Annotated[
    bool, typer.Option("--full", help="And what was only needed by what goes, unless asked for.")
]
_FullClean = Annotated[
    bool, typer.Option("--full-clean", help="And all that needs it, and what is left over then.")
]
_Check = Annotated[
    bool,
    typer.Option("--conflictscheck/--no-conflictscheck", help="Refuse to remove what others need."),
]
_Keep = Annotated[
    bool, typer.Option("-k", "--keep-protected-files", help="Keep protected files with changes.")
]
_For = Annotated[list[str], typer.Option("--for", help="What comes instead; repeatable.")]
_Installed = Annotated[bool, typer.Option("--installed", help="Everything that is installed.")]
_Upgrade = Annotated[
    bool, typer.Option("--upgrade", help="Bring everything else up to date on the way.")
]


@app.command("install")
def install(  # noqa: PLR0913  (one parameter for each of luet's options)
    context: typer.Context,
    packages: _Packages,
    *,
    nodeps: NoDeps = False,
    onlydeps: OnlyDeps = False,
    relax: _Relax = False,
    upgrade: _Upgrade = False,
    force: Force = False,
    yes: Yes = False,
    download_only: DownloadOnly = False,
    finalizer_env: FinalizerEnv = [],  # noqa: B006  (read only, and how typer is told a default)
) -> None:
    """Install packages and what they need; what is installed stays as it is where it can.

    What is to come is shown and asked about first. For example:
    `cos install editors/nano "editors/vim@>=9,<10"`, or in a script
    `cos install -y --system-target /mnt/root editors/nano`.
    """
    options = InstallOptions(nodeps=nodeps, onlydeps=onlydeps, relax=relax, upgrade=upgrade)
    how = how_of(finalizer_env, force=force)
    with open_client(context, makes_root=True) as client, client.changing(how):
        with _from_somewhere(client):
            wanted = _wanted(client, packages)
            decision = client.solver.install(wanted, options)
        _ask_for(client, wanted)
        if decision.is_nothing:
            _tell_nothing(client, "there is nothing to install")
            client.catch_up(how)
            return
        carry_out(client, decision, how, yes=yes, download_only=download_only)


@app.command("upgrade")
def upgrade(  # noqa: PLR0913  (one parameter for each of luet's options)
    context: typer.Context,
    *,
    sync: _Sync = False,
    clean: _Clean = False,
    universe: _Universe = False,
    full: _Full = False,
    nodeps: Annotated[bool, typer.Option("--nodeps", help="Of no effect; luet has it.")] = False,
    oscheck: _OsCheck = False,
    force: Force = False,
    yes: Yes = False,
    download_only: DownloadOnly = False,
    finalizer_env: FinalizerEnv = [],  # noqa: B006  (read only, and how typer is told a default)
) -> None:
    """Bring everything that is installed to its newest version; repositories are asked anew.

    Packages that were built anew in the same version are named; --sync takes them as well.
    """
    del universe, full, nodeps
    how = how_of(finalizer_env, force=force)
    with open_client(context) as client, client.changing(how):
        client.asks_anew = True
        decision = client.solver.upgrade(rebuilt=sync, clean=_may_clean(client, asked=clean))
        if not sync:
            _name_rebuilt(client, decision)
        if decision.is_nothing:
            _tell_nothing(client, "everything is up to date")
            client.catch_up(how)
        else:
            carry_out(client, decision, how, yes=yes, download_only=download_only)
        if oscheck:
            repair(client, how_of(finalizer_env, force=True), yes=yes, download_only=download_only)


@app.command("uninstall")
def uninstall(  # noqa: PLR0913  (one parameter for each of luet's options)
    context: typer.Context,
    packages: _Packages,
    *,
    nodeps: NoDeps = False,
    force: Annotated[
        bool, typer.Option("--force", help="Pass over what is not installed, and what needs it.")
    ] = False,
    full: _RemoveFull = False,
    full_clean: _FullClean = False,
    conflictscheck: _Check = True,
    yes: Yes = False,
    keep_protected_files: _Keep = False,
    finalizer_env: FinalizerEnv = [],  # noqa: B006  (read only, and how typer is told a default)
) -> None:
    """Remove packages; refuses to remove what others need."""
    options = RemoveOptions(
        check=conflictscheck and not nodeps and not force, full=full, dependents=full_clean
    )
    how = how_of(finalizer_env, keep_protected=keep_protected_files)
    with open_client(context) as client, client.changing(how):
        going = [each for name in packages for each in _installed(client, name, force=force)]
        decision = client.local_solver.uninstall(going, options)
        if decision.is_nothing:
            tell(client, "there is nothing to remove")
            return
        carry_out(client, decision, how, yes=yes)


@app.command("replace")
def replace(  # noqa: PLR0913  (one parameter for each of luet's options)
    context: typer.Context,
    packages: _Packages,
    *,
    instead: _For,
    nodeps: NoDeps = False,
    onlydeps: OnlyDeps = False,
    force: Force = False,
    yes: Yes = False,
    download_only: DownloadOnly = False,
    finalizer_env: FinalizerEnv = [],  # noqa: B006  (read only, and how typer is told a default)
) -> None:
    """Remove packages and install others in their place, in one step."""
    options = InstallOptions(nodeps=nodeps, onlydeps=onlydeps)
    how = how_of(finalizer_env, force=force)
    with open_client(context) as client, client.changing(how):
        going = [client.local_solver.installed_named(each) for each in packages]
        names = [name for each in instead for name in _commas(each)]
        with _from_somewhere(client):
            decision = client.solver.replace(going, _wanted(client, names), options)
        carry_out(client, decision, how, yes=yes, download_only=download_only)


@app.command("reinstall")
def reinstall(  # noqa: PLR0913  (one parameter for each of luet's options)
    context: typer.Context,
    packages: _Optional = None,
    *,
    installed: _Installed = False,
    onlydeps: Annotated[bool, typer.Option("--onlydeps", help="Of no effect.")] = False,
    force: Force = False,
    yes: Yes = False,
    download_only: DownloadOnly = False,
    finalizer_env: FinalizerEnv = [],  # noqa: B006  (read only, and how typer is told a default)
) -> None:
    """Install packages anew in the version that they have."""
    del onlydeps
    if bool(packages) == installed:
        raise UsageError("name packages, or give --installed")
    how = how_of(finalizer_env, force=force)
    with open_client(context) as client, client.changing(how):
        again = [client.local_solver.installed_named(each) for each in packages or ()]
        if installed:
            again = _offered(client, [each.id for each in client.installed])
        decision = client.solver.reinstall(again)
        if decision.is_nothing:
            tell(client, "there is nothing to reinstall")
            return
        carry_out(client, decision, how, yes=yes, download_only=download_only)


def how_of(finalizer_env: list[str], *, force: bool = False, keep_protected: bool = False) -> How:
    """Put together how a system is changed; raises `UsageError`."""
    env = environment(finalizer_env, "--finalizer-env")
    return How(force=force, keep_protected=keep_protected, finalizer_env=env)


def repair(
    client: Client, how: How, *, yes: bool, download_only: bool = False, contents: bool = False
) -> None:
    """Install anew what has files missing, or changed ones with `contents`."""
    broken = _offered(client, [each.package for each in client.damaged(contents=contents)])
    if broken:
        decision = client.solver.reinstall(broken)
        carry_out(client, decision, how, yes=yes, download_only=download_only)


@contextmanager
def _from_somewhere(client: Client) -> Iterator[None]:
    """Say of what cannot be had that there is no repository to have it from, if that is why."""
    try:
        yield
    except ResolutionError as error:
        if client.used:
            raise
        where = client.config.root
        missing = "" if where.is_dir() else f"there is no folder {where}, and so "
        message = f"{missing}there is no repository to install from"
        raise ResolutionError(message, hint=_to_have_one(client)) from error


def _to_have_one(client: Client) -> str:
    """Say how there comes to be a repository."""
    if client.config.repositories:
        return "`cos repo list` shows those that are switched off, `cos repo add` adds one"
    return "`cos repo add` adds one"


def _tell_nothing(client: Client, message: str) -> None:
    """Say that nothing is to be done; of a system without a repository nobody knows more."""
    if client.used:
        tell(client, message)
        return
    words = "there is no repository, so nothing newer can be known of"
    tell(client, f"{words} ({_to_have_one(client)})", warning=True)


def _wanted(client: Client, packages: list[str]) -> list[Requirement]:
    return [client.solver.named(each) for each in packages]


def _ask_for(client: Client, wanted: list[Requirement]) -> None:
    """Remember that somebody asked for what was there as a dependency until now."""
    present = {each.id: each for each in client.installed}
    for each in wanted:
        there = client.solver.already(each)
        if there is not None and not present[there].requested:
            client.system.database.mark_requested(there, requested=True)


def _installed(client: Client, name: str, *, force: bool) -> list[PackageId]:
    try:
        return [client.local_solver.installed_named(name)]
    except ResolutionError as error:
        if not force:
            raise
        tell(client, str(error), warning=True)
        return []


def _may_clean(client: Client, *, asked: bool) -> bool:
    """Refuse to take for gone what a repository may have that does not answer."""
    if asked and (client.repositories, client.failed)[1]:
        names = ", ".join(sorted(client.failed))
        raise UsageError(f"--clean needs all repositories, and these do not answer: {names}")
    return asked


def _name_rebuilt(client: Client, decision: Decision) -> None:
    """Say what was built anew in the same version, and is not taken."""
    gone = set(decision.go)
    rebuilt = [str(each) for each in client.solver.rebuilt() if each not in gone]
    if rebuilt:
        tell(client, f"built anew in the same version: {', '.join(rebuilt)} (--sync takes them)")


def _offered(client: Client, packages: list[PackageId]) -> list[PackageId]:
    """Keep what can be installed anew, and name the rest."""
    for each in packages:
        if not client.solver.has_offer(each):
            tell(client, f"{each} is in no repository any more, and stays as it is", warning=True)
    return [each for each in packages if client.solver.has_offer(each)]


def _commas(text: str) -> list[str]:
    """Split a comma list; a comma in a selector is followed by an operator, not by a name."""
    parts: list[str] = []
    for part in text.split(","):
        if parts and part[:1] in {"<", ">", "=", "!", "~"} and "@" in parts[-1]:
            parts[-1] += f",{part}"
        elif part:
            parts.append(part)
    return parts
