"""The options that every command takes, wherever they stand on the line, luet's among them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds for the whole process; `concurrency` counts nodes built at the same time."""

    store: Path | None = None
    concurrency: int = 0
    json_events: bool = False
    quiet: bool = False
    debug: bool = False
    version: bool = False
    output: bool = False
    """Whether what steps print is shown as it comes."""
    values: tuple[Path, ...] = ()
    """Values files from the environment, before those of the command line."""
    source_date_epoch: int | None = None
    insecure: tuple[str, ...] = ()
    """Registries that may be spoken to without TLS; `*` stands for all of them."""
    mirrors: tuple[str, ...] = ()
    """Registries that are asked before another one, each as HOST=MIRROR."""
    certificates: Path | None = None
    """A folder that holds, for each registry, a folder with certificates to trust."""
    config: Path | None = None
    """The configuration of a client, in place of those that are looked for."""
    overrides: tuple[tuple[str, str], ...] = ()
    """What wins over a client's configuration: its keys, and values as text."""


_SWITCHES = {"--debug": "debug", "-d": "debug", "--quiet": "quiet", "-q": "quiet",
             "--version": "version", "--live-output": "output",
             "--insecure": "insecure"}  # fmt: skip
_VALUES = {"--store", "--concurrency", "--log-format", "--cert-dir"}
_LISTS = {"--registry-mirror"}
_LUET_SWITCHES = {"--color", "--emoji", "--no-spinner", "--same-owner",
                  "--privileged", "--solver-concurrent"}  # fmt: skip
_LUET_VALUES = {"--plugin", "--solver-type", "--solver-rate",
                "--solver-discount", "--solver-attempts"}  # fmt: skip
"""Options of luet that a Makefile written for it may pass; they have no effect on what cos does."""
_CLIENT_SWITCHES = {"--skip-config-protect", "--enable-logfile", "--fatal"}
_CLIENT_VALUES = {"--config", "--http-timeout", "--system-dbpath", "--system-target",
                  "--system-engine", "--logfile", "-l"}  # fmt: skip
_CONFIGURED = {"--concurrency": "general.concurrency", "--http-timeout": "general.http_timeout",
               "--system-dbpath": "system.database_path", "--system-target": "system.rootfs",
               "--system-engine": "system.database_engine",
               "--skip-config-protect": "config_protect_skip",
               "--enable-logfile": "logging.enable_logfile", "--logfile": "logging.path",
               "-l": "logging.path", "--fatal": "general.fatal_warnings"}  # fmt: skip
"""Options by the key of a client's configuration that they stand for."""


def take_settings(
    arguments: Sequence[str], environ: Mapping[str, str]
) -> tuple[Settings, list[str]]:
    """Split a command line into the settings and the rest; raises `UsageError`."""
    rest: list[str] = []
    found: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        name, _, given = word.partition("=")
        if word == "--":
            rest += [word, *words]
        elif name in _SWITCHES:
            found[_SWITCHES[name]] = "yes" if given.lower() != "false" else ""
        elif name in _VALUES or name in _LUET_VALUES or name in _CLIENT_VALUES:
            found[name] = given if "=" in word else _next(words, name)
        elif name in _CLIENT_SWITCHES:
            found[name] = given or "true"
        elif name in _LISTS:
            value = given if "=" in word and word.startswith(f"{name}=") else _next(words, name)
            found[name] = f"{found.get(name, '')},{value}"
        elif name not in _LUET_SWITCHES:
            rest.append(word)
    return _settings(found, environ), rest


def _next(words: Iterator[str], name: str) -> str:
    """Take the value that follows an option."""
    value = next(words, None)
    if value is None:
        raise UsageError(f"option {name} needs a value")
    return value


def _settings(found: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """Make settings out of options and the environment, the former first."""
    store = found.get("--store") or environ.get("COS_STORE")
    log_format = found.get("--log-format", "text")
    if log_format not in {"text", "json"}:
        raise UsageError(f"--log-format is text or json, not {log_format!r}")
    return Settings(
        store=Path(store) if store else None,
        concurrency=_number(found.get("--concurrency"), "--concurrency") or _cores(),
        json_events=log_format == "json",
        quiet=bool(found.get("quiet")),
        debug=bool(found.get("debug")),
        version=bool(found.get("version")),
        output=bool(found.get("output")),
        values=tuple(Path(each) for each in environ.get("LUET_VALUES", "").split()),
        source_date_epoch=_number(environ.get("SOURCE_DATE_EPOCH"), "SOURCE_DATE_EPOCH"),
        insecure=("*",) if found.get("insecure") else (),
        mirrors=tuple(filter(None, found.get("--registry-mirror", "").split(","))),
        certificates=Path(certificates) if (certificates := found.get("--cert-dir")) else None,
        config=Path(found["--config"]) if "--config" in found else None,
        overrides=tuple((key, found[name]) for name, key in _CONFIGURED.items() if name in found),
    )


_DIGITS = 11
"""How many digits a number may have: enough for seconds until the year 5138."""


def _number(text: str | None, name: str) -> int | None:
    """Read a whole number that is not negative."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise UsageError(f"{name} is a whole number, not {text[:40]!r}")
    return int(text)


def _cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0))
