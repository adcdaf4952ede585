"""What a repository says about itself, as values and as text; no file is touched here.

The formats are luet's: `repository.yaml` names the other files and their checksums,
`repository.meta.yaml` lists the artifacts, the runtime tree holds one definition per package.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from compiler.artifact import goyaml
from compiler.artifact.metadata import ArtifactMetadata, from_mapping, index_entry
from compiler.artifact.records import first_fault
from compiler.errors import CompilerError
from compiler.spec.package import Definition, PackageId, Requirement

REPOSITORY = "repository.yaml"
"""The name that clients ask for first."""

INDEX = "repository.meta.yaml"
"""The one member of the meta archive."""

TREE, COMPILER_TREE, META = "tree", "compilertree", "meta"
"""The keys of `repo_files`."""

_SHORT = 12
"""How many digits of its SHA-256 stand before the name of a file."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~@-]*")


def _null_is(empty: object) -> BeforeValidator:
    """Read null, which Go writes for an empty list, as `empty`."""
    return BeforeValidator(lambda value: empty if value is None else value)


class _Model(BaseModel):
    """What comes from the outside: unknown keys belong to other versions of luet."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class RepositoryFile(_Model):
    """One of the files that `repository.yaml` names, with its SHA-256 in hexadecimal."""

    filename: str = Field(pattern=f"^{_FILE_NAME.pattern}$")
    compressiontype: str = "none"
    checksums: Mapping[str, str] = Field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The expected SHA-256, or nothing if none is given."""
        return self.checksums.get("sha256", "")


class RepositoryInfo(_Model):
    """The content of `repository.yaml`; `last_update` is in seconds since 1970, as text."""

    name: str = ""
    description: str = ""
    type: str = "disk"
    urls: Annotated[tuple[str, ...], _null_is(())] = ()
    enable: bool = True
    priority: int = 0
    revision: int = 0
    last_update: str = ""
    repo_files: Annotated[Mapping[str, RepositoryFile], _null_is({})] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RepositoryIndex:
    """The artifacts of a repository, sorted by identity."""

    artifacts: tuple[ArtifactMetadata, ...] = ()

    def find(self, package: PackageId) -> ArtifactMetadata | None:
        """Return the artifact of `package`, or None."""
        return next((item for item in self.artifacts if item.id == package), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreePackage:
    """A package as the runtime tree shows it: its definition, and its finalizer's text if any."""

    definition: Definition
    finalizer: str | None = None


def make_index(artifacts: Iterable[ArtifactMetadata]) -> RepositoryIndex:
    """Order artifacts into an index; raises `CompilerError` for two of one identity."""
    ordered = tuple(sorted(artifacts, key=lambda artifact: artifact.id))
    for one, two in pairwise(ordered):
        if one.id == two.id:
            raise CompilerError(f"{one.id} is there twice: {one.archive} and {two.archive}")
    return RepositoryIndex(ordered)


def index_text(index: RepositoryIndex) -> str:
    """Write `repository.meta.yaml`."""
    return goyaml.dump({"index": [index_entry(artifact) for artifact in index.artifacts]})


def parse_index(text: str, source: str) -> RepositoryIndex:
    """Read `repository.meta.yaml`; raises `CompilerError` naming `source`."""
    entries = goyaml.load(text, source).get("index") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CompilerError(f"{source}: index: is not a list of artifacts")
    return make_index(from_mapping(entry, source) for entry in entries)


def content_named(info: RepositoryInfo, prefix: str = "") -> RepositoryInfo:
    """Name the files of a repository by their contents: nothing else ever gets those names."""
    files = {
        key: file.model_copy(update={"filename": f"{prefix}{file.sha256[:_SHORT]}-{file.filename}"})
        for key, file in info.repo_files.items()
    }
    return info.model_copy(update={"repo_files": files})


def repository_text(info: RepositoryInfo) -> str:
    """Write `repository.yaml`, with the keys that luet writes."""
    priority = {"priority": info.priority} if info.priority else {}
    files = {
        key: {
            "filename": file.filename,
            "compressiontype": file.compressiontype,
            "checksums": dict(file.checksums),
        }
        for key, file in sorted(info.repo_files.items())
    }
    return goyaml.dump(
        {
            "name": info.name,
            "description": info.description,
            "urls": list(info.urls),
            "type": info.type,
            "enable": info.enable,
            **priority,
            "revision": info.revision,
            "last_update": info.last_update,
            "index": [],
            "repo_files": files,
        }
    )


def parse_repository(text: str, source: str) -> RepositoryInfo:
    """Read `repository.yaml`; raises `CompilerError` naming `source`."""
    try:
        return RepositoryInfo.model_validate(goyaml.load(text, source))
    except ValidationError as error:
        raise CompilerError(f"{source}: {first_fault(error)}") from error


def runtime_tree(packages: Iterable[TreePackage]) -> dict[str, str]:
    """Return the files of the runtime tree: path to text, `<category>/<name>/<version>/…`."""
    files = {}
    for package in sorted(packages, key=lambda package: package.definition.id):
        folder = tree_folder(package.definition.id)
        files[f"{folder}/definition.yaml"] = definition_text(package.definition)
        if package.finalizer is not None:
            files[f"{folder}/finalize.yaml"] = package.finalizer
    return files


def tree_folder(package: PackageId) -> str:
    """Name the folder of a package in the runtime tree."""
    return "/".join(part for part in package if part)


def definition_text(package: Definition) -> str:
    """Write a definition as clients read it: known keys only, sorted, empty ones left out."""
    optional = {
        "annotations": dict(sorted(package.annotations.items())),
        "description": package.description,
        "hidden": package.hidden,
        "labels": dict(sorted(package.labels.items())),
        "license": package.license,
        "provides": _stanzas(package.provides),
        "uri": list(package.uri),
        "use_flags": list(package.use_flags),
    }
    always = {
        "category": package.category,
        "conflicts": _stanzas(package.conflicts),
        "id": 0,
        "name": package.name,
        "requires": _stanzas(package.requires),
        "version": package.version,
    }
    filled = {key: value for key, value in optional.items() if value}
    return goyaml.dump(dict(sorted({**always, **filled}.items())))


def _stanzas(requirements: Iterable[Requirement]) -> list[dict[str, str]]:
    """Lay out requirements."""
    return [requirement.model_dump() for requirement in requirements]
