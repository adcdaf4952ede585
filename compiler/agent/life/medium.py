"""What an installation takes its system from, looked at before the disk is touched.

What has to be fetched may be larger than all that a live system has to write to, which is memory.
Then only what is small is fetched before, and all of it onto the new disk: signatures of images and
channels are right by then, that of a whole file is compared before anything can boot.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compiler.agent import web
from compiler.agent.life import owner
from compiler.agent.life.host import Host, free_bytes
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.life.settings import Settings
from compiler.agent.life.source import (
    SIGNATURE,
    Kind,
    Opening,
    System,
    Tree,
    Wanted,
    check_signature,
    open_system,
    parse_wanted,
    system_of_iso,
    without_check,
)

LIVE_ROOT = "/run/rootfsbase"
LIVE_MEDIUM = "/run/initramfs/live"
RECOVERY_FILE = "recovery.squashfs"
WORK_FOLDER = ".cos-upgrade"
"""On the persistent partition: what was fetched, and what was seen of channels."""

_UNKNOWN = 1 << 30
"""Bytes that a source is taken to have if it does not say how many."""

_UNPACKED = 3
"""How many times larger a system is taken to be than what is fetched of it."""

_SPARE = 16 << 20
_LARGEST_SIGNATURE = 1 << 16

Opened = tuple[System, Path]
"""A system, and the folder of the medium that it is on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a system comes from; `size` are bytes that have to be fetched for it.

    `recovery` are those of the squashed recovery system beside it, 0 if there is none.
    """

    name: str
    size: int
    recovery: int
    open: Callable[[Path], AbstractContextManager[Opened]]
    """Fetches what is to be fetched into a folder, and verifies it; raises `LifeError`."""

    @property
    def unpacked(self) -> int:
        """How many bytes it is taken to have on a disk, until it can be looked through."""
        return self.size * _UNPACKED


def look(host: Host, settings: Settings) -> Source:
    """Look at what is to be installed: it is there, for this machine, and signed.

    Raises `LifeError`.
    """
    opening = Opening(host=host, settings=settings, cache=host.work / "cache")
    named, iso = settings.text("SYSTEM"), settings.text("COS_INSTALL_ISO_URL")
    if iso:
        return _iso(iso, opening)
    wanted = parse_wanted(named) if named else _live(host)
    warning = without_check(settings)
    if named and warning:
        host.log.warning(warning)
    beside = host.path(LIVE_MEDIUM) / RECOVERY_FILE
    return Source(
        name=str(wanted),
        recovery=beside.stat().st_size if beside.is_file() else 0,
        size=_size_of(wanted, opening),
        open=lambda cache: _opened(wanted, replace(opening, cache=cache)),
    )


def place_for(source: Source, host: Host, settings: Settings) -> Path | None:
    """Choose where a source is fetched to; None if nothing that is there has room for it."""
    named = settings.text("CACHE_DIR")
    if named:
        return Path(named)
    place = host.work / "cache"
    with during(Phase.COPY):
        place.mkdir(parents=True, exist_ok=True)
    needed = source.size + source.size // 4 + _SPARE
    return place if not source.size or free_bytes(place) >= needed else None


def _live(host: Host) -> Wanted:
    live = host.path(LIVE_ROOT)
    if not live.is_dir():
        hint = "boot the ISO, or name a source with --system"
        raise LifeError("this is no live system", Phase.NO_SOURCE, hint=hint)
    return Wanted(Kind.FOLDER, str(live))


def _size_of(wanted: Wanted, opening: Opening) -> int:
    """Ask how much is to be fetched; what is not trusted is refused here already."""
    if wanted.kind is Kind.IMAGE:
        module: Any = importlib.import_module("compiler.agent.life.image")  # start-up time
        return int(module.look(wanted, opening))
    if wanted.kind is Kind.CHANNEL:
        module = importlib.import_module("compiler.agent.life.channel")
        module.look(wanted, opening)
        return _UNKNOWN
    return 0


@contextmanager
def _opened(wanted: Wanted, opening: Opening) -> Iterator[Opened]:
    with open_system(wanted, opening) as system:
        yield system, opening.host.path(LIVE_MEDIUM)


def _iso(name: str, opening: Opening) -> Source:
    is_address = name.startswith(("http://", "https://"))
    if not is_address and not Path(name).is_file():
        raise LifeError(f"{name}: is no file", Phase.SOURCE)
    size = 0
    if is_address:
        with during(Phase.DOWNLOAD, name):
            size = web.length(name) or _UNKNOWN
            if opening.verify and opening.keys():
                web.fetch(f"{name}{SIGNATURE}", _LARGEST_SIGNATURE)
    return Source(
        name=name,
        size=size,
        recovery=size,
        open=lambda cache: _medium(name, replace(opening, cache=cache)),
    )


@contextmanager
def _medium(name: str, opening: Opening) -> Iterator[Opened]:
    """Open the system of an ISO, which is fetched first if it is an address."""
    host = opening.host
    with ExitStack() as stack:
        path = Path(name)
        if name.startswith(("http://", "https://")):
            path = _fetched(opening, name, stack)
        check_signature(path, opening)
        medium = stack.enter_context(host.mounted(str(path), "iso", "loop,ro"))
        squashfs = str(system_of_iso(medium))
        tree = stack.enter_context(host.mounted(squashfs, "source", "loop,ro"))
        yield Tree(host=host, folder=tree, origin=f"iso:{name}"), medium


def _fetched(opening: Opening, name: str, stack: ExitStack) -> Path:
    """Fetch an ISO, and the signature beside it where one is needed."""
    path = opening.cache / "system.iso"
    beside = path.with_name(f"{path.name}{SIGNATURE}")
    for each in (path, beside):
        stack.callback(each.unlink, missing_ok=True)
    with during(Phase.DOWNLOAD, name):
        if opening.verify and opening.keys():
            owner.download(f"{name}{SIGNATURE}", beside)
        owner.download(name, path)
    return path
