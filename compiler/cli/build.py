"""`cos build`: builds packages of a tree into artifacts."""

from collections.abc import Sequence
from typing import Annotated

import typer

from compiler.artifact import archive_name
from compiler.cli import options
from compiler.cli.build_options import BuildOptions, with_build_options
from compiler.cli.call import Call, Locking, SharingOptions
from compiler.cli.output import dump
from compiler.cli.report import reporter
from compiler.cli.settings import Settings
from compiler.cli.userns import enter_user_namespace
from compiler.errors import Faults, UsageError
from compiler.events import Noted, Reporter
from compiler.lock import NAME as LOCK
from compiler.lock import read_lock
from compiler.plan import PlanNode
from compiler.request import Request, targets_of
from compiler.resolver import resolve_each
from compiler.tree import Tree

app = typer.Typer(add_completion=False)

_NAMED = 3
"""How many clashing paths a warning names before it only counts the rest."""


@app.command("build")
@with_build_options
def build(  # noqa: PLR0913  (one parameter for each option that only this command has)
    context: typer.Context,
    asked: BuildOptions,
    *,
    pretend: Annotated[
        bool, typer.Option("--pretend", help="Only list which requirements the targets have.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Build the targets a second time and compare.")
    ] = False,
    output: options.Output = "terminal",
    backend: Annotated[str, typer.Option("--backend", help="The engine: overlay or docker.")] = (
        "overlay"
    ),
    backend_args: Annotated[
        list[str] | None, typer.Option("-a", "--backend-args", help="Accepted for luet's sake.")
    ] = None,
    image_repository: Annotated[
        str, typer.Option("--image-repository", help="Where --pull and --push share layers.")
    ] = "",
    pull_repository: Annotated[
        list[str] | None,
        typer.Option("-p", "--pull-repository", help="Another place where --pull looks."),
    ] = None,
    pull: Annotated[bool, typer.Option("--pull", help="Fetch what others have built.")] = False,
    push: Annotated[bool, typer.Option("--push", help="Give others what is built.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="With --pull: wait until others built requirements.")
    ] = False,
    sign_key: Annotated[
        str, typer.Option("--sign-key", help="The private key that signs what is pushed.")
    ] = "",
    verify_key: Annotated[
        list[str] | None,
        typer.Option(
            "--verify-key", help="Use nothing of others that the owner of this key has not signed."
        ),
    ] = None,
    sbom: Annotated[
        bool, typer.Option("--sbom", help="Write SBOMs and provenance beside artifacts.")
    ] = False,
    mtree: Annotated[
        bool, typer.Option("--mtree", help="List each file with its SHA-256 in the metadata.")
    ] = False,
    locked: Annotated[
        bool, typer.Option("--locked", help="Refuse images that cos.lock does not name.")
    ] = False,
    _keep_images: Annotated[
        bool, typer.Option("--keep-images/--no-keep-images", help="Accepted for luet's sake.")
    ] = True,
    generate_final: Annotated[
        bool, typer.Option("--generate-final-images", help="Keep images of the targets here.")
    ] = False,
    push_final: Annotated[
        bool, typer.Option("--push-final-images", help="Push images of the targets.")
    ] = False,
    push_final_force: Annotated[
        bool, typer.Option("--push-final-images-force", help="Also those that are there.")
    ] = False,
    push_final_repository: Annotated[
        str, typer.Option("--push-final-images-repository", help="Where they are pushed to.")
    ] = "",
) -> None:
    """Build packages of a tree into artifacts.

    Each package is built once, on what it requires; what is built already and unchanged is reused.
    Without a package, --all or --full, nothing is done.
    """
    settings: Settings = context.obj
    report = reporter(settings)
    _note(report, backend=backend, args=backend_args)
    sharing = SharingOptions(
        image_repository=image_repository,
        pull_repositories=tuple(pull_repository or ()),
        pull=pull,
        push=push,
        wait=wait,
        sign_key=sign_key,
        verify_key=tuple(verify_key or ()),
        final_images=generate_final,
        push_final_images=push_final or push_final_force or bool(push_final_repository),
        force_final_images=push_final_force,
        final_repository=push_final_repository,
    )
    sharing.check()
    lock = options.project_folder(asked.trees) / LOCK
    locking = Locking(lock, read_lock(lock), refuses=locked)
    request = asked.request(settings, documents=sbom, mtree=mtree, verified=bool(verify_key))
    if asked.from_repositories and not pretend:
        enter_user_namespace()  # before the threads that ask repositories
    loaded = asked.open_tree(context, request.values)
    if pretend:
        _pretend(loaded, request, output)
        return
    enter_user_namespace()
    with options.open_store(settings, asked.trees) as store:
        files = (*asked.trees, *asked.values_files(settings))
        call = Call(
            tree=loaded,
            request=request,
            store=store,
            report=report,
            settings=settings,
            name="\n".join([*(str(each.resolve()) for each in files), _what(request)]),
            options=sharing,
            locking=locking,
            trees=asked.trees,
            backend=backend,
        )
        planned = call.build()
        if check:
            call.building().check(planned)
            report(Noted(f"{len(planned.targets)} packages built again: the same bytes"))
    if output != "terminal":
        typer.echo(dump({"packages": [_row(each, request) for each in planned.nodes]}, output))


def _row(node: PlanNode, request: Request) -> dict[str, object]:
    """Describe for a program what became of one node."""
    package = node.id.package
    archive = request.destination / archive_name(package, request.compression)
    return {
        "name": package.name,
        "category": package.category,
        "version": package.version,
        "action": node.action.value,
        "reason": node.reason,
        "key": node.keys.layer,
        "artifact": str(archive) if archive.exists() and not node.id.variant else "",
    }


def _note(report: Reporter, *, backend: str, args: Sequence[str] | None) -> None:
    """Say which of luet's options change nothing here."""
    if backend not in {"overlay", "docker", "img", "buildah"}:
        raise UsageError(f"there is no backend {backend!r}", hint="leave out --backend")
    if backend in {"img", "buildah"}:
        message = f"the {backend} backend is not needed: building with the embedded engine"
        report(Noted(message, warning=True))
    if args:
        message = "--backend-args are for `docker build`, which no engine here uses: left out"
        report(Noted(message, warning=True))


def _what(request: Request) -> str:
    """Name what was asked for, so that asking again replaces what is kept for it."""
    flags = (
        ("all", request.everything),
        ("full", request.top),
        ("revdeps", request.dependents),
        ("onlydeps", request.only_requirements),
        ("nodeps", request.no_requirements),
    )
    return " ".join((*(name for name, given in flags if given), *sorted(request.packages)))


def _pretend(tree: Tree, request: Request, output: str) -> None:
    """List what each target requires, in build order, as luet does."""
    targets = targets_of(tree, request)
    answers = resolve_each(targets, tree.buildtime)
    if answers.failed:
        raise Faults.of(answers.failed.values())
    rows = [
        {
            "name": package.name,
            "category": package.category,
            "version": package.version,
            "repository": "",
            "target": str(target),
            "hidden": tree.packages[package].definition.hidden,
            "files": None,
            "installed": False,
        }
        for target in targets
        for package in answers.of(target).packages[:-1]
    ]
    if output == "terminal":
        for row in rows:
            package = f"{row['category']}/{row['name']}-{row['version']}"
            typer.echo(f"{package} required for {row['target']}")
    else:
        typer.echo(dump({"packages": rows or None}, output))
