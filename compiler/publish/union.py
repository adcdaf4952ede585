"""Puts states of a repository together, and tells what is in them."""

from collections.abc import Iterable, Mapping, Sequence

from compiler.artifact.metadata import ArtifactMetadata, index_entry
from compiler.publish.state import State
from compiler.repository import index as texts
from compiler.repository.disk import Repository
from compiler.repository.index import RepositoryIndex
from compiler.spec.package import PackageId


def listed_in(index: RepositoryIndex) -> dict[PackageId, ArtifactMetadata]:
    """Return the artifacts of an index by identity."""
    return {artifact.id: artifact for artifact in index.artifacts}


def ids_of(states: Iterable[State | None]) -> frozenset[PackageId]:
    """Name all packages of some states."""
    return frozenset(
        artifact.id
        for state in states
        if state is not None
        for artifact in state.repository.index.artifacts
    )


def is_part(state: State, listed: dict[PackageId, ArtifactMetadata]) -> bool:
    """Tell whether all packages of a state are in an index, just as they are."""
    return all(
        artifact.id in listed and index_entry(listed[artifact.id]) == index_entry(artifact)
        for artifact in state.repository.index.artifacts
    )


def is_changed(
    artifact: ArtifactMetadata,
    states: Iterable[Mapping[PackageId, ArtifactMetadata]],
    *,
    is_new: bool,
) -> bool:
    """Tell whether a package differs from what is published, in any state that was seen.

    `is_new` is the answer for one that none of them lists.
    """
    published = [state[artifact.id] for state in states if artifact.id in state]
    if not published:
        return is_new
    return any(index_entry(each) != index_entry(artifact) for each in published)


def union(
    repositories: Sequence[Repository], *, without: frozenset[PackageId] = frozenset()
) -> Repository | None:
    """Put states of a repository together, but for some packages; None if there are none.

    Of a package that several hold, the one that was built last is taken.
    """
    if not repositories:
        return None
    chosen: dict[PackageId, ArtifactMetadata] = {}
    tree: dict[str, str] = {}
    for each in sorted(repositories, key=lambda each: each.info.revision):
        for id_, artifact in listed_in(each.index).items():
            if id_ not in without and (id_ not in chosen or _age(chosen[id_]) <= _age(artifact)):
                chosen[id_] = artifact
                folder = texts.tree_folder(id_)
                for name in ("definition.yaml", "finalize.yaml"):
                    tree.pop(f"{folder}/{name}", None)
                    if f"{folder}/{name}" in each.tree:
                        tree[f"{folder}/{name}"] = each.tree[f"{folder}/{name}"]
    info = repositories[-1].info
    return Repository(info=info, index=texts.make_index(chosen.values()), tree=tree)


def _age(artifact: ArtifactMetadata) -> tuple[str, str]:
    """Order builds of one package by time, and those of one time in some fixed way."""
    return artifact.timestamp, artifact.sha256
