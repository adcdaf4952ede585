"""A small machine with the real GRUB: a disk with our menu, and images whose kernel only says how
it was started.

The kernel is twenty instructions in the format that GRUB loads ("The Linux/x86 Boot Protocol"): it
writes its command line to the serial port and resets the machine, which then boots again. So a few
seconds show many boots in a row.
"""

import re
import shutil
import struct
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compiler.grubenv import format_block, parse_block
from compiler.layout import ACTIVE_IMAGE, PASSIVE_IMAGE, RECOVERY_IMAGE, Label

REPOSITORY = Path(__file__).parents[2]
MENU = REPOSITORY / "tree/system/grub-config/files/etc/cos"
MODULES = Path("/usr/lib/grub")
OVMF = Path("/usr/share/OVMF/OVMF_CODE.fd")

SECTOR = 512
MIB = 1 << 20
START = 2048  # the first sector of the first partition
PATIENCE = 120  # seconds for a boot; a busy machine takes some ten

IDENTITIES = {
    ACTIVE_IMAGE: "aaaaaaaa-0000-4000-8000-000000000001",
    PASSIVE_IMAGE: "bbbbbbbb-0000-4000-8000-000000000002",
    RECOVERY_IMAGE: "cccccccc-0000-4000-8000-000000000003",
}
LABELS = {
    ACTIVE_IMAGE: Label.ACTIVE,
    PASSIVE_IMAGE: Label.PASSIVE,
    RECOVERY_IMAGE: Label.SYSTEM,
}
_PROGRAM = bytes.fromhex(
    "8b9e28020000"  # mov ebx, [esi+0x228]: the address of the command line
    "baf8030000"  # mov edx, 0x3f8: the first serial port
    "8a03"  # mov al, [ebx]
    "84c0"  # test al, al
    "7404"  # jz over the next three
    "ee"  # out dx, al
    "43"  # inc ebx
    "ebf6"  # jmp to the load of al
    "b00a"  # mov al, 10
    "ee"  # out dx, al
    "b0fee664"  # mov al, 0xfe; out 0x64, al: the keyboard controller resets the machine
    "ebfe"  # jmp to itself
)


