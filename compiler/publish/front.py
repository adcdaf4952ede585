"""The front of a docker repository: the files that its index names, and the index itself."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compiler.publish.push import Pusher, Words
from compiler.publish.state import CLAIM, PUBLICATIONS, PUSHED, Pushed, Window, pushed_text
from compiler.repository import index as texts
from compiler.repository.disk import RepositoryOptions, snapshot_name
from compiler.repository.index import RepositoryInfo
from compiler.repository.oci import ImageParts
from compiler.repository.trust import CLOCKS_DIFFER

_HORIZON = 86_400 * 10**9  # nanoseconds after which no publisher can still be under way


def claim_at(nanoseconds: int, owner: str = "") -> str:
    """Name a claim, so that claims sort by time; without an owner, the earliest of its moment."""
    return f"{CLAIM}{nanoseconds:020d}-{owner or '0' * 16}"


def recent_claims(clock: Callable[[], int] = time.time_ns) -> Window:
    """Tell which claims may belong to publications that are still under way."""
    now = clock()
    return Window(since=claim_at(now - _HORIZON), until=claim_at(now + CLOCKS_DIFFER))


def push_files(
    pusher: Pusher, info: RepositoryInfo, options: RepositoryOptions, folder: Path
) -> RepositoryInfo:
    """Bring up the files in `folder` that `info` names, each under three names.

    Returns the same info with names that are made of the contents, so that no later publication
    can put something else there. The plain names are those that luet gives, those that begin with
    the snapshot's are for people who ask for it.
    """
    named = texts.content_named(info)
    for key, file in info.repo_files.items():
        own = named.repo_files[key].filename
        names = (own, f"{snapshot_name(options)}-{file.filename}", file.filename)
        pusher.file(names, (folder / file.filename).read_bytes(), folder=folder)
    return named


def push_snapshot(
    pusher: Pusher, info: RepositoryInfo, options: RepositoryOptions, folder: Path
) -> None:
    """Bring up `repository.yaml` under the name of the snapshot."""
    name = f"{snapshot_name(options)}-{texts.REPOSITORY}"
    pusher.file((name,), texts.repository_text(info).encode(), folder=folder)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a publication says in its index: its claim, those that are part of it, its images."""

    name: str
    publications: frozenset[str]
    pushed: Pushed


def push_claim(pusher: Pusher, info: RepositoryInfo, claim: Claim, folder: Path) -> ImageParts:
    """Bring up the index, `repository.yaml`, under the name of the claim alone so far."""
    text = texts.repository_text(info).encode()
    words = Words(
        labels={PUSHED: pushed_text(claim.pushed)},
        annotations={PUBLICATIONS: ",".join(sorted(claim.publications))},
    )
    image = pusher.file_image((texts.REPOSITORY,), text, folder=folder, words=words)
    pusher.name(image, claim.name)
    return image
