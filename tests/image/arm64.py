"""A root of programs for arm64, out of packages of Debian: a kernel, an init and GRUB."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "debian-files.sh"
SIGNED = ("grub-efi-arm64-signed", "shim-signed", "shim-helpers-arm64-signed")
PROGRAM = b"\x7fELF\x02\x01" + bytes(12) + (183).to_bytes(2, "little") + bytes(40)
"""The head of a program for arm64."""

INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
exec > /dev/console 2>&1
echo "init runs on $(/bin/busybox uname -m): $(/bin/busybox cat /proc/cmdline)"
/bin/busybox poweroff -f
"""


def debian_files(cache: Path, *packages: str) -> Path:
    """Return a folder with what is in packages of Debian for arm64, fetched once."""
    argv = [str(SCRIPT), str(cache), "arm64", *packages]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def bootable_root(cache: Path, folder: Path, more: Sequence[str] = ()) -> Path:
    """Make a root that boots to an init that says where it runs, and switches the machine off."""
    packages = ("busybox-static", "grub-efi-arm64-bin", "linux-image-cloud-arm64", *more)
    root = folder / "root"
    shutil.copytree(debian_files(cache, *packages), root, symlinks=True)
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    (root / "boot/vmlinuz").symlink_to(kernel.name)
    _initrd(root / "usr/bin/busybox", folder / "initrd", root / "boot/initrd")
    return root


def _initrd(busybox: Path, content: Path, target: Path) -> None:
    for each in ("bin", "proc", "dev"):
        (content / each).mkdir(parents=True)
    shutil.copy(busybox, content / "bin/busybox")
    (content / "init").write_text(INIT)
    (content / "init").chmod(0o755)
    names = "\n".join(sorted(str(each.relative_to(content)) for each in content.rglob("*")))
    argv = ["cpio", "--create", "--format=newc", "--quiet", f"--file={target}"]
    subprocess.run(argv, input=f"{names}\n", text=True, cwd=content, check=True)
