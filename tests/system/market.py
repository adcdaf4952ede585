"""Repositories and installed packages in one line, for deciding what comes and goes."""

from collections.abc import Iterable
from pathlib import Path

from compiler.repository.configured import RepositoryConfig
from compiler.repository.index import RepositoryInfo
from compiler.repository.synced import Available, Synced
from compiler.spec.package import Definition, PackageId, Requirement
from compiler.system.choice import Offers
from compiler.system.tables import Installed


def wish(text: str) -> Requirement:
    """Read `name` or `name@selector`."""
    name, _, version = text.partition("@")
    return Requirement(category="c", name=name, version=version)


def named(text: str) -> PackageId:
    """Read `name-version`."""
    name, _, version = text.partition("-")
    return PackageId("c", name, version)


def define(text: str, requires: str = "", *, conflicts: str = "", provides: str = "") -> Definition:
    """Make a package `name-version`; what it needs and so on are lists of `name@selector`."""
    requires_, conflicts_, provides_ = (
        tuple(map(wish, each.split())) for each in (requires, conflicts, provides)
    )
    _, name, version = named(text)
    return Definition(
        name=name,
        category="c",
        version=version,
        requires=requires_,
        conflicts=conflicts_,
        provides=provides_,
    )


def repository(
    definitions: Iterable[Definition], *, name: str = "main", priority: int = 0, built: str = "x"
) -> Synced:
    """Make a repository; `built` is the checksum of all its archives."""
    packages = {each.id: Available(definition=each, sha256=built) for each in definitions}
    config = RepositoryConfig(name=name, type="disk", urls=("/x",), priority=priority)
    return Synced(config=config, info=RepositoryInfo(), packages=packages, files_path=Path("x"))


def offers(*definitions: Definition) -> Offers:
    """Offer packages from one repository."""
    return Offers([repository(definitions)])


def installed(*definitions: Definition, requested: bool = True) -> list[Installed]:
    """Say that packages are installed."""
    return [Installed(definition=each, sha256="x", requested=requested) for each in definitions]
