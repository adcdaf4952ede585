"""Repositories to measure clients with: the same packages each time for the same numbers."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from compiler.archive import DEFAULT_EPOCH, Compression, Entry, Kind
from compiler.archive.compress import compressed_file
from compiler.archive.tar import write_tar
from compiler.artifact import archive_name
from compiler.artifact.metadata import ArtifactMetadata, go_time, metadata_text
from compiler.repository.disk import RepositoryOptions, create_repository
from compiler.spec.package import Definition, Requirement

_WORDS = 4096
"""How many words texts are made of: enough for them to pack about as programs do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ware:
    """A package: what it is, and its files with their contents."""

    definition: Definition
    files: dict[str, bytes] = field(default_factory=dict)


def write_repository(folder: Path, wares: Iterable[Ware]) -> None:
    """Write a repository of type `disk`, its archives packed by zstd, as `cos` makes them."""
    folder.mkdir(parents=True)
    for ware in wares:
        _write_artifact(folder, ware)
    options = RepositoryOptions(type="disk", now=DEFAULT_EPOCH, from_metadata=True)
    create_repository((), (), artifacts=folder, output=folder, options=options)


def write_configuration(path: Path, repository: Path, root: Path) -> None:
    """Write the configuration of a client of one repository, with a system in `root`."""
    offered = {"name": "bench", "type": "disk", "enable": True, "urls": [str(repository)]}
    value = {
        "system": {"rootfs": str(root)},
        "repositories": [offered],
        "repos_confdir": [],
        "config_protect_confdir": [],
    }
    path.write_text(yaml.safe_dump(value), encoding="utf-8")


def programs(count: int, *, version: str = "1") -> Iterator[Ware]:
    """Make packages of 50 files, most of them small, as those of distributions are.

    Each needs the one before it.
    """
    for number in range(count):
        before = Requirement(category="bench", name=f"program-{number - 1}", version=">=0")
        definition = Definition(
            name=f"program-{number}",
            category="bench",
            version=version,
            requires=(before,) if number else (),
        )
        yield Ware(definition=definition, files=dict(_program_files(number)))


def _program_files(number: int) -> Iterator[tuple[str, bytes]]:
    chance = random.Random(number)  # noqa: S311  (a fixed sequence is wanted)
    words = [f"{chance.getrandbits(40):x}" for _ in range(_WORDS)]
    name = f"program-{number}"
    yield f"usr/bin/{name}", chance.randbytes(60_000) + bytes(40_000)
    for each in range(49):
        folder = ("lib", "share/doc", "share/locale")[each % 3]
        size = int(chance.paretovariate(1.1) * 200)
        yield f"usr/{folder}/{name}/file-{each}", _text(words, min(size, 20_000), chance)


def _text(words: Sequence[str], count: int, chance: random.Random) -> bytes:
    return " ".join(chance.choices(words, k=count)).encode()


def root_system(version: str, *, changed: int = 0) -> Ware:
    """Make one package like a root file system: 20,000 files, 500 MB, `changed` of them new."""
    chance = random.Random(3)  # noqa: S311  (a fixed sequence is wanted)
    files = {}
    for number in range(20_000):
        size = min(int(chance.paretovariate(1.1) * 3_500), 20_000_000)
        content = chance.randbytes(size // 2)
        path = f"usr/lib/part-{number % 97}/of-{number % 23}/file-{number}"
        extra = version.encode() if number < changed * 200 and number % 200 == 0 else b""
        files[path] = content + bytes(size - len(content)) + extra
    return Ware(definition=Definition(name="root", category="bench", version=version), files=files)


def families(count: int, versions: int) -> Iterator[Ware]:
    """Make families of packages, each in several versions, which need each other's.

    Every version needs up to four of the families before it in the same version or a newer one, one
    in twenty also provides something, and one in fifty conflicts with an older version of another.
    """
    chance = random.Random(8)  # noqa: S311  (a fixed sequence is wanted)
    for number in range(count):
        needs = chance.sample(range(number), min(number, chance.randint(0, 4)))
        for version in range(1, versions + 1):
            requires = [_family(each, f">={version}.0") for each in sorted(needs)]
            conflicts = [_family(needs[0], f"<{version}.0")] if needs and not number % 50 else []
            provides = [Requirement(category="virtual", name=f"v{number}", version=f"{version}.0")]
            definition = Definition(
                name=f"family-{number}",
                category=f"c{number % 20}",
                version=f"{version}.0",
                requires=tuple(requires),
                conflicts=tuple(conflicts),
                provides=tuple(provides) if not number % 20 else (),
            )
            yield Ware(definition=definition, files={f"usr/share/f{number}": b"x"})


def _family(number: int, version: str) -> Requirement:
    return Requirement(category=f"c{number % 20}", name=f"family-{number}", version=version)


def _write_artifact(folder: Path, ware: Ware) -> None:
    """Write an archive with its metadata; nothing of it need survive a power failure."""
    compression = Compression.ZSTD
    path = folder / archive_name(ware.definition.id, compression)
    with compressed_file(path, compression, sync=False) as sink:
        write_tar(_entries(ware), lambda entry: ware.files[entry.path], sink)
    metadata = ArtifactMetadata(
        runtime=ware.definition,
        built=ware.definition,
        archive=path.name,
        sha256=sink.sha256,
        compression=compression.value,
        files=tuple(sorted(ware.files)),
        timestamp=go_time(DEFAULT_EPOCH),
    )
    (folder / metadata.file_name).write_text(metadata_text(metadata), encoding="utf-8")


def _entries(ware: Ware) -> Iterator[Entry]:
    """Give folders and files in the order in which they are packed."""
    seen = {""}
    for path, content in sorted(ware.files.items()):
        for folder in _above(path):
            if folder not in seen:
                seen.add(folder)
                yield Entry(path=folder, kind=Kind.FOLDER, mode=0o755, mtime=DEFAULT_EPOCH)
        size = len(content)
        yield Entry(path=path, kind=Kind.FILE, mode=0o644, size=size, mtime=DEFAULT_EPOCH)


def _above(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:depth]) for depth in range(1, len(parts)))
