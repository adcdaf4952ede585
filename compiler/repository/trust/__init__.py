"""Signed metadata of repositories: The Update Framework (TUF 1.0) over luet's files.

What is signed are names with the SHA-256 and length of what they stand for: in disk and http
repositories the names of files (`repository.yaml`, `tree.tar.gz`, archives, `*.metadata.yaml`), in
docker repositories tags, with the digest and size of the manifest or index under the tag. TUF's own
files lie beside luet's: in the folder `trust/`, or under tags that begin with `trust-`.

This module holds what both sides share and loads no library. The others:

- `client.TrustedRepository(root, folder, fetch)` is the side of those who install. `root` is the
  content of the root file that its owner was given, `folder` keeps what was seen (nobody else may
  write there), `fetch(name, limit)` yields the bytes of a TUF file such as `timestamp.json` and
  raises `NotFoundError` where the repository has no such file (`place` and `tag` say where it is).
  `refresh(now)` brings it up to date by the workflow in `updater`; `target(name)` returns a
  `Target` or None; `check(name, content)` takes a path or bytes and raises `TrustError` unless it
  is what was signed.
- `places.FolderPlace` and `places.RegistryPlace` read and write TUF files where repositories are.
- `published.read_published(read, root)` verifies what a repository has, for its next publication.
- `publisher` signs: `start`, `sign_contents`, `refresh`, `rotate`; each returns `Files`, which
  `draft` makes. `writing.Writer` writes them where others write at the same time.
- `root` makes and signs root files, which may happen on another machine.
- `contents.of_folder(folder)` tells what a repository in a folder holds.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import CompilerError
from compiler.oci import Descriptor, Digest, hex_of, parse_digest

FOLDER = "trust"
"""The folder of TUF files in disk and http repositories."""

SCRATCH = ".trust-"
"""How folders begin that are there while a TUF file is on its way."""

ROOT, TARGETS, SNAPSHOT, TIMESTAMP = "root", "targets", "snapshot", "timestamp"
ROLES = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)
"""The top-level roles (TUF specification, section 2.1)."""

CLOCKS_DIFFER = 600 * 10**9
"""Nanoseconds by which the clocks of publishers may differ."""

_LIMITS = {ROOT: 512_000, TIMESTAMP: 16_384, SNAPSHOT: 2_000_000}
_LARGEST = 5_000_000
_KEPT = 3
"""How many versions of a TUF file stay: clients that are reading now may need the one before."""

_NAME = re.compile(r"(?:(?P<version>[1-9][0-9]{0,17})\.)?(?P<role>[a-z][a-z0-9-]*)\.json")


@dataclass(frozen=True, slots=True)
class Target:
    """What was signed of one name: the length and SHA-256 (in hexadecimal) of its content."""

    length: int
    sha256: str

    @property
    def digest(self) -> Digest:
        """The SHA-256 as registries write it."""
        return Digest(f"sha256:{self.sha256}")


AT = "at"
"""The field of a target's `custom` that names the file which is read in its place."""

IMAGE = "image"
"""The field of a file in a snapshot or a timestamp (METAFILES, TUF specification, section 4.4) that
names, in registries, the image which holds that file: whoever may push can move its tag."""

Files = dict[str, bytes]
"""TUF files by name, in the order in which they must become visible."""

Read = Callable[[str], bytes | None]
"""Reads a TUF file of a repository by its name (see `in_image`); None if it is not there."""

Fetch = Callable[[str, int], Iterable[bytes]]
"""Yields a TUF file of at most so many bytes, by its name (see `in_image`).

Raises `NotFoundError` if it is not there.
"""


def place(name: str) -> str:
    """Return the path of a TUF file in a disk or http repository."""
    return f"{FOLDER}/{name}"


def tag(name: str) -> str:
    """Return the tag of a TUF file in a docker repository; the file in its image is called so."""
    return f"{FOLDER}-{name}"


def name_in(tag_: str) -> str:
    """Return the name of the TUF file that a tag is of; "" for other tags, as those of packages."""
    name = tag_.removeprefix(tag(""))
    return name if name != tag_ and role_of(name) else ""


def in_image(name: str, fields: Mapping[str, object]) -> str:
    """Return what a TUF file is asked for as, given the fields that metadata has of it.

    That is `NAME@DIGEST` where these name the image that holds it, and its name elsewhere.
    """
    image = fields.get(IMAGE)
    try:
        return f"{name}@{parse_digest(image)}" if isinstance(image, str) else name
    except CompilerError:
        return name


def split_image(asked: str) -> tuple[str, Digest | None]:
    """Return the name of a TUF file that is asked for, and the image that holds it if known."""
    name, _, image = asked.partition("@")
    return name, parse_digest(image) if image else None


def limit_of(name: str) -> int:
    """Tell how many bytes of a TUF file are read at most."""
    return _LIMITS.get(role_of(name), _LARGEST)


def role_of(name: str) -> str:
    """Return the role of a TUF file; nothing for a name that is none."""
    match = _NAME.fullmatch(name)
    return match["role"] if match else ""


def version_of(name: str) -> int:
    """Return the version in the name of a TUF file; 0 if there is none."""
    match = _NAME.fullmatch(name)
    return int(match["version"] or 0) if match else 0


def superseded(names: Iterable[str], newest: Mapping[str, int]) -> tuple[str, ...]:
    """Pick, of the names of all TUF files, those that are older than the last few of their role.

    The last one is that of `newest`. Higher numbers count for nothing: somebody made them up, they
    are on their way, or they were counted before a new beginning. They must not make good files
    look superseded. Roots stay: clients follow them one by one (TUF specification, section 5.3).
    """
    versions: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        match = _NAME.fullmatch(name)
        if match and match["version"] and match["role"] != ROOT:
            version = int(match["version"])
            if version <= newest.get(match["role"], 0):
                versions.setdefault(match["role"], []).append((version, name))
    return tuple(sorted(name for each in versions.values() for _, name in sorted(each)[:-_KEPT]))


def target_of_bytes(data: bytes) -> Target:
    """Describe some content."""
    return Target(len(data), hashlib.sha256(data).hexdigest())


def target_of_file(path: Path) -> Target:
    """Describe a file, of any size; raises `OSError`."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Target(file.tell(), sha256)


def target_of_image(image: Descriptor) -> Target:
    """Describe what a tag names."""
    return Target(image.size, hex_of(image.digest))
