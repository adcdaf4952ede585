"""A little tree with artifacts, and its publication to a registry in memory."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from compiler.artifact.mtree import archive_mtree
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
from compiler.repository.disk import RepositoryOptions, create_repository
from compiler.spec.folder import read_definition
from compiler.spec.package import BuildSpec, PackageSpec

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
        self.mtree = False

    def build(  # noqa: PLR0913  (what a package can be made of)
        self,
        name: str,
        text: str = "x",
        *,
        version: str = "1",
        time: int = 0,
        files: Mapping[str, str] | None = None,
        more: str = "",
        finalizer: str = "",
    ) -> None:
        """Pack an artifact that holds one file, or `files`; `more` are lines of its definition."""
        folder = self.tree / name / version
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "definition.yaml"
        file.write_text(f"name: {name}\ncategory: t\nversion: '{version}'\n{more}\n")
        if finalizer:
            (folder / "finalize.yaml").write_text(finalizer)
        spec = PackageSpec(
            definition=read_definition(file).definition,
            build=BuildSpec(unpack=True),
            folder=folder,
            definition_file=file,
            finalize_file=folder / "finalize.yaml" if finalizer else None,
        )
        root = self.scratch / f"root-{name}-{version}"
        shutil.rmtree(root, ignore_errors=True)
        for path, content in (files or {f"file-of-{name}": text}).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content)
        selection = select(spec.build, MountedRoots(root, root))
        artifact = pack(selection, root, destination=self.artifacts, package=spec.id)
        mtree = archive_mtree(artifact.path) if self.mtree else ""
        write_metadata(describe(spec, artifact, epoch=time), self.artifacts, mtree)
        self.packages[f"{name}-{version}"] = spec

    def repository(self, **options: object) -> Path:
        """Write the repository of all packages into the folder of the artifacts."""
        made = RepositoryOptions(**{"now": NOW, **options})  # type: ignore[arg-type]  # a test's own words
        create_repository(
            self.packages.values(),
            [self.tree],
            artifacts=self.artifacts,
            output=self.artifacts,
            options=made,
        )
        return self.artifacts

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
