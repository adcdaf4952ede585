"""Versions and the selectors that ask for them: one order, Debian's, for matching and for sorting.

The rules are those of luet's head: `[epoch:]upstream[-revision]`, compared as Debian Policy 5.6.12
says. A leading `v` is dropped, `_` reads as `-`, zero padding means nothing, and what does not
parse ranks below everything. Everything here takes time in proportion to the text, whatever it is:
numbers are compared as text, never converted.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, total_ordering
from typing import Self

from compiler.errors import UsageError, VersionError

_CACHED_LENGTH = 200
"""Longer texts are parsed each time, so that the cache stays small whatever it is fed."""

_SHOWN_LENGTH = 60
"""How much of a text a message repeats."""

_ASCII_VERSION = re.compile(r"[0-9][0-9A-Za-z.+~:-]*")
_SYMBOLS = frozenset(".+~:-")
_PARTS = re.compile(r"([^0-9]*)([0-9]*)")
_END = "\x02"
_TILDE = "\x01"
_AFTER_LETTERS = 0x100000
_WEIGHTS: Mapping[int, str] = {
    ord("~"): _TILDE,
    **{ord(symbol): chr(_AFTER_LETTERS + ord(symbol)) for symbol in ".+:-_"},
}
"""How characters between numbers sort: `~`, then the end, then letters, then the rest."""


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """A version as it was written, with the key that orders it; equal means equal in the order.

    All versions that do not parse are equal to each other and below all that do; `key` is then
    empty.
    """

    text: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read any text; what is no version is kept, and ranks below all versions."""
        return cls(text, _key(text))

    @property
    def is_valid(self) -> bool:
        """Whether the text follows the rules of versions."""
        return bool(self.key)

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Version) else NotImplemented

    def __lt__(self, other: "Version") -> bool:
        return self.key < other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        """Print the version as it was written."""
        return self.text


def _key(text: str) -> str:
    return _cached_key(text) if len(text) <= _CACHED_LENGTH else _make_key(text)


def _make_key(text: str) -> str:
    """Make a text whose plain order is the order of versions; empty for what does not parse."""
    epoch, colon, rest = text.strip().replace("_", "-").removeprefix("v").partition(":")
    if not colon:
        epoch, rest = "0", epoch
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    valid = _is_ascii_number(epoch) and _is_upstream(upstream) and _is_allowed(revision, "+.~")
    if not valid:
        return ""
    return _number_key(epoch) + _part_key(upstream) + _part_key(revision or "0")


_cached_key = lru_cache(maxsize=1 << 15)(_make_key)


def _is_ascii_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_upstream(text: str) -> bool:
    if _ASCII_VERSION.fullmatch(text):
        return True
    return text[:1].isascii() and text[:1].isdigit() and _is_allowed(text, _SYMBOLS)


def _is_allowed(text: str, symbols: Iterable[str]) -> bool:
    """Whether there are only letters and digits, of any script, and `symbols`."""
    others = set(text).difference(symbols)
    return all(character.isalpha() or character.isdecimal() for character in others)


def _part_key(part: str) -> str:
    """Make the key of an upstream version, or of a revision: text and numbers in turn.

    A part that ends has an empty text and the number nought next, which is why `1.` equals `1.0`;
    the text's end mark stands for both.
    """
    pairs = _PARTS.findall(part.translate(_WEIGHTS))[:-1]
    keys = [f"{text}{_END}{_number_key(number)}" for text, number in pairs]
    return "".join(keys) + _END


def _number_key(digits: str) -> str:
    """Make the key of a number of any size: its length without zero padding, then its digits."""
    digits = digits.lstrip("0")
    return chr(len(digits) >> 16) + chr(len(digits) & 0xFFFF) + digits


