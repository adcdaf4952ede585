"""`.metadata.yaml`: what an artifact holds and how it was made, in the spelling that luet gave it.

luet writes this file with the names of its Go fields in lower case, and the same structure with
JSON names into the index of a repository. Both spellings are read, both can be written.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from compiler.artifact import MTREE, goyaml, records
from compiler.errors import CompilerError, unreadable
from compiler.oci import Platform
from compiler.spec.package import BuildSpec, Definition, PackageId, PackageSpec, Requirement

SUFFIX = ".metadata.yaml"
"""What follows the fingerprint in the name of a metadata file."""

_MTREE = re.compile(r"mtree: \|[-+]?\n(?:(?: ++[^\n]*+)?\n)*+")
_FILES = re.compile(r"^files:\n((?: *+- [^\n]*+\n)++)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactMetadata:
    """An artifact as its metadata file describes it.

    `archive` is the file's name beside the metadata, `runtime` the package as installed, `built`
    the same with what its build required, `seed` the base image, `values` what templates got.
    """

    runtime: Definition
    built: Definition
    build: BuildSpec = field(default_factory=BuildSpec)
    archive: str
    sha256: str
    compression: str
    files: Sequence[str] = ()
    timestamp: str = ""
    seed: str = ""
    values: tuple[Mapping[str, object], ...] = ()
    platform: Platform | None = None
    """What the files are for; None where nobody knows."""

    @property
    def id(self) -> PackageId:
        """The identity of the package."""
        return self.runtime.id

    @property
    def file_name(self) -> str:
        """The name of the metadata file."""
        return self.id.fingerprint + SUFFIX


def go_time(epoch: int, nanoseconds: int = 0) -> str:
    """Write seconds since 1970 as Go's `time.String()`; raises `CompilerError` out of range."""
    try:
        moment = datetime.fromtimestamp(epoch, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise CompilerError(f"{epoch} is no time in seconds since 1970") from error
    fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"


def build_time(epoch: int, sha256: str) -> str:
    """Write the time of a build, whose fraction of a second comes from the archive.

    luet's clients take a package anew when its time differs: so it is another one whenever the
    archive is another one, and else always the same.
    """
    return go_time(epoch, int(sha256, 16) % 10**9)


def built_definition(spec: PackageSpec) -> Definition:
    """Return a package's definition with what its *build* requires, as luet's compiler sees it."""
    return spec.definition.model_copy(
        update={
            "requires": spec.build_requires,
            "conflicts": spec.build_conflicts,
            "provides": spec.build_provides,
        }
    )


def metadata_text(metadata: ArtifactMetadata, mtree: str = "") -> str:
    """Write the text of a metadata file, with Go's field names in lower case.

    `mtree` stands in it for luet's plugin `luet-mtree`; nobody else reads it.
    """
    return goyaml.dump(_structure(metadata, _GO)) + mtree_text(mtree)


def mtree_text(mtree: str) -> str:
    """Write the end of a metadata file that has an mtree: its lines, as a block of YAML."""
    return MTREE + "".join(f"  {line}\n" for line in mtree.splitlines()) if mtree else ""


def index_entry(metadata: ArtifactMetadata) -> dict[str, object]:
    """Return the same with JSON names, as it stands in the index of a repository."""
    return _structure(metadata, _JSON)


def read_metadata(path: Path) -> ArtifactMetadata:
    """Read a metadata file that luet or `cos` wrote; raises `CompilerError` naming the file."""
    try:
        if path.stat().st_size > goyaml.MOST_BYTES:
            raise CompilerError(f"{path}: is too large for a metadata file")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CompilerError(f"{path}: is not UTF-8 text") from error
    except OSError as error:
        raise unreadable(path, error) from error
    return parse_metadata(text, str(path))


def parse_metadata(text: str, source: str) -> ArtifactMetadata:
    """Read the text of a metadata file; raises `CompilerError` naming `source`."""
    rest, files = _without_files(_without_mtree(text))
    metadata = from_mapping(goyaml.load(rest, source), source)
    return metadata if files is None else replace(metadata, files=files)


def from_mapping(value: Mapping[str, object], source: str) -> ArtifactMetadata:
    """Read an entry of an index or a metadata file; raises `CompilerError` naming `source`."""
    try:
        record = records.ArtifactRecord.model_validate(value)
    except (ValidationError, RecursionError) as error:
        raise CompilerError(f"{source}: {records.first_fault(error)}") from error
    metadata = _from_record(record)
    for part in metadata.id:
        if "/" in part or "\0" in part or part in (".", ".."):
            raise CompilerError(f"{source}: {part!r} cannot be part of a package's name")
    if not metadata.runtime.name:
        raise CompilerError(f"{source}: the package has no name")
    return metadata


def _from_record(record: records.ArtifactRecord) -> ArtifactMetadata:
    """Make our value of what was read."""
    spec = record.compilespec
    built = spec.package if spec else None
    runtime = record.runtime or built or records.PackageRecord()
    return ArtifactMetadata(
        runtime=runtime.definition(),
        built=(built or runtime).definition(),
        build=spec.build() if spec else BuildSpec(),
        archive=record.path.rpartition("/")[2],
        sha256=record.checksums.get("sha256", ""),
        compression=record.compressiontype,
        files=record.files,
        timestamp=(built.buildtimestamp if built else "") or runtime.buildtimestamp,
        seed=spec.seed if spec else "",
        values=spec.build_options.values if spec else (),
        platform=record.platform.platform() if record.platform else None,
    )


def _without_mtree(text: str) -> str:
    """Drop an mtree, which may be longer than all the rest, and which nobody asks for."""
    start = text.find("\nmtree: |") + 1
    match = _MTREE.match(text, start) if start else None
    return text if match is None else f"{text[:start]}{text[match.end() :]}"


def _without_files(text: str) -> tuple[str, goyaml.Texts | None]:
    """Split off a file list that needs no YAML parser: it is most of the text, and plain."""
    match = _FILES.search(text)
    files = goyaml.Texts.read(match[1]) if match is not None else None
    if match is None or files is None:
        return text, None
    return f"{text[: match.start()]}{text[match.end() :]}", files


@dataclass(frozen=True, slots=True)
class _Names:
    """The keys that differ between the two spellings."""

    spec: str
    options: str
    values: str
    cache_image: str
    requires: str
    conflicts: str
    use_flags: str
    dockerfile: str
    nested_subpackage: bool
    internal: Mapping[str, object]


_GO = _Names(
    "compilespec",
    "buildoptions",
    "buildvalues",
    "packagecacheimage",
    "packagerequires",
    "packageconflicts",
    "useflags",
    "origindockerfile",
    nested_subpackage=True,
    internal={"sourceassertion": []},
)
_JSON = _Names(
    "compilationspec",
    "build_options",
    "BuildValues",
    "package_cacheimage",
    "requires",
    "conflicts",
    "use_flags",
    "dockerfile",
    nested_subpackage=False,
    internal={},
)


def _structure(metadata: ArtifactMetadata, names: _Names) -> dict[str, object]:
    """Lay an artifact out as luet does, in one of the two spellings."""
    return {
        "path": metadata.archive,
        "dependencies": [],
        names.spec: _spec(metadata, names),
        "checksums": {"sha256": metadata.sha256},
        "compressiontype": metadata.compression,
        "files": metadata.files,
        names.cache_image: "",
        "runtime": _package(metadata.runtime, names, metadata.timestamp),
        **names.internal,
        **_platform(metadata.platform),
    }


def _platform(platform: Platform | None) -> dict[str, object]:
    """Lay a platform out as later versions of luet do; earlier ones pass it over."""
    if platform is None:
        return {}
    variant = {"variant": platform.variant} if platform.variant else {}
    return {"platform": {"os": platform.os, "arch": platform.architecture, **variant}}


def _spec(metadata: ArtifactMetadata, names: _Names) -> dict[str, object]:
    """Lay out how a package was built."""
    build = metadata.build
    return {
        "steps": list(build.steps),
        "env": list(build.env),
        "prelude": list(build.prelude),
        "image": build.image,
        "seed": metadata.seed,
        "package": _package(metadata.built, names, metadata.timestamp, build.dockerfile),
        "package_dir": build.package_dir,
        "subpackages": [
            {
                **_subpackage(_package(part, names), names),
                "includes": list(part.includes),
                "excludes": list(part.excludes),
            }
            for part in build.subpackages
        ],
        "retrieve": list(build.retrieve),
        "unpack": build.unpack,
        "includes": list(build.includes),
        "excludes": list(build.excludes),
        names.options: {names.values: [dict(values) for values in metadata.values]},
        "copy": [
            {
                "package": _stanza(source.package) if source.package else None,
                "image": source.image,
                "source": source.source,
                "destination": source.destination,
            }
            for source in build.copy_
        ],
        "requires_final_images": build.requires_final_images,
        **({**names.internal, "outputpath": ""} if names.internal else {}),
    }


def _subpackage(package: dict[str, object], names: _Names) -> dict[str, object]:
    """Lay out a subpackage's package: Go's YAML nests what its JSON flattens."""
    return {"package": package} if names.nested_subpackage else package


def _package(
    package: Definition, names: _Names, timestamp: str = "", dockerfile: str = ""
) -> dict[str, object]:
    """Lay out a package."""
    return {
        "id": 0,
        "name": package.name,
        "version": package.version,
        "category": package.category,
        names.use_flags: list(package.use_flags),
        "state": "",
        names.requires: _stanzas(package.requires),
        names.conflicts: _stanzas(package.conflicts),
        "provides": _stanzas(package.provides),
        "hidden": package.hidden,
        "annotations": dict(sorted(package.annotations.items())),
        "path": "",
        "description": package.description,
        "uri": list(package.uri),
        "license": package.license,
        "buildtimestamp": timestamp,
        "labels": dict(sorted(package.labels.items())),
        "treedir": "",
        names.dockerfile: dockerfile,
    }


def _stanzas(requirements: Sequence[Requirement]) -> list[dict[str, object]]:
    """Lay out requirements."""
    return [_stanza(requirement) for requirement in requirements]


def _stanza(requirement: Requirement) -> dict[str, object]:
    """Lay out one requirement."""
    return {
        "name": requirement.name,
        "category": requirement.category,
        "version": requirement.version,
    }
