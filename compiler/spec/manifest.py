"""Manifests of system images: in both spellings that cOS-toolkit had, read into one model.

Of version 0.5: `packages.rootfs|uefi|isoimage`, `initramfs`, `image_name`, `image_prefix`,
`image_date`, `label`, `luet.repositories`, `repository.packages`, `overlay`, `rootfs_image`,
`squashfs_options`, `build`. Of 0.8: `name`, `date`, `iso` with `rootfs`, `uefi`, `image` and
`label`, `raw_disk`, `repositories`. Further keys are those of elemental (`extra-cmdline`,
`firmware`, `grub-entry-name`) and our own (`title`, `timeout`, `cloud-init`, `disk`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from compiler.errors import Faults, Location, SpecError, UsageError
from compiler.processors import NAMES, processors_named
from compiler.spec.fields import Note, Reader
from compiler.spec.image import DiskSpec, ImageSpec, RepositorySpec
from compiler.spec.load import read_text
from compiler.spec.source import ImageSource, SourceKind, parse_source
from compiler.spec.template import Rendered, Source
from compiler.spec.written import fault_errors, note_errors
from compiler.spec.yaml import KeyPath, Place, YamlFaults, parse, places

_RECOVERY_TARGET = "root/cOS"
_OTHER_LOADER = "GRUB starts the image"
_WHY_NOT = {
    "initramfs": "kernel and initrd come out of the root",
    "keep_luet_db": "nothing is installed, so there is no database",
    "ensure_common_dirs": "the folders that systems mount on are always there",
}
"""Why a key has no effect, if not for the boot loader."""

_Methods = Mapping[str, Callable[[Any, object, KeyPath], object]]
"""What reads the value of a key."""


def read_manifest(path: Path) -> ImageSpec:
    """Read a manifest; raises `Faults` with all that is wrong, each at its line."""
    return parse_manifest(read_text(path), str(path))


def parse_manifest(text: str, path: str) -> ImageSpec:
    """Read the text of a manifest; `path` is for messages, and relative paths start beside it."""
    rendered = Rendered(text, Source(path, text))
    try:
        value = parse(text)
        found = places(text)
    except YamlFaults as error:
        raise Faults.of(fault_errors(error.faults, rendered)) from None
    if not isinstance(value, dict):
        hint = "name what the root is made of: 'packages: {rootfs: [system/cos]}'"
        raise Faults.of([SpecError("is no manifest", location=Location(path, 1, 1), hint=hint)])
    reader = _ManifestReader(found, rendered)
    known = reader.manifest(value)
    if reader.faults:
        raise Faults.of(note_errors(reader.faults, rendered))
    warnings = tuple(note_errors(reader.warnings, rendered))
    return replace(_spec(known), warnings=warnings)


class _ManifestReader(Reader):
    """Reads the keys of manifests."""

    def __init__(self, found: Mapping[KeyPath, Place], rendered: Rendered) -> None:
        super().__init__()
        self._found = found
        self._rendered = rendered

    def manifest(self, value: object) -> Mapping[str, object]:
        """Read the whole file."""
        return self._closed(value, (), _MANIFEST)

    def packages(self, value: object, path: KeyPath) -> Mapping[str, object]:
        """Take the packages of version 0.5."""
        return self._closed(value, path, _PACKAGES)

    def iso(self, value: object, path: KeyPath) -> Mapping[str, object]:
        """Take the section of version 0.8."""
        return self._closed(value, path, _ISO)

    def section(self, value: object, path: KeyPath) -> Mapping[str, object]:
        """Take one of the small sections."""
        return self._closed(value, path, _SECTIONS[str(path[-1]).lower()])

    def channel_sources(self, value: object, path: KeyPath) -> tuple[ImageSource, ...]:
        """Take a list of sources that are packages when they have no scheme."""
        return self._sources(value, path, SourceKind.CHANNEL)

    def image_sources(self, value: object, path: KeyPath) -> tuple[ImageSource, ...]:
        """Take a list of sources that are images of registries when they have no scheme."""
        return self._sources(value, path, SourceKind.IMAGE)

    def folders(self, value: object, path: KeyPath) -> tuple[ImageSource, ...]:
        """Take one or several sources that are folders when they have no scheme."""
        return self._sources(value, path, SourceKind.FOLDER)

    def overlay(self, value: object, path: KeyPath) -> Mapping[str, object]:
        """Take the folders that go on top; what older tools had, true or false, means nothing."""
        is_old = isinstance(value, bool) or value in ("true", "false")
        return {} if is_old else self._closed(value, path, _OVERLAY)

    def texts_or_one(self, value: object, path: KeyPath) -> tuple[str, ...]:
        """Take a list of texts, or one text."""
        return (value,) if isinstance(value, str) else self.texts(value, path)

    def words(self, value: object, path: KeyPath) -> tuple[str, ...]:
        """Take words: as one text with blanks between them, or as a list."""
        return tuple(word for text in self.texts_or_one(value, path) for word in text.split())

    def files(self, value: object, path: KeyPath) -> tuple[str, ...]:
        """Take paths, which are relative to the folder of the manifest."""
        return tuple(self._beside(text) for text in self.texts_or_one(value, path))

    def number(self, value: object, path: KeyPath) -> int:
        """Take a whole number that is not negative."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        self.faults.append(Note(path, f"{path[-1]!r} must be a whole number, 0 or more"))
        return 0

    def architecture(self, value: object, path: KeyPath) -> str:
        """Take an architecture that images are made for."""
        text = self.text(value, path)
        found = processors_named(text)
        if text and found is None:
            message = f"images are made for {NAMES} only, not for {text[:40]!r}"
            self.faults.append(Note(path, message))
        return found.architecture if found else ""

    def firmwares(self, value: object, path: KeyPath) -> tuple[str, ...]:
        """Take what an ISO starts on."""
        found = self.texts_or_one(value, path)
        if not set(found) <= {"bios", "efi"}:
            self.faults.append(Note(path, "'firmware' is bios, efi, or a list of both"))
        return found

    def repositories(self, value: object, path: KeyPath) -> tuple[RepositorySpec, ...]:
        """Take repositories in either spelling."""
        of = "maps with name, type and urls"
        found = [
            self._repository(each, (*path, index)) for index, each in self._items(value, path, of)
        ]
        return tuple(each for each in found if each is not None)

    def raw_disk(self, value: object, path: KeyPath) -> Mapping[str, tuple[ImageSource, ...]]:
        """Take the packages of version 0.8's disks: those that hold the recovery system."""
        found: dict[str, tuple[ImageSource, ...]] = {}
        for arch, section in self._pairs(value, path):
            processors = processors_named(arch)
            if processors is None:
                continue
            known = self._closed(section, (*path, arch), _ARCHITECTURE)
            new = cast("tuple[ImageSource, ...]", known.get("packages", ()))
            name = processors.architecture
            found[name] = found.get(name, ()) + new
        return found

    def placed(self, value: object, path: KeyPath) -> tuple[ImageSource, ...]:
        """Take packages with a target; only what goes to `root/cOS` is not made here anyway."""
        found: list[ImageSource] = []
        for index, each in self._items(value, path, "maps with name and target"):
            known = self._closed(each, (*path, index), _PLACED)
            if known.get("target") == _RECOVERY_TARGET and known.get("name"):
                name = str(known["name"])
                found += self._source(name, (*path, index, "name"), SourceKind.CHANNEL)
        return tuple(found)

    def no_effect(self, value: object, path: KeyPath) -> None:
        """Take a key that means nothing here; whoever wrote it is told why."""
        del value
        message = f"key {path[-1]!r} has no effect: {_WHY_NOT.get(str(path[-1]), _OTHER_LOADER)}"
        self.warnings.append(Note(path, message, at_key=True))

    def _beside(self, path: str) -> str:
        return str(Path(self._rendered.source.path).parent / path)

    def _repository(self, value: object, path: KeyPath) -> RepositorySpec | None:
        known = self._closed(value, path, _REPOSITORY)
        urls = cast("tuple[str, ...]", known.get("urls") or known.get("uri") or ())
        if not urls:
            hint = "write urls: [ADDRESS]"
            self.faults.append(Note(path, "a repository needs an address", hint))
            return None
        return RepositorySpec(
            name=str(known.get("name") or "-".join(map(str, path))),
            urls=urls,
            type=str(known.get("type", "")),
            priority=cast("int", known.get("priority", 0)),
            arch=str(known.get("arch", "")),
            enable=bool(known.get("enable", True)),
        )

    def _sources(self, value: object, path: KeyPath, plain: SourceKind) -> tuple[ImageSource, ...]:
        if isinstance(value, str):
            return tuple(self._source(value, path, plain))
        texts = enumerate(self.texts(value, path))
        return tuple(each for i, text in texts for each in self._source(text, (*path, i), plain))

    def _source(self, text: str, path: KeyPath, plain: SourceKind) -> Iterator[ImageSource]:
        """Read one source; what its path is relative to is the folder of the manifest."""
        try:
            source = parse_source(text, plain=plain)
        except UsageError as error:
            self.faults.append(Note(path, error.message, error.hint))
            return
        value = source.value
        if source.kind in {SourceKind.FOLDER, SourceKind.FILE}:
            value = self._beside(value)
        place = self._found.get(path, Place((1, 1), (1, 1)))
        location = self._rendered.place(*place.value)
        yield replace(source, value=value, location=location)


