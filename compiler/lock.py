"""`cos.lock`: which image each name of a tree stands for, so that every build starts from the same.

An entry has the digest of the image's content, which does not change with its compression, and for
images from a registry also the digest of the manifest that is pulled.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compiler.archive.compress import atomic_file
from compiler.errors import CompilerError, ImageError, Location, SpecError
from compiler.oci import SCRATCH, Digest, Image, parse_reference

NAME = "cos.lock"
"""The file's name, in the folder of the project."""

_DIGEST = r"^sha256:[0-9a-f]{64}$"
_HEADER = "# Written by `cos lock`; keep it with the tree.\n"
_HINT = "`cos lock` takes it in"
_LARGEST = 16 << 20


class Locked(BaseModel):
    """One image: the digest of its content, and that of its manifest if it is in a registry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    content: str = Field(pattern=_DIGEST)
    digest: str = Field(default="", pattern=f"^$|{_DIGEST}")


class _File(BaseModel):
    """The file as it is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=1, le=1)
    images: dict[str, Locked] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lock:
    """The images that are locked, by their full names."""

    images: Mapping[str, Locked] = field(default_factory=dict)

    @property
    def pins(self) -> dict[str, Digest]:
        """What the names of images in registries stand for."""
        return {name: Digest(each.digest) for name, each in self.images.items() if each.digest}

    def is_pinned(self, name: str) -> bool:
        """Tell whether a registry need not be asked what a name stands for."""
        reference = parse_reference(name)
        return bool(reference.digest) or str(reference) in self.pins

    def missing(self, names: Iterable[str], path: Path) -> Iterator[CompilerError]:
        """Say which names are not locked; what is no name of an image is passed over."""
        for name in sorted({*names} - {SCRATCH}):
            with suppress(ImageError):
                if str(parse_reference(name)) not in self.images:
                    yield _not_locked(name, path)

    def differences(self, images: Mapping[str, Image], path: Path) -> Iterator[CompilerError]:
        """Say which of the images that a plan uses are not the locked ones."""
        for name, image in sorted(images.items()):
            locked = self.images.get(str(parse_reference(name)))
            if name == SCRATCH:  # always the same
                continue
            if locked is None:
                yield _not_locked(name, path)
            elif locked.content != image.content:
                what = f"it is {image.content} now, and {locked.content} is locked"
                message = f"the image {name!r} is another than the locked one: {what}"
                yield SpecError(message, location=Location(str(path)), hint=_HINT)


def _not_locked(name: str, path: Path) -> SpecError:
    """Say that an image is not in the lock file."""
    return SpecError(f"the image {name!r} is not locked", location=Location(str(path)), hint=_HINT)


def locked(images: Iterable[tuple[str, Image]]) -> Lock:
    """Lock images, each with the name that a spec gives it."""
    entries = {
        str(parse_reference(name)): Locked(content=image.content, digest=image.source)
        for name, image in images
    }
    return Lock(dict(sorted(entries.items())))


def lock_text(lock: Lock) -> str:
    """Write the text of the file."""
    images = {
        name: {key: value for key, value in each.model_dump().items() if value}
        for name, each in sorted(lock.images.items())
    }
    return _HEADER + yaml.safe_dump({"version": 1, "images": images}, sort_keys=False)


def parse_lock(text: str, source: str) -> Lock:
    """Read the text of the file; raises `SpecError` that names `source`."""
    hint = "`cos lock` writes it anew once it is removed"
    try:
        return Lock(_File.model_validate(yaml.safe_load(text)).images)
    except yaml.YAMLError as error:
        raise SpecError("is not YAML", location=Location(source), hint=hint) from error
    except (ValidationError, RecursionError) as error:
        raise SpecError("is not a lock file", location=Location(source), hint=hint) from error


def read_lock(path: Path) -> Lock:
    """Read a lock file; a missing one locks nothing. Raises `SpecError`."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LARGEST)
    except FileNotFoundError:
        return Lock()
    except (UnicodeDecodeError, OSError) as error:
        raise SpecError("cannot be read", location=Location(str(path))) from error
    return parse_lock(text, str(path))


def write_lock(path: Path, lock: Lock) -> None:
    """Write a lock file, whole or not at all."""
    with atomic_file(path) as file:
        file.write(lock_text(lock).encode())
