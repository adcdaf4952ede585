"""Roots in memory, rpm headers made by hand, and an artifact with a bit of everything."""

import hashlib
import sqlite3
import struct
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from compiler.sbom import (
    Contents,
    Distro,
    DistroPackage,
    Input,
    InputKind,
    Inputs,
    Resource,
    SbomFile,
    Subject,
)

EPOCH = 1_700_000_000

Values = str | Sequence[str] | Sequence[int]
"""What a tag of an rpm header holds."""


class MemoryRoot:
    """A root whose files are given by path, as text or bytes."""

    def __init__(self, files: Mapping[str, str | bytes]) -> None:
        self._files = {
            path: data if isinstance(data, bytes) else data.encode() for path, data in files.items()
        }

    def open(self, path: str) -> BinaryIO | None:
        """Open a file."""
        data = self._files.get(path)
        return None if data is None else BytesIO(data)

    def names(self, folder: str) -> Sequence[str]:
        """List the names in a folder."""
        below = (path for path in self._files if path.startswith(f"{folder}/"))
        return sorted({path.removeprefix(f"{folder}/").partition("/")[0] for path in below})


def sbom_file(path: str, text: str = "") -> SbomFile:
    """Describe a file of an artifact."""
    data = (text or path).encode("utf-8", "surrogateescape")
    sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return SbomFile(path, len(data), hashlib.sha256(data).hexdigest(), sha1)


SUBJECT = Subject(
    category="system",
    name="login",
    version="1.2+3",
    file_name="login-system-1.2+3.package.tar.zst",
    sha256="a" * 64,
    license="GPL-3+",
    description="Lets people in",
    home=("https://example.org/login", "not an address"),
)
BASH = DistroPackage(
    name="bash",
    version="5.2-1+b1",
    architecture="amd64",
    purl="pkg:deb/debian/bash@5.2-1%2Bb1?arch=amd64&distro=debian-13",
    license="GPL-3.0-or-later AND LicenseRef-permissive",
    supplier="Matthias Klose <doko@debian.org>",
    source="bash 5.2-1",
    files=("usr/bin/bash", "usr/share/doc/bash/copyright"),
)
META = DistroPackage(
    name="libstdc++6",
    version="14",
    purl="pkg:deb/debian/libstdc%2B%2B6@14",
    license="LicenseRef-odd",
    supplier="The (small) team",
)
CONTENTS = Contents(
    files=tuple(
        sorted(
            map(sbom_file, (*BASH.files, "etc/motd", "opt/na\udcefve", 'opt/"quoted"\n', "opt/é"))
        )
    ),
    packages=(BASH, META),
    distro=Distro("debian", "13", "Debian GNU/Linux 13 (trixie)"),
)
INPUTS = Inputs(
    tree=(
        Resource(
            name="tree",
            uri="git+https://example.org/tree.git@main",
            digests={"gitCommit": "c" * 40},
        ),
    ),
    values=(Resource(name="values", digests={"sha256": "d" * 64}),),
    used=(
        Input(
            InputKind.BASE_IMAGE,
            Resource(
                name="debian:trixie",
                uri="docker://docker.io/library/debian:trixie",
                digests={"sha256": "1" * 64},
                notes={"content": "sha256:" + "2" * 64},
            ),
        ),
        Input(InputKind.REQUIREMENT, Resource(name="t/base", digests={"sha256": "3" * 64})),
        Input(
            InputKind.FILE,
            Resource(name="files/motd", digests={"sha256": "4" * 64}, notes={"mode": "100644"}),
        ),
        Input(InputKind.SOURCE, Resource(name="src.tgz", uri="https://example.org/src.tgz")),
        Input(InputKind.ARTIFACT, Resource(name="t/joined", digests={"sha256": "5" * 64})),
    ),
    settings={"network": "host", "layerKey": "6" * 64},
    builder="https://example.org/builder",
)


def rpm_header(tags: Mapping[int, Values]) -> bytes:
    """Make a header: texts and lists of texts or numbers by tag."""
    index, store = b"", b""
    for tag, value in sorted(tags.items()):
        values: Sequence[str] | Sequence[int] = (value,) if isinstance(value, str) else value
        texts = [each for each in values if isinstance(each, str)]
        numbers = [each for each in values if isinstance(each, int)]
        kind = 6 if isinstance(value, str) else 8 if texts else 4
        store += bytes(-len(store) % 4)
        index += struct.pack(">IIII", tag, kind, len(store), len(values))
        store += b"".join(each.encode() + b"\0" for each in texts)
        store += struct.pack(f">{len(numbers)}I", *numbers)
    return struct.pack(">II", len(index) // 16, len(store)) + index + store


def rpm_database(path: Path, headers: Sequence[bytes | str]) -> bytes:
    """Make a database of these headers, as rpm lays it out."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        database.executemany(
            "INSERT INTO Packages (blob) VALUES (?)", [(each,) for each in headers]
        )
    database.close()
    return path.read_bytes()
