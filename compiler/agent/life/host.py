"""The machine that a command works on: its files, programs, disks and mounts.

All effects of the life-cycle commands go through here. Tests give another root and one disk.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from compiler.agent.booted import Booted, booted
from compiler.agent.journal import thaw
from compiler.agent.life.detect import (
    BLKID,
    LSBLK,
    Device,
    home_disk,
    names_in,
    parse_devices,
)
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.log import Log
from compiler.errors import OutsideError
from compiler.process import Command, Finished, ask, run
from compiler.programs import which

_WORK = "run/cos/life"
_LOCK = "run/cos/life.lock"
_IMAGES = ("/run/initramfs/cos-state", "/run/initramfs/live")
"""Where a running system has the partition with its image, a squashed one at the second."""
_SETTLE = 30.0
_NODES = 10.0
_STEP = 0.1
_NOTHING_FOUND = (0, 2)
"""What blkid ends with: all is well, or no device had anything to tell."""


@dataclass(frozen=True)
class Host:
    """A machine: `root` is where its files are, `disks` the only ones looked at, () for all."""

    log: Log
    root: Path = Path("/")
    disks: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    pause: Callable[[float], None] = time.sleep

    def path(self, path: str) -> Path:
        """Return where a path of the machine is."""
        return self.root / path.lstrip("/")

    @property
    def work(self) -> Path:
        """The folder of mount points and small files; gone after a reboot."""
        return self.root / _WORK

    def text(self, path: str) -> str:
        """Read a text file; one that is not there is empty."""
        try:
            return self.path(path).read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return ""

    def has(self, program: str) -> bool:
        """Whether there is a program of this name."""
        try:
            which(program)
        except OutsideError:
            return False
        return True

    def call(self, *argv: str, env: Mapping[str, str] | None = None) -> Finished:
        """Run a program to its end; raises `OutsideError` with what it said if it fails."""
        done = self.attempt(*argv, env=env)
        done.check()
        return done

    def attempt(self, *argv: str, env: Mapping[str, str] | None = None) -> Finished:
        """Run a program to its end, whatever comes of it."""
        self.log.debug(f"running {' '.join(argv)}")
        command = Command(argv=argv, env={**self.environ, "LC_ALL": "C", **(env or {})})
        return run(command, on_line=self.log.debug)

    def answer(self, *argv: str, codes: Sequence[int] = (0,)) -> str:
        """Return what a program prints; raises `OutsideError` for other exit codes."""
        command = Command(argv=argv, env={**self.environ, "LC_ALL": "C"})
        finished, said = ask(command, b"")
        if finished.code not in codes:
            finished.check()
        return said.decode(errors="replace")

    def devices(self) -> tuple[Device, ...]:
        """List block devices with what is on them; raises `LifeError`."""
        with during(Phase.DEVICE, "the disks cannot be listed"):
            listed = self.answer(*LSBLK, *self.disks)
            names = names_in(listed)
            probed = self.answer(*BLKID, *names, codes=_NOTHING_FOUND) if names else ""
        return parse_devices(listed, probed)

    def home(self, devices: Sequence[Device]) -> str:
        """Say which disk the running system was booted from, "" if none is known."""
        return home_disk(devices, [str(self.path(each)) for each in _IMAGES])

    def booted(self, devices: Sequence[Device]) -> Booted:
        """Say which system runs."""
        labels = [each.label for each in devices if each.kind == "loop"]
        live = self.path("/run/rootfsbase").is_dir()
        return booted(self.text("/proc/cmdline"), labels, live=live)

    def settle(self) -> None:
        """Wait until udev has seen what was changed, where there is a udev."""
        if self.path("/run/udev/control").exists() and self.has("udevadm"):
            self.attempt("udevadm", "settle", f"--timeout={_SETTLE:g}")

    def await_nodes(self, nodes: Sequence[str]) -> None:
        """Wait for device nodes; raises `LifeError` for those that do not come."""
        deadline = time.monotonic() + _NODES
        missing = list(nodes)
        while missing := [each for each in missing if not Path(each).is_block_device()]:
            if time.monotonic() > deadline:
                names = ", ".join(missing)
                raise LifeError(f"no device node appeared for {names}", Phase.PARTITION)
            self.pause(_STEP)

    @contextmanager
    def mounted(self, what: str, name: str, options: str = "") -> Iterator[Path]:
        """Mount something at a folder of ours for the block; raises `LifeError`."""
        place = self.work / name
        self.mount(what, place, options)
        try:
            yield place
        finally:
            self.release(place)

    def mount(self, what: str, place: Path, options: str = "") -> None:
        """Mount a device, or an image with the option `loop`; raises `LifeError`."""
        with during(Phase.MOUNT, f"{what} cannot be mounted"):
            place.mkdir(parents=True, exist_ok=True)
            self.call("mount", *(["-o", options] if options else []), what, str(place))

    @contextmanager
    def used(self, device: Device, name: str) -> Iterator[Path]:
        """Lend a file system to be written to: where it is mounted, or at a place of ours.

        One that is mounted read-only is so again afterwards. Raises `LifeError`.
        """
        place = next((Path(each) for each in device.mounts if Path(each).is_dir()), None)
        if place is None:
            with self.mounted(device.name, name) as place:
                yield place
            return
        was_read_only = bool(os.statvfs(place).f_flag & os.ST_RDONLY)
        if was_read_only:
            with during(Phase.MOUNT, f"{place} cannot be made writable"):
                self.call("mount", "-o", "remount,rw", str(place))
        try:
            thaw(place)
            yield place
        finally:
            if was_read_only:
                os.sync()
                self.attempt("mount", "-o", "remount,ro", str(place))

    def release(self, place: Path) -> None:
        """Unmount a file system of ours, with all that was written to it on its device.

        Unmounting alone does not write anything while the mount namespace of somebody else, made
        in the meantime, still has it; a change to read-only is one of the file system itself.
        Raises `LifeError`.
        """
        if self.attempt("mount", "-o", "remount,ro", str(place)).code:
            with during(Phase.COPY, f"{place} cannot be written out"):
                self.call("sync", "--file-system", str(place))
        self.unmount(place)

    def bind(self, source: Path, place: Path) -> None:
        """Show a folder at another place, with what is mounted in it; raises `LifeError`."""
        with during(Phase.MOUNT, f"{source} cannot be bound to {place}"):
            place.mkdir(parents=True, exist_ok=True)
            self.call("mount", "--rbind", "--make-rslave", str(source), str(place))

    def unmount(self, place: Path) -> None:
        """Unmount a place and all below it; raises `LifeError` if it stays busy."""
        for each in self._mounts_below(place):
            done = self.attempt("umount", str(each))
            if done.code:
                self.pause(1.0)
                done = self.attempt("umount", str(each))
            if done.code and self.attempt("umount", "--lazy", str(each)).code:
                said = "; ".join(done.tail)
                raise LifeError(f"{each} cannot be unmounted: {said}", Phase.UNMOUNT)

    def _mounts_below(self, place: Path) -> list[Path]:
        """List mount points at a place and below it, the last one first."""
        wanted = place.resolve()
        text = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
        points = [Path(_unescaped(line.split()[4])) for line in text.splitlines()]
        return [each for each in reversed(points) if each.is_relative_to(wanted)]

    def tidy(self) -> None:
        """Take away mounts that a command which was killed has left."""
        if self.work.exists():
            self.unmount(self.work)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one of these commands that runs; raises `LifeError`."""
        lock = self.root / _LOCK
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LifeError("another of these commands runs", Phase.BUSY) from error
            self.tidy()
            yield

    def need_root(self) -> None:
        """Raise `LifeError` unless we are root."""
        if os.geteuid():
            raise LifeError("only root may do this", Phase.ROOT, hint="sudo, or log in as root")

    def need(self, *programs: str) -> None:
        """Raise `LifeError` that names the programs that are missing."""
        missing = [each for each in programs if not any(map(self.has, each.split("|")))]
        if missing:
            names = " ".join(each.replace("|", " or ") for each in missing)
            message = "The following required programs are missing for installation"
            raise LifeError(f"{message}: {names}", Phase.TOOLS)


def sync_file(path: Path) -> None:
    """Make sure that a file is on the disk; raises `OSError`."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Make sure that the names in a folder are on the disk; raises `OSError`."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file beside its place and rename it, on disk when this returns; raises `OSError`."""
    beside = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        beside.unlink()
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    beside.rename(path)
    sync_folder(path.parent)


def free_bytes(folder: Path) -> int:
    """Return how many bytes a file system has room for."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def need_room(folder: Path, size: int, what: str) -> None:
    """Raise `LifeError` with numbers if a file system has no room for `size` bytes."""
    free = free_bytes(folder)
    if free < size:
        message = f"{what} needs {size >> 20} MiB, and {folder} has {free >> 20} MiB left"
        raise LifeError(message, Phase.SIZE, hint="make room there, or use a smaller system")


def _unescaped(text: str) -> str:
    r"""Read a path of mountinfo, where blanks and the like are `\ooo` (proc(5))."""
    raw = os.fsencode(text)
    return os.fsdecode(raw.decode("unicode_escape").encode("latin-1"))
