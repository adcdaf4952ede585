"""Programs that make images: whether they are there, and running them."""

from compiler.errors import OutsideError
from compiler.process import Command, run

ISO = ("mksquashfs", "xorriso", "mkfs.fat", "mcopy")
DISK = ("mksquashfs", "mke2fs", "debugfs", "tune2fs", "sgdisk", "mkfs.fat", "mcopy")
"""What each kind of image is made with, besides GRUB."""

_FULL = ("no space left on device", "exceeds free space", "out of space")


def run_tool(command: Command) -> None:
    """Run a program to its end; raises `OutsideError` if it fails, with its last words."""
    finished = run(command)
    try:
        finished.check()
    except OutsideError as error:
        raise told(error) from None


def told(error: OutsideError) -> OutsideError:
    """Add what helps to an error of a program that found no room."""
    if not any(words in error.message.lower() for words in _FULL):
        return error
    hint = "make room there, or set TMPDIR to a folder with more"
    return OutsideError(error.message, location=error.location, hint=hint)
