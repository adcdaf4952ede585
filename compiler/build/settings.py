"""What a run is given besides its plan: where things are, and how they are to be made."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compiler.archive import DEFAULT_EPOCH, Clamp, Compression
from compiler.context import ContextFile
from compiler.engine import Engine, Network
from compiler.events import Reporter
from compiler.oci import Image
from compiler.spec.package import PackageId
from compiler.store import Cache, Store

_CLOCK_SLACK = 1
"""Seconds by which the kernel's file times may lag behind its clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """How a run builds; `concurrency` counts nodes at the same time, `epoch` is in seconds.

    `images` are the base images by the name that specs give them. `source_date_epoch` is the
    value of that variable, None if it is not set.
    """

    destination: Path
    compression: Compression = Compression.NONE
    network: Network = Network.HOST
    concurrency: int = 1
    source_date_epoch: int | None = None
    images: Mapping[str, Image] = field(default_factory=dict)
    documents: bool = False
    """Whether SBOMs and provenance are written beside each artifact."""
    mtree: bool = False
    """Whether each metadata file has the mtree of its archive, for luet's plugin."""
    pushes: bool = False
    """Whether what is built and packed goes into the cache."""
    verified: bool = False
    """Whether what came from others, with no signature checked, is used for nothing."""
    contexts: Mapping[PackageId, Sequence[ContextFile]] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)
    trees: Sequence[Path] = ()
    """The trees that the specs come from, which provenance names."""
    started: float = field(default_factory=time.time)

    @property
    def epoch(self) -> int:
        """The time that everything made by this run gets."""
        given = self.source_date_epoch
        return DEFAULT_EPOCH if given is None else given

    @property
    def made(self) -> Clamp:
        """Times of a layer that this run made: all from the start of the run on are made equal."""
        if self.source_date_epoch is not None:
            return Clamp(self.source_date_epoch, self.source_date_epoch)
        return Clamp(self.epoch, int(self.started) - _CLOCK_SLACK)

    @property
    def packed(self) -> Clamp:
        """Times of an archive: those of the layers, which are canonical already."""
        if self.source_date_epoch is not None:
            return Clamp(self.source_date_epoch, self.source_date_epoch)
        return Clamp(self.epoch, sys.maxsize)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The outside of a run: who runs steps, who keeps layers, who shares them, who hears of it."""

    engine: Engine
    store: Store
    report: Reporter
    cache: Cache | None = None
