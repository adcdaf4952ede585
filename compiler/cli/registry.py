"""`cos registry`: keeps repositories in registries in order."""

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from compiler.cli.key import signing_key
from compiler.cli.output import dump
from compiler.cli.registries import open_registry, repository_named, scratch_folder
from compiler.cli.rootfile import read_root_file
from compiler.cli.settings import Settings
from compiler.errors import CompilerError, RegistryError, UsageError
from compiler.oci import Reference
from compiler.publish.check import Checked, find_faults
from compiler.publish.endorse import Trust
from compiler.publish.front import recent_claims
from compiler.publish.gc import SIGNED, Line, decide, needed
from compiler.publish.removal import remove, with_referrers
from compiler.publish.state import read_state, tagged
from compiler.publish.survey import has_metadata, survey
from compiler.registry import Registry
from compiler.repository.index import REPOSITORY
from compiler.repository.trust.publisher import HISTORY

_UNPROVEN = (
    "its signed metadata may be of anybody who can push: nothing is removed without its root"
)
_TO_PROVE = "--root names that: the file that `cos repo init-trust` wrote"

app = typer.Typer(add_completion=False, help="Repositories in registries.", no_args_is_help=True)


@app.callback()
def registry() -> None:
    """Keep repositories in registries in order."""


@app.command("gc")
def collect(  # noqa: PLR0913  (one parameter for each option)
    context: typer.Context,
    repository: Annotated[str, typer.Argument(help="The repository, without a tag.")],
    *,
    keep: Annotated[
        int,
        typer.Option(min=0, help="How many snapshots stay, that of the current index among them."),
    ] = 5,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed, and why.")
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option("--root", help="The root of its signed metadata, which is then verified."),
    ] = None,
    sign: Annotated[
        list[str] | None,
        typer.Option("--sign", metavar="KEY", help="Sign anew only what stays, too, with --root."),
    ] = None,
    output: Annotated[str, typer.Option("-o", "--output", help="terminal, json or yaml")] = (
        "terminal"
    ),
) -> None:
    """Remove from a repository what neither its index nor the last snapshots list.

    A signed repository needs --root. There snapshots stay for 20 publications, however few --keep
    says, unless --sign gives the keys that publish it.
    """
    if sign and root is None:
        raise UsageError("--sign signs metadata under a root", hint="name it with --root")
    settings = _direct(context.obj)
    target = repository_named(repository, "REPOSITORY")
    with open_registry(settings) as client, scratch_folder() as folder:
        trusted = None if root is None else read_root_file(root)
        if trusted is None:
            _check_unsigned(client, target, dry_run=dry_run)
        window = recent_claims()
        holdings = survey(client, target, folder, window, trusted)
        if sign and root is not None and not holdings.broken:
            trust = _trusted(client, target, root, folder, sign)
            names = needed(holdings, keep=keep)
            if dry_run:
                holdings = replace(holdings, vouched=trust.left(names))
            else:
                trust.forget(names)
                holdings = survey(client, target, folder, window, trusted)
        decided = decide(holdings, keep=keep, window=window)
        lines = with_referrers(client, target, holdings, decided)
        removed = 0 if dry_run else remove(client, target, holdings, lines)
    _show(lines, removed, output, dry_run=dry_run)
    if not sign and output == "terminal":
        _tell_signed(lines)
    if holdings.broken:
        raise _unreadable(repository, sorted(holdings.broken))


