"""A store, a destination and the in-memory engine, to build small trees in a test."""

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from compiler.archive import Clamp
from compiler.build import BuildSettings, Outcome, Tools, run_plan
from compiler.engine.memory import MemoryEngine
from compiler.events import Event
from compiler.marks import marked_source
from compiler.oci import Image
from compiler.plan import PlanNode
from compiler.request import Planned, Request, plan_request
from compiler.store.images import ImageConfig, host_platform
from compiler.store.local import LocalStore
from compiler.tree import Tree


@dataclass
class Workshop:
    """Builds trees in a folder; `events` is everything that was reported."""

    place: Path
    request: Request = field(default_factory=lambda: Request(everything=True))
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Open a store with an image of a few files in it."""
        self.store = LocalStore(self.place / "store")
        self.engine = MemoryEngine(self.store.layer_path, self.store.scratch)
        self.request = replace(self.request, destination=self.place / "out")
        self.image("debian:trixie", {"etc/issue": "trixie", "bin/sh": "sh"})

    def image(self, name: str, files: dict[str, str]) -> Image:
        """Put a base image into the store."""
        with self.store.scratch() as scratch:
            root = scratch / "root"
            root.mkdir()
            for path, text in files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
            layer = self.store.add_layer(root, Clamp())
        return self.store.put_image(name, [layer], ImageConfig(platform=host_platform()))

    def plan(self, tree: Tree) -> Planned:
        """Plan a tree as it stands."""
        return plan_request(self._placed(tree), self.request, self.store)

    def _placed(self, tree: Tree) -> Tree:
        """Give every package a folder that is really there."""
        packages = {}
        for id_, spec in tree.packages.items():
            folder = self.place / "tree" / id_.name
            folder.mkdir(parents=True, exist_ok=True)
            packages[id_] = replace(spec, folder=folder)
        return Tree(packages)

    def run(self, tree: Tree) -> Outcome:
        """Plan and run once."""
        planned = self.plan(tree)
        settings = BuildSettings(
            destination=self.request.destination,
            concurrency=2,
            images=planned.images,
            contexts=planned.contexts,
            compression=self.request.compression,
            documents=self.request.documents,
            mtree=self.request.mtree,
            verified=self.request.verified,
        )
        tools = Tools(engine=self.engine, store=self.store, report=self.events.append)
        return run_plan(planned.nodes, planned.graph, tools, settings)

    def actions(self, tree: Tree) -> dict[str, str]:
        """Tell what a plan would do now, by package name."""
        return {_name(node): node.action.value for node in self.plan(tree).nodes}

    def doubt(self, tree: Tree, name: str, source: str) -> None:
        """Make the layers of a package look as if they had come from `source`, unverified."""
        (node,) = (each for each in self.plan(tree).nodes if _name(each) == name)
        record = self.store.node(node.keys.layer)
        assert record is not None
        self.store.put_node(replace(record, unverified=source))

    def doubt_file(self, tree: Tree, name: str, kind: str, source: str) -> None:
        """Do the same with the archive of a package, or (`artifact`) with its metadata alone."""
        (node,) = (each for each in self.plan(tree).nodes if _name(each) == name)
        record = self.store.artifact(getattr(node.keys, kind))
        assert record is not None
        self.store.put_artifact(replace(record, unverified=source))

    def marks(self) -> dict[str, str]:
        """Tell which packages are marked in the destination, and where they came from."""
        names = [path.name.removesuffix(".unverified") for path in self._marks()]
        found = {name: marked_source(self.request.destination, name) for name in names}
        return {name.partition("-")[0]: source for name, source in found.items()}

    def _marks(self) -> Sequence[Path]:
        return sorted(self.request.destination.glob("*.unverified"))

    def forget_archives(self) -> None:
        """Empty the destination."""
        for path in self.request.destination.iterdir():
            path.unlink()

    def ran(self) -> list[str]:
        """Name the packages whose steps ran since the last call, in order."""
        names = [request.name for request in self.engine.built]
        self.engine.built.clear()
        return names

    def members(self, name: str) -> Sequence[str]:
        """List the archive of a package."""
        with tarfile.open(self.request.destination / f"{name}-t-1.package.tar") as archive:
            return archive.getnames()


def _name(node: PlanNode) -> str:
    return node.id.package.name + ("'" if node.id.variant else "")
