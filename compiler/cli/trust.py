"""`cos repo init-trust`, `sign`, `refresh`, `rotate` and `sign-root`: who may sign a repository.

What they do is in `compiler.cli.trusting`, which is loaded when one of them is called.
"""

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(add_completion=False, help="Signed metadata of repositories.")

_Repository = Annotated[
    str, typer.Argument(metavar="REPO", help="A folder, or the name of a docker repository.")
]
_Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="The folder of the repository.")]
_Root = Annotated[Path, typer.Option("--root", help="The root file that clients are given.")]
_Keys = Annotated[
    list[str], typer.Option("--key", help="A private key that signs publications; repeatable.")
]
_RootKeys = Annotated[
    list[str], typer.Option("--root-key", help="A private key that signs roots; repeatable.")
]
_RootPublic = Annotated[
    list[str], typer.Option("--root-public", help="The public root key of somebody else.")
]
_RootThreshold = Annotated[
    int | None,
    typer.Option("--root-threshold", min=1, help="How many root keys have to sign a root [1]."),
]
_Days = Annotated[
    list[str],
    typer.Option("--days", help="ROLE=DAYS for which signatures are good; repeatable."),
]
_Bins = Annotated[int, typer.Option("--bins", help="Among how many roles artifacts are divided.")]
_Replace = Annotated[
    list[str],
    typer.Option(
        "--replace",
        help="ROLE=PUBLIC-KEY: the keys that a role has from now on; `online` is all but root.",
    ),
]
_Threshold = Annotated[
    list[str], typer.Option("--threshold", help="ROLE=N: how many keys of a role have to sign.")
]
_Next = Annotated[
    Path | None,
    typer.Option("--next", help="The file of the next root: made, or used if it is there."),
]
_Restart = Annotated[
    bool,
    typer.Option(
        "--restart", help="Sign what the folder holds, in a registry nothing yet, and count anew."
    ),
]
_Older = Annotated[
    bool,
    typer.Option("--older-state", help="Go on from an older state where the newest was spoiled."),
]
_Before = Annotated[
    Path | None, typer.Option("--before", help="The root that it follows, whose keys sign, too.")
]


_Unverified = Annotated[
    bool,
    typer.Option(
        "--sign-unverified",
        help="Also artifacts from others, or made of such, of which no signature was checked.",
    ),
]


@app.command("init-trust")
def init_trust(  # noqa: PLR0913  (one parameter for each option)
    context: typer.Context,
    repository: _Repository,
    *,
    key: _Keys,
    root_key: _RootKeys = [],  # noqa: B006  (read only, and how typer is told a default)
    root_public: _RootPublic = [],  # noqa: B006  (read only, and how typer is told a default)
    root_threshold: _RootThreshold = None,
    days: _Days = [],  # noqa: B006  (read only, and how typer is told a default)
    bins: _Bins = 32,
    root: _Root = Path("root.json"),
    sign_unverified: _Unverified = False,
) -> None:
    """Begin to sign a repository, and write the root file that clients are to be given.

    A root file that is there is used, so that its keys can be kept on other machines. It says who
    signs, and for how long: then no option may say it, too.
    """
    made = {"keys": root_key, "others": root_public, "threshold": root_threshold, "days": days}
    how = {"bins": bins, "unverified": sign_unverified}
    _work().init_trust(context.obj, repository, key, root, **how, **made)


@app.command("sign")
def sign(
    context: typer.Context,
    repository: _Folder,
    *,
    key: _Keys,
    root: _Root = Path("root.json"),
    sign_unverified: _Unverified = False,
) -> None:
    """Sign what the repository in a folder holds now."""
    _work().sign(context.obj, repository, key, root, unverified=sign_unverified)


@app.command("refresh")
def refresh(
    context: typer.Context,
    repository: _Repository,
    *,
    key: _Keys,
    older_state: _Older = False,
    root: _Root = Path("root.json"),
) -> None:
    """Sign the timestamp again, before it expires, and what else is half way to its end."""
    _work().refresh(context.obj, repository, key, root, older=older_state)


@app.command("rotate")
def rotate(  # noqa: PLR0913  (one parameter for each option)
    context: typer.Context,
    repository: _Repository,
    *,
    root_key: _RootKeys = [],  # noqa: B006  (read only, and how typer is told a default)
    key: _Keys = [],  # noqa: B006  (read only, and how typer is told a default)
    replace: _Replace = [],  # noqa: B006  (read only, and how typer is told a default)
    threshold: _Threshold = [],  # noqa: B006  (read only, and how typer is told a default)
    days: _Days = [],  # noqa: B006  (read only, and how typer is told a default)
    next_root: _Next = None,
    restart: _Restart = False,
    older_state: _Older = False,
    root: _Root = Path("root.json"),
    sign_unverified: _Unverified = False,
) -> None:
    """Publish the next root: with other keys or thresholds, or only with a later end.

    Enough keys of the root before it have to sign it, and enough of its own.
    """
    changes = {"replace": replace, "threshold": threshold, "days": days}
    keys = {"root_keys": root_key, "keys": key}
    _work().rotate(context.obj, repository, root, file=next_root, restart=restart,
                   older=older_state, keys=keys, changes=changes,
                   unverified=sign_unverified)  # fmt: skip


@app.command("sign-root")
def sign_root(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A root file.")],
    *,
    root_key: _RootKeys,
    before: _Before = None,
) -> None:
    """Add signatures to a root file; no repository is needed."""
    _work().sign_root(file, root_key, before)


def _work() -> Any:  # noqa: ANN401  (a module)
    """Load what does the work, and with it the libraries that take time."""
    return importlib.import_module("compiler.cli.trusting")
