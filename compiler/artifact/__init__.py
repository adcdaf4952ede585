"""Artifacts: the files of a built package as an archive, with metadata that luet's tools read.

`select` decides what goes in, `pack` writes the archive, `write_metadata` the file beside it.
"""

from compiler.artifact.filters import check_filters, filter_faults
from compiler.artifact.metadata import ArtifactMetadata, go_time, read_metadata
from compiler.artifact.pack import Artifact, archive_name, describe, extract, pack, write_metadata
from compiler.artifact.roots import MountedRoots
from compiler.artifact.selection import Selection, cut, select

__all__ = [
    "Artifact",
    "ArtifactMetadata",
    "MountedRoots",
    "Selection",
    "archive_name",
    "check_filters",
    "cut",
    "describe",
    "extract",
    "filter_faults",
    "go_time",
    "pack",
    "read_metadata",
    "select",
    "write_metadata",
]
