"""Artifacts: the files of a built package as an archive, with metadata that luet's tools read.

`selection.select` decides what goes in, `pack.pack` writes the archive, `pack.write_metadata` the
file beside it. Plans need names and filters only, so nothing else is loaded here: start-up time.
"""

from compiler.archive import Compression
from compiler.errors import SpecError
from compiler.spec.package import PackageId

MTREE = "mtree: |\n"
"""The line of a metadata file after which its mtree stands, if it has one."""


def archive_name(package: PackageId, compression: Compression) -> str:
    """Name the archive of a package: `name-category-version.package.tar[.gz|.zst]`.

    Raises `SpecError` for a package whose name cannot stand in a file name.
    """
    if "/" in package.fingerprint or "\0" in package.fingerprint:
        raise SpecError(f"{package.fingerprint!r} cannot be the name of a file")
    return f"{package.fingerprint}.package.tar{compression.suffix}"
