"""A repository as a client's configuration describes it: what it is called, and where it is."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from compiler.errors import UsageError

TYPES = ("disk", "http", "docker")
"""The types of repositories (luet's configuration format)."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@ -]{0,199}")


def _listed(value: object) -> object:
    """Read one address where a list is expected, and nothing for null."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _null_is(empty: object) -> BeforeValidator:
    return BeforeValidator(lambda value: empty if value is None else value)


class RepositoryConfig(BaseModel):
    """An entry of `repositories`, or a file of `repos.conf.d` (luet's names and defaults).

    Lower priorities are preferred. `cached` means that what was fetched is good for a day.
    `reference` names a snapshot. `auth` proves who we are; what is in it depends on the type.
    `root`, which luet does not have, is the file of a root: then only what is signed counts. In a
    file of its own it may be relative to that.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    name: str
    description: str = ""
    urls: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    type: str = ""
    priority: int = 0
    enable: bool = False
    cached: bool = False
    auth: Annotated[dict[str, str], _null_is({})] = Field(default_factory=dict, repr=False)
    treepath: str = ""
    metapath: str = ""
    verify: bool = False
    arch: str = ""
    reference: str = ""
    root: str = ""

    @field_validator("name")
    @classmethod
    def _name_is_safe(cls, name: str) -> str:
        check_name(name)
        return name

    @field_validator("type")
    @classmethod
    def _type_is_known(cls, kind: str) -> str:
        if kind not in TYPES:
            raise ValueError(f"is one of {', '.join(TYPES)}, not {kind[:40]!r}")
        return kind

    @field_validator("urls")
    @classmethod
    def _has_an_address(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        if not urls or not all(urls):
            raise ValueError("needs at least one address")
        return urls

    def is_used(self, architecture: str) -> bool:
        """Whether it is enabled, or meant for machines of this architecture (Go's GOARCH)."""
        return self.enable or (bool(self.arch) and self.arch == architecture)


def check_name(name: str) -> None:
    """Raise `ValueError` for a name that cannot be one of a folder as well."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:60]!r} cannot be the name of a repository")


def kind_of(address: str) -> str:
    """Guess the type of a repository by its address; raises `UsageError` for one without a sign."""
    if address.startswith(("http://", "https://")):
        return "http"
    if address.startswith(("/", "./", "../")):
        return "disk"
    raise UsageError(f"{address}: which type of repository is this?", hint="say it with --type")
