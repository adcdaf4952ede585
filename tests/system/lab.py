"""A root to install into, and packages in one line."""

import os
import stat
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compiler.archive.unpack import unpack_tar
from compiler.artifact.metadata import ArtifactMetadata
from compiler.events import Event, Noted
from compiler.spec.package import Definition, PackageId
from compiler.system.change import Change, Incoming, Options
from compiler.system.transaction import System, apply

TIME = 1577836800
DATABASE = "db"
"""The folder of the database; a short one, which exists from the start."""

Content = Mapping[str, str | bytes]
"""Path to text: `-> x` is a link, `= x` a hard link, a path that ends in / a folder, whose text is
its mode in octal."""


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"", mode: int = 0o644
) -> bytes:
    """One member of a tar."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, len(data), mode
    info.uid, info.gid, info.mtime = os.geteuid(), os.getegid(), TIME
    return (
        info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + data + bytes(-len(data) % 512)
    )


def member_of(path: str, text: str | bytes) -> bytes:
    """One member, as `Content` describes it."""
    if isinstance(text, bytes):
        return member(path, data=text)
    if path.endswith("/"):
        return member(path.rstrip("/"), tarfile.DIRTYPE, mode=int(text or "755", 8))
    if text.startswith("-> "):
        return member(path, tarfile.SYMTYPE, text[3:], mode=0o777)
    if text.startswith("= "):
        return member(path, tarfile.LNKTYPE, text[2:])
    return member(path, data=text.encode())


def tar(file: Path, members: Iterable[bytes]) -> Path:
    """Write a tar of members."""
    file.write_bytes(b"".join(members) + bytes(1024))
    return file


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Describe all that is below a root, but for our database, and times of folders."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name == DATABASE or name.startswith(f"{DATABASE}/"):
            continue
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        what: object = None
        if stat.S_ISREG(kind):
            what = path.read_bytes()
        elif stat.S_ISLNK(kind):
            what = str(path.readlink())
        links = status.st_nlink if stat.S_ISREG(kind) else 1
        found[name] = (kind, stat.S_IMODE(status.st_mode), status.st_uid, what, links)
    return found


@dataclass
class Lab:
    """Makes packages below `place`, and installs them into `root`."""

    place: Path
    options: Options = field(default_factory=Options)
    events: list[Event] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.root = self.place / "root"
        (self.root / DATABASE).mkdir(parents=True, exist_ok=True)

    def system(self) -> System:
        """Open the system."""
        return System(self.root, f"/{DATABASE}")

    def package(
        self,
        title: str,
        content: Content | Iterable[bytes],
        *,
        listed: bool = True,
        annotations: Mapping[str, str] | None = None,
        **given: object,
    ) -> Incoming:
        """Make a package `name-version`; without `listed`, its metadata has no list of files."""
        name, _, version = title.partition("-")
        members = (
            [member_of(*each) for each in content.items()]
            if isinstance(content, Mapping)
            else list(content)
        )
        self.count += 1
        archive = tar(self.place / f"{self.count}-{title}.tar", members)
        files = tuple(_files(archive)) if listed else ()
        definition = Definition(
            name=name,
            category="t",
            version=version or "1",
            annotations=annotations or {},
        )
        metadata = ArtifactMetadata(
            runtime=definition,
            built=definition,
            archive=archive.name,
            sha256="",
            compression="none",
            files=files,
            timestamp=f"built {title}",
        )
        return Incoming(metadata=metadata, archive=archive, **given)  # type: ignore[arg-type]  # a test's own words

    def apply(self, *install: Incoming, remove: Iterable[str] = (), **options: object) -> None:
        """Change the system."""
        change = Change(install=install, remove=tuple(id_of(each) for each in remove))
        chosen = Options(**options) if options else self.options  # type: ignore[arg-type]
        with self.system() as system:
            apply(change, system, chosen, self.events.append)

    def installed(self) -> list[str]:
        """Name what is installed."""
        with self.system() as system:
            return [str(each.id) for each in system.database.installed()]

    def warnings(self) -> list[str]:
        """Repeat what was warned of."""
        return [each.message for each in self.events if isinstance(each, Noted) and each.warning]

    def write(self, content: Content) -> None:
        """Put files into the root, as somebody else would."""
        members = [member_of(*each) for each in content.items()]
        unpack_tar(tar(self.place / "written.tar", members), self.root)


def id_of(title: str) -> PackageId:
    """Name a package of these tests."""
    name, _, version = title.partition("-")
    return PackageId("t", name, version or "1")


def _files(archive: Path) -> Iterable[str]:
    with tarfile.open(archive) as members:
        return [each.name.strip("/") for each in members if not each.isdir()]
