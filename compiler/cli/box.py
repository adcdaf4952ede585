"""`cos box exec`: runs a program in a root directory, as a container of its own."""

import base64
import binascii
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from compiler.cli.client import environment
from compiler.engine.container import Mount
from compiler.errors import CompilerError, InputError, UsageError
from compiler.process import Streams
from compiler.system.finalizer import Task, attach_in_root

app = typer.Typer(add_completion=False, help="Programs in root directories.", no_args_is_help=True)

_Arguments = Annotated[
    list[str] | None, typer.Argument(metavar="ARG", help="What the program is given, after `--`.")
]
_Mounts = Annotated[
    list[str], typer.Option("-m", "--mount", help="HOST:PLACE, a path to show inside; repeatable.")
]
_Env = Annotated[
    list[str], typer.Option("-e", "--env", help="NAME=VALUE of the environment; repeatable.")
]


@app.callback()
def box() -> None:
    """Run programs in root directories."""


@app.command("exec")
def execute(  # noqa: PLR0913  (one parameter for each of luet's options)
    arguments: _Arguments = None,
    *,
    rootfs: Annotated[Path, typer.Option("--rootfs", help="The root directory.")],
    entrypoint: Annotated[str, typer.Option("--entrypoint", help="The program.")] = "/bin/sh",
    env: _Env = [],  # noqa: B006  (read only, and how typer is told a default)
    mount: _Mounts = [],  # noqa: B006  (read only, and how typer is told a default)
    stdin: Annotated[bool, typer.Option(help="Give it our standard input.")] = False,
    stdout: Annotated[bool, typer.Option(help="Show what it prints.")] = True,
    stderr: Annotated[bool, typer.Option(help="Show what it says.")] = True,
    decode: Annotated[bool, typer.Option("--decode", help="Arguments are in base64.")] = False,
) -> None:
    """Run a program in a root directory, apart from this machine: own processes, own network.

    Its environment is what -e says, with PATH and HOME. It fails with exit code 1 if the program
    fails, whatever the code of that is.
    """
    if not rootfs.is_dir():
        raise InputError(f"--rootfs {rootfs}: is not a folder")
    given = _decoded(arguments or ()) if decode else list(arguments or ())
    task = Task(
        argv=(entrypoint, *given),
        env=environment(env, "--env"),
        mounts=tuple(_mounts(mount)),
    )
    code = attach_in_root(rootfs, task, Streams(stdin=stdin, stdout=stdout, stderr=stderr))
    if code:
        raise CompilerError(f"{entrypoint} ended with exit code {code}")


def _mounts(given: Iterable[str]) -> Iterable[Mount]:
    """Read what is to be shown inside; raises `UsageError`."""
    for text in given:
        source, _, target = text.partition(":")
        place = f"/{target.strip('/')}"
        if place == "/" or ".." in target.split("/"):
            raise UsageError(f"--mount is HOST:PLACE, not {text[:80]!r}")
        if not Path(source).exists():
            raise InputError(f"--mount {text}: there is no {source}")
        yield Mount(target=place, source=str(Path(source).absolute()))


def _decoded(arguments: Sequence[str]) -> list[str]:
    """Take arguments out of base64; raises `UsageError`."""
    try:
        return [base64.b64decode(each, validate=True).decode() for each in arguments]
    except (binascii.Error, UnicodeDecodeError) as error:
        raise UsageError("--decode: the arguments are not texts in base64") from error
