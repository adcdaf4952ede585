"""Licences as distributions write them, turned into SPDX expressions.

Debian's names are those of the machine-readable copyright format (DEP-5), those of older Fedora
packages its former short names. What SPDX has no name for becomes a `LicenseRef-…` (SPDX 2.3,
annex D).
"""

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache

from cyclonedx.spdx import fixup_id, is_expression

REFERENCE = re.compile(r"LicenseRef-[A-Za-z0-9.-]+")

_GNU = re.compile(
    r"(?P<name>[AL]?GPL|GFDL)-?v?(?P<fixed>-?NIV-)?-?(?P<version>\d+(?:\.\d+)*)"
    r"(?P<later>\+|-only|-or-later)?",
    re.IGNORECASE,
)
_NAMES = {
    "expat": "MIT",
    "artistic": "Artistic-1.0",
    "asl 2.0": "Apache-2.0",
    "bsd-4-clause-uc": "BSD-4-Clause-UC",
    "cc0": "CC0-1.0",
    "mit/x11": "MIT",
    "mplv2.0": "MPL-2.0",
    "zlib/libpng": "Zlib",
}
_WORDS = re.compile(r"(\(|\)|\s+(?:and|or)\s+|\s*[&|]\s*)", re.IGNORECASE)
_COMMA = re.compile(r",\s+and\s+", re.IGNORECASE)
_WITH = re.compile(r"\s+with\s+", re.IGNORECASE)
_AND, _OR = " AND ", " OR "
_OPERATORS = {"and": _AND, "&": _AND, "or": _OR, "|": _OR}
_LONGEST = 2000
_LONGEST_REFERENCE = 60
_VERSION_PARTS = 2


@lru_cache(maxsize=4096)
def expression_of(text: str) -> str:
    """Turn what a package says of its licence into an SPDX expression; empty stays empty.

    `GPL-2+ or Artistic, and Expat` is `(GPL-2.0-or-later OR Artistic-1.0) AND MIT`.
    """
    text = " ".join(text.split())
    if not text:
        return ""
    if len(text) > _LONGEST:
        return _reference(text)
    parts = _COMMA.split(text)
    written = f"({') and ('.join(parts)})" if len(parts) > 1 else text
    return _translated(written) or _reference(text)


def all_of(texts: Iterable[str]) -> str:
    """Say that all of these licences hold, each once, sorted."""
    found: set[str] = set()
    for expression in map(expression_of, texts):
        plain = _OR not in expression and "(" not in expression
        found.update(expression.split(_AND) if plain else (expression,))
    found.discard("")
    if len(found) == 1:
        return found.pop()
    return _AND.join(f"({each})" if _AND in each or _OR in each else each for each in sorted(found))


def references_in(expressions: Iterable[str]) -> list[str]:
    """Name every licence in these expressions that SPDX has no name for, sorted."""
    return sorted({name for each in expressions for name in REFERENCE.findall(each)})


def _translated(text: str) -> str:
    """Translate an expression word by word; empty if it makes no sense."""
    tokens = [_token(word) for part in _WORDS.split(text) if (word := part.strip())]
    return "".join(tokens) if _is_sound(tokens) else ""


def _token(word: str) -> str:
    """Translate a parenthesis, an operator or a name."""
    return word if word in {"(", ")"} else _OPERATORS.get(word.lower()) or _name(word)


def _is_sound(tokens: Iterable[str]) -> bool:
    """Tell whether names and operators take turns, and parentheses close."""
    depth, wants_name = 0, True
    for token in tokens:
        if (token not in {")", _AND, _OR}) is not wants_name:
            return False
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth < 0:
            return False
        wants_name = token in {"(", _AND, _OR}
    return depth == 0 and not wants_name


def _name(word: str) -> str:
    """Find SPDX's name of one licence, with its exception if it has one."""
    base, *exceptions = [_known(each) for each in _WITH.split(word)]
    if not base or not all(exceptions):
        return _reference(word)
    if not exceptions:
        return base
    found = " WITH ".join((base, *exceptions))
    return found if is_expression(REFERENCE.sub("MIT", found)) else _reference(word)


def _known(word: str) -> str:
    """Find SPDX's name of a licence or an exception; empty if it has none."""
    plain = _NAMES.get(word.lower())
    gnu = _GNU.fullmatch(word)
    if plain is None and gnu is not None:
        plain = _gnu_name(gnu)
    if REFERENCE.fullmatch(word):
        return word
    return fixup_id(plain or word) or ""


def _gnu_name(found: re.Match[str]) -> str:
    """Write a licence of the GNU project as SPDX does: `GPL-2+` is `GPL-2.0-or-later`."""
    parts = found["version"].split(".")
    version = ".".join(parts if len(parts) >= _VERSION_PARTS else [*parts, "0"])
    ending = "-or-later" if found["later"] in {"+", "-or-later"} else "-only"
    fixed = "-no-invariants" if found["fixed"] else ""
    return f"{found['name']}-{version}{fixed}{ending}"


def _reference(text: str) -> str:
    """Make a name for a licence that SPDX has none for."""
    text = text.removeprefix("LicenseRef-")
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", text.replace("+", "-plus")).strip("-")
    if len(plain) > _LONGEST_REFERENCE or not plain:
        short = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]
        plain = f"{plain[:_LONGEST_REFERENCE]}-{short}".strip("-")
    return f"LicenseRef-{plain}"
