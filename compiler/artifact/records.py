"""The models of what luet wrote about an artifact, in either of its spellings."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from compiler.oci import Platform
from compiler.spec.package import BuildSpec, CopySource, Definition, Requirement, Subpackage


def _text_from_bytes(value: object) -> object:
    """Turn what YAML's `!!binary` gave back into the name that it stands for."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


class _Loose(BaseModel):
    """What luet wrote: unknown keys are passed over, and null stands for what is not there."""

    # defer_build: whoever packs only writes such models, and pays for no validators
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: object) -> object:
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if item is not None}
        return value


def _either(*names: str) -> AliasChoices:
    """Accept a key under any of its spellings."""
    return AliasChoices(*names)


class PackageRecord(_Loose):
    """A package, or a requirement of one."""

    name: str = ""
    version: str = ""
    category: str = ""
    use_flags: tuple[str, ...] = Field(
        default=(), validation_alias=_either("useflags", "use_flags")
    )
    requires: tuple["PackageRecord", ...] = Field(
        default=(), validation_alias=_either("packagerequires", "requires")
    )
    conflicts: tuple["PackageRecord", ...] = Field(
        default=(), validation_alias=_either("packageconflicts", "conflicts")
    )
    provides: tuple["PackageRecord", ...] = ()
    hidden: bool = False
    annotations: Mapping[str, str] = Field(default_factory=dict)
    labels: Mapping[str, str] = Field(default_factory=dict)
    description: str = ""
    license: str = ""
    uri: tuple[str, ...] = ()
    buildtimestamp: str = ""
    dockerfile: str = Field(default="", validation_alias=_either("origindockerfile", "dockerfile"))

    def definition(self) -> Definition:
        """Return it as a definition."""
        return Definition(
            name=self.name,
            category=self.category,
            version=self.version,
            requires=tuple(item.requirement() for item in self.requires),
            conflicts=tuple(item.requirement() for item in self.conflicts),
            provides=tuple(item.requirement() for item in self.provides),
            hidden=self.hidden,
            labels=self.labels,
            annotations=self.annotations,
            description=self.description,
            license=self.license,
            uri=self.uri,
            use_flags=self.use_flags,
        )

    def requirement(self) -> Requirement:
        """Return it as a requirement."""
        return Requirement(name=self.name, category=self.category, version=self.version)


class SubpackageRecord(PackageRecord):
    """A subpackage: its package nested (Go's YAML) or flat (JSON), and its filters."""

    package: PackageRecord | None = None
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()

    def subpackage(self) -> Subpackage:
        """Return it as a subpackage of a build."""
        definition = (self.package or self).definition()
        return Subpackage(**definition.model_dump(), includes=self.includes, excludes=self.excludes)


class CopyRecord(_Loose):
    """Files that were copied from another package or an image."""

    package: PackageRecord | None = None
    image: str = ""
    source: str = ""
    destination: str = ""

    def copy_source(self) -> CopySource:
        """Return it as an entry of a build."""
        return CopySource(
            package=self.package.requirement() if self.package else None,
            image=self.image,
            source=self.source,
            destination=self.destination,
        )


class OptionsRecord(_Loose):
    """The options of a build of which one lasts: the values that its templates got."""

    values: tuple[Mapping[str, object], ...] = Field(
        default=(), validation_alias=_either("buildvalues", "BuildValues")
    )


class SpecRecord(_Loose):
    """How an artifact was built."""

    steps: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    prelude: tuple[str, ...] = ()
    image: str = ""
    seed: str = ""
    package: PackageRecord | None = None
    package_dir: str = ""
    subpackages: tuple[SubpackageRecord, ...] = ()
    retrieve: tuple[str, ...] = ()
    unpack: bool = False
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    build_options: OptionsRecord = Field(
        default=OptionsRecord(), validation_alias=_either("buildoptions", "build_options")
    )
    copies: tuple[CopyRecord, ...] = Field(default=(), validation_alias="copy")
    requires_final_images: bool = False

    def build(self) -> BuildSpec:
        """Return it as a build spec."""
        package = self.package or PackageRecord()
        copies = tuple(item.copy_source() for item in self.copies)
        return BuildSpec(
            image=self.image,
            requires=tuple(item.requirement() for item in package.requires),
            conflicts=tuple(item.requirement() for item in package.conflicts),
            provides=tuple(item.requirement() for item in package.provides),
            prelude=self.prelude,
            steps=self.steps,
            env=self.env,
            copy=copies,
            retrieve=self.retrieve,
            unpack=self.unpack,
            package_dir=self.package_dir,
            includes=self.includes,
            excludes=self.excludes,
            requires_final_images=self.requires_final_images,
            subpackages=tuple(item.subpackage() for item in self.subpackages),
            dockerfile=package.dockerfile,
        )


class PlatformRecord(_Loose):
    """The platform of an artifact, as later versions of luet write it."""

    os: str = "linux"
    arch: str = ""
    variant: str = ""

    def platform(self) -> Platform | None:
        """Return our value; None where it does not say for which machines."""
        return Platform(self.os, self.arch, self.variant) if self.arch else None


class ArtifactRecord(_Loose):
    """An artifact, as a metadata file or an entry of an index."""

    path: str = ""
    compilespec: SpecRecord | None = Field(
        default=None, validation_alias=_either("compilespec", "compilationspec")
    )
    checksums: Mapping[str, str] = Field(default_factory=dict)
    compressiontype: str = "none"
    files: tuple[Annotated[str, BeforeValidator(_text_from_bytes)], ...] = ()
    runtime: PackageRecord | None = None
    platform: PlatformRecord | None = None


def first_fault(error: ValidationError | RecursionError) -> str:
    """Say the first thing that is wrong, in one line."""
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    fault = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg']}" if place else str(fault["msg"])
