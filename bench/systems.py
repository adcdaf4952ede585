"""What clients do to a system: installing beside `tar`, solving an upgrade, one very large package.

`tar` is run on the very archives that `cos install` installs, one after the other, as a person
would: `tar -xpf` with the decompression, into a folder that is new as well. `cos install` does all
of its work, from a folder that is new: it reads the repository for the first time, solves, copies
the archives and compares their checksums, unpacks them beside the system, enters all files in its
database, syncs, and renames. `tar` syncs nothing; what that is worth is told in a row of its own.
"""

import fcntl
import os
import re
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median

from bench.measure import COS, Cost, ProgramFailed, best, run
from bench.report import Result
from bench.wares import (
    Ware,
    families,
    programs,
    root_system,
    write_configuration,
    write_repository,
)
from compiler.system.database import Installed
from compiler.system.root import System

PROGRAMS = 200
FAMILIES, VERSIONS = 800, 5
CHANGED = 100
"""Files of the root file system that its next version has changed."""

TURNS = 5

MOST_MEMORY = 300.0
MOST_BY_TAR = 1.5
MOST_SECONDS = 0.5

_NOT_ASKED = 2
"""The exit code of a command that would ask, and has nobody to ask."""

TAR = 'for each in "$1"/*.package.tar.zst; do tar -C "$2" -xpf "$each" || exit 1; done'
TAR_AND_SYNC = f'{TAR}; sync -f "$2"'

INSTALL = """
import importlib, sys, time
from compiler.cli.run import run
from compiler.cli.settings import take_settings
from compiler.system import disk
took, real = [], disk.sync_file_system
def timed(handle):
    began = time.perf_counter()
    real(handle)
    took.append(time.perf_counter() - began)
disk.sync_file_system = timed
settings, rest = take_settings(sys.argv[1:], {})
code = run(importlib.import_module("compiler.cli.install"), rest, settings)
print(f"{sum(took):.4f} seconds in syncfs", file=sys.stderr)
sys.exit(code)
"""
"""A command of `cos` that also tells how long it waited for the disk to have everything."""

SOLVE = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from compiler.cli.client import open_client
from compiler.cli.settings import Settings
from compiler.system.solve import Solver
context = SimpleNamespace(obj=Settings(config=Path(sys.argv[1])))
with open_client(context) as client:
    offers, installed = client.offers, client.installed
    began = time.perf_counter()
    decision = Solver(installed, offers).upgrade()
    print(f"{time.perf_counter() - began:.4f} seconds for {len(decision.come)}", file=sys.stderr)
