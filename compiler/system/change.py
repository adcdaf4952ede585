"""What is to happen to a system, as values: packages that come, packages that go, and how."""

from dataclasses import dataclass, field
from pathlib import Path

from compiler.archive.members import Limits
from compiler.archive.safety import Devices
from compiler.artifact.metadata import ArtifactMetadata
from compiler.spec.package import PackageId
from compiler.system.protect import Protection
from compiler.system.tables import Installed


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A package to be installed.

    `archive` is its archive, or the layers of its image, bottom first, whose deletion markers then
    count among themselves. `finalizer` is the text of its `finalize.yaml`, `requested` says whether
    somebody asked for it by name.
    """

    metadata: ArtifactMetadata
    archive: Path | tuple[Path, ...]
    repository: str = ""
    finalizer: str | None = None
    requested: bool = False

    @property
    def id(self) -> PackageId:
        """The identity of the package."""
        return self.metadata.id

    @property
    def installed(self) -> Installed:
        """What the database has of it once it is installed."""
        return Installed(
            definition=self.metadata.runtime,
            repository=self.repository,
            timestamp=self.metadata.timestamp,
            sha256=self.metadata.sha256,
            finalizer=self.finalizer,
            requested=self.requested,
        )

    @property
    def layers(self) -> tuple[Path, ...]:
        """The archives, bottom first."""
        return (self.archive,) if isinstance(self.archive, Path) else self.archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Packages that come, in the order in which they need each other, and packages that go.

    What is replaced or upgraded is in both: the old identity in `remove`, the new one in
    `install`. It happens as one: all of it, or nothing. `parting` are those of `remove` that want
    to have something run before they go, in that order.
    """

    install: tuple[Incoming, ...] = ()
    remove: tuple[PackageId, ...] = ()
    parting: tuple[PackageId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a change is made.

    `force` lets a later package take a path from another one. `keep_protected` leaves protected
    files that were modified where they are when their package goes. Device nodes are made, left
    out or refused as `devices` says; without root they can only be left out or refused.
    """

    force: bool = False
    protection: Protection = field(default_factory=Protection)
    keep_protected: bool = False
    devices: Devices = Devices.REFUSE
    limits: Limits | None = None
