"""What `cos util` does with images: to a folder, out of an archive, is it there."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from compiler.archive.compress import atomic_file, decompressed
from compiler.archive.members import members_of
from compiler.archive.pieces import END, file_member, json_member
from compiler.archive.tar import CHUNK
from compiler.artifact.rootfs import write_root
from compiler.cli.client import auth_file, making, registry_with
from compiler.cli.key import public_keys
from compiler.cli.registries import registry_settings, scratch_folder
from compiler.cli.report import reporter
from compiler.cli.settings import Settings
from compiler.engine.namespace import prepare
from compiler.errors import (
    ImageError,
    NotFoundError,
    OutsideError,
    StoreError,
    UsageError,
    room_hint,
    unreadable,
    unwritable,
)
from compiler.events import Noted
from compiler.oci import Digest, Image, Platform, Reference, image_hint, parse_reference
from compiler.registry import Registry
from compiler.signing.images import verify_image
from compiler.store.images import ImageConfig, config_json, host_platform
from compiler.store.importer import import_image
from compiler.store.local import LocalStore, default_store_path
from compiler.store.loose import ImageStore, LooseImages
from compiler.store.pull import ImagePuller

_KINDS = ("oci:", "docker-archive:", "tar:", "dir:")
_UNNAMED = "unpacked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacking:
    """How an image is had: from the store only, for which platform, signed by whom, as whom."""

    local: bool = False
    platform: str = ""
    keys: Sequence[str] = ()
    auth: Mapping[str, str]


def unpack(settings: Settings, name: str, target: Path, how: Unpacking) -> None:
    """Write the root of an image into a folder; what is not whole or not signed writes nothing."""
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target}: is not a folder")
    platform_of(how.platform)
    prepare()
    with scratch_folder() as folder, obtained(settings, name, how, folder) as found:
        store, image = found
        try:
            with _whole(target) as place:
                write_root(store, image.layers, place)
        except OSError as error:
            message = f"{name}: cannot be unpacked to {target}: {error.strerror or error}"
            raise OutsideError(message, hint=room_hint(error)) from error
    reporter(settings)(Noted(f"{name} is unpacked to {target}"))


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Lend a folder that becomes `target` once it is full; after an error nothing of it stays.

    A folder that is there is filled where it is: others may have it mounted, or look into it.
    """
    if target.is_dir():
        was_empty = not any(target.iterdir())
        try:
            yield target
        except BaseException:
            if was_empty:
                _empty(target)
            raise
        return
    with making(target.parent):
        beside = target.with_name(f".{target.name[:100]}.{uuid4().hex}.part")
        beside.mkdir()
        try:
            yield beside
            beside.rename(target)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise


def _empty(folder: Path) -> None:
    """Remove what a folder holds."""
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each, ignore_errors=True)
        else:
            each.unlink(missing_ok=True)


def pack_archive(name: str, source: Path, target: Path, platform: Platform) -> None:
    """Make an archive as `docker save` writes it out of the tar of a root, of any compression."""
    full = str(parse_reference(name))
    with scratch_folder() as folder:
        layer = folder / "layer.tar"
        config = config_json(ImageConfig(platform=platform), [_plain(source, layer)])
        (folder / "config.json").write_bytes(config)
        names = {"Config": "config.json", "RepoTags": [full], "Layers": [layer.name]}
        try:
            with atomic_file(target) as file:
                for each in (layer, folder / "config.json"):
                    file.writelines(file_member(each.name, each))
                file.writelines(json_member("manifest.json", [names]))
                file.write(END)
        except OSError as error:
            raise unwritable(target, error) from error


def exists(settings: Settings, name: str, auth: Mapping[str, str]) -> bool:
    """Tell whether a registry has an image, or one of its mirrors."""
    reference = parse_reference(name)
    with _registry(settings, reference, auth) as registry:
        if not registry_settings(settings).mirrors_of(reference.registry):
            return registry.head(reference) is not None
        try:  # mirrors are asked for contents alone
            registry.manifest(reference)
        except NotFoundError:
            return False
        return True


def _plain(source: Path, layer: Path) -> Digest:
    """Decompress a tar, once it is known to be one; returns its digest."""
    found = hashlib.sha256()
    try:
        with members_of(source) as entries:
            for _ in entries:
                pass
        with source.open("rb") as file, decompressed(file) as stream, layer.open("wb") as plain:
            while data := stream.read(CHUNK):
                found.update(data)
                plain.write(data)
    except OSError as error:
        raise unreadable(source, error) from error
    return Digest(f"sha256:{found.hexdigest()}")


@contextmanager
def obtained(
    settings: Settings, name: str, how: Unpacking, folder: Path
) -> Iterator[tuple[ImageStore, Image]]:
    """Have an image: out of a file, from the store if it is there, or else from a registry.

    Where a platform is wanted, the store's image does if it is for that.
    """
    platform = platform_of(how.platform)
    source = f"tar:{name.removeprefix('file://')}" if name.startswith("file://") else name
    is_file = source.startswith(_KINDS)
    if is_file and how.keys:
        raise UsageError("--key is for images of registries, whose signatures lie beside them")
    loose = LooseImages(folder)
    if is_file:
        try:
            image = import_image(loose, _UNNAMED, source, platform)
        except StoreError as error:
            raise StoreError(f"{name}: {error.message}", hint=error.hint) from error
        yield loose, image
        return
    with LocalStore(settings.store or default_store_path(None)) as store:
        stored = store.image(name) if not how.keys else None
        if stored is not None and (not how.platform or _is_for(stored, platform)):
            yield store, stored
            return
        if how.local:
            full = parse_reference(name)
            if stored is not None:
                raise ImageError(f"the store has {full} for {stored.platform}, not for {platform}")
            raise ImageError(f"the store has no image {full}", hint=image_hint(str(full)))
    yield loose, _pulled(settings, name, platform, how, loose)


def _is_for(image: Image, platform: Platform) -> bool:
    """Whether it runs on a platform; a variant counts only if the platform names one."""
    theirs = image.platform
    same = (theirs.os, theirs.architecture) == (platform.os, platform.architecture)
    return same and platform.variant in {"", theirs.variant}


def _pulled(
    settings: Settings, name: str, platform: Platform, how: Unpacking, store: LooseImages
) -> Image:
    """Bring an image from its registry, by its digest where that is signed."""
    reference = parse_reference(name)
    report = reporter(settings)
    with _registry(settings, reference, how.auth) as registry:
        if how.keys:
            reference = verify_image(registry, reference, public_keys(how.keys)).image
        puller = ImagePuller(registry, store, platform, report=report)
        image = puller.bring(str(reference))
        if image is None:
            raise puller.refusals[str(reference)]
    return image


@contextmanager
def _registry(
    settings: Settings, reference: Reference, auth: Mapping[str, str]
) -> Iterator[Registry]:
    """Open the registry of an image with the credentials that were given."""
    with scratch_folder() as folder:
        file = auth_file([reference.registry], auth, folder)
        yield registry_with(settings, file, reporter(settings))


def platform_of(text: str) -> Platform:
    """Read `os/architecture[/variant]`; nothing is this machine's. Raises `UsageError`."""
    if not text:
        return host_platform()
    parts = text.split("/")
    if len(parts) not in {2, 3} or not all(parts):
        raise UsageError(f"--platform is OS/ARCHITECTURE, not {text[:40]!r}")
    return Platform(*parts)
