"""`cos create-repo --type docker`: a repository in a registry."""

import importlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from compiler.cli.key import public_keys, signing_key
from compiler.cli.live import watched
from compiler.cli.registries import meaning, open_registry, repository_named, scratch_folder
from compiler.cli.report import reporter
from compiler.cli.rootfile import given, read_root_file
from compiler.cli.settings import Settings
from compiler.content_trust import trust_server
from compiler.errors import UsageError
from compiler.events import Noted, Reporter
from compiler.oci import Reference
from compiler.publish import PublishOptions, Source, Surroundings, publish_repository
from compiler.publish.endorse import ContentTrust, CosignEndorsement, Endorsement, Trust
from compiler.publish.survey import has_metadata
from compiler.registry import Registry
from compiler.repository.disk import RepositoryOptions
from compiler.repository.trust import tag
from compiler.store.images import host_platform

__all__ = ["Publishing", "Source", "publish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """The options that only repositories in registries have."""

    push: bool = False
    force: bool = False
    repair: bool = False
    prune: bool = False
    sign: Sequence[str] = ()
    """The private keys that images are signed with: files, or `env://NAME`."""
    root: Path | None = None
    """The root of the repository's signed metadata, which `sign` then signs, too."""
    older: bool = False
    """Whether to go on from a signed state that may not be the newest."""
    resign: Sequence[str] = ()
    """Public keys whose signatures count for signing anew with `sign`."""
    content_trust: str = ""
    """The Notary server at which tags are signed."""


def publish(
    source: Source,
    output: str,
    options: RepositoryOptions,
    publishing: Publishing,
    settings: Settings,
) -> None:
    """Publish a repository, or without `--push-images` say what that would bring up."""
    target = repository_named(output, "--output")
    how = PublishOptions(
        repository=options,
        platform=host_platform(),
        force=publishing.force,
        repair=publishing.repair,
        prune=publishing.prune,
        dry_run=not publishing.push,
    )
    report = reporter(settings)
    direct = replace(settings, mirrors=())
    with (
        meaning(output, target),
        open_registry(direct, report=report) as registry,
        scratch_folder() as folder,
    ):
        around = Surroundings(
            registry=registry,
            folder=folder,
            report=report,
            endorsements=tuple(_endorsements(publishing, registry)),
            trust=_trust(publishing, registry, target, folder, report),
            older=public_keys(publishing.resign),
        )
        with watched(report):
            made = publish_repository(source, target, how, around)
    info, count = made.repository.info, len(made.repository.index.artifacts)
    told = f"{output}: repository {info.name}, revision {info.revision}, packages: {count}"
    if publishing.push:
        typer.echo(f"{told}, {len(made.pushed)} of them new or changed")
        report(Noted(f"{made.traffic.sent} bytes sent in {made.traffic.images} images"))
    else:
        typer.echo(f"{told}; --push-images would bring up {len(made.pushed)} of them")


def _trust(
    publishing: Publishing, registry: Registry, target: Reference, folder: Path, report: Reporter
) -> Trust | None:
    """Open the signed metadata of a repository; loads TUF's library only if there is some.

    Raises `UsageError` if clients that know its root would refuse what is published.
    """
    if publishing.root is None:
        if publishing.push and has_metadata(registry.tags(target, after=tag(""))):
            hint = "--root names its root, --sign a private key that the root names"
            raise UsageError(f"{target}: has signed metadata, which would not be signed", hint=hint)
        return None
    keys = tuple(signing_key(each) for each in publishing.sign)
    trusted = importlib.import_module("compiler.publish.trusted")
    opened: Trust = trusted.open_target(
        registry,
        target,
        read_root_file(publishing.root),
        keys,
        folder=folder,
        older=publishing.older,
        report=report,
        given=given(publishing.root, publishing.sign),
    )
    return opened


def _endorsements(publishing: Publishing, registry: Registry) -> Iterator[Endorsement]:
    """Put together what is said of the images that go up."""
    for key in publishing.sign:
        yield CosignEndorsement(registry, signing_key(key))
    if publishing.content_trust:
        yield ContentTrust(trust_server(publishing.content_trust, os.environ))
