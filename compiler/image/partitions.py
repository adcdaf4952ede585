"""What is on the partitions of a disk image, and how they get it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from compiler import layout
from compiler.archive import Entry, Kind
from compiler.grubenv import format_block
from compiler.image.disk_plan import Disk, Images
from compiler.image.efi import Fat, make_fat
from compiler.image.ext import Ext, Item, make_ext
from compiler.image.first_boot import DEPLOYING, GROWING, deploying, growing
from compiler.image.gpt import Slice, identity
from compiler.image.grub import Modules, make_scripted_core
from compiler.image.record import Origin, state_record
from compiler.image.signed import signed_files, write_files
from compiler.image.sparse import copy_sparse
from compiler.layout import Label
from compiler.secureboot import disk_script

GRUB_FOLDER = "grub2"

SCRIPT = """if regexp --set=1:disk '^\\(([^,)]+)' "${cmdpath}"; then
  set near="--hint=${disk},"
fi
search --no-floppy ${near} --label --set=root COS_STATE
if [ ! -f "(${root})/grub2/grub.cfg" ]; then
  search --no-floppy ${near} --label --set=root COS_RECOVERY
fi
set prefix="(${root})/grub2"
configfile "(${root})/grub2/grub.cfg"
"""
"""What GRUB runs first: it finds the menu, on the disk that it was started from if it is there."""

_DEPLOYED_STATE = layout.STATE.size

_Files = Mapping[str, bytes | Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """The boot loader of a disk: the menu of its tree, and GRUB for each firmware."""

    menu: bytes
    bios: Modules | None
    """None where machines have no BIOS."""
    efi: Modules


class Filler:
    """Fills the partitions of one disk."""

    def __init__(self, disk: Disk, target: Path, loader: Loader, scratch: Path) -> None:
        self._disk = disk
        self._target = target
        self._loader = loader
        self._scratch = scratch

    def fill(self, images: Images, slices: Mapping[str, Slice]) -> None:
        """Make every file system and what is in it; raises `OutsideError` if a program fails."""
        record = _record(self._disk, images)
        recovery: dict[str, bytes | Path] = {
            layout.RECOVERY_SQUASHFS: images.recovery,
            layout.STATE_RECORD: record,
        }
        self._make_efi(slices["efi"])
        self._make(slices["oem"], Label.OEM, self._oem(is_full=images.active is not None))
        if images.active is None or images.passive is None:
            self._make(slices["recovery"], Label.RECOVERY, recovery | self._grub())
            return
        self._make(slices["recovery"], Label.RECOVERY, recovery)
        state: dict[str, bytes | Path] = {
            layout.ACTIVE_IMAGE: images.active,
            layout.PASSIVE_IMAGE: images.passive,
            layout.STATE_RECORD: record,
            layout.BOOT_SETTINGS: format_block({"default_menu_entry": self._disk.title}),
        }
        self._make(slices["state"], Label.STATE, state | self._grub())
        self._make(slices["persistent"], Label.PERSISTENT, {})

    def _oem(self, *, is_full: bool) -> dict[str, bytes | Path]:
        """Say what is on the OEM partition: the owner's choices, and what the first boot does."""
        command, sizes = self._disk.deploy_command, self._disk.sizes
        first = {GROWING: growing()}
        if not is_full:
            first = {DEPLOYING: deploying(command, state=sizes.get("state", _DEPLOYED_STATE))}
        return {layout.OWNER_CHOICES: format_block({}), **first, **self._disk.cloud_init}

    def _grub(self) -> dict[str, bytes | Path]:
        """Say what GRUB finds in its folder: the menu of the tree, and modules."""
        files: dict[str, bytes | Path] = {f"{GRUB_FOLDER}/grub.cfg": self._loader.menu}
        for modules in filter(None, (self._loader.bios, self._loader.efi)):
            for module in modules.files:
                files[f"{GRUB_FOLDER}/{modules.platform.folder}/{module.name}"] = module
        return files

    def _make(self, part: Slice, label: Label, files: _Files) -> None:
        """Make an ext4 in its place on the disk."""
        uuid = identity(self._disk.seed, label)
        ext = Ext(type="ext4", label=label, size=part.size, offset=part.start, uuid=uuid)
        items = _items(files, self._scratch / label, self._disk.epoch)
        make_ext(ext, self._target, items, self._scratch, epoch=self._disk.epoch)

    def _make_efi(self, part: Slice) -> None:
        """Make the EFI system partition, with a loader where every firmware finds it.

        That is the signed one of the tree, if there is one.
        """
        folder, image = self._scratch / "efi", self._scratch / "efi.img"
        processors, scratch = self._disk.processors, self._scratch / "signed"
        loader = folder / processors.loader
        write_files(signed_files(self._disk.root, processors, disk_script(), scratch), folder)
        if not loader.exists():
            loader.parent.mkdir(parents=True)
            make_scripted_core(self._loader.efi, loader, script=SCRIPT, epoch=self._disk.epoch)
        number = identity(self._disk.seed, Label.GRUB).time_low
        fat = Fat(label=Label.GRUB, volume_id=number, size=part.size)
        make_fat(fat, folder, image, epoch=self._disk.epoch)
        copy_sparse(image, self._target, offset=part.start)


def _items(files: _Files, scratch: Path, epoch: int) -> Iterator[Item]:
    """Give files with the folders that they are in; all belong to root."""
    scratch.mkdir()
    folders = {
        "/".join(parts[:count])
        for parts in (path.split("/") for path in files)
        for count in range(1, len(parts))
    }
    for path in sorted(folders):
        yield Entry(path=path, kind=Kind.FOLDER, mode=0o755, mtime=epoch), None
    for number, path in enumerate(sorted(files)):
        content = files[path]
        if isinstance(content, bytes):
            (scratch / str(number)).write_bytes(content)
            content = scratch / str(number)
        mode = 0o600 if path.endswith(".yaml") else 0o644
        yield Entry(path=path, kind=Kind.FILE, mode=mode, mtime=epoch), content


def _record(disk: Disk, images: Images) -> bytes:
    """Write down where the systems of the disk come from."""
    origin = _written(disk.origin)
    found = {"recovery": {**_written(disk.recovery_origin or disk.origin), "fs": "squashfs"}}
    if images.active is not None:
        found["active"] = {**origin, "label": str(Label.ACTIVE), "fs": "ext2"}
        found["passive"] = {**origin, "label": str(Label.PASSIVE), "fs": "ext2"}
    return state_record(found, epoch=disk.epoch)


def _written(origin: Origin) -> dict[str, str]:
    return {
        "source": origin.source,
        **({"digest": origin.digest} if origin.digest else {}),
    }
