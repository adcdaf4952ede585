"""Configuration files that people change: what is new is put beside them, never over them.

A path is protected when it starts with a folder of a `config.protect.d` file or with the package's
annotation `config_protect` (luet's format: plain prefixes).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from compiler.errors import CompilerError, Location, OutsideError

ANNOTATION = "config_protect"
"""The annotation of a package that names a prefix of its own."""

_LARGEST = 1 << 20
_COPY = re.compile(r"\._cfg([0-9]{4,})_(.+)", re.DOTALL)


class _ProtectFile(BaseModel):
    """A file of `config.protect.d`."""

    model_config = ConfigDict(extra="ignore")

    name: str = ""
    dirs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Protection:
    """The prefixes of protected paths, each with a leading slash."""

    prefixes: tuple[str, ...] = ()

    def covers(self, path: str) -> bool:
        """Whether `path`, relative to the root, is protected."""
        return bool(self.prefixes) and f"/{path}".startswith(self.prefixes)

    def extended(self, annotations: Mapping[str, str]) -> "Protection":
        """Add what a package asks for itself."""
        own = annotations.get(ANNOTATION, "")
        return Protection((*self.prefixes, _prefix(own))) if own else self


def read_protection(folders: Iterable[Path], real: Callable[[Path], Path] = Path) -> Protection:
    """Read all `*.yml` of these folders; raises `CompilerError` for a file that is damaged.

    Folders that are missing protect nothing. `real` tells where a file that is a link leads.
    """
    found: dict[str, None] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.yml")):
            for prefix in parse_protection(_text(real(path)), str(path)):
                found[prefix] = None
    return Protection(tuple(found))


def parse_protection(text: str, source: str) -> tuple[str, ...]:
    """Read the text of one file; raises `CompilerError` naming `source`."""
    try:
        value = yaml.safe_load(text)
        file = _ProtectFile.model_validate(value if value is not None else {})
    except (yaml.YAMLError, ValidationError, RecursionError) as error:
        message = "is no list of protected folders: it needs 'name' and 'dirs'"
        raise CompilerError(message, location=Location(source)) from error
    return tuple(_prefix(each) for each in file.dirs if each)


def copy_name(name: str, present: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """Choose the name of a new copy of the protected file `name`, given what its folder holds.

    Returns `._cfgNNNN_name` with the next number, and the copies that are there, the newest first:
    if one has the same content, it need not be written again.
    """
    taken: dict[int, str] = {}
    for each in present:
        match = _COPY.fullmatch(each)
        if match and match[2] == name:
            taken[int(match[1])] = each
    copies = tuple(taken[number] for number in sorted(taken, reverse=True))
    return f"._cfg{max(taken, default=0) + 1:04d}_{name}", copies


def _prefix(text: str) -> str:
    return text if text.startswith("/") else f"/{text}"


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise OutsideError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise CompilerError("is too large", location=Location(str(path)))
    return data.decode("utf-8", "replace")
