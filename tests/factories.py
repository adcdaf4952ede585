"""What a test needs, in one line: packages, trees, graphs and their keys."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from compiler.choices import choose
from compiler.fingerprint import NodeKeys, Sources, fingerprints
from compiler.graph import BuildGraph, Clash, Layering, NodeId, build_graph
from compiler.oci import Digest, Platform
from compiler.spec.package import BuildSpec, Definition, PackageId, PackageSpec, Requirement
from compiler.tree import Tree

SOURCES = Sources(
    platform=Platform("linux", "amd64"),
    images={"debian:trixie": Digest("sha256:" + "1" * 64), "other": Digest("sha256:" + "2" * 64)},
)


def id_of(name: str, version: str = "1") -> PackageId:
    """Name a package of the category that all packages of these tests are in."""
    return PackageId("t", name, version)


def node_of(name: str) -> NodeId:
    """Name a package's node on its own closure."""
    return NodeId(id_of(name))


def package(name: str, requires: Sequence[str] = (), **build: object) -> PackageSpec:
    """Make a package; one without requirements starts from an image."""
    fields: dict[str, object] = {
        "image": "" if requires or "join" in build else "debian:trixie",
        "requires": tuple(Requirement(name=each, category="t", version=">=0") for each in requires),
        "steps": (f"echo {name}",),
        **build,
    }
    return PackageSpec(
        definition=Definition(name=name, category="t", version="1"),
        build=BuildSpec.model_validate(fields),
        folder=Path("tree") / name,
        definition_file=Path("tree") / name / "definition.yaml",
        build_file=Path("tree") / name / "build.yaml",
    )


def tree_of(
    packages: Mapping[str, Sequence[str]],
    steps: Mapping[str, str] | None = None,
    images: Mapping[str, str] | None = None,
) -> Tree:
    """Make a tree from names and what they require, with some steps or images of its own."""
    specs: dict[PackageId, PackageSpec] = {}
    for name, requires in packages.items():
        given: dict[str, object] = {}
        if steps and name in steps:
            given["steps"] = (steps[name],)
        if images and name in images:
            given["image"] = images[name]
        specs[id_of(name)] = package(name, requires, **given)
    return Tree(dict(sorted(specs.items())))


def tree_with(*specs: PackageSpec) -> Tree:
    """Make a tree of these packages."""
    return Tree({spec.id: spec for spec in sorted(specs, key=lambda spec: spec.id)})


def graph_of(
    tree: Tree | Mapping[str, Sequence[str]],
    *,
    layering: Layering = Layering.AUTO,
    clashes: Mapping[NodeId, Clash] | None = None,
    steps: Mapping[str, str] | None = None,
) -> BuildGraph:
    """Resolve all packages of a tree and place them on their roots."""
    given = tree if isinstance(tree, Tree) else tree_of(tree, steps)
    choices = choose(given, given.packages)
    return build_graph(choices, given.packages, layering=layering, clashes=clashes)


def keys_of(graph: BuildGraph, sources: Sources = SOURCES) -> dict[NodeId, NodeKeys]:
    """Compute the keys of a graph."""
    return fingerprints(graph, sources)
