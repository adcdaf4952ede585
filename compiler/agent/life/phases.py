"""The phases of the life-cycle commands: each that can fail has an exit code of its own.

Where elemental 2.3 has a number for a phase it is the same; docs/agent.md has the table.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum, unique

from compiler.errors import CompilerError, Interrupted, Location, TrustError, room_hint


@unique
class Phase(IntEnum):
    """What a command was at when it failed, as its exit code."""

    REFUSED = 1
    """What is asked for cannot be done here: `cos-reset` outside of recovery, say."""
    TRUST = 14
    """Nothing that is trusted has signed it."""
    SOURCE = 20
    """There is no such source, or it cannot be one of a system."""
    CONFIG = 31
    """A setting says what it cannot mean."""
    BEFORE_UPGRADE = 36
    AFTER_UPGRADE = 37
    CHROOT_UPGRADE = 38
    POST_UPGRADE = 39
    """Hooks of an upgrade failed, and `--strict` was given."""
    LABEL = 44
    """A file system could not get its label."""
    ENTRY = 45
    """The title of the boot menu could not be written."""
    SELINUX = 46
    """The new tree could not be relabelled."""
    DEVICE = 47
    """The disk is absent, no disk, in use, or cannot be read."""
    COPY = 48
    """The tree could not be written: no space, a disk that fails."""
    BOOTLOADER = 49
    """The boot loader could not be installed."""
    BEFORE_INSTALL = 50
    CHROOT_INSTALL = 51
    AFTER_INSTALL = 52
    """Hooks of an installation failed, and `--strict` was given."""
    DOWNLOAD = 53
    """Something could not be fetched: the network, a registry, a name that is not there."""
    MOUNT = 54
    """A file system could not be mounted."""
    ABSENT = 55
    """A partition that has to be there is not."""
    PARTITION = 56
    """The disk could not be partitioned."""
    INSTALLED = 57
    """There is a system already, and `--force` was not given."""
    ROOT = 58
    """Only root may do this."""
    UNMOUNT = 59
    """A file system could not be unmounted."""
    FORMAT = 60
    """A file system could not be made."""
    BEFORE_RESET = 61
    CHROOT_RESET = 62
    AFTER_RESET = 63
    """Hooks of a reset failed, and `--strict` was given."""
    UNPACK = 66
    """An image or archive is damaged, or not what it should be."""
    NO_SOURCE = 68
    """Nothing says what to install."""
    POST_INSTALL = 72
    POST_RESET = 73
    """Hooks at the very end failed, and `--strict` was given."""
    MENU = 78
    """The variables of the boot menu could not be written."""
    SIZE = 83
    """The disk, a partition or the image is too small."""
    RECOVERY = 88
    """The recovery system could not be replaced."""
    RECORD = 89
    """The record of what is installed could not be written."""
    ARCHITECTURE = 90
    """The system is for another kind of processor."""
    UNBOOTABLE = 91
    """The system has no kernel, no initrd or no boot arguments."""
    BUSY = 92
    """Another of these commands runs."""
    BEFORE_DEPLOY = 93
    CHROOT_DEPLOY = 94
    AFTER_DEPLOY = 95
    POST_DEPLOY = 96
    """Hooks of a deployment failed, and `--strict` was given."""
    TOOLS = 97
    """Programs are missing."""
    OTHER = 255
    """Anything else outside failed."""


class LifeError(CompilerError):
    """A phase failed; the exit code says which."""

    def __init__(
        self,
        message: str,
        phase: Phase,
        *,
        hint: str | None = None,
        location: Location | None = None,
    ) -> None:
        super().__init__(message, location=location, hint=hint)
        self.phase = phase
        self.exit_code = int(phase)


@contextmanager
def during(phase: Phase, what: str = "") -> Iterator[None]:
    """Give what fails inside the exit code of a phase, and `what` was tried before its message.

    What has a code already keeps it; what is not trusted always has that of `TRUST`.
    """
    before = f"{what}: " if what else ""
    try:
        yield
    except (LifeError, Interrupted):
        raise
    except CompilerError as error:
        real = Phase.TRUST if isinstance(error, TrustError) else phase
        message = f"{before}{error.message}"
        raise LifeError(message, real, hint=error.hint, location=error.location) from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        said = (error.strerror or str(error)).lower()
        raise LifeError(f"{before}{place}{said}", phase, hint=room_hint(error)) from error
