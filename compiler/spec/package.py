"""What people write about one package: identity, definition and build, in luet's words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from compiler.errors import CompilerError, Location

_SHOWN = 100
"""How many letters of a selector a message repeats."""


class PackageId(NamedTuple):
    """Which package: category, name and version; the sort order of lists of packages."""

    category: str
    name: str
    version: str

    @property
    def fingerprint(self) -> str:
        """`name-category-version`, as luet names files and sorts requirements."""
        return f"{self.name}-{self.category}-{self.version}"

    @property
    def title(self) -> str:
        """`category/name`, the part that stays when the version changes."""
        return f"{self.category}/{self.name}" if self.category else self.name

    def __str__(self) -> str:
        """`category/name-version`, as luet shows packages to people."""
        return f"{self.title}-{self.version}" if self.version else self.title


class SpecModel(BaseModel):
    """What every model of a written file shares: immutable, and closed to unknown fields."""

    # defer_build: making validators takes longer than listing a tree, and the reader of trees never
    # needs one, since it checks all values itself
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Requirement(SpecModel):
    """A package that is asked for; `version` is a selector, or empty for any."""

    name: str = ""
    category: str = ""
    version: str = ""

    def __str__(self) -> str:
        """`category/name` and the selector, as a person would say it."""
        title = f"{self.category}/{self.name}" if self.category else self.name
        if len(self.version) > _SHOWN:
            return f"{title}@{self.version[:_SHOWN]}…"
        return f"{title}@{self.version}" if self.version else title


class Definition(SpecModel):
    """One package as `definition.yaml`, or an entry of `collection.yaml`, describes it."""

    name: str = ""
    category: str = ""
    version: str = ""
    requires: tuple[Requirement, ...] = ()
    conflicts: tuple[Requirement, ...] = ()
    provides: tuple[Requirement, ...] = ()
    hidden: bool = False
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)
    description: str = ""
    license: str = ""
    uri: tuple[str, ...] = ()
    use_flags: tuple[str, ...] = ()

    @property
    def id(self) -> PackageId:
        """The identity of the package."""
        return PackageId(self.category, self.name, self.version)


class Subpackage(Definition):
    """A further artifact that is cut out of its parent's by filters."""

    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()


class CopySource(SpecModel):
    """Files taken from another package's root, or from an image, into the builder's root."""

    package: Requirement | None = None
    image: str = ""
    source: str = ""
    destination: str = ""


class BuildSpec(SpecModel):
    """How a package is built: the rendered content of `build.yaml`."""

    image: str = ""
    requires: tuple[Requirement, ...] = ()
    conflicts: tuple[Requirement, ...] = ()
    provides: tuple[Requirement, ...] = ()
    prelude: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    copy_: tuple[CopySource, ...] = Field(default=(), alias="copy")
    retrieve: tuple[str, ...] = ()
    unpack: bool = False
    package_dir: str = ""
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    requires_final_images: bool = False
    subpackages: tuple[Subpackage, ...] = ()
    join: tuple[Requirement, ...] = ()
    seed: str = ""
    dockerfile: str = ""
    """The text of a Dockerfile that takes the place of the steps (`--dockerfiles`)."""

    @property
    def is_virtual(self) -> bool:
        """Whether nothing is packed: no steps, and no folder or root to take."""
        return not (self.steps or self.unpack or self.package_dir or self.dockerfile)


class Finalizer(SpecModel):
    """Commands that run once on the machine that installs the package: `finalize.yaml`."""

    install: tuple[str, ...] = ()
    uninstall: tuple[str, ...] = ()
    shell: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSpec:
    """A package of a tree after templates: what both views of it say, and where it was written.

    `build` is None for a package that has no `build.yaml`. `values` are the free keys of its
    definition. `doubts` are faults that stop the package from being built, not from being listed:
    a `<no value>` left by a template, say. `warnings` are things such as unknown keys.
    """

    definition: Definition
    build: BuildSpec | None
    folder: Path
    definition_file: Path
    build_file: Path | None = None
    finalize_file: Path | None = None
    collection: bool = False
    parent: PackageId | None = None
    """The package whose artifact this subpackage is cut out of."""
    values: Mapping[str, object] = field(default_factory=dict)
    recorded: Mapping[str, object] | None = None
    """Of a package that comes from a repository: the values that it was built with there."""
    places: Mapping[str, Location] = field(default_factory=dict)
    """Where fields were written: `steps`, `requires.0`, `definition.requires.1` …, where known."""
    doubts: tuple[CompilerError, ...] = ()
    warnings: tuple[CompilerError, ...] = ()

    @property
    def id(self) -> PackageId:
        """The identity of the package."""
        return self.definition.id

    @property
    def build_requires(self) -> tuple[Requirement, ...]:
        """What must be there to build it: of `build.yaml`, or of the definition without one."""
        return self.definition.requires if self.build is None else self.build.requires

    def given(self, values: Mapping[str, object]) -> Mapping[str, object]:
        """Return what its templates get besides its definition, in a run with these values."""
        return {**self.recorded, **values} if self.recorded else values

    @property
    def is_published(self) -> bool:
        """Whether it comes from a repository, not from a tree that was named."""
        return self.recorded is not None

    @property
    def build_conflicts(self) -> tuple[Requirement, ...]:
        """What must not be there to build it."""
        return self.definition.conflicts if self.build is None else self.build.conflicts

    @property
    def build_provides(self) -> tuple[Requirement, ...]:
        """What it stands in for while building: of `build.yaml` if that names any."""
        own = self.build.provides if self.build is not None else ()
        return own or self.definition.provides
