"""Disks that are files, small systems to put on them, and machines that boot without booting.

A machine's root is a folder; its partitions are those of a loop device, and nothing else of this
machine's disks is looked at.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import yaml

from compiler.agent.life.deploy import deploy
from compiler.agent.life.host import Host
from compiler.agent.life.install import install
from compiler.agent.life.reset import reset
from compiler.agent.life.settings import Settings, gather
from compiler.agent.life.upgrade import upgrade
from compiler.agent.log import Level, Log
from compiler.grubenv import change_block

CMDLINES = {
    "active": "root=LABEL=COS_ACTIVE cos-img/filename=/cOS/active.img panic=5",
    "passive": "root=LABEL=COS_PASSIVE cos-img/filename=/cOS/passive.img panic=5",
    "snapshot-1": "root=LABEL=COS_PASSIVE cos-img/filename=/cOS/snapshot-1.img panic=5",
    "recovery": "root=LABEL=COS_SYSTEM cos-img/filename=/cOS/recovery.img panic=5",
    "live": "root=live:CDLABEL=COS_LIVE rd.cos.disable",
}
BOOT_ARGUMENTS = "set kernel=/boot/vmlinuz\nset initramfs=/boot/initrd\n"
SMALL = {"IMAGE_RESERVE": "8"}
"""Settings for images that are as small as they can be."""


def do(*argv: str | Path) -> str:
    """Run a program that has to succeed; returns what it prints."""
    done = subprocess.run([str(each) for each in argv], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_system(folder: Path, version: str = "1", **files: str) -> Path:
    """Make a system that could boot if its kernel were one; `version` is in its os-release."""
    texts = {
        f"boot/vmlinuz-{version}": f"kernel {version}",
        f"boot/initrd-{version}": f"initrd {version}",
        "etc/cos/bootargs.cfg": BOOT_ARGUMENTS,
        "etc/cos/grub.cfg": f"# menu {version}\n",
        "etc/os-release": f'NAME="cOS"\nVERSION="{version}"\nPRETTY_NAME="cOS v{version}"\n',
        "system/features/k3s.yaml": "name: k3s\n",
        **{name.replace("__", "/"): text for name, text in files.items()},
    }
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in ("vmlinuz", "initrd"):
        (folder / "boot" / name).symlink_to(f"{name}-{version}")
    (folder / "usr/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy("/usr/bin/env", folder / "usr/bin/env")
    return folder


@contextmanager
def loop_disk(file: Path, megabytes: int = 0) -> Iterator[str]:
    """Attach a file as a disk, made anew if `megabytes` says how large; yields its device."""
    if megabytes:
        with file.open("wb") as made:
            made.truncate(megabytes << 20)
    device = do("losetup", "--find", "--show", "--partscan", file).strip()
    try:
        do("partx", "--update", device) if not megabytes else None
        yield device
    finally:
        do("losetup", "--detach", device)


def mount(device: str, place: Path, *options: str) -> None:
    """Mount a device, by the first options that do.

    Waits while a namespace of somebody else, made while it was mounted, still has it otherwise.
    """
    deadline = time.monotonic() + 60
    for each in cycle(options):
        done = subprocess.run(["mount", "-o", each, device, str(place)], capture_output=True,
                              check=False, text=True)  # fmt: skip
        if done.returncode == 0:
            return
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.2)


def partitions(device: str) -> dict[str, str]:
    """Return the partitions of a disk by the labels of their file systems."""
    listed = json.loads(do("lsblk", "--json", "--paths", "--output", "NAME", device))
    names = [each["name"] for each in listed["blockdevices"][0].get("children", ())]
    found = {}
    for name in names:
        done = subprocess.run(
            ["blkid", "--probe", "--output", "value", "--match-tag", "LABEL", name],
            capture_output=True, check=False, text=True,
        )  # fmt: skip
        found[done.stdout.strip()] = name
    return found


def label_of(image: Path) -> str:
    """Return the label of the file system in an image."""
    return do("blkid", "--probe", "--output", "value", "--match-tag", "LABEL", image).strip()


def read_inside(image: Path, path: str) -> str:
    """Read a file of the file system in an image, without mounting it."""
    return do("debugfs", "-R", f"cat {path}", image)


@dataclass
class Bench:
    """A machine's root as a folder, its disk, and what commands said."""

    root: Path
    device: str
    beside: tuple[str, ...] = ()
    """Further disks of the machine."""
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("proc", "run", "etc/cos", "tmp"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "etc/cos/grub.cfg").write_text("# menu\n")

    def clear(self) -> None:
        """Unmount everything, also what a test that failed has left."""
        self.host.unmount(self.root)

    @property
    def host(self) -> Host:
        """The machine, as commands see it."""
        return Host(
            log=Log(self.said.append, Level.INFO),
            root=self.root,
            disks=(self.device, *self.beside),
            pause=lambda _seconds: None,
        )

    def boot(self, name: str) -> None:
        """Be the machine after it has booted this system."""
        (self.root / "proc/cmdline").write_text(CMDLINES[name])

    def settings(self, **given: str) -> Settings:
        """Return settings as flags would give them."""
        return gather({}, {}, {**SMALL, **given})

    def install(self, system: Path, **given: str) -> None:
        """Install a system on the whole disk."""
        flags = {"COS_INSTALL_DEVICE": self.device, "DEVICE_BY_FLAG": "true"}
        install(self.host, self.settings(**{**flags, "SYSTEM": f"dir:{system}", **given}))

    def upgrade(self, source: str, **given: str) -> None:
        """Upgrade to a source."""
        upgrade(self.host, self.settings(**{"SYSTEM": source, **given}))

    def reset(self, **given: str) -> None:
        """Reset."""
        reset(self.host, self.settings(**given))

    def deploy(self, source: str, **given: str) -> None:
        """Deploy a source."""
        deploy(self.host, self.settings(SYSTEM=source, **given))

    @contextmanager
    def partition(self, label: str) -> Iterator[Path]:
        """Look into a partition."""
        place = self.root / "tmp" / label
        place.mkdir(exist_ok=True)
        mount(partitions(self.device)[label], place, "ro", "rw")
        try:
            yield place
        finally:
            do("umount", place)

    @contextmanager
    def running(self, name: str = "active", prefix: str = "COS_") -> Iterator[Mapping[str, Path]]:
        """Have the partitions mounted as the running system has them; yields where."""
        self.boot(name)
        found = partitions(self.device)
        places = {"STATE": ("run/initramfs/cos-state", "ro"), "OEM": ("oem", "rw"),
                  "PERSISTENT": ("usr/local", "rw")}  # fmt: skip
        with ExitStack() as stack:
            mounted = {}
            for own, (path, options) in places.items():
                label = f"{prefix}{own}"
                place = self.root / path
                place.mkdir(parents=True, exist_ok=True)
                mount(found[label], place, options)
                stack.callback(self.host.unmount, place)
                mounted[label] = place
            yield mounted

    def systems(self) -> dict[str, str]:
        """Return the kernels of the systems that can be booted; checks all that booting needs."""
        with self.partition("COS_STATE") as state:
            found = {}
            for name, label in (("active", "COS_ACTIVE"), ("passive", "COS_PASSIVE")):
                image = state / f"cOS/{name}.img"
                if not image.exists():
                    continue
                assert label_of(image) == label
                do("e2fsck", "-fn", image)
                found[name] = bootable(image)
            return found

    def record(self) -> dict[str, Any]:
        """Read the record of the state partition."""
        with self.partition("COS_STATE") as state:
            value: dict[str, Any] = yaml.safe_load((state / "state.yaml").read_text())
            return value