_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    ">": lambda key, bound: key > bound,
    ">=": lambda key, bound: key >= bound,
    "<": lambda key, bound: key < bound,
    "<=": lambda key, bound: key <= bound,
    "": lambda key, bound: key == bound,
    "=": lambda key, bound: key == bound,
    "==": lambda key, bound: key == bound,
    "!": lambda key, bound: key != bound,
    "!=": lambda key, bound: key != bound,
}
_COMPARING = frozenset("<>=")
_CONDITION = re.compile(r"([<>=!~^]*)([^\s,]*)")


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator with its version: a part of a selector."""

    operator: str
    version: Version

    def holds(self, version: Version) -> bool:
        """Whether `version` satisfies it; of what does not parse, only the same text does."""
        if version.key and self.version.key:
            return _TESTS[self.operator](version.key, self.version.key)
        return self.operator in ("", "=", "==") and version.text == self.version.text


@dataclass(frozen=True, slots=True)
class Selector:
    """Which versions are asked for: conditions that must all hold; none of them means any version.

    Conditions are separated by commas or blanks. `problem` says what is wrong with a text that is
    no selector; it then matches nothing, so that a tree with such a fault can still be listed.
    """

    text: str
    conditions: tuple[Condition, ...] = ()
    problem: str = ""
    hint: str = ""

    @classmethod
    def parse(cls, text: str) -> "Selector":
        """Read any text; never raises."""
        return _cached_selector(text) if len(text) <= _CACHED_LENGTH else _make_selector(text)

    @classmethod
    def of_requirement(cls, text: str) -> "Selector":
        """Read the version of a dependency stanza, where `~>1.2` still means `>=1.2,<2`.

        luet up to 0.32 has that operator from go-version, its head has not; so trees go on
        resolving, while whatever else reads selectors has one meaning for them, that of head.
        """
        return _cached_requirement(text) if len(text) <= _CACHED_LENGTH else _make_requirement(text)

    @property
    def is_literal(self) -> bool:
        """Whether it is one bare version, which a dependency takes by its very text first."""
        return len(self.conditions) == 1 and not self.conditions[0].operator

    def matches(self, version: Version) -> bool:
        """Whether all conditions hold; a package without a version satisfies every selector."""
        if self.problem:
            return False
        return not version.text or all(condition.holds(version) for condition in self.conditions)

    def overlaps(self, other: "Selector") -> bool:
        """Whether some version could match both; the order is taken as dense."""
        if self.problem or other.problem:
            return False
        both = Selector("", self.conditions + other.conditions)
        bounds = {condition.version for condition in both.conditions}
        return _has_room(both) or any(both.matches(bound) for bound in bounds)

    def check(self) -> None:
        """Raise the `VersionError` that says what is wrong with the text, if anything is."""
        if self.problem:
            raise VersionError(self.problem, hint=self.hint or None)

    def __str__(self) -> str:
        """Print the selector as it was written."""
        return self.text


def _has_room(selector: Selector) -> bool:
    """Whether there is more than one point between the highest lower and the lowest upper bound."""
    lower = [c.version.key for c in selector.conditions if c.operator.startswith(">")]
    upper = [c.version.key for c in selector.conditions if c.operator.startswith("<")]
    exact = any(c.operator in ("", "=", "==") for c in selector.conditions)
    return not exact and (not lower or not upper or max(lower) < min(upper))


def _make_selector(text: str) -> Selector:
    conditions: list[Condition] = []
    for operator, operand in _conditions(text):
        version = Version.parse(operand)
        problem = _problem_of(operator, version)
        if problem:
            shown = _shortened(text)
            return Selector(
                text, problem=f"{problem} in {shown!r}", hint=_hint_for(operator, operand)
            )
        conditions.append(Condition(operator, version))
    return Selector(text, tuple(conditions))


def _make_requirement(text: str) -> Selector:
    if "~>" not in text:
        return Selector.parse(text)
    parts = [
        _pessimistic(operand) if operator == "~>" else operator + operand
        for operator, operand in _conditions(text)
    ]
    selector = Selector.parse(",".join(part or text for part in parts))
    return Selector(text, selector.conditions, selector.problem, selector.hint)


_cached_selector = lru_cache(maxsize=1 << 15)(_make_selector)
_cached_requirement = lru_cache(maxsize=1 << 15)(_make_requirement)


def _conditions(text: str) -> list[tuple[str, str]]:
    """Split a selector into operators and operands; a blank may follow an operator.

    `*` says nothing and is left out.
    """
    found: list[tuple[str, str]] = []
    pending = ""
    for operator, operand in _CONDITION.findall(text):
        if operand and operand != "*":
            found.append((pending + operator, operand))
            pending = ""
        else:
            pending += operator
    return [*found, (pending, "")] if pending else found


def _problem_of(operator: str, version: Version) -> str:
    if operator not in _TESTS:
        return f"unknown operator {_shortened(operator)!r}"
    if not version.text:
        return f"no version after {operator!r}"
    is_text = operator in ("", "=", "==") and not _COMPARING.intersection(version.text)
    if not (is_text or version.is_valid):
        return f"{_shortened(version.text)!r} is not a version"
    return ""


def _hint_for(operator: str, operand: str) -> str:
    swapped = {"=>": ">=", "=<": "<=", "<>": "!=", "===": "="}.get(operator)
    if swapped:
        return f"did you mean '{swapped}{_shortened(operand)}'?"
    spelled = {"~>": _pessimistic, "^": _caret}.get(operator, lambda _: "")(operand)
    return f"did you mean '{_shortened(spelled)}'?" if spelled else ""


def _shortened(text: str) -> str:
    """Cut a text for a message."""
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}..."


def _pessimistic(operand: str) -> str:
    """Spell out go-version's `~>`: at least this, and all numbers but the last stay as they are.

    Empty when the operand is not made of numbers.
    """
    numbers = operand.removeprefix("v").split(".")
    if not all(_is_ascii_number(number) for number in numbers):
        return ""
    if len(numbers) == 1:
        return f">={operand}"
    return f">={operand},<{'.'.join([*numbers[:-2], _next_number(numbers[-2])])}"


def _caret(operand: str) -> str:
    """Spell out semver's `^`: at least this, and the first number stays as it is."""
    first = operand.removeprefix("v").partition(".")[0]
    return f">={operand},<{_next_number(first)}" if _is_ascii_number(first) else ""