@app.command("check")
def check(
    context: typer.Context,
    repository: Annotated[str, typer.Argument(help="The repository, without a tag.")],
    *,
    root: Annotated[
        Path | None,
        typer.Option("--root", help="The root of its signed metadata: then that is compared, too."),
    ] = None,
    output: Annotated[str, typer.Option("-o", "--output", help="terminal, json or yaml")] = (
        "terminal"
    ),
) -> None:
    """Find tags of listed packages that were moved, and images that are damaged or gone."""
    target = repository_named(repository, "REPOSITORY")
    with open_registry(_direct(context.obj)) as client, scratch_folder() as folder:
        trust = None if root is None else _trusted(client, target, root, folder)
        place = (trust.index() if trust else None) or tagged(target, REPOSITORY)
        state = read_state(client, place, _empty(folder))
        if state is None:
            hint = "check its name; `cos create-repo --type docker` makes one"
            message = f"{target}: has no {REPOSITORY}: it is no repository of packages"
            raise RegistryError(message, hint=hint)
        index = state.repository.index
        signed = None if trust is None else trust.signed()
        checked = Checked(registry=client, target=target, folder=folder, signed=signed)
        faults = find_faults(index, checked)
    if output != "terminal":
        rows = [{"package": str(each.package), "tag": each.tag, "reason": each.reason}
                for each in faults]  # fmt: skip
        typer.echo(dump({"faults": rows}, output))
    else:
        for fault in faults:
            typer.echo(f"{fault.tag}  ({fault.reason})")
    broken = len({each.package for each in faults})
    words = f"{broken} of {len(index.artifacts)} packages are not as they are listed"
    if faults:
        hint = "publish them again: create-repo --type docker --push-images --repair"
        raise CompilerError(f"{repository}: {words}", hint=hint)
    if output == "terminal":
        typer.echo(f"{repository}: all {len(index.artifacts)} packages are as they are listed")


def _check_unsigned(client: Registry, target: Reference, *, dry_run: bool) -> None:
    """Refuse to remove by metadata that nothing proves; only to explain, a warning is enough."""
    if has_metadata(client.tags(target)):
        if not dry_run:
            raise UsageError(f"{target}: {_UNPROVEN}", hint=_TO_PROVE)
        typer.echo(f"warning: {target}: {_UNPROVEN}; {_TO_PROVE}", err=True)


def _direct(settings: Settings) -> Settings:
    """Leave out mirrors: they may lag behind what the registry itself holds."""
    return replace(settings, mirrors=())


def _empty(folder: Path) -> Path:
    """Make a folder for what is fetched of the index."""
    made = folder / "index"
    made.mkdir()
    return made


def _trusted(
    client: Registry, target: Reference, root: Path, folder: Path, sign: Sequence[str] = ()
) -> Trust:
    """Open the signed metadata of a repository; without keys only to read it."""
    trusted = importlib.import_module("compiler.publish.trusted")  # start-up time: TUF's library
    keys = tuple(signing_key(each) for each in sign)
    opened: Trust = trusted.open_target(
        client, target, read_root_file(root), keys, folder=folder, older=not sign
    )
    return opened


def _tell(lines: Sequence[Line], removed: int, *, dry_run: bool) -> None:
    """Print what went and what could not be read, or what would become of every tag."""
    for line in lines:
        if line.removed or dry_run:
            verb = "remove" if line.removed else "keep"
            typer.echo(f"{verb:<6}  {line.tag or line.digest}  ({line.reason})")
    tags = [line for line in lines if line.tag]
    gone = sum(line.removed for line in tags)
    verb = "would be removed" if dry_run else f"removed, {removed} images in all"
    typer.echo(f"{gone} of {len(tags)} tags {verb}")


def _show(lines: Sequence[Line], removed: int, output: str, *, dry_run: bool) -> None:
    """Print what was decided about each tag."""
    if output == "terminal":
        _tell(lines, removed, dry_run=dry_run)
        return
    rows = [{"tag": each.tag, "digest": str(each.digest), "removed": each.removed,
             "reason": each.reason} for each in lines]  # fmt: skip
    typer.echo(dump({"tags": rows}, output))


def _tell_signed(lines: Sequence[Line]) -> None:
    """Say how what stays only since it is signed could go."""
    still = sum(line.reason == SIGNED for line in lines)
    if still:
        typer.echo(
            f"{still} tags stay since they are signed: for {HISTORY} publications, whatever --keep "
            "says; --sign KEY --root FILE signs anew only what stays"
        )


def _unreadable(repository: str, tags: Sequence[str]) -> CompilerError:
    """Say that not all is removed that could be, and what to do."""
    words = "a tag" if len(tags) == 1 else f"{len(tags)} tags"
    hint = (
        "all that they may need was kept, see --dry-run; publish the snapshot again under its name "
        "(create-repo --snapshot-id) or delete the tag, then run this once more"
    )
    return CompilerError(f"{repository}: {words} cannot be read: {', '.join(tags)}", hint=hint)