def kernel() -> bytes:
    """Return a kernel that says how it was started, and starts the machine anew."""
    image = bytearray(2 * SECTOR + len(_PROGRAM))
    image[0x1F1] = 1  # sectors of set-up code after the first
    struct.pack_into("<I", image, 0x1F4, 1 + len(_PROGRAM) // 16)
    struct.pack_into("<H2s4sH", image, 0x1FE, 0xAA55, b"\xeb\x66", b"HdrS", 0x020A)
    image[0x211] = 1  # loaded high
    struct.pack_into("<I", image, 0x214, 0x100000)
    struct.pack_into("<IIBB", image, 0x22C, 0x37FFFFFF, 0x100000, 1, 20)
    struct.pack_into("<I", image, 0x238, 2047)
    struct.pack_into("<QI", image, 0x258, 0x100000, 0x100000)
    image[2 * SECTOR :] = _PROGRAM
    return bytes(image)


@dataclass(frozen=True, kw_only=True)
class Files:
    """What is on the partitions, by path: bytes, blocks of variables, or files to copy."""

    state: Mapping[str, bytes | Path] = field(default_factory=dict)
    oem: Mapping[str, bytes | Path] = field(default_factory=dict)
    recovery: Mapping[str, bytes | Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a machine was started, boot by boot, and the blocks of variables after it."""

    lines: list[str]
    assessment: dict[str, str]
    owner: dict[str, str]
    console: str


def block(values: Mapping[str, str | None]) -> bytes:
    """Return a block of variables."""
    return format_block({name: value for name, value in values.items() if value is not None})


def make_image(
    folder: Path, name: str, *, arguments: str | None = None, whole: bool = True
) -> Path:
    """Make an image with our boot arguments, or others; without a kernel unless it is `whole`."""
    tree = folder / f"{Path(name).stem}.tree"
    shutil.rmtree(tree, ignore_errors=True)
    (tree / "etc/cos").mkdir(parents=True)
    (tree / "boot").mkdir()
    text = arguments or re.sub(":[A-Z]+_ARGUMENTS:", "", (MENU / "bootargs.cfg").read_text())
    (tree / "etc/cos/bootargs.cfg").write_text(text)
    (tree / "boot/vmlinuz-1").write_bytes(kernel())
    (tree / "boot/vmlinuz").symlink_to("vmlinuz-1")
    if whole:
        (tree / "boot/initrd").write_bytes(b"initrd")
    image = folder / Path(name).name
    make_filesystem(image, tree, LABELS[name], size=1, kind="ext2", identity=IDENTITIES[name])
    return image


def make_filesystem(  # noqa: PLR0913  (a file system has so many sides)
    path: Path, tree: Path, label: str, *, size: int, kind: str = "ext4", identity: str = "random"
) -> None:
    """Make a file system of so many MiB that holds a folder."""
    path.unlink(missing_ok=True)
    named = ["-L", label, "-U", identity, "-d", str(tree)]
    command = ["mke2fs", "-q", "-t", kind, *named, str(path), f"{size}M"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Machine:
    """A machine with a disk: a boot loader, and the partitions of the owner, state and recovery."""

    def __init__(self, folder: Path, platform: str = "i386-pc") -> None:
        self.folder = folder
        self.platform = platform
        self.disk = folder / "disk.raw"
        self._sizes = {
            "loader": 2 if platform == "i386-pc" else 4,
            "oem": 2,
            "state": 24,
            "recovery": 8,
        }

    def write(self, files: Files) -> None:
        """Make the disk anew with these files."""
        parts = {
            "oem": self._partition("oem", Label.OEM, files.oem),
            "state": self._partition("state", Label.STATE, self._with_menu(files.state)),
            "recovery": self._partition("recovery", Label.RECOVERY, files.recovery),
        }
        with self.disk.open("wb") as disk:
            disk.truncate((sum(self._sizes.values()) + 2) * MIB)
        command = ["sgdisk", "--clear"]
        for number, (name, size) in enumerate(self._sizes.items(), 1):
            command += [f"--new={number}:{self._start(name)}:+{size}M"]
        command.append("--typecode=1:" + ("ef02" if self.platform == "i386-pc" else "ef00"))
        subprocess.run([*command, self.disk], check=True, stdout=subprocess.DEVNULL)
        for name, path in parts.items():
            self._put(self._start(name) * SECTOR, path.read_bytes())
        self._add_loader()

    def run(self, boots: int, *, until: str = "BOOT_IMAGE=") -> Outcome:
        """Switch the machine on, wait for some boots, and switch it off."""
        log = self.folder / "console.log"
        log.unlink(missing_ok=True)
        child = subprocess.Popen(
            self._command(log), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            text = _await(log, child, until=until, times=boots)
        finally:
            child.kill()
            child.communicate()
        lines = [line for line in text.split("\n")[:-1] if line.startswith("BOOT_IMAGE=")]
        return Outcome(
            lines=lines[:boots],
            assessment=self.block("state", "boot_assessment"),
            owner=self.block("oem", "grubenv"),
            console=text,
        )

    def block(self, partition: str, path: str) -> dict[str, str]:
        """Read a block of variables from the disk; one that is damaged or absent holds nothing."""
        content = self.read(partition, path)
        try:
            return parse_block(content)
        except ValueError:
            return {}

    def read(self, partition: str, path: str) -> bytes:
        """Read a file from the disk."""
        piece = self.folder / "piece"
        with self.disk.open("rb") as disk:
            disk.seek(self._start(partition) * SECTOR)
            piece.write_bytes(disk.read(self._sizes[partition] * MIB))
        command = ["debugfs", "-R", f"cat /{path}", str(piece)]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def offset(self, partition: str) -> int:
        """Return where a partition begins, in bytes."""
        return self._start(partition) * SECTOR

    def size(self, partition: str) -> int:
        """Return how many bytes a partition has."""
        return self._sizes[partition] * MIB

    def _start(self, name: str) -> int:
        before = list(self._sizes).index(name)
        return START + sum(list(self._sizes.values())[:before]) * MIB // SECTOR

    def _put(self, offset: int, content: bytes) -> None:
        with self.disk.open("r+b") as disk:
            disk.seek(offset)
            disk.write(content)

    def _partition(self, name: str, label: str, files: Mapping[str, bytes | Path]) -> Path:
        tree = self.folder / name
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir()
        for path, content in files.items():
            target = tree / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, target)
            else:
                target.write_bytes(content)
        image = self.folder / f"{name}.ext4"
        make_filesystem(image, tree, label, size=self._sizes[name])
        return image

    def _with_menu(self, files: Mapping[str, bytes | Path]) -> dict[str, bytes | Path]:
        modules = MODULES / self.platform
        found = [*modules.glob("*.mod"), *modules.glob("*.lst")]
        return {
            **{f"grub/{self.platform}/{each.name}": each for each in found},
            # A search that finds nothing tries all file systems that there are, for seconds.
            f"grub/{self.platform}/fs.lst": b"ext2\nfat\nsquash4\n",
            "grub/grub.cfg": MENU / "grub.cfg",
            **files,
        }

    def _add_loader(self) -> None:
        """Put GRUB on the disk: in its partition and the first sector, or as a file of the ESP."""
        core = self.folder / "core.img"
        modules = ["part_gpt", "ext2", "fat", "normal"]
        modules += ["biosdisk"] if self.platform == "i386-pc" else []
        command = ["grub-mkimage", "-O", self.platform, "-d", str(MODULES / self.platform)]
        command += ["-p", "(hd0,gpt3)/grub", "-o", str(core), *modules]
        subprocess.run(command, check=True)
        start = self._start("loader")
        if self.platform == "i386-pc":
            content = bytearray(core.read_bytes())
            struct.pack_into("<QHH", content, 0x1F4, start + 1, len(content) // SECTOR, 0x820)
            boot = bytearray((MODULES / self.platform / "boot.img").read_bytes()[:440])
            struct.pack_into("<Q", boot, 0x5C, start)
            struct.pack_into("<H", boot, 0x66, 0x9090)
            self._put(0, bytes(boot))
            self._put(start * SECTOR, bytes(content))
            return
        where = f"{self.disk}@@{start * SECTOR}"
        size = self._sizes["loader"] * MIB // SECTOR
        subprocess.run(
            ["mformat", "-i", where, "-T", str(size), "-h", "16", "-s", "32"], check=True
        )
        subprocess.run(["mmd", "-i", where, "::/EFI", "::/EFI/BOOT"], check=True)
        subprocess.run(["mcopy", "-i", where, core, "::/EFI/BOOT/BOOTX64.EFI"], check=True)

    def _command(self, log: Path) -> list[str]:
        command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-m", "192", "-nodefaults"]
        command += ["-display", "none", "-serial", f"file:{log}"]
        if self.platform != "i386-pc":
            command += ["-drive", f"if=pflash,unit=0,readonly=on,format=raw,file={OVMF}"]
        return [*command, "-drive", f"file={self.disk},format=raw"]


def _await(log: Path, child: subprocess.Popen[bytes], *, until: str, times: int) -> str:
    """Wait until a text was said so many times, each time with the end of its line."""
    deadline = time.monotonic() + PATIENCE * (1 + times / 4)
    while True:
        text = log.read_text("utf-8", "replace").replace("\r", "\n") if log.exists() else ""
        if sum(until in line for line in text.split("\n")[:-1]) >= times:
            return text
        assert child.poll() is None, f"QEMU ended: {child.communicate()[0]!r}"
        assert time.monotonic() < deadline, f"waited in vain for {until}; the console says:\n{text}"
        time.sleep(0.05)
