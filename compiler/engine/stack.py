"""Layers stacked into one folder by overlayfs (kernel, Documentation/filesystems/overlayfs)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compiler.engine import linux
from compiler.engine.namespace import is_real_root
from compiler.errors import EngineError

MOST_LAYERS = 490
"""How many layers one stack may have: overlayfs takes 500, and a few of them are our own."""

OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
"""The attributes of a folder that hides what layers below have in it, with and without root."""

_FEATURES = ("redirect_dir=nofollow", "index=off", "metacopy=off", "xino=off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What to mount: folders to read, topmost first, and where changes go, if anywhere.

    `place` is an empty folder for the mount point and the helper files of this mount.
    """

    lowers: Sequence[Path]
    place: Path
    upper: Path | None = None


@contextmanager
def mounted(stack: Stack) -> Iterator[Path]:
    """Show a stack as one folder while the context lasts; raises `EngineError` if too high."""
    merged = mount(stack)
    try:
        yield merged
    finally:
        linux.unmount(merged)


def mount(stack: Stack) -> Path:
    """Mount a stack and return the folder where it is seen; `linux.unmount` takes it away again.

    Options of mount(2) have a page of 4096 bytes, so that each folder gets a short link as its
    name, relative to the working directory; that also keeps `:` and `,` in paths from mattering.
    """
    if len(stack.lowers) > MOST_LAYERS:
        raise EngineError(
            f"{len(stack.lowers)} layers are too many for one root, the kernel's limit is"
            f" {MOST_LAYERS}",
            hint="let some packages stand on an image that was made of their requirements",
        )
    merged = stack.place / "merged"
    merged.mkdir()
    options = _options(stack)
    flags = linux.MS_NODEV | linux.MS_NOSUID | linux.MS_RDONLY if stack.upper is None else 0

    def call() -> None:
        linux.mount("overlay", "merged", "overlay", flags, options)

    try:
        linux.in_folder(stack.place, call)
    except OSError as error:
        raise EngineError(f"cannot stack {len(stack.lowers)} layers: {error.strerror}") from error
    return merged


def _options(stack: Stack) -> str:
    """Link the folders of the stack into its place, and write the option string that names them."""
    lowers = list(stack.lowers)
    while len(lowers) < (2 if stack.upper is None else 1):
        lowers.append(_empty(stack.place, len(lowers)))
    names = [_link(stack.place, folder, number) for number, folder in enumerate(lowers)]
    options = [f"lowerdir={':'.join(names)}", *_FEATURES]
    if stack.upper is not None:
        (stack.place / "work").mkdir()
        (stack.place / "upper").symlink_to(stack.upper.absolute())
        options += ["upperdir=upper", "workdir=work", "volatile"]
    if not is_real_root():
        options.append("userxattr")
    return ",".join(options)


def _empty(place: Path, number: int) -> Path:
    folder = place / f"empty{number}"
    folder.mkdir()
    folder.chmod(0o755)
    return folder


def _link(place: Path, folder: Path, number: int) -> str:
    name = f"{number:x}"
    (place / name).symlink_to(folder.absolute())
    return name