_OVERLAY: _Methods = {
    "rootfs": _ManifestReader.folders,
    "uefi": _ManifestReader.folders,
    "isoimage": _ManifestReader.folders,
    "image": _ManifestReader.folders,
}
_PACKAGES: _Methods = {
    "rootfs": _ManifestReader.channel_sources,
    "uefi": _ManifestReader.channel_sources,
    "isoimage": _ManifestReader.channel_sources,
    "initramfs": _ManifestReader.no_effect,
    "keep_luet_db": _ManifestReader.no_effect,
}
_ARCHITECTURE: _Methods = {"packages": _ManifestReader.placed}
_PLACED: _Methods = {"name": Reader.text, "target": Reader.text}
_ISO: _Methods = {
    "rootfs": _ManifestReader.image_sources,
    "uefi": _ManifestReader.image_sources,
    "image": _ManifestReader.image_sources,
    "label": Reader.text,
    "grub-entry-name": Reader.text,
    "extra-cmdline": _ManifestReader.words,
    "firmware": _ManifestReader.firmwares,
    "bootloader-in-rootfs": _ManifestReader.no_effect,
}
_REPOSITORY: _Methods = {
    "name": Reader.text,
    "description": Reader.text,
    "urls": _ManifestReader.texts_or_one,
    "uri": _ManifestReader.texts_or_one,
    "type": Reader.text,
    "priority": _ManifestReader.number,
    "arch": Reader.text,
    "enable": Reader.flag,
    "cached": Reader.flag,
    "verify": Reader.flag,
}
_SECTIONS: Mapping[str, _Methods] = {
    "initramfs": {"kernel_file": Reader.text, "rootfs_file": Reader.text},
    "luet": {"repositories": _ManifestReader.repositories},
    "repository": {
        "packages": _ManifestReader.channel_sources,
        "initramfs": _ManifestReader.no_effect,
    },
    "disk": {
        "size": _ManifestReader.number,
        "efi": _ManifestReader.number,
        "oem": _ManifestReader.number,
        "state": _ManifestReader.number,
        "recovery": _ManifestReader.number,
        "persistent": _ManifestReader.number,
        "deploy-command": Reader.text,
    },
}
_MANIFEST: _Methods = {
    "packages": _ManifestReader.packages,
    "iso": _ManifestReader.iso,
    "initramfs": _ManifestReader.section,
    "luet": _ManifestReader.section,
    "repository": _ManifestReader.section,
    "disk": _ManifestReader.section,
    "repositories": _ManifestReader.repositories,
    "overlay": _ManifestReader.overlay,
    "rootfs_image": _ManifestReader.image_sources,
    "squashfs_options": _ManifestReader.words,
    "image_name": Reader.lenient_text,
    "image_prefix": Reader.lenient_text,
    "image_date": Reader.flag,
    "name": Reader.lenient_text,
    "date": Reader.flag,
    "label": Reader.text,
    "arch": _ManifestReader.architecture,
    "build": Reader.texts,
    "raw_disk": _ManifestReader.raw_disk,
    "title": Reader.text,
    "timeout": _ManifestReader.number,
    "extra-cmdline": _ManifestReader.words,
    "firmware": _ManifestReader.firmwares,
    "cloud-init": _ManifestReader.files,
    "ensure_common_dirs": _ManifestReader.no_effect,
    "uefi_img": _ManifestReader.no_effect,
    "boot_file": _ManifestReader.no_effect,
    "boot_catalog": _ManifestReader.no_effect,
    "isohybrid_mbr": _ManifestReader.no_effect,
}


