"""Raises the version in a definition's text, and changes nothing else of it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from compiler.errors import Faults, Location, SpecError
from compiler.spec.scalars import resolve
from compiler.spec.template import Rendered, Source
from compiler.spec.written import fault_errors
from compiler.spec.yaml import Place, YamlFaults, parse, places
from compiler.version import bump

_SAFE = re.compile(r"[A-Za-z0-9.+~_:-]+")
"""What versions are made of; none of it needs an escape in quotes."""


@dataclass(frozen=True, slots=True)
class Bumped:
    """The new text of a definition, and its versions."""

    text: str
    before: str
    after: str

    def write(self, path: Path) -> None:
        """Put the new text in place of the file, whole or not at all, with the same mode."""
        target = path.resolve()
        with NamedTemporaryFile(
            "w", dir=target.parent, prefix=f".{target.name}.", delete=False, encoding="utf-8"
        ) as file:
            try:
                file.write(self.text)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).chmod(target.stat().st_mode & 0o7777)
                Path(file.name).replace(target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise


def bump_definition(text: str, path: str, *, version: str = "") -> Bumped:
    """Change the version in a definition's text, to the next one if none is given.

    Raises `SpecError`, or `Faults` when the text is not YAML.
    """
    try:
        value = parse(text)
        found = places(text)
    except YamlFaults as error:
        raise Faults.of(fault_errors(error.faults, Rendered(text, Source(path, text)))) from None
    keys = (
        [key for key in value if str(key).lower() == "version"] if isinstance(value, dict) else []
    )
    if not isinstance(value, dict) or not keys or not isinstance(value[keys[-1]], str):
        hint = "name a definition.yaml with a version"
        raise SpecError("has no version to bump", location=Location(path), hint=hint)
    before = value[keys[-1]]
    after = version or bump(before)
    return Bumped(_replaced(text, found[keys[-1],], after, path), before, after)


def _replaced(text: str, place: Place, after: str, path: str) -> str:
    """Put a new version where the old one stands, in the same quotes."""
    lines = text.split("\n")
    line, column = place.value[0] - 1, place.value[1] - 1
    rest = lines[line][column:]
    quote = rest[0] if rest[:1] in ("'", '"') else ""
    old = f"{quote}{place.text}{quote}"
    if not rest.startswith(old):
        hint = "write it on one line, without escapes"
        location = Location(path, *place.value)
        raise SpecError("the version cannot be changed in place", location=location, hint=hint)
    if not _SAFE.fullmatch(after):
        raise SpecError(f"{after!r} cannot be a version", location=Location(path, *place.value))
    if not quote and (not isinstance(resolve(after), str) or ":" in after):
        quote = '"'
    lines[line] = f"{lines[line][:column]}{quote}{after}{quote}{rest[len(old) :]}"
    return "\n".join(lines)