def sort(versions: Iterable[str]) -> list[str]:
    """Sort oldest first; equal ones keep their places, none is lost."""
    return sorted(versions, key=_key)


def match(selector: str, version: str) -> bool:
    """Whether `version` satisfies `selector`."""
    return Selector.parse(selector).matches(Version.parse(version))


_ATOM_OPERATORS = (">=", "<=", ">", "<", "=")
_ATOM_VERSION = re.compile(r"-(?=v?[0-9])")


def parse_argument(text: str) -> tuple[str, str, str]:
    """Read a package of the command line into category, name and selector.

    The forms are luet's: `cat/foo`, `cat/foo@1.0`, `cat/foo@>=1.0`, `=cat/foo-1.0` (also with `>=`,
    `<=`, `>`, `<`; the version begins at the first `-` before a digit, or before `v` and a digit).
    No version means any: an empty selector. `foo` alone has the category "", which the tree reads
    as any. Raises `UsageError` for what names no package.
    """
    operator = next((op for op in _ATOM_OPERATORS if text.startswith(op)), "")
    if operator and "@" not in text:
        title, *version = _ATOM_VERSION.split(text.removeprefix(operator), maxsplit=1)
        selector = operator.removeprefix("=") + version[0] if version else ""
    else:
        title, _, selector = text.partition("@")
    category, _, name = title.rpartition("/")
    if not name or "/" in category or (operator and "@" in text):
        raise UsageError(
            f"{_shortened(text)!r} names no package",
            hint="write 'category/name', 'category/name@1.0' or 'category/name@>=1.0'",
        )
    return category, name, selector.strip()


_COUNTED_BUILD = re.compile(r"(?:[A-Za-z]*|.*\.)[0-9]+", re.DOTALL)


def bump(version: str) -> str:
    """Give the version of the next build: the number after `+` counts up, or begins at 1.

    Everything before the last `+` stays as it is. Raises `VersionError` when there is no version.
    """
    version = version.strip()
    if not version:
        raise VersionError("there is no version to bump")
    _, plus, build = version.rpartition("+")
    if not plus:
        return f"{version}+1"
    if not build or not _COUNTED_BUILD.fullmatch(build):
        return f"{version}.1" if build else f"{version}1"
    digits = build[len(build.rstrip("0123456789")) :]
    return f"{version.removesuffix(digits)}{_next_number(digits)}"


def _next_number(digits: str) -> str:
    """Add one to a number of any size, keeping its zero padding."""
    head = digits.rstrip("9")
    zeros = "0" * (len(digits) - len(head))
    return f"{head[:-1]}{int(head[-1]) + 1}{zeros}" if head else f"1{zeros}"
