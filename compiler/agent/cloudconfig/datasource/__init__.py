"""Where the data of this one machine comes from: clouds, disks and files."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from compiler.errors import OutsideError


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a provider knows of the machine; `facts` are small texts by the names of their files."""

    provider: str
    userdata: bytes = b""
    hostname: str = ""
    keys: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


class NothingError(OutsideError):
    """A provider is not there, or knows nothing."""