"""
"""Decides about an upgrade, once, and tells how long that took."""

_GET_FLAGS, _SET_FLAGS, _TOP_FOLDER = 0x80086601, 0x40086602, 0x00020000
"""FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and FS_TOPDIR_FL of linux/fs.h, as 64-bit machines have them."""

_SYNCED = re.compile(r"([0-9.]+) seconds in syncfs")
_SOLVED = re.compile(r"([0-9.]+) seconds for ([0-9]+)")


class Shop:
    """A repository, and room for systems that are installed from it."""

    def __init__(self, folder: Path, wares: Callable[[], Iterable[Ware]]) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.configuration = folder / "cos.yaml"
        write_repository(self.repository, wares())
        _spread(folder)

    def fresh(self, name: str) -> Path:
        """Make an empty folder, the root of the next commands; the disk has nothing left to do."""
        folder = self.folder / name
        folder.mkdir()
        write_configuration(self.configuration, self.repository, folder)
        os.sync()
        return folder

    def cos(self, *arguments: str, ends: int = 0) -> Cost:
        """Run a command on the root."""
        argv = [COS, *arguments, "--config", str(self.configuration)]
        return run(argv, ends=ends)


def measure_systems(scratch: Path) -> Iterator[Result]:
    """Measure everything that clients do."""
    place = scratch / "systems"
    yield from _installing(Shop(place / "programs", lambda: programs(PROGRAMS)))
    yield from _upgrading(Shop(place / "families", lambda: families(FAMILIES, VERSIONS)))
    yield from _large(Shop(place / "root", _roots))


def _roots() -> Iterator[Ware]:
    yield root_system("1")
    yield root_system("2", changed=CHANGED)


def _installing(shop: Shop) -> Iterator[Result]:
    """Install many packages, by turns with `tar` of their archives."""
    ours, bare, synced, shares = [], [], [], []
    for turn in range(TURNS):
        shop.fresh(f"ours-{turn}")
        ours.append(shop.cos("install", "-y", f"program-{PROGRAMS - 1}"))
        bare.append(_tar(TAR, shop, f"tar-{turn}"))
        synced.append(_tar(TAR_AND_SYNC, shop, f"synced-{turn}"))
        shop.fresh(f"timed-{turn}")
        shares.append(_syncing(shop))
    mine, peer, durable = (best(TURNS, iter(each).__next__) for each in (ours, bare, synced))
    what = f"installing {PROGRAMS} packages"
    yield Result(name=what, value=mine.seconds, unit="s")
    yield Result(name="  tar of the same archives", value=peer.seconds, unit="s")
    yield Result(name="  tar, and a sync at its end", value=durable.seconds, unit="s")
    ratio = mine.seconds / peer.seconds
    yield Result(name="  times tar", value=ratio, unit="x", limit=MOST_BY_TAR)
    yield Result(name="  of it in syncfs", value=100 * median(shares), unit="%")
    yield Result(name="  peak memory", value=mine.peak_mb, unit="MB", limit=MOST_MEMORY)


def _tar(script: str, shop: Shop, name: str) -> Cost:
    """Unpack all archives into a new folder."""
    target = shop.fresh(name)
    return run(["sh", "-c", script, "sh", str(shop.repository), str(target)])


def _syncing(shop: Shop) -> float:
    """Install once more; returns which part of the time went into syncing the file system."""
    argv = [sys.executable, "-c", INSTALL, "install", "-y", f"program-{PROGRAMS - 1}"]
    cost = run([*argv, "--config", str(shop.configuration)])
    return float(_told(_SYNCED, cost)[1]) / cost.seconds


def _upgrading(shop: Shop) -> Iterator[Result]:
    """Decide about an upgrade of everything, and end where a person would be asked."""
    with System(shop.fresh("root")) as system, system.lock():
        for ware in families(FAMILIES, VERSIONS):
            if ware.definition.version == "2.0":
                package = Installed(definition=ware.definition, requested=True)
                system.database.register(package, ware.files)
    first = shop.cos("upgrade", ends=_NOT_ASKED)
    argv = [sys.executable, "-c", SOLVE, str(shop.configuration)]
    solved = [_told(_SOLVED, run(argv)) for _ in range(TURNS)]
    if {found[2] for found in solved} != {str(FAMILIES)}:
        raise ProgramFailed("an upgrade is to bring all families to their newest version")
    again = best(TURNS, lambda: shop.cos("upgrade", ends=_NOT_ASKED))
    seconds = min(float(found[1]) for found in solved)
    what = f"{FAMILIES} x {VERSIONS} packages"
    yield Result(name=f"cos upgrade, solving {what}", value=seconds, unit="s", limit=MOST_SECONDS)
    yield Result(name="  the whole process", value=again.seconds, unit="s", limit=MOST_SECONDS)
    yield Result(name="  and if the repository is new", value=first.seconds, unit="s")
    yield Result(name="  peak memory", value=first.peak_mb, unit="MB", limit=MOST_MEMORY)


def _large(shop: Shop) -> Iterator[Result]:
    """Install, upgrade and remove one package that is a whole root file system."""
    shop.fresh("root")
    steps = {
        "installing 20,000 files of 500 MB": ("install", "-y", "root@1"),
        f"  upgrading, {CHANGED} files changed": ("upgrade", "-y"),
        "  removing": ("uninstall", "-y", "root"),
    }
    for what, arguments in steps.items():
        cost = shop.cos(*arguments)
        os.sync()
        yield Result(name=what, value=cost.seconds, unit="s")
        yield Result(name="  peak memory", value=cost.peak_mb, unit="MB", limit=MOST_MEMORY)


def _told(expression: re.Pattern[str], cost: Cost) -> re.Match[str]:
    found = expression.search(cost.told)
    if found is None:
        raise ProgramFailed(f"a program did not say how long it took: {cost.told[-500:]}")
    return found


def _spread(folder: Path) -> None:
    """Tell ext4 to lay what comes below into regions of the disk of its own (chattr +T).

    It does not use inodes that were freed in the last minutes, and looks at each of them: what was
    removed before, by whomever, would take ten times as long as what is measured.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            flags = bytearray(struct.calcsize("l"))
            fcntl.ioctl(handle, _GET_FLAGS, flags)
            (now,) = struct.unpack_from("i", flags)
            fcntl.ioctl(handle, _SET_FLAGS, struct.pack("l", now | _TOP_FOLDER))
    finally:
        os.close(handle)