class _Known:
    """What was read, asked for by every spelling that means the same: the first one counts."""

    def __init__(self, known: Mapping[str, object]) -> None:
        self._known = known

    def value(self, *spellings: str) -> object:
        """Return what the first spelling has that is there, as `key` or `section.key`."""
        for spelling in spellings:
            here: object = self._known
            for part in spelling.split("."):
                here = here.get(part) if isinstance(here, dict) else None
            if here is not None:
                return here
        return None

    def text(self, *spellings: str) -> str:
        """Return a text, empty if there is none."""
        return str(self.value(*spellings) or "")

    def list(self, *spellings: str) -> tuple[Any, ...]:
        """Return all entries of all spellings, in their order."""
        return tuple(
            each
            for spelling in spellings
            for each in cast("Sequence[object]", self.value(spelling) or ())
        )


def _spec(values: Mapping[str, object]) -> ImageSpec:
    """Make one model of both spellings."""
    known = _Known(values)
    timeout = known.value("timeout")
    arch = known.text("arch")
    return ImageSpec(
        name=known.text("image_prefix") + known.text("image_name", "name"),
        platform=f"linux/{arch}" if arch else "",
        date=bool(known.value("image_date", "date")),
        label=known.text("iso.label", "label"),
        title=known.text("title", "iso.grub-entry-name"),
        timeout=timeout if isinstance(timeout, int) else None,
        kernel=known.text("initramfs.kernel_file") or "vmlinuz",
        initrd=known.text("initramfs.rootfs_file") or "initrd",
        rootfs=known.list("rootfs_image", "packages.rootfs", "iso.rootfs"),
        uefi=known.list("packages.uefi", "iso.uefi"),
        image=known.list("packages.isoimage", "iso.image"),
        overlay_rootfs=known.list("overlay.rootfs"),
        overlay_uefi=known.list("overlay.uefi"),
        overlay_image=known.list("overlay.isoimage", "overlay.image"),
        cloud_init=known.list("cloud-init"),
        extra_arguments=known.list("extra-cmdline", "iso.extra-cmdline"),
        squashfs_options=known.list("squashfs_options"),
        firmware=known.list("firmware") or known.list("iso.firmware"),
        repositories=known.list("luet.repositories", "repositories"),
        repository_packages=known.list("repository.packages"),
        build=known.list("build"),
        disk=DiskSpec(
            sizes={
                name: size
                for name in ("size", "efi", "oem", "state", "recovery", "persistent")
                if isinstance(size := known.value(f"disk.{name}"), int)
            },
            recovery=cast("Mapping[str, tuple[ImageSource, ...]]", known.value("raw_disk") or {}),
            deploy_command=known.text("disk.deploy-command"),
        ),
    )
