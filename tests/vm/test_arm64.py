"""A machine with processors for arm64 starts from an ISO that was made here."""

import shutil
import subprocess
from pathlib import Path

import pytest

from compiler.archive import Clamp
from compiler.image.boot import processors_of
from compiler.image.iso import Iso, make_iso
from compiler.image.layers import FolderLayer
from compiler.image.tree import Tree
from compiler.processors import ARM64
from tests.image.arm64 import SIGNED, bootable_root
from tests.image.test_arm64 import FAST
from tests.image.trees import EPOCH

pytestmark = [pytest.mark.vm, pytest.mark.long]

_FIRMWARE = Path("/usr/share/AAVMF")
_BOOT = 600
"""Seconds that it may take; forty are usual."""


@pytest.mark.parametrize("more", [(), SIGNED], ids=["own", "signed"])
def test_an_iso_starts_its_kernel_and_its_initial_root(
    test_cache: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    folder = bootable_root(test_cache, tmp_path, more)
    root = Tree.of([FolderLayer(folder, Clamp())], epoch=EPOCH)
    processors = processors_of(root)
    iso = Iso(root=root, processors=processors, timeout=1, squashfs=FAST, epoch=EPOCH)

    said = console(make_iso(iso, tmp_path / "x.iso").path, tmp_path)

    assert processors is ARM64
    assert "cOS (nomodeset)" in said, "the menu"
    assert "init runs on aarch64: BOOT_IMAGE=" in said
    assert "console=ttyS0 console=ttyAMA0 rd.cos.disable" in said


def console(iso: Path, folder: Path) -> str:
    """Run a machine until it switches itself off; returns what it printed on its serial line."""
    log, variables = folder / "console.log", folder / "variables.fd"
    shutil.copy(_FIRMWARE / "AAVMF_VARS.fd", variables)
    argv = ["qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a57", "-m", "1024"]
    argv += ["-accel", "tcg,thread=multi", "-nodefaults", "-no-user-config", "-no-reboot"]
    argv += ["-display", "none", "-serial", f"file:{log}"]
    code = f"if=pflash,unit=0,format=raw,readonly=on,file={_FIRMWARE}/AAVMF_CODE.fd"
    argv += ["-drive", code, "-drive", f"if=pflash,unit=1,format=raw,file={variables}"]
    argv += ["-drive", f"if=none,id=iso,file={iso},format=raw,readonly=on"]
    argv += ["-device", "virtio-blk-pci,drive=iso,bootindex=1"]
    subprocess.run(argv, check=True, timeout=_BOOT)
    return log.read_text("utf-8", "replace")
