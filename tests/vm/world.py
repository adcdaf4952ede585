"""What machines are made of, built once for all tests of a run: packages, images, disks."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.own_tree import CHECKOUT, cos
from tests.vm.machine import Hardware, Machine

DISK = "16G"
VERSION, NEXT = "0.1.0", "0.2.0"
QUICK = "squashfs_options: -b 256k -comp gzip -Xcompression-level 1\n"
"""Squashed files are read a few times here, so they need not be small."""

ISO_OPTIONS = ("--squash-compression", "-b 256k -comp zstd -Xcompression-level 1")


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

    def installed(self, *, efi: bool = False) -> Path:
        """Return the disk of an installed machine, to be used through an overlay."""
        name = "installed-efi.qcow2" if efi else "installed.qcow2"

        def install(disk: Path) -> None:
            make_disk(disk)
            parts = Hardware(drives=[disk], cdroms=[self.iso], efi=efi)
            with Machine(self.folder / f"machine-{name}", parts) as machine:
                machine.wait_up()
                machine.check("cos-installer /dev/vda", 1200)
                machine.check("mount -L COS_OEM /mnt && grub2-editenv /mnt/grubenv set timeout=1")
                machine.run("systemctl poweroff")
                machine.wait_off()

        return self.once(name, install)

    def values(self) -> tuple[str, ...]:
        """The values files of a build."""
        quick = self.once("quick.yaml", lambda path: _write(path, QUICK))
        return ("specs/flavours/debian.yaml", str(quick))

    def _build(self, folder: Path) -> None:
        keys = self.keys
        _make(
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


def make_disk(disk: Path, backing: Path | None = None) -> None:
    """Make an empty disk, or one that holds what `backing` does until it is written to."""
    base = ("-b", str(backing), "-F", "qcow2") if backing else ()
    size = () if backing else (DISK,)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *base, str(disk), *size], check=True)


def must(done: "subprocess.CompletedProcess[str]") -> str:
    """Return what a command printed; fails with what it said if it failed."""
    assert done.returncode == 0, f"{' '.join(map(str, done.args))}:\n{done.stderr[-4000:]}"
    return done.stdout


def _make(*words: str) -> None:
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
    """Return the folder that all processes of a run share, given that of this one."""
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "vm"
    folder.mkdir(exist_ok=True)
    return folder
