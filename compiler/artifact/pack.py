"""Writes what was selected as an archive, with its metadata beside it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compiler.archive import Compression, Entry, renamed
from compiler.archive.compress import atomic_file, compressed_file
from compiler.archive.safety import Devices
from compiler.archive.scan import collector_paused
from compiler.archive.tar import Content, Source, folder_content, write_tar
from compiler.archive.unpack import unpack_tar
from compiler.artifact import archive_name
from compiler.artifact.metadata import (
    ArtifactMetadata,
    build_time,
    built_definition,
    metadata_text,
    mtree_text,
)
from compiler.artifact.mtree import archive_mtree
from compiler.artifact.selection import Selection
from compiler.errors import OutsideError, UsageError, unwritable
from compiler.oci import Platform
from compiler.spec.package import BuildSpec, PackageId, PackageSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A packed archive: where it is, its SHA-256 in hexadecimal, size in bytes, and its files."""

    package: PackageId
    path: Path
    sha256: str
    size: int
    compression: Compression
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """The base image that an artifact was built on, by its name, and what its files are for."""

    image: str = ""
    platform: Platform | None = None


def pack(
    selection: Selection,
    root: Path | Content,
    *,
    destination: Path,
    package: PackageId,
    compression: Compression = Compression.NONE,
) -> Artifact:
    """Write the archive of `selection`, into `destination`; `root` holds its files, or reads them.

    The file appears under its name only when it is whole. Raises `UsageError` for a destination
    that is no folder, `OutsideError` when it cannot be written, `ArchiveError` for a file that
    changes meanwhile.
    """
    path = destination / archive_name(package, compression)
    moved: dict[str, str] = {}
    with _writing(path), compressed_file(path, compression) as sink, collector_paused():
        write_tar(_entries(selection, moved), _content(root, moved), sink)
    return Artifact(
        package=package,
        path=path,
        sha256=sink.sha256,
        size=sink.size,
        compression=compression,
        files=selection.files,
    )


def describe(
    spec: PackageSpec,
    artifact: Artifact,
    *,
    epoch: int,
    origin: Origin | None = None,
    values: Mapping[str, object] | None = None,
) -> ArtifactMetadata:
    """Describe the artifact of `spec`, or of the one of its subpackages that it was packed for.

    `epoch` is the time of the build in seconds since 1970, `values` what values files gave to the
    templates.
    """
    origin = origin or Origin()
    build = spec.build or BuildSpec()
    parts = {part.id: part for part in build.subpackages}
    part = parts.get(artifact.package)
    return ArtifactMetadata(
        runtime=part or spec.definition,
        built=part or built_definition(spec),
        build=build,
        archive=artifact.path.name,
        sha256=artifact.sha256,
        compression=artifact.compression.value,
        files=artifact.files,
        timestamp=build_time(epoch, artifact.sha256),
        seed=origin.image or build.image,
        values=(values,) if values else (),
        platform=origin.platform,
    )


def write_metadata(metadata: ArtifactMetadata, destination: Path, mtree: str = "") -> Path:
    """Write the metadata file of an artifact into `destination`, whole or not at all.

    `mtree` is what stands in it besides, for luet's plugin (see `artifact.mtree`).
    """
    path = destination / metadata.file_name
    text = metadata_text(metadata, mtree).encode()
    with _writing(path), atomic_file(path) as file:
        file.write(text)
    return path


def add_mtree(metadata: Path, archive: Path) -> bytes:
    """Complete a metadata file that came without an mtree; returns its new text.

    Raises `ArchiveError` for a damaged archive, `OutsideError` when it cannot be written.
    """
    mtree = mtree_text(archive_mtree(archive))
    with _writing(metadata):
        text = metadata.read_bytes() + mtree.encode()
        with atomic_file(metadata) as file:
            file.write(text)
    return text


def extract(archive: Path, folder: Path) -> None:
    """Unpack an artifact over what `folder` holds already; later files win, folders merge.

    Raises `ArchiveError` for what is hostile or damaged, `OutsideError` when it cannot be written.
    """
    try:
        unpack_tar(archive, folder, devices=Devices.MAKE)
    except OSError as error:
        raise OutsideError(f"{archive}: cannot be unpacked: {error.strerror or error}") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Make the folder of `path`, and say in words why it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{path.parent}: is not a folder") from error
    except OSError as error:
        raise unwritable(path, error) from error


def _entries(selection: Selection, moved: dict[str, str]) -> Iterator[Entry]:
    """Go through what is packed, noting in `moved` what is read at another path just before."""
    for member in selection.members:
        if member.source != member.entry.path:
            moved[member.entry.path] = member.source
        yield member.entry


def _content(root: Path | Content, moved: Mapping[str, str]) -> Content:
    """Read a member's content where it lies in the root."""
    read = folder_content(root) if isinstance(root, Path) else root

    def read_moved(entry: Entry) -> bytes | Source:
        source = moved.get(entry.path)
        return read(entry if source is None else renamed(entry, source))

    return read_moved
