"""Makes the sources of a repository out of its configuration."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from compiler.errors import ImageError, OutsideError
from compiler.events import Reporter, silent
from compiler.oci import Platform, parse_reference
from compiler.repository.configured import RepositoryConfig
from compiler.repository.sources import Mirrors, Source
from compiler.repository.sources.disk import DiskSource
from compiler.repository.sources.http import HttpSettings, HttpSource
from compiler.repository.sources.registry import Images, RegistrySource


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What sources need besides: a client of registries, where folders are, for which platform.

    `registry` is only called for a repository that needs it. `seal` names the root under which the
    repository is used: what was noted under another one, or without any, is not believed. `vouch`
    raises `TrustError` for a tag of which nothing was signed, before a cache is believed.
    """

    registry: Callable[[RepositoryConfig], Images]
    platform: Platform
    place: Callable[[str], Path] = Path
    http: HttpSettings = field(default_factory=HttpSettings)
    report: Reporter = silent
    seal: str = ""
    vouch: Callable[[str], object] = str


def open_source(config: RepositoryConfig, opening: Opening) -> Mirrors:
    """Return the source of a repository: its addresses, asked in their order.

    Raises `OutsideError` for one that can be none.
    """
    return Mirrors(open_addresses(config, opening), opening.report)


def open_addresses(config: RepositoryConfig, opening: Opening) -> list[Source]:
    """Return the source of each address of a repository; raises `OutsideError`."""
    last = config.urls[-1:]
    return [_open(config, url, opening, replaceable=url not in last) for url in config.urls]


def _open(config: RepositoryConfig, url: str, opening: Opening, *, replaceable: bool) -> Source:
    if config.type == "disk":
        return DiskSource(opening.place(url.removeprefix("file://")))
    if config.type == "http":
        return HttpSource(url, config.auth, opening.http, replaceable=replaceable)
    try:
        repository = parse_reference(url)
    except ImageError as error:
        message = f"{config.name}: {error.message}"
        raise OutsideError(message, hint=error.hint or "`urls` has HOST[:PORT]/NAME") from error
    images = opening.registry(config)
    return RegistrySource(
        images,
        repository,
        opening.platform,
        opening.report,
        seal=opening.seal,
        vouch=opening.vouch,
    )
