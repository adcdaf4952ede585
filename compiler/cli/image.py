"""`cos image`: brings base images into the store, lists and removes them."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from compiler.archive import DEFAULT_EPOCH
from compiler.cli.options import open_store
from compiler.cli.report import reporter
from compiler.cli.settings import Settings
from compiler.engine.bootstrap import BaseSystem, base_system, bootstrap
from compiler.engine.namespace import prepare
from compiler.errors import CompilerError, Faults, UsageError
from compiler.events import Noted
from compiler.oci import Image
from compiler.store.importer import import_image
from compiler.store.local import LocalStore

app = typer.Typer(add_completion=False, help="Base images in the store.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="The image's name, as specs say it in `image:`.")]
_Names = Annotated[list[str], typer.Argument(help="The images' names.")]
_Suite = Annotated[str, typer.Option(help="The distribution's suite. [default: the name's tag]")]
_Include = Annotated[list[str], typer.Option(help="More packages; comma lists work.")]
_Mirror = Annotated[str, typer.Option(help="Where packages come from. [default: the official]")]
_Variant = Annotated[str, typer.Option(help="How much to install, in mmdebstrap's words.")]
_Force = Annotated[bool, typer.Option("--force", help="Make it again although it is there.")]
_Source = Annotated[
    str, typer.Argument(help="oci:DIR[:TAG], docker-archive:FILE, tar:FILE or dir:DIR")
]
_Form = Annotated[str, typer.Option("-o", "--output", help="terminal or json")]


@app.command("bootstrap")
def make(  # noqa: PLR0913  (one parameter for each option)
    context: typer.Context,
    name: _Name,
    *,
    suite: _Suite = "",
    include: _Include = [],  # noqa: B006  (read only, and how typer is told a default)
    mirror: _Mirror = "",
    variant: _Variant = "minbase",
    force: _Force = False,
) -> None:
    """Make a base image out of a distribution's own signed packages, unless it is there."""
    settings: Settings = context.obj
    more = tuple(each for text in include for each in text.split(",") if each)
    system = base_system(name, suite=suite, include=more, mirror=mirror, variant=variant)
    prepare()
    with open_store(settings) as store:
        if not force and store.image(name) is not None:
            reporter(settings)(Noted(f"{name} is in the store already; --force makes it again"))
            return
        _show(_bootstrap(store, name, system, settings))
        store.flush()


@app.command("import")
def take(context: typer.Context, name: _Name, source: _Source) -> None:
    """Take an image into the store from files on this machine."""
    prepare()
    with open_store(context.obj) as store:
        _show(import_image(store, name, source))
        store.flush()


@app.command("list")
def show(context: typer.Context, output: _Form = "terminal") -> None:
    """List the base images in the store."""
    if output not in {"terminal", "json"}:
        raise UsageError(f"--output is terminal or json, not {output!r}")
    with open_store(context.obj) as store:
        images = store.images()
    if output == "json":
        text = json.dumps({"images": [_described(image) for image in images]}, indent=2)
        sys.stdout.write(f"{text}\n")
        return
    for image in images:
        _show(image)


@app.command("rm")
def forget(context: typer.Context, names: _Names) -> None:
    """Forget images by name; `cos gc` then frees their space."""
    faults: list[CompilerError] = []
    with open_store(context.obj) as store:
        for name in names:
            try:
                store.remove_image(name)
            except CompilerError as error:
                faults.append(error)
    if faults:
        raise Faults.of(faults)


def _bootstrap(store: LocalStore, name: str, system: BaseSystem, settings: Settings) -> Image:
    """Make the root tar beside the store's files, and take it in."""
    epoch = settings.source_date_epoch
    with store.scratch() as place:
        made = bootstrap(
            system,
            Path(place) / "root.tar",
            reporter(settings),
            epoch=DEFAULT_EPOCH if epoch is None else epoch,
        )
        labels = {
            "cos.bootstrap.suite": system.suite,
            "cos.bootstrap.variant": system.variant,
            "cos.bootstrap.packages": " ".join("=".join(each) for each in made.packages),
        }
        return import_image(store, name, f"tar:{made.tar}", labels=labels)


def _described(image: Image) -> dict[str, object]:
    return {
        "name": image.name,
        "digest": image.digest,
        "platform": str(image.platform),
        "layers": list(image.layers),
    }


def _show(image: Image) -> None:
    """Write one line: name, digest and platform."""
    sys.stdout.write(f"{image.name}\t{image.digest}\t{image.platform}\n")
