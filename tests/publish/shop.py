"""A little tree with artifacts, and its publication to a registry in memory."""

from collections.abc import Sequence
from pathlib import Path

from compiler.artifact.pack import describe, pack, write_metadata
from compiler.artifact.roots import MountedRoots
from compiler.artifact.selection import select
from compiler.oci import Platform, Reference
from compiler.publish import (
    Published,
    PublishOptions,
    Source,
    Surroundings,
    publish_repository,
)
from compiler.registry import Registry
from compiler.repository.disk import RepositoryOptions
from compiler.spec.package import BuildSpec, Definition, PackageSpec

NOW = 1795389729
TARGET = Reference("registry.test", "team/repo")
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


class Shop:
    """What one publisher has: a tree, a folder of artifacts, a folder for temporary files."""

    def __init__(self, root: Path) -> None:
        self.tree = root / "tree"
        self.artifacts = root / "build"
        self.scratch = root / "scratch"
        for folder in (self.tree, self.artifacts, self.scratch):
            folder.mkdir(parents=True)
        self.packages: dict[str, PackageSpec] = {}

    def build(self, name: str, text: str = "x", *, version: str = "1", time: int = 0) -> None:
        """Pack an artifact that holds one file."""
        folder = self.tree / name
        folder.mkdir(exist_ok=True)
        definition = f"name: {name}\ncategory: t\nversion: '{version}'\n"
        (folder / "definition.yaml").write_text(definition)
        spec = PackageSpec(
            definition=Definition(name=name, category="t", version=version),
            build=BuildSpec(unpack=True),
            folder=folder,
            definition_file=folder / "definition.yaml",
        )
        root = self.scratch / f"root-{name}-{version}"
        root.mkdir(exist_ok=True)
        (root / f"file-of-{name}").write_text(text)
        selection = select(spec.build, MountedRoots(root, root))
        artifact = pack(selection, root, destination=self.artifacts, package=spec.id)
        write_metadata(describe(spec, artifact, epoch=time), self.artifacts)
        self.packages[f"{name}-{version}"] = spec

    def options(self, *, now: int = NOW, platform: Platform = AMD64) -> PublishOptions:
        """Return the options that most tests use."""
        return PublishOptions(
            repository=RepositoryOptions(type="docker", now=now), platform=platform
        )

    def publish(
        self,
        registry: Registry,
        options: PublishOptions | None = None,
        *,
        names: Sequence[str] | None = None,
        target: Reference = TARGET,
    ) -> Published:
        """Publish all packages, or those of `names`."""
        chosen = self.packages.values() if names is None else [self.packages[n] for n in names]
        source = Source(packages=tuple(chosen), roots=(self.tree,), artifacts=self.artifacts)
        around = Surroundings(registry=registry, folder=self.scratch, pause=lambda _seconds: None)
        return publish_repository(source, target, options or self.options(), around)
