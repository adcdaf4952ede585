"""Reads the database of dpkg: `status`, or the `status.d` that images without dpkg have.

The format: deb-control paragraphs (Debian Policy, chapter 5), one a package, and for each package a
list of the paths that it owns. Licences come from copyright files in Debian's machine-readable
format (DEP-5).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

from packageurl import PackageURL

from compiler.errors import CompilerError
from compiler.sbom import Distro, DistroPackage, Root
from compiler.sbom.licences import all_of

STATUS = "var/lib/dpkg/status"
STATUS_FOLDER = "var/lib/dpkg/status.d"
_INFO = "var/lib/dpkg/info"
_LARGEST_STATUS = 256 << 20
_LARGEST_LINE = 1 << 20
_LARGEST_LIST = 64 << 20
_LARGEST_COPYRIGHT = 2 << 20
_FIELDS = frozenset(
    ("Package", "Status", "Version", "Architecture", "Source", "Maintainer", "Multi-Arch")
)
_ABSENT = ("not-installed", "config-files", "half-installed")
_FORMAT = "copyright-format"


def read_dpkg(root: Root, distro: Distro) -> Iterator[DistroPackage]:
    """Go through the packages that are installed in `root`; none if it has no such database.

    Raises `CompilerError` for a database that cannot be read.
    """
    status = root.open(STATUS)
    if status is not None:
        with status:
            for fields in paragraphs(status, STATUS):
                if _is_installed(fields):
                    yield _package(fields, distro, root, _listed(fields, root))
    for name in sorted(root.names(STATUS_FOLDER)):
        path = f"{STATUS_FOLDER}/{name}"
        one = None if name.endswith(".md5sums") else root.open(path)
        if one is not None:
            with one:
                for fields in paragraphs(one, path):
                    yield _package(fields, distro, root, _summed(f"{path}.md5sums", root))


def paragraphs(file: BinaryIO, path: str) -> Iterator[Mapping[str, str]]:
    """Go through the paragraphs of a control file, each with the fields that matter here."""
    fields: dict[str, str] = {}
    for line in _lines(file, path, _LARGEST_STATUS):
        if not line.strip():
            if "Package" in fields:
                yield fields
            fields = {}
        elif not line[0].isspace():
            key, _, value = line.partition(":")
            if key in _FIELDS:
                fields[key] = value.strip()
    if "Package" in fields:
        yield fields


def _lines(file: BinaryIO, path: str, largest: int) -> Iterator[str]:
    """Go through the lines of a file; raises `CompilerError` for one that is far too large."""
    left = largest
    while line := file.readline(_LARGEST_LINE):
        left -= len(line)
        if left < 0 or len(line) == _LARGEST_LINE:
            raise CompilerError(f"/{path}: is too large for a package database")
        yield line.decode("utf-8", "surrogateescape")


def _is_installed(fields: Mapping[str, str]) -> bool:
    """Tell whether a package's files are there, configured or not."""
    return fields.get("Status", "").rpartition(" ")[2] not in _ABSENT


def _package(
    fields: Mapping[str, str], distro: Distro, root: Root, files: Iterable[str]
) -> DistroPackage:
    """Make a package of its paragraph."""
    name, version = fields["Package"], fields.get("Version", "")
    architecture = fields.get("Architecture", "")
    source = _source(fields)
    return DistroPackage(
        name=name,
        version=version,
        architecture=architecture,
        purl=_purl(name, version, architecture, source, distro),
        license=_license(name, root),
        supplier=fields.get("Maintainer", ""),
        source=" ".join(source),
        files=tuple(files),
    )


def _source(fields: Mapping[str, str]) -> tuple[str, str]:
    """Return name and version of the source: `Source: gcc-14 (14.2.0-19)`, or the package's own."""
    name, _, rest = fields.get("Source", "").partition(" ")
    version = rest.strip().removeprefix("(").removesuffix(")")
    return name or fields["Package"], version or fields.get("Version", "")


def _purl(
    name: str, version: str, architecture: str, source: tuple[str, str], distro: Distro
) -> str:
    """Name a package for everybody (purl-spec, type deb)."""
    qualifiers = {"arch": architecture, "distro": "-".join(filter(None, distro_words(distro)))}
    if source != (name, version):
        qualifiers["upstream"] = "@".join(source)
    kept = {key: value for key, value in qualifiers.items() if value}
    return PackageURL("deb", distro.id or "debian", name, version, kept).to_string()


def distro_words(distro: Distro) -> tuple[str, str]:
    """Return what names a distribution in a purl: `debian` and `13`."""
    return distro.id, distro.version if distro.id else ""


def _listed(fields: Mapping[str, str], root: Root) -> Iterator[str]:
    """Go through the paths that a package owns, folders among them."""
    name, architecture = fields["Package"], fields.get("Architecture", "")
    if "/" in name or "/" in architecture:
        return
    qualified = f"{_INFO}/{name}:{architecture}.list"
    path = qualified if fields.get("Multi-Arch") == "same" else f"{_INFO}/{name}.list"
    file = root.open(path) or root.open(f"{_INFO}/{name}.list")
    if file is not None:
        with file:
            for line in _lines(file, path, _LARGEST_LIST):
                if len(line) > len("/.\n"):
                    yield line.rstrip("\n").lstrip("/")


def _summed(path: str, root: Root) -> Iterator[str]:
    """Go through the paths of a list of checksums."""
    file = root.open(path)
    if file is not None:
        with file:
            for line in _lines(file, path, _LARGEST_LIST):
                yield line.rstrip("\n").partition("  ")[2].removeprefix("./").lstrip("/")


def _license(package: str, root: Root) -> str:
    """Find the licences that a package's copyright file names, if it is machine-readable."""
    file = None if "/" in package else root.open(f"usr/share/doc/{package}/copyright")
    if file is None:
        return ""
    with file:
        text = file.read(_LARGEST_COPYRIGHT).decode("utf-8", "replace")
    return all_of(copyright_licenses(text))


def copyright_licenses(text: str) -> list[str]:
    """Read the licences of the files from a copyright file; none if no program can read it."""
    first = text.lstrip().partition("\n")[0]
    if not first.lower().startswith("format") or _FORMAT not in first.lower():
        return []
    found: dict[str, None] = {}
    about_files = True
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if not line.strip():
            about_files = False
        elif key.lower() in {"files", "format"}:
            about_files = True
        elif key.lower() == "license" and about_files and value.strip():
            found[value.strip()] = None
    return list(found)
