"""The sections of a client's configuration, with the keys and defaults of luet."""

import os
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _listed(value: object) -> object:
    """Read a comma list, as the environment has it, and nothing for null."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return () if value is None else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""A list of texts."""


def _cores() -> int:
    return len(os.sched_getaffinity(0))


class Section(BaseModel):
    """Part of the configuration; keys of other versions of luet are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Logging(Section):
    """The log file, if there is to be one; how luet's own output looks is of no effect here."""

    path: str = "/var/log/luet.log"
    enable_logfile: bool = False
    json_format: bool = False
    level: str = "info"
    enable_emoji: bool = True
    color: bool = True
    no_spinner: bool = False


class General(Section):
    """What holds for all commands; `http_timeout` is in seconds.

    With `fatal_warnings` nothing is changed after a warning, and a command that warned fails.
    """

    concurrency: int = Field(default_factory=_cores, ge=1, le=1024)
    same_owner: bool = Field(default_factory=lambda: os.geteuid() == 0)
    debug: bool = False
    quiet: bool = False
    fatal_warnings: bool = False
    show_build_output: bool = True
    http_timeout: int = Field(default=360, ge=1, le=86_400)


class SystemSection(Section):
    """The system that commands work on; paths but `rootfs` and `tmpdir_base` are inside of it.

    `tmpdir_base` counts only where it is given: luet's default is a place that anybody may make.
    """

    database_engine: str = "boltdb"
    database_path: str = "/var/cache/luet"
    rootfs: str = "/"
    tmpdir_base: str = Field(default_factory=lambda: f"{os.environ.get('TMPDIR', '/tmp')}/tmpluet")  # noqa: S108  (luet's)
    pkgs_cache_path: str = "packages"


class Solver(Section):
    """Parameters of luet's solver; of no effect here."""

    type: str = ""
    rate: float = 0.7
    discount: float = 1.0
    max_attempts: int = 9000


class Variable(Section):
    """A variable of the environment of finalizers."""

    key: str
    value: str = ""
