"""`cos lock`: writes down which image each name of a tree stands for."""

from collections.abc import Sequence
from typing import Annotated

import typer

from compiler.base_images import image_names
from compiler.cli import options
from compiler.cli.call import SharingOptions
from compiler.cli.report import reporter
from compiler.cli.settings import Settings
from compiler.cli.sharing import RegistrySharing
from compiler.cli.tree_options import FromRepositories
from compiler.cli.trees import open_tree
from compiler.cli.userns import enter_user_namespace
from compiler.errors import CompilerError, Faults
from compiler.lock import NAME, Lock, locked, read_lock, write_lock
from compiler.oci import SCRATCH, Image, parse_reference
from compiler.preflight import unpulled
from compiler.store.local import LocalStore

app = typer.Typer(add_completion=False)


@app.command("lock")
def lock(  # noqa: PLR0913  (one parameter for each option of the command)
    context: typer.Context,
    *,
    tree: options.Trees = None,
    values: options.Values = None,
    dockerfiles: options.Dockerfiles = False,
    from_repositories: FromRepositories = False,
    update: Annotated[
        bool, typer.Option("--update", help="Ask registries anew for what is locked already.")
    ] = False,
) -> None:
    """Write cos.lock: every image that the packages of a tree name, by digest.

    Images that the store does not have are pulled. What is locked already stays as it is; names
    that no package uses any more go.
    """
    settings: Settings = context.obj
    trees = options.paths(tree, [options.HERE])
    if from_repositories:
        enter_user_namespace()  # before the threads that ask repositories
    loaded = open_tree(
        context,
        trees,
        options.values_files(values, settings),
        dockerfiles=dockerfiles,
        from_repositories=from_repositories,
    )
    names = [each for each in image_names(loaded.packages.values()) if each != SCRATCH]
    path = options.project_folder(trees) / NAME
    before = read_lock(path)
    enter_user_namespace()
    with options.open_store(settings, trees) as store:
        found = _find(names, Lock() if update else before, store, settings, update=update)
        store.flush()
    write_lock(path, locked(found))
    typer.echo(f"{path}: {len(found)} {'image' if len(found) == 1 else 'images'}")


def _find(
    names: Sequence[str], before: Lock, store: LocalStore, settings: Settings, *, update: bool
) -> list[tuple[str, Image]]:
    """Find the image of every name; raises `Faults` for those that are nowhere."""
    sharing = RegistrySharing(
        SharingOptions(), settings, store, report=reporter(settings), lock=before
    )
    found: list[tuple[str, Image]] = []
    faults: list[CompilerError] = []
    for name in names:
        image = store.image(name)
        pinned = before.pins.get(str(parse_reference(name)))
        stale = image is not None and image.source not in {"", pinned or image.source}
        if image is None or stale or (update and image.source):
            image = sharing.puller.bring(name)
        if image is None:
            faults.append(unpulled(name, sharing.refusals()[name]))
        else:
            found.append((name, image))
    if faults:
        raise Faults.of(faults)
    return found
