"""What commands that talk to registries share: the client, names, and what publishing needs."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from compiler.cli.report import reporter
from compiler.cli.settings import Settings
from compiler.errors import ImageError, RegistryError, UsageError
from compiler.events import Reporter
from compiler.oci import Reference, parse_repository
from compiler.registry.client import RegistryClient
from compiler.registry.settings import RegistrySettings, is_hub, settings_from


def registry_settings(settings: Settings) -> RegistrySettings:
    """Make the client's settings from the command line and the environment."""
    mirrors: dict[str, list[str]] = {}
    for text in settings.mirrors:
        host, _, mirror = text.partition("=")
        if not mirror:
            raise UsageError(f"--registry-mirror is HOST=MIRROR, not {text!r}")
        mirrors.setdefault(host, []).append(mirror)
    return settings_from(
        os.environ,
        insecure=settings.insecure,
        mirrors=mirrors,
        certificate_folder=settings.certificates,
    )


def open_registry(
    settings: Settings,
    auth_file: Path | None = None,
    *,
    report: Reporter | None = None,
    replaceable: Iterable[str] = (),
) -> RegistryClient:
    """Return the client of all registries; credentials in `auth_file` go before all others.

    `report` hears of long transfers; without it they are told as the settings say. See
    `RegistrySettings` for `replaceable`.
    """
    made = replace(registry_settings(settings), replaceable=frozenset(replaceable))
    if auth_file is not None:
        made = replace(made, auth_files=(auth_file, *made.auth_files))
    return RegistryClient(made, report=report or reporter(settings))


def repository_named(text: str, option: str) -> Reference:
    """Read the name of a repository in a registry, which has neither tag nor digest."""
    try:
        return parse_repository(text)
    except ImageError as error:
        raise UsageError(f"{option}: {error.message}") from error


@contextmanager
def meaning(text: str, target: Reference) -> Iterator[None]:
    """Say of a name without a registry, where that fails, which registry was asked."""
    try:
        yield
    except RegistryError as error:
        host = text.partition("/")[0]
        if not is_hub(target.registry) or is_hub(host) or target.repository not in error.message:
            raise
        hint = f"{text} names no registry, so it is taken for {target.registry}/{target.repository}"
        both = "; ".join(filter(None, (error.hint, hint)))
        raise type(error)(error.message, hint=both) from error


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Lend a folder for what is being made; `TMPDIR` says where."""
    with TemporaryDirectory(prefix="cos-") as folder:
        yield Path(folder)
