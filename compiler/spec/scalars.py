"""What a plain scalar of YAML is: a number, a boolean or text, as yaml.v2's `resolve.go` says."""

import re
from collections.abc import Mapping

_BOOLS = {
    word: value
    for words, value in (("y yes true on", True), ("n no false off", False))
    for lower in words.split()
    for word in (lower, lower.capitalize(), lower.upper())
}
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_INFINITIES = {
    sign + word: float(sign + "inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")
}
_NANS = dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan"))
_WORDS: Mapping[str, object] = {**_BOOLS, **dict.fromkeys(_NULLS), **_INFINITIES, **_NANS}
HINTS = frozenset("+-.0123456789yYnNtTfFoO~")
"""What text begins with that may be something else."""

_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LONGEST = 70
"""Digits of a number of 64 bits at most: those of a binary one, and what is around them."""

_INT_RANGE = range(-(2**63), 2**64)


def resolve(text: str) -> object:
    """Tell what a plain scalar means: yaml.v2's `resolve`, in its order."""
    if text and text[0] not in HINTS:
        return text
    if text in _WORDS:
        return _WORDS[text]
    number = _number(text)
    return text if number is None else number


def _number(text: str) -> int | float | None:
    digits = text.replace("_", "") if text[0] != "." else text
    if _INTEGER.fullmatch(digits):
        number = _integer(digits)
        if number in _INT_RANGE:
            return number
    return float(digits) if _FLOAT.fullmatch(digits) else None


def _integer(digits: str) -> int:
    body = digits.lstrip("+-")
    octal = body[0] == "0" and body.isdigit()
    # int() refuses more than 4300 digits; such a number is a float for Go too
    number = 2**64 if len(body) > _LONGEST else int(body, 8 if octal else 0)
    return -number if digits[0] == "-" else number
