"""What is inside an artifact and how it was made: CycloneDX, SPDX and SLSA provenance.

Everything here works on plain values and knows nothing of stores and registries. The documents are
reproducible: the same values and the same epoch give the same bytes. This module holds the values
only; `packages` reads the databases of distributions, `cyclonedx`, `spdx` and `provenance` write.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import BinaryIO, NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class DocumentKind:
    """A kind of document: how its files end, its media type, and its type inside of a statement.

    The media type is what registries call it when it is attached to an image; `predicate` is what
    in-toto and cosign call it.
    """

    suffix: str
    media_type: str
    predicate: str


CYCLONEDX = DocumentKind(".cdx.json", "application/vnd.cyclonedx+json", "https://cyclonedx.org/bom")
SPDX = DocumentKind(".spdx.json", "application/spdx+json", "https://spdx.dev/Document")
PROVENANCE = DocumentKind(
    ".provenance.json", "application/vnd.in-toto+json", "https://slsa.dev/provenance/v1"
)
KINDS = (CYCLONEDX, SPDX, PROVENANCE)
"""Every document that an artifact has beside it, as `<fingerprint><suffix>`."""


class Root(Protocol):
    """The root that a package was built in: what the databases of its distribution are read from.

    Paths have no leading slash. Links are followed, and never lead out of the root.
    """

    def open(self, path: str) -> BinaryIO | None:
        """Open a plain file; None if there is none."""

    def names(self, folder: str) -> Sequence[str]:
        """List the names in a folder; nothing if there is none."""


class SbomFile(NamedTuple):
    """One plain file of an artifact; `path` has no leading slash, the digests are hexadecimal.

    A tuple, since roots have tens of thousands.
    """

    path: str
    size: int
    sha256: str
    sha1: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DistroPackage:
    """A package that the distribution's own database says is installed.

    `purl` names it for everybody (github.com/package-url/purl-spec), `license` is an SPDX
    expression or empty, `supplier` who made it, `source` the name and version of what it was built
    from, `files` are the paths that it owns, without a leading slash.
    """

    name: str
    version: str
    architecture: str = ""
    purl: str
    license: str = ""
    supplier: str = ""
    source: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Distro:
    """Which distribution a root is, in the words of os-release(5)."""

    id: str = ""
    version: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What the databases of a root say.

    `databases` are the paths that were read, `unread` says what is there and cannot be read.
    """

    packages: tuple[DistroPackage, ...] = ()
    distro: Distro = Distro()
    databases: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What an artifact holds: its plain files, and the distribution's packages among them.

    `unread` says which database could not be read, so that packages may be missing.
    """

    files: tuple[SbomFile, ...] = ()
    packages: tuple[DistroPackage, ...] = ()
    distro: Distro = Distro()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The artifact that a document is about: its package, and the file that holds it.

    `license` is what the package's definition says of it.
    """

    category: str
    name: str
    version: str
    file_name: str
    sha256: str
    license: str = ""
    description: str = ""
    home: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The package without its version."""
        return f"{self.category}/{self.name}" if self.category else self.name


class InputKind(Enum):
    """What an input of a build is; the values are the words of the documents."""

    BASE_IMAGE = "base image"
    REQUIREMENT = "requirement"
    ARTIFACT = "artifact"
    IMAGE = "image"
    FILE = "file"
    SOURCE = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that a build was given, by name, address and digests.

    `digests` go by algorithm (`sha256`, `gitCommit`), in hexadecimal; `notes` say more of it.
    """

    name: str
    uri: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Input:
    """A resource, and what the build used it for."""

    kind: InputKind
    resource: Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """How an artifact was made.

    `tree` are the trees that its specs come from and `values` the values files: what a person gave.
    `used` is everything that the build read. `settings` are the builder's own choices by name, and
    `builder` names who builds: a URI that verifiers know.
    """

    tree: tuple[Resource, ...] = ()
    values: tuple[Resource, ...] = ()
    used: tuple[Input, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    builder: str = "https://cos-toolkit.io/builders/local"


def contents_of(files: Iterable[SbomFile], found: Found) -> Contents:
    """Decide which packages of a root are in an artifact with these files.

    All are, if the artifact holds the very database that lists them; else those that own one of its
    files. A package's files are those that are in the artifact; one below a merged folder (`/bin`,
    which is a link to `usr/bin`) is found under its real path.
    """
    ordered = tuple(sorted(files))
    paths = {each.path for each in ordered}
    whole = not paths.isdisjoint(found.databases)
    packages = []
    for package in found.packages:
        owned = tuple(sorted(_present(package.files, paths)))
        if whole or owned:
            packages.append(replace(package, files=owned))
    kept = sorted(packages, key=lambda each: (each.name, each.version, each.purl))
    return Contents(files=ordered, packages=tuple(kept), distro=found.distro, unread=found.unread)


def _present(owned: Iterable[str], paths: set[str]) -> set[str]:
    """Name those of a package's files that are there, under the paths that they have there."""
    there = set()
    for path in owned:
        if path in paths:
            there.add(path)
        elif path.startswith(("bin/", "sbin/", "lib")) and f"usr/{path}" in paths:
            there.add(f"usr/{path}")
    return there