def prove(state: Path) -> None:
    """Note that the active system has booted well."""
    uuid = do("blkid", "-p", "-o", "value", "-s", "UUID", state / "cOS/active.img").strip()
    do("mount", "-o", "remount,rw", state)
    change_block(state / "boot_assessment", {"boot_assessment_good": uuid})
    do("mount", "-o", "remount,ro", state)


def bootable(image: Path) -> str:
    """Return the kernel that the boot menu would load out of an image; fails if it cannot."""
    assert read_inside(image, "/etc/cos/bootargs.cfg") == BOOT_ARGUMENTS
    version = read_inside(image, "/etc/os-release").splitlines()[1].partition("=")[2].strip('"')
    assert f"vmlinuz-{version}" in do("debugfs", "-R", "stat /boot/vmlinuz", image)
    assert read_inside(image, f"/boot/initrd-{version}") == f"initrd {version}"
    return read_inside(image, f"/boot/vmlinuz-{version}")


def leftovers(bench: Bench) -> list[str]:
    """List mounts and loop devices that a command has left of a machine.

    A loop device goes when the last namespace has let go of it, which may be another program's.
    """
    deadline = time.monotonic() + 30
    while found := _held(str(bench.root)):
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    return found


def _held(root: str) -> list[str]:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    loops = do("losetup", "--list", "--noheadings").splitlines()
    return [line for line in (*mounts, *loops) if root in line]
