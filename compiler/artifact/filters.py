"""Includes and excludes: which paths of a package are kept, by Go's regular expressions.

Go's `regexp` is RE2, and so is the library used here: the same syntax, matched in linear time, so
no expression of a tree can stop a build by backtracking.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import re2

from compiler.errors import CompilerError, Faults, Location, SpecError
from compiler.spec.package import PackageSpec

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_MEMORY = 64 << 20  # bytes that a program and its automata may take, for thousands of expressions
_OPTIONS.max_mem = _MEMORY


_SHOWN = 77
"""How many letters of an expression a message repeats."""


class _Pattern(Protocol):
    """The part of a compiled expression that is used here; the library itself has no types."""

    def search(self, text: bytes) -> object | None:
        """Return a match, or None."""


@dataclass(frozen=True, slots=True)
class Filters:
    """The expressions of one package; `keeps` answers for one path."""

    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    _include: Callable[[bytes], bool] | None = field(default=None, repr=False, compare=False)
    _exclude: Callable[[bytes], bool] | None = field(default=None, repr=False, compare=False)

    @property
    def keep_all(self) -> bool:
        """Whether there are no expressions."""
        return self._include is None and self._exclude is None

    def keeps(self, path: str) -> bool:
        """Tell whether `path` (without leading slash) passes.

        Searched, not anchored, in `/path`, folders without trailing slash, as luet does: it must
        match an include, if there are any, and no exclude.
        """
        if self.keep_all:
            return True
        text = _text_of(path)
        if self._include is not None and not self._include(text):
            return False
        return self._exclude is None or not self._exclude(text)


def searcher(expression: str) -> Callable[[str], bool]:
    """Return a test whether a text has a match of one expression; raises `SpecError`."""
    pattern = _compiled(expression)
    return lambda text: pattern.search(_encoded(text)) is not None


def compile_filters(includes: Sequence[str], excludes: Sequence[str]) -> Filters:
    """Compile the expressions of a package; raises `SpecError` for the first that is wrong."""
    return Filters(tuple(includes), tuple(excludes), _any_of(includes), _any_of(excludes))


def check_filters(spec: PackageSpec) -> None:
    """Raise all wrong expressions of `spec` and its subpackages as `Faults`, where they stand."""
    faults = list(filter_faults(spec))
    if faults:
        raise Faults.of(faults)


def filter_faults(spec: PackageSpec) -> Iterable[CompilerError]:
    """Yield a `SpecError` with its place for each wrong expression of `spec`."""
    if spec.build is None:
        return
    lists = [("includes", spec.build.includes), ("excludes", spec.build.excludes)]
    for number, part in enumerate(spec.build.subpackages):
        lists.append((f"subpackages.{number}.includes", part.includes))
        lists.append((f"subpackages.{number}.excludes", part.excludes))
    for place, expressions in lists:
        for number, expression in enumerate(expressions):
            try:
                _compiled(expression)
            except SpecError as error:
                where = _place(spec, f"{place}.{number}")
                yield SpecError(error.message, location=where, hint=error.hint)


def _place(spec: PackageSpec, key: str) -> Location | None:
    """Find where `key` was written, or the nearest thing around it."""
    while key:
        if key in spec.places:
            return spec.places[key]
        key = key.rpartition(".")[0]
    file = spec.build_file or spec.definition_file
    return Location(str(file))


def _any_of(expressions: Sequence[str]) -> Callable[[bytes], bool] | None:
    """Return a test for "any matches", as one program where that is possible, or None for none."""
    if not expressions:
        return None
    single = [_compiled(expression) for expression in expressions]
    joined = _joined(expressions)
    if joined is not None:
        return lambda text: joined.search(text) is not None
    return lambda text: any(pattern.search(text) is not None for pattern in single)


def _joined(expressions: Sequence[str]) -> _Pattern | None:
    r"""Join valid expressions into one alternation; an open `\Q` would swallow the others."""
    if any(r"\Q" in expression for expression in expressions):
        return None
    try:
        return _compile("|".join(f"(?:{expression})" for expression in expressions))
    except re2.error:  # the same group name in two of them, or too large together
        return None


def _compiled(expression: str) -> _Pattern:
    """Compile one expression; raises `SpecError`."""
    try:
        return _compile(expression)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        told = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise SpecError(
            f"{_shown(expression)} is not a regular expression: {told[:200]}",
            hint="filters use Go's syntax, without lookaround and backreferences",
        ) from error


def _compile(expression: str) -> _Pattern:
    """Compile to a program that searches bytes of UTF-8."""
    pattern: _Pattern = re2.compile(expression.encode("utf-8", "surrogatepass"), _OPTIONS)
    return pattern


def _shown(expression: str) -> str:
    """Quote an expression for a message, shortened."""
    return repr(expression if len(expression) <= _SHOWN else f"{expression[:_SHOWN]}...")


def _text_of(path: str) -> bytes:
    """Encode a path as it is searched, with a slash before it."""
    return b"/" + _encoded(path)


def _encoded(text: str) -> bytes:
    """Encode what is searched; bytes that are no UTF-8 count as U+FFFD, as in Go."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "surrogateescape")
        return raw.decode("utf-8", "replace").encode()
