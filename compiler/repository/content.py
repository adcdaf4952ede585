"""Finds the artifacts that go into a repository, and makes sure that their archives are whole."""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from compiler.archive.compress import atomic_file
from compiler.artifact.metadata import SUFFIX, ArtifactMetadata, read_metadata
from compiler.errors import CompilerError, Faults, Location, OutsideError, TrustError, unreadable
from compiler.marks import marked_source
from compiler.spec.package import PackageId

CACHE = ".cos-repo-cache.json"
"""Remembers, in the output folder, which archives were found whole, by size, times and inode."""

_FORMAT = 1
_RACE = 2 * 10**9  # nanoseconds: a file changed this recently may change again within one tick


@dataclass(slots=True)
class Verified:
    """The archives that were hashed before: path to status and SHA-256; and those of this run."""

    known: Mapping[str, list[object]] = field(default_factory=dict)
    fresh: dict[str, list[object]] = field(default_factory=dict)

    def sha256(self, path: Path) -> str:
        """Return the SHA-256 of a file, from memory if it is unchanged; raises `OSError`."""
        status = path.stat()
        seen = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        known = self.known.get(str(path))
        if known is not None and known[:-1] == seen and isinstance(known[-1], str):
            digest = known[-1]
        else:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _RACE:
            self.fresh[str(path)] = [*seen, digest]
        return digest


def load_cache(folder: Path) -> Verified:
    """Read what an earlier run verified; a cache that cannot be read is no cache."""
    try:
        value = json.loads((folder / CACHE).read_bytes())
        archives = value["archives"] if value["format"] == _FORMAT else {}
        return Verified({path: seen for path, seen in archives.items() if isinstance(seen, list)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Verified()


def save_cache(folder: Path, verified: Verified) -> None:
    """Keep what this run verified."""
    text = json.dumps({"format": _FORMAT, "archives": verified.fresh}, sort_keys=True)
    with atomic_file(folder / CACHE, sync=False) as file:
        file.write(text.encode())


def gather(
    folder: Path,
    wanted: Iterable[PackageId] | None,
    verified: Verified,
    *,
    vouches: bool = False,
) -> list[ArtifactMetadata]:
    """Read the metadata below `folder` of the packages `wanted` (None: all of them).

    Raises `Faults` with everything that is wrong: metadata that cannot be read or names another
    package, archives that are missing or have another checksum. If somebody `vouches` for them,
    raises as `refuse_unverified` does.
    """
    chosen = _choose(metadata_files(folder), wanted)
    if vouches:
        refuse_unverified(folder, chosen)
    faults: list[CompilerError] = []
    found: list[tuple[ArtifactMetadata, Path]] = []
    for path in chosen:
        try:
            found.append((_metadata(path), path))
        except CompilerError as error:
            faults.append(error)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        checks = pool.map(lambda pair: _fault_of(pair[0], pair[1], verified), found)
        faults += [fault for fault in checks if fault is not None]
    if faults:
        raise Faults.of(faults)
    return [metadata for metadata, _ in found]


def refuse_unverified(folder: Path, metadata: Iterable[Path]) -> None:
    """Raise `TrustError` if artifacts are marked: whoever signs them says that they are good.

    `metadata` are their files below `folder`, which is named in the message.
    """
    marked: dict[str, list[str]] = {}
    for path in metadata:
        name = path.name.removesuffix(SUFFIX)
        source = marked_source(path.parent, name)
        if source:
            marked.setdefault(source, []).append(name)
    if marked:
        told = (f"{', '.join(sorted(names))} from {source}" for source, names in marked.items())
        raise TrustError(
            f"{folder}: not signed: no signature was checked of what came from others, or of what "
            f"is made of that: {'; '.join(sorted(told))}",
            hint="`cos build --verify-key KEY.pub` fetches what that key signed and builds the "
            "rest anew, --sign-unverified signs all the same",
        )


def metadata_files(folder: Path) -> dict[str, Path]:
    """Find the metadata files below `folder`, by name; the one nearest to the top wins."""
    found: dict[str, Path] = {}
    for parent, folders, names in os.walk(folder, onerror=_unreadable):
        folders.sort()
        for name in sorted(names):
            if name.endswith(SUFFIX):
                found.setdefault(name, Path(parent) / name)
    return found


def _unreadable(error: OSError) -> None:
    """Stop at a folder that cannot be listed, instead of passing over it."""
    raise unreadable(error.filename, error) from error


def _choose(files: Mapping[str, Path], wanted: Iterable[PackageId] | None) -> list[Path]:
    """Pick the files of the packages that are wanted."""
    if wanted is None:
        return [path for _, path in sorted(files.items())]
    names = sorted({package.fingerprint + SUFFIX for package in wanted})
    return [files[name] for name in names if name in files]


def _metadata(path: Path) -> ArtifactMetadata:
    """Read a metadata file and make sure that it is the one its name says."""
    metadata = read_metadata(path)
    if metadata.file_name != path.name:
        raise CompilerError(f"describes {metadata.id}", location=Location(str(path)))
    return metadata


def _fault_of(metadata: ArtifactMetadata, path: Path, verified: Verified) -> CompilerError | None:
    """Compare an archive with its metadata; returns what is wrong."""
    archive = path.with_name(metadata.archive) if metadata.archive else path
    where = Location(str(archive))
    hint = f"build {metadata.id} again"
    try:
        digest = verified.sha256(archive)
    except FileNotFoundError:
        return CompilerError(f"the archive of {metadata.id} is missing", location=where, hint=hint)
    except OSError as error:
        return OutsideError(f"cannot be read: {error.strerror}", location=where)
    if digest == metadata.sha256:
        return None
    message = f"has another checksum than its metadata says: {digest}"
    return CompilerError(message, location=where, hint=f"remove it, and {hint}")
