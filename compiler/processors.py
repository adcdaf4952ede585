"""Processors that systems are made for, and what machines with them are started by.

Names: GOARCH (the Go project, "Installing Go from source"), uname(2), the loaders of the UEFI
specification 2.10 (section 3.5.1.1), and GRUB's platforms (`grub-mkimage --format`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Processors:
    """A kind of processors, by the names that it has in several places."""

    architecture: str
    """In the words of GOARCH, as registries have it."""
    machine: str
    """What uname(2) calls it."""
    letters: str
    """How names of EFI's programs end: x64 in `grubx64.efi`."""
    efi: str
    """GRUB's platform for EFI."""
    bios: str = ""
    """GRUB's platform for a BIOS; empty where there is none."""
    serial: tuple[str, ...]
    """What Linux calls serial lines that are the console; the most usual one last."""

    @property
    def loader(self) -> str:
        """The file that a firmware starts when it knows of nothing else, on the EFI partition."""
        return f"EFI/BOOT/BOOT{self.letters.upper()}.EFI"


AMD64 = Processors(
    architecture="amd64", machine="x86_64", letters="x64",
    efi="x86_64-efi", bios="i386-pc", serial=("ttyS0",),
)  # fmt: skip
ARM64 = Processors(
    architecture="arm64", machine="aarch64", letters="aa64",
    efi="arm64-efi", serial=("ttyS0", "ttyAMA0"),
)  # fmt: skip
SUPPORTED = (AMD64, ARM64)
NAMES = " and ".join(each.architecture for each in SUPPORTED)
"""For messages."""


def processors_named(name: str) -> Processors | None:
    """Find supported processors by GOARCH or by what uname(2) says; None for others."""
    return next((each for each in SUPPORTED if name in {each.architecture, each.machine}), None)
