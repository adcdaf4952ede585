"""Where a system comes from: what each source is, and how a folder is filled from it."""

import hashlib
import importlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum, unique
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Protocol, cast

from compiler.agent.life.cache import Larder
from compiler.agent.life.host import Host
from compiler.agent.life.inventory import (
    EXCLUDED,
    LEFT_OUT,
    Inventory,
    of_archives,
    of_folder,
)
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.life.settings import Settings
from compiler.archive.safety import Devices
from compiler.archive.unpack import apply_layer, unpack_tar
from compiler.errors import TrustError
from compiler.signing.files import verify_bytes
from compiler.signing.keys import PublicKey, read_public_key

_SQUASHFS, _EXT = b"hsqs", b"\x53\xef"
_EXT_AT = 1024 + 56
SIGNATURE = ".sig"
_LOUD = "SIGNATURES ARE NOT CHECKED: whoever can change the source can change this machine"
_ISO_SYSTEMS = ("rootfs.squashfs", "boot/x86_64/loader/rootfs.squashfs",
                "boot/arm64/loader/rootfs.squashfs", "boot/rootfs.squashfs")  # fmt: skip


@unique
class Kind(StrEnum):
    """What a source is; the values are the schemes by which people name it."""

    CHANNEL = "channel"
    IMAGE = "oci"
    FOLDER = "dir"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A source by name: a package, the reference of an image, a folder, a file."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        """Print as people write it."""
        return f"{self.kind}:{self.name}"


_SCHEMES = {"docker": Kind.IMAGE, **{each.value: each for each in Kind}}


def parse_wanted(text: str) -> Wanted:
    """Read `SCHEME:NAME`; without a scheme it is the reference of an image; raises `LifeError`."""
    scheme, colon, name = text.partition(":")
    kind = _SCHEMES.get(scheme) if colon else None
    if kind is None:
        kind, name = Kind.IMAGE, text
    name = name.removeprefix("//") if kind in {Kind.IMAGE, Kind.FILE} else name
    if not name:
        hint = "channel:PACKAGE, oci:IMAGE, dir:FOLDER or file:FILE"
        raise LifeError(f"{text!r} names no source", Phase.SOURCE, hint=hint)
    return Wanted(kind, name)


class System(Protocol):
    """A system that can be written into a folder."""

    @property
    def origin(self) -> str:
        """What it is called in the record."""

    @property
    def digest(self) -> str:
        """`sha256:…` of what was verified; "" for a folder, which has none."""

    @property
    def contents(self) -> Sequence[str]:
        """The names in the cache of all that it is made of; none for what was not fetched."""

    def inventory(self) -> Inventory:
        """List what it holds, without writing anything; raises `CompilerError`, `OSError`."""

    def fill(self, target: Path) -> None:
        """Write it into an empty folder; raises `CompilerError`, `OSError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A system that lies in a folder."""

    host: Host
    folder: Path
    origin: str
    digest: str = ""
    contents: Sequence[str] = ()

    def inventory(self) -> Inventory:
        """List the folder, but not what is mounted in it."""
        return of_folder(self.folder)

    def fill(self, target: Path) -> None:
        """Copy it with owners, links, ACLs and attributes; SELinux's are made anew later."""
        device = self.folder.stat().st_dev
        whole = []
        for child in sorted(self.folder.iterdir()):
            status = child.lstat()
            is_left = child.name in EXCLUDED or status.st_dev != device
            if is_left and stat.S_ISDIR(status.st_mode):
                _make_alike(child, target / child.name)
            else:
                whole.append(str(child))
        # cp takes a third of the time of rsync, which passes all content through two processes.
        self.host.call(
            "cp", "--recursive", "--one-file-system", "--no-dereference", "--sparse=auto",
            "--preserve=mode,ownership,timestamps,links,xattr", f"--target-directory={target}",
            "--", *whole,
        )  # fmt: skip
        for name in LEFT_OUT:
            if not (target / name).is_symlink():
                (target / name).unlink(missing_ok=True)


def _make_alike(folder: Path, target: Path) -> None:
    """Make an empty folder with the owner, mode and times of another."""
    status = folder.stat()
    target.mkdir(exist_ok=True)
    os.chown(target, status.st_uid, status.st_gid)
    shutil.copystat(folder, target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archives:
    """A system in archives that lie over each other; `layers` are those of a container image."""

    paths: Sequence[Path]
    origin: str
    digest: str
    layers: bool = False
    contents: Sequence[str] = ()

    def inventory(self) -> Inventory:
        """List the archives."""
        return of_archives(self.paths, layers=self.layers)

    def fill(self, target: Path) -> None:
        """Unpack them, the lowest first."""
        for path in self.paths:
            if self.layers:
                apply_layer(path, target, devices=Devices.allowed())
            else:
                unpack_tar(path, target, devices=Devices.allowed())


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What opening a source needs: the machine, settings, and where what is fetched is kept.

    What has no room there may go to the folder `spare`, if there is one.
    """

    host: Host
    settings: Settings
    cache: Path
    spare: Path | None = None

    def larder(self) -> Larder:
        """Return what was fetched and is to be."""
        return Larder(self.cache, self.spare, self.host.log)

    @property
    def verify(self) -> bool:
        """Whether only what is signed counts."""
        return self.settings.flag("VERIFY") and not self.settings.flag("NO_COSIGN")

    def keys(self) -> tuple[PublicKey, ...]:
        """Read the keys that are trusted; none if their file is not there."""
        path = self.host.path(self.settings.text("COSIGN_PUBLIC_KEY_LOCATION"))
        return (read_public_key(path),) if path.exists() else ()


@contextmanager
def open_system(wanted: Wanted, opening: Opening) -> Iterator[System]:
    """Open a source: what has to be fetched is fetched and verified, nothing is written yet.

    Raises `LifeError` with the phase that failed.
    """
    if wanted.kind is Kind.FOLDER:
        yield _folder(wanted, opening)
    elif wanted.kind is Kind.FILE:
        with _file(wanted, opening) as found:
            yield found
    else:
        name = "channel" if wanted.kind is Kind.CHANNEL else "image"
        module: Any = importlib.import_module(f"compiler.agent.life.{name}")  # start-up time
        yield module.fetch(wanted, opening)


def _folder(wanted: Wanted, opening: Opening) -> System:
    folder = Path(wanted.name).absolute()
    if not folder.is_dir():
        raise LifeError(f"{wanted.name}: is no folder", Phase.SOURCE)
    return Tree(host=opening.host, folder=folder, origin=str(wanted))


@contextmanager
def _file(wanted: Wanted, opening: Opening) -> Iterator[System]:
    """Open a file: one that can be mounted is, any other is an archive."""
    path = Path(wanted.name).absolute()
    with during(Phase.SOURCE, str(path)):
        if not path.is_file():
            raise LifeError(f"{wanted.name}: is no file", Phase.SOURCE)
        digest = _digest(path)
        check_signature(path, opening)
        mountable = is_mountable(path)
    if not mountable:
        yield Archives(paths=(path,), origin=str(wanted), digest=digest)
        return
    with opening.host.mounted(str(path), "source", "loop,ro") as folder:
        yield Tree(host=opening.host, folder=folder, origin=str(wanted), digest=digest)


def is_mountable(path: Path) -> bool:
    """Whether a file is a squashfs or an image of ext2, 3 or 4, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(_EXT_AT + 2)
    return head.startswith(_SQUASHFS) or head[_EXT_AT:] == _EXT


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def check_signature(path: Path, opening: Opening) -> None:
    """Compare a file with the signature beside it: as `cosign sign-blob` makes it.

    Where no key is known nothing can be checked, which is said as loudly as `--no-verify`.
    """
    if not opening.verify:
        return
    keys = opening.keys()
    if not keys:
        where = opening.settings.text("COSIGN_PUBLIC_KEY_LOCATION")
        opening.host.log.warning(f"{path}: there is no key to verify it with ({where}): {_LOUD}")
        return
    beside = path.with_name(f"{path.name}{SIGNATURE}")
    hint = f"{beside.name} beside it has to be a signature of it; --no-verify takes it without"
    if not beside.exists():
        raise LifeError(f"{path}: is not signed", Phase.TRUST, hint=hint)
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            verify_bytes(cast("bytes", content), beside.read_text(errors="replace"), keys)
    except TrustError as error:
        raise LifeError(f"{path}: {error.message}", Phase.TRUST, hint=hint) from error


def system_of_iso(folder: Path) -> Path:
    """Find the squashed system of an ISO that is mounted at `folder`; raises `LifeError`."""
    for each in _ISO_SYSTEMS:
        if (folder / each).is_file():
            return folder / each
    raise LifeError("the ISO has no rootfs.squashfs", Phase.SOURCE)


def without_check(settings: Settings) -> str:
    """Say loudly what is not checked; "" if everything is."""
    if settings.flag("VERIFY") and not settings.flag("NO_COSIGN"):
        return ""
    return _LOUD
