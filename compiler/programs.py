"""Where the programs of the system are, and which package brings one that is missing."""

import os
import shutil
from collections.abc import Iterable, Mapping

from compiler.errors import OutsideError

_PACKAGES: Mapping[str, tuple[str, str, str]] = {
    "crun": ("crun", "crun", "crun"),
    "mmdebstrap": ("mmdebstrap", "mmdebstrap", "mmdebstrap"),
    "newuidmap": ("uidmap", "shadow-utils", "shadow"),
    "newgidmap": ("uidmap", "shadow-utils", "shadow"),
    "unshare": ("util-linux", "util-linux", "util-linux"),
    "setpriv": ("util-linux", "util-linux", "util-linux"),
    "gpgv": ("gpgv", "gnupg2", "gpg2"),
    "mksquashfs": ("squashfs-tools", "squashfs-tools", "squashfs"),
    "mkfs.ext4": ("e2fsprogs", "e2fsprogs", "e2fsprogs"),
    "mkfs.fat": ("dosfstools", "dosfstools", "dosfstools"),
    "mcopy": ("mtools", "mtools", "mtools"),
    "sgdisk": ("gdisk", "gdisk", "gptfdisk"),
    "unsquashfs": ("squashfs-tools", "squashfs-tools", "squashfs"),
    "mke2fs": ("e2fsprogs", "e2fsprogs", "e2fsprogs"),
    "tune2fs": ("e2fsprogs", "e2fsprogs", "e2fsprogs"),
    "debugfs": ("e2fsprogs", "e2fsprogs", "e2fsprogs"),
    "e2fsck": ("e2fsprogs", "e2fsprogs", "e2fsprogs"),
    "xorriso": ("xorriso", "xorriso", "xorriso"),
    "grub-mkimage": ("grub-common", "grub2-tools", "grub2"),
    "grub-mkstandalone": ("grub-common", "grub2-tools", "grub2"),
    "grub-install": ("grub2-common", "grub2-tools", "grub2"),
    "rsync": ("rsync", "rsync", "rsync"),
    "sfdisk": ("fdisk", "util-linux", "util-linux"),
    "dracut": ("dracut", "dracut", "dracut"),
    "qemu-img": ("qemu-utils", "qemu-img", "qemu-img"),
    "git": ("git", "git", "git"),
    "notary": ("notary", "notary", "notary"),
}
"""Which package of Debian, Fedora and openSUSE brings a program."""


def which(program: str) -> str:
    """Find a program; raises `OutsideError` that names the packages which bring it."""
    path = shutil.which(program, path=_search_path())
    if path is None:
        raise OutsideError(f"the program {program!r} is missing", hint=_package_hint([program]))
    return path


def need_programs(programs: Iterable[str]) -> None:
    """Raise `OutsideError` for all programs that are missing, and the packages that bring them."""
    path = _search_path()
    missing = [each for each in programs if shutil.which(each, path=path) is None]
    if len(missing) > 1:
        names = ", ".join(map(repr, missing))
        raise OutsideError(f"the programs {names} are missing", hint=_package_hint(missing))
    for each in missing:
        which(each)


def _search_path() -> str:
    """Return PATH, and the folders of the administrator's programs that users often lack."""
    return os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


def _package_hint(programs: Iterable[str]) -> str | None:
    packages = [_PACKAGES[each] for each in programs if each in _PACKAGES]
    if not packages:
        return None
    debian, fedora, opensuse = (
        " ".join(dict.fromkeys(names)) for names in zip(*packages, strict=True)
    )
    return f"apt install {debian}, dnf install {fedora} or zypper install {opensuse}"
