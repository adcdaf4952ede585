"""The chain that machines with secure boot start: programs that are signed, found in a root tree.

The firmware starts shim, which Microsoft signed; shim starts `grubx64.efi` beside it, which the
distribution signed (or `mmx64.efi`, to enroll another key); that GRUB starts kernels which the
distribution signed. Other processors have other letters for `x64`. Nothing of it can be made here:
it is copied. The signed GRUB reads a menu at a place that is built into it, and loads no modules,
so it has to have all that our menus need.

Formats: PE/COFF (Microsoft, "PE Format"), and GRUB 2.06, include/grub/kernel.h: a section `mods`
begins with a `grub_module_info64`; what follows are objects, each with its type and size.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from compiler.errors import ImageError
from compiler.layout import Label
from compiler.processors import Processors

_FOLDER = "EFI/BOOT"
"""Where shim is, and looks for the others: beside itself."""

NEEDED = frozenset({
    "all_video", "boot", "configfile", "echo", "ext2", "fat", "gfxterm", "gzio", "iso9660", "linux",
    "loadenv", "loopback", "minicmd", "normal", "part_gpt", "part_msdos", "probe", "regexp",
    "search", "search_fs_file", "search_label", "serial", "squash4", "terminal", "test", "true",
})  # fmt: skip
"""The modules of GRUB that our menus need, and what they are read from."""

_PE_AT, _SECTIONS, _SECTION = 0x3C, 24, 40
_MAGIC = 0x676D696D
_HEAD = struct.Struct("<II")  # type and size, of itself as well
_ELF, _PREFIX = 0, 3
_MODULE_NAME = b".modname"


_DISK_SCRIPT = """if regexp --set=1:disk '^\\(([^,)]+)' "${{cmdpath}}"; then
  set near="--hint=${{disk}},"
fi
for label in {labels}; do
  search --no-floppy ${{near}} --label --set=root "${{label}}"
  for folder in grub2 grub; do
    if [ -f "(${{root}})/${{folder}}/grub.cfg" ]; then
      configfile "(${{root}})/${{folder}}/grub.cfg"
    fi
  done
done
"""


@dataclass(frozen=True, slots=True)
class Core:
    """A GRUB as one program: the folder that it reads `grub.cfg` in, and its modules."""

    prefix: str
    modules: frozenset[str]

    @property
    def lacking(self) -> frozenset[str]:
        """The modules that our menus need and it does not have."""
        return NEEDED - self.modules


@dataclass(frozen=True, slots=True)
class Chain:
    """The three programs of a root tree."""

    shim: bytes
    grub: bytes
    manager: bytes


def chain_places(processors: Processors) -> tuple[tuple[str, ...], ...]:
    """Say where Debian and its descendants have shim, GRUB and MokManager: the first that is there.

    Their packages are `shim-signed` and `grub-efi-amd64-signed`, or `grub-efi-arm64-signed`.
    """
    letters = processors.letters
    shim = f"/usr/lib/shim/shim{letters}.efi.signed"
    grub = f"/usr/lib/grub/{processors.efi}-signed/grub{letters}.efi.signed"
    manager = f"/usr/lib/shim/mm{letters}.efi"
    return (shim, f"{shim}.latest"), (grub,), (f"{manager}.signed", manager)


def fallback_place(processors: Processors) -> str:
    """Return what must not be beside shim, which would start it rather than GRUB.

    It makes boot entries.
    """
    return f"{_FOLDER}/fb{processors.letters}.efi"


def chain_files(chain: Chain, processors: Processors, script: str) -> Mapping[str, bytes]:
    """Say what is on the EFI system partition, by path; `script` is what GRUB runs first.

    Raises `ImageError` if the signed GRUB is none, or lacks a module: it could not load it.
    """
    core = parse_core(chain.grub)
    if core.lacking:
        raise ImageError(
            f"the signed GRUB has no module {', '.join(sorted(core.lacking))}",
            hint="the boot menu needs it, and a signed GRUB cannot load modules",
        )
    return {
        processors.loader: chain.shim,
        f"{_FOLDER}/grub{processors.letters}.efi": chain.grub,
        f"{_FOLDER}/mm{processors.letters}.efi": chain.manager,
        menu_place(core): first_script(core, script).encode(),
    }


def disk_script(state: str = Label.STATE, recovery: str = Label.RECOVERY) -> str:
    """Return what the signed GRUB of a disk runs first: it goes on to the menu of the installation.

    That is on the partition with one of two labels, on the disk that it was started from if it is
    there. `prefix` stays as it is: no module is there that it could not load.
    """
    return _DISK_SCRIPT.format(labels=f"'{state}' '{recovery}'")


def menu_place(core: Core) -> str:
    """Return where it looks for its menu, as a path on the partition that it is started from."""
    return f"{core.prefix.strip('/')}/grub.cfg"


def first_script(core: Core, script: str) -> str:
    """Return a script in a form for the signed GRUB.

    Where there is a TPM the module `tpm` reads every file into memory as a whole to measure it, and
    so every image that is opened as a disk. Nothing relies on these measurements.
    """
    return f"rmmod tpm\n{script}" if "tpm" in core.modules else script


def parse_core(data: bytes) -> Core:
    """Read the program of a GRUB for EFI; raises `ImageError` for what is none."""
    prefix, modules = "", set()
    try:
        for kind, content in _objects(_modules_of(data)):
            if kind == _PREFIX:
                prefix = content.split(b"\0", 1)[0].decode()
            elif kind == _ELF:
                modules.add(_name_of(content))
    except (struct.error, ValueError) as error:
        raise ImageError("the signed GRUB cannot be read: it is no program of GRUB") from error
    if not prefix or ".." in prefix.split("/") or "(" in prefix:
        raise ImageError(f"the signed GRUB looks for its menu in {prefix or 'no folder'}")
    return Core(prefix, frozenset(modules))


def _modules_of(data: bytes) -> bytes:
    """Return the section `mods` of a PE program."""
    head = struct.unpack_from("<I", data, _PE_AT)[0]
    count, optional = struct.unpack_from("<6xH12xH", data, head)
    for number in range(count):
        at = head + _SECTIONS + optional + number * _SECTION
        name, _, _, size, start = struct.unpack_from("<8s4I", data, at)
        if name.rstrip(b"\0") == b"mods":
            return data[start : start + size]
    raise ValueError(data[:2])


def _objects(section: bytes) -> Iterator[tuple[int, bytes]]:
    """Give what is in a section of modules: types, and contents."""
    magic, at, end = struct.unpack_from("<I4xQQ", section)
    if magic != _MAGIC or end > len(section):
        raise ValueError(magic)
    while at < end:
        kind, size = _HEAD.unpack_from(section, at)
        if size < _HEAD.size or at + size > end:
            raise ValueError(size)
        yield kind, section[at + _HEAD.size : at + size]
        at += size


def _name_of(module: bytes) -> str:
    """Return the name of a module: the content of its section `.modname` (ELF-64)."""
    table = struct.unpack_from("<Q", module, 40)[0]
    size, count, names_at = struct.unpack_from("<HHH", module, 58)

    def section(number: int) -> tuple[int, int, int]:
        found = struct.unpack_from("<I20xQQ", module, table + number * size)
        return found[0], found[1], found[2]

    _, names, _ = section(names_at)
    for number in range(count):
        name, start, length = section(number)
        if module[names + name :].startswith(_MODULE_NAME + b"\0"):
            return module[start : start + length].rstrip(b"\0").decode()
    raise ValueError(module[:4])
