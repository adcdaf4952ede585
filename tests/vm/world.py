"""What machines are made of, built once for all tests of a run: packages, images, disks."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.e2e.own_tree import CHECKOUT, cos
from tests.vm.machine import Hardware, Machine

DISK = "16G"
VERSION, NEXT = "0.1.0", "0.2.0"
QUICK = "squashfs_options: -b 256k -comp gzip -Xcompression-level 1\n"
"""Squashed files are read a few times here, so they need not be small."""

ISO_OPTIONS = ("--squash-compression", "-b 256k -comp zstd -Xcompression-level 1")
QUICK_SQUASH = ("--squash-compression", "-b 256k -comp gzip -Xcompression-level 1")


@dataclass(frozen=True)
class Saved:
    """A machine that is up, kept in a folder: others go on from there, each on its own disk."""

    folder: Path
    hardware: Hardware

    @property
    def before(self) -> Path:
        """The disk before the machine was switched on."""
        return self.folder / "before.qcow2"

    @property
    def disk(self) -> Path:
        """The disk as the machine left it."""
        return self.folder / "disk.qcow2"

    @property
    def memory(self) -> Path:
        """What the machine held in memory."""
        return self.folder / "memory"

    def machine(self, folder: Path, disk: Path, cache: str = "unsafe") -> Machine:
        """Return a machine that goes on from here; `disk` was made over `disk` of this one."""
        hardware = replace(self.hardware, drives=[disk], cache=cache)
        return Machine(folder, hardware, self.memory)


@dataclass(frozen=True)
class World:
    """The folder that everything is in, shared by the processes of a run."""

    folder: Path

    def once(self, name: str, make: Callable[[Path], None]) -> Path:
        """Return a file or folder of this name, made by whoever asks for it first."""
        place = self.folder / name
        with self._alone(name):
            if not place.exists():
                part = self.folder / f".part-{name}"
                shutil.rmtree(part, ignore_errors=True)
                part.unlink(missing_ok=True)
                make(part)
                part.rename(place)
        return place

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        with (self.folder / f".{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @property
    def keys(self) -> Path:
        """The folder with the key of images, `online.key`, and the keys of the channel."""
        return self.once("keys", _make_keys)

    @property
    def packages(self) -> Path:
        """Our tree, compiled; machines made of it trust what `keys` have signed."""
        return self.once("packages", self._build)

    @property
    def next_tree(self) -> Path:
        """A tree over ours with the next version of the system."""
        return self.once("next-tree", _make_next_tree)

    @property
    def next_packages(self) -> Path:
        """The next version of the system and of the recovery system, compiled."""
        return self.once("next-packages", self._build_next)

    @property
    def iso(self) -> Path:
        """The live system, with the recovery system on it."""
        return self.once("live.iso", self._make_iso)

    def live(self, *, efi: bool = False) -> Saved:
        """The live system, up, on a machine with an empty disk."""
        hardware = Hardware(cdroms=[self.iso], efi=efi)
        return self._saved("live", hardware, make_disk, Machine.wait_up)

    def installed(self, *, efi: bool = False) -> Saved:
        """An installed machine after its first boot, in which it was found to be well."""

        def install(disk: Path) -> None:
            live = self.live(efi=efi)
            make_disk(disk, live.disk)
            with live.machine(disk.parent / "installation", disk) as machine:
                machine.wait_up()
                machine.check("cos-installer /dev/vda", 1200)
                machine.check("mount -L COS_OEM /mnt && grub2-editenv /mnt/grubenv set timeout=1")
                machine.run("systemctl poweroff")
                machine.wait_off()
            flatten(disk)

        return self._saved("installed", Hardware(efi=efi), install, wait_well)

    def _saved(
        self,
        name: str,
        hardware: Hardware,
        make: Callable[[Path], None],
        wait: Callable[[Machine], None],
    ) -> Saved:
        """Make a disk, boot a machine from it, and save that once it is as far as is wanted."""

        def boot(folder: Path) -> None:
            folder.mkdir()
            saved = Saved(folder, hardware)
            make(saved.before)
            make_disk(saved.disk, saved.before)
            with Machine(folder, replace(hardware, drives=[saved.disk])) as machine:
                wait(machine)
                machine.save(saved.memory)

        return Saved(self.once(f"{name}-uefi" if hardware.efi else name, boot), hardware)

    def values(self) -> tuple[str, ...]:
        """The values files of a build."""
        quick = self.once("quick.yaml", lambda path: _write(path, QUICK))
        return ("specs/flavours/debian.yaml", str(quick))

    def _build(self, folder: Path) -> None:
        keys = self.keys
        made(
            "build-tree",
            f"DESTINATION={folder}",
            f"VALUES={' '.join(self.values())}",
            f"RELEASE_KEY={keys / 'online.pub'}",
            f"RELEASE_ROOT={keys / 'root.json'}",
        )

    def _build_next(self, folder: Path) -> None:
        files = (*self.values(), str(self.packages / "channel.values.yaml"))
        values = [word for file in files for word in ("--values", file)]
        wanted = [f"{name}@{NEXT}" for name in ("system/cos", "recovery/cos", "recovery/cos-img")]
        must(cos("build", "--tree", "tree", "--tree", self.next_tree, *values, "--destination",
                 folder, "--compression", "zstd", "--only-target-package", *wanted))  # fmt: skip

    def _make_iso(self, iso: Path) -> None:
        out = self.folder / "iso"
        must(cos("iso", "--local", self.packages, "--output", out, "--name", "live", "--no-date",
                 *ISO_OPTIONS, "specs/images/cos.yaml"))  # fmt: skip
        (out / "live.iso").rename(iso)


def wait_well(machine: Machine) -> None:
    """Wait until an installed machine has found that it is well."""
    machine.wait_up()
    machine.wait_console("is well, and marked good")


def make_disk(disk: Path, backing: Path | None = None) -> None:
    """Make an empty disk, or one that holds what `backing` does until it is written to."""
    base: tuple[str, ...] = ()
    if backing:
        beside = backing.parent == disk.parent  # both may be moved
        base = ("-b", backing.name if beside else str(backing), "-F", "qcow2")
    size = () if backing else (DISK,)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *base, str(disk), *size], check=True)


def flatten(disk: Path) -> None:
    """Make a disk one that needs no other."""
    whole = disk.with_suffix(".whole")
    convert = ["qemu-img", "convert", "-q", "-O", "qcow2", str(disk), str(whole)]
    subprocess.run(convert, check=True)
    whole.rename(disk)


def must(done: "subprocess.CompletedProcess[str]") -> str:
    """Return what a command printed; fails with what it said if it failed."""
    assert done.returncode == 0, f"{' '.join(map(str, done.args))}:\n{done.stderr[-4000:]}"
    return done.stdout


def made(*words: str) -> None:
    """Run make in the checkout, which has been set up."""
    argv = ["make", "-o", "setup", *words]
    must(subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False))


def _make_keys(folder: Path) -> None:
    folder.mkdir()
    for name in ("root", "online"):
        must(cos("key", "generate", "--output", folder / name, **PASSWORD))
    scratch = folder / "scratch"
    scratch.mkdir()
    must(cos("create-repo", "--tree", "tree", "--packages", scratch, "--output", scratch,
             "--name", "cos", "--type", "http"))  # fmt: skip
    must(cos("repo", "init-trust", scratch, "--root-key", folder / "root.key", "--key",
             folder / "online.key", "--root", folder / "root.json", **PASSWORD))  # fmt: skip


PASSWORD = {"COSIGN_PASSWORD": "x"}
"""Of keys that only these tests have."""


def _make_next_tree(folder: Path) -> None:
    for package in ("system/cos", "recovery/cos-img"):
        shutil.copytree(CHECKOUT / "tree" / package, folder / package)
    for file in ("system/cos/collection.yaml", "recovery/cos-img/definition.yaml"):
        path = folder / file
        path.write_text(path.read_text().replace(f'"{VERSION}"', f'"{NEXT}"'))


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def shared_folder(base: Path) -> Path:
    """Return the folder that all processes of a run share, given that of this one.

    `COS_TEST_VM` names a folder that is kept from run to run, with all that was made in it.
    """
    kept = os.environ.get("COS_TEST_VM")
    alone = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = Path(kept) if kept else alone / "vm"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
