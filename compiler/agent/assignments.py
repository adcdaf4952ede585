"""Files of settings in the syntax of a shell's assignments, which are read and never run."""

import re
import shlex
from collections.abc import Iterator

_NAME = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)

FILES = ("/etc/environment", "/etc/os-release", "/etc/cos/config", "/etc/cos-upgrade-image")
"""Where settings are kept, in the order in which they are read; later ones win."""


def assignments(text: str, path: str, doubts: list[str]) -> Iterator[tuple[str, str]]:
    """Read assignments as a shell would, but expand and run nothing.

    A line that is none is left out, and noted in `doubts` with its place.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _NAME.fullmatch(line.strip())
        value = _unquoted(found[2]) if found else None
        if found is None or value is None:
            doubts.append(f"{path}:{number}: is no assignment, and has no effect")
        else:
            yield found[1], value


def _unquoted(text: str) -> str | None:
    """Take the quotes off a value; None for what is more than one."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        return None
    if len(words) > 1:
        return None
    return words[0] if words else ""
