"""Small root trees that can be made images of: what boots is there, and little else."""

import io
import struct
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from compiler.archive import Entry, Kind
from compiler.archive.tar import write_tar
from compiler.secureboot import NEEDED

EPOCH = 1577836800
KERNEL, INITRD = b"kernel" * 1000, b"initrd" * 3000
MENU = b"set timeout=0\n"
ARGUMENTS = b"set kernel=/boot/vmlinuz\n"

FILES = {
    "boot/vmlinuz-6": KERNEL,
    "boot/initrd-6": INITRD,
    "etc/cos/grub.cfg": MENU,
    "etc/cos/bootargs.cfg": ARGUMENTS,
    "etc/os-release": b'NAME="cOS"\nGRUB_ENTRY_NAME="Acme OS"\n',
    "usr/bin/tool": b"\x7fELF" + b"t" * 200_000,
    "usr/share/empty": b"",
}
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, rights, who)
    for tag, rights, who in (
        (0x01, 6, 2**32 - 1), (0x02, 4, 1000), (0x04, 4, 2**32 - 1), (0x10, 4, 2**32 - 1),
        (0x20, 0, 2**32 - 1),
    )
)  # fmt: skip
"""`u::rw-,u:1000:r--,g::r--,m::r--,o::---` as the kernel has it (posix_acl_xattr.h)."""

LINKS = {"boot/vmlinuz": "vmlinuz-6", "boot/initrd": "initrd-6", "bin": "usr/bin"}


def write_tree(folder: Path, **changes: bytes | None) -> Path:
    """Write the tree into a folder of this machine."""
    files = {**FILES, **{name.replace("__", "/"): data for name, data in changes.items()}}
    for path, data in files.items():
        if data is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
    for path, target in LINKS.items():
        (folder / path).symlink_to(target)
    return folder


def write_archive(target: Path, *, leaves_out: str = "") -> Path:
    """Write the tree as an archive, with owners, modes, attributes and links of all kinds."""
    with tarfile.open(target, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for folder in ("boot", "etc", "etc/cos", "usr", "usr/bin", "usr/share", "home", "home/me"):
            _add(archive, folder, tarfile.DIRTYPE, mode=0o755)
        for path, data in FILES.items():
            if path != leaves_out:
                _add(archive, path, tarfile.REGTYPE, data=data, mode=0o644)
        for path, link in LINKS.items():
            _add(archive, path, tarfile.SYMTYPE, link=link, mode=0o777)
        _add(archive, "usr/bin/other", tarfile.LNKTYPE, link="usr/bin/tool", mode=0o644)
        _add(
            archive, "home/me/mine", tarfile.REGTYPE, data=b"mine", uid=1000, gid=70_000, mode=0o600
        )
        _add(archive, "usr/bin/su", tarfile.REGTYPE, data=b"su", mode=0o4755)
        capability = b"\x01\x00\x00\x02\x00\x20\x00\x00" + bytes(12)
        _add(
            archive,
            "usr/bin/ping",
            tarfile.REGTYPE,
            data=b"ping",
            mode=0o755,
            capability=capability,
        )
        _add(archive, 'etc/a "name" of blanks', tarfile.REGTYPE, data=b"x", mode=0o644)
    return target


def write_shared(target: Path, names: Sequence[str]) -> Path:
    """Write an archive with a folder whose files somebody else may read: by ACLs."""
    access = {"system.posix_acl_access": ACL, "user.kept": b"yes"}
    default = {"system.posix_acl_default": ACL}
    entries = [Entry(path="srv", kind=Kind.FOLDER, mode=0o755, mtime=EPOCH, xattrs=default)]
    entries += [
        Entry(path=f"srv/{name}", kind=Kind.FILE, mode=0o640, mtime=EPOCH, xattrs=access)
        for name in names
    ]
    with target.open("wb") as file:
        write_tar(entries, lambda _: b"", file)
    return target


def _add(  # noqa: PLR0913  (what a member can be made of)
    archive: tarfile.TarFile,
    path: str,
    kind: bytes,
    *,
    data: bytes = b"",
    link: str = "",
    mode: int = 0,
    uid: int = 0,
    gid: int = 0,
    capability: bytes = b"",
) -> None:
    info = tarfile.TarInfo(path)
    info.type, info.linkname, info.mode, info.uid, info.gid = kind, link, mode, uid, gid
    info.size, info.mtime = len(data), EPOCH - 1000
    if capability:
        text = capability.decode("utf-8", "surrogateescape")
        info.pax_headers = {"SCHILY.xattr.security.capability": text}
    archive.addfile(info, io.BytesIO(data))


def signed_grub(folder: Path, prefix: str, without: str = "") -> bytes:
    """Make a GRUB as distributions sign theirs: one program with all modules, and a prefix."""
    modules = sorted((NEEDED | {"tpm"}) - {without})
    core = folder / "grub.efi"
    argv = ["grub-mkimage", "--format", "x86_64-efi", "--prefix", prefix, "--output", str(core)]
    subprocess.run([*argv, *modules], check=True)
    return core.read_bytes()


def with_chain(folder: Path, grub: bytes) -> Path:
    """Add the programs of secure boot to a tree, where Debian has them; shim through a link."""
    write_tree(folder)
    files = {
        "usr/lib/shim/shimx64.efi.signed.latest": b"shim",
        "usr/lib/shim/mmx64.efi.signed": b"manager",
        "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": grub,
    }
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (folder / "etc/alternatives").mkdir()
    link = folder / "usr/lib/shim/shimx64.efi.signed"
    link.symlink_to("/etc/alternatives/shim")
    (folder / "etc/alternatives/shim").symlink_to("/usr/lib/shim/shimx64.efi.signed.latest")
    return folder
