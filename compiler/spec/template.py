"""Go templates over the whole text of a spec, with a map from rendered to written lines.

The engine sits in `gotemplate.py`, which is loaded on first use: importing it takes longer than
listing a tree does, and texts that only print values (`{{ .Values.name }}`), or hold no template at
all, are rendered here. A line of the result is traced back by rendering a second time, with each
text line marked by private-use characters; that happens only when a place has to be told.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Protocol, cast

from compiler.errors import Location, SpecError, TemplateError
from compiler.spec.definitions import ACTION, Library, definitions, is_quiet, seam

NO_VALUE = "<no value>"
"""What Go prints for a value that is not there."""

_SIMPLE = re.compile(r"(?<!\{)\{\{[ \t]*\.Values((?:\.[A-Za-z_][A-Za-z0-9_]*)+)[ \t]*\}\}")
_USES_TEMPLATES = re.compile(r"\b(?:include|template|block|tpl|define)\b")
_DEFINES = re.compile(r"\b(?:block|define)\b")
_UNKNOWN = re.compile(r"template '(.+)' is not defined")
_MARK = re.compile("\ue000([\ue010-\ue019]+)\ue001")
_DIGITS = {ord(str(digit)): 0xE010 + digit for digit in range(10)}
_NUMBERS = {0xE010 + digit: str(digit) for digit in range(10)}


class _Engine(Protocol):
    """What `gotemplate.py` offers."""

    TemplateFailure: type["_Failure"]

    def render(self, text: str, values: Mapping[str, object], *, front: str = "") -> str:
        """Render `text` with `values` as the root object, which may call what `front` defines."""

    def check(self, text: str) -> None:
        """Fail where `text` is no template."""


class _Failure(Exception):  # noqa: N818  (only says what gotemplate.TemplateFailure has)
    message: str
    line: int
    column: int
    in_front: bool


@cache
def _engine() -> _Engine:
    """Load the engine: the one import that waits, since most commands never need it."""
    return cast("_Engine", import_module("compiler.spec.gotemplate"))


@dataclass(frozen=True, slots=True)
class Source:
    """A file that takes part in a template."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """The text that a template gave, and where its lines were written."""

    text: str
    source: Source
    templates: "Templates | None" = None
    values: Mapping[str, object] = field(default_factory=dict)

    def place(self, line: int, column: int = 0) -> Location:
        """Tell where a place of the result was written: the line, and the column if it can be."""
        if self.templates is None:
            return Location(self.source.path, line, column)
        return self.templates.origin(self, line, column)


class Templates:
    """The files of all `templates` folders, which stand in front of every `build.yaml`."""

    def __init__(self, files: Sequence[Source] = ()) -> None:
        """Prepare `files`; raises `TemplateError` for the first fault of one of them.

        A name that two of them define with different texts is a fault.
        """
        for file in files:
            _check(file)
        self._files = tuple(_without_repeated(files))
        self._front = "".join(_with_newline(file.text) for file in self._files)
        self._quiet = is_quiet(self._front)
        end, self._seam = seam(self._front)
        self._defined = self._front[:end]
        self._library = Library(self._defined)
        self._lead: str | None = None
        self._last: tuple[Rendered, list[Location]] | None = None

    def render(self, source: Source, values: Mapping[str, object]) -> Rendered:
        """Render one file with `.Values`; raises `TemplateError` at the place as written."""
        if self._quiet:
            simple = _render_simple(source.text, values)
            if simple is not None:
                written = simple.count("\n") == source.text.count("\n")
                return Rendered(simple, source, None if written else self, values)
            if not _DEFINES.search(source.text):
                return Rendered(self._call(source, values), source, self, values)
        return Rendered(self._run(source, values), source, self, values)

    def origin(self, rendered: Rendered, line: int, column: int) -> Location:
        """Tell where a place of a rendered text was written."""
        if self._last is None or self._last[0] is not rendered:
            self._last = (rendered, self._origins(rendered))
        places = self._last[1]
        if not places:
            return Location(rendered.source.path)
        index = min(line, len(places)) - 1
        place = places[index]
        if not column or not place.line:
            return place
        files = {file.path: file.text for file in (*self._files, rendered.source)}
        written = files[place.path].split("\n")[place.line - 1]
        printed = rendered.text.split("\n")[index]
        return Location(place.path, place.line, _written_column(written, printed, column))

    def _parts(self, source: Source) -> tuple[Source, ...]:
        """Name the files that make up the template; those that are not called cost time only."""
        if self._quiet and not _USES_TEMPLATES.search(source.text):
            return (source,)
        return (*self._files, source)

    def _call(self, source: Source, values: Mapping[str, object]) -> str:
        """Render a text that defines nothing, as `_run` does; the files are compiled only once."""
        engine = _engine()
        uses = bool(_USES_TEMPLATES.search(source.text))
        joint = self._seam if uses else ""
        defined = self._library.reached_from(source.text) if uses else ""
        try:
            text = engine.render(joint + source.text, {"Values": values}, front=defined)
            return self._before(engine) + text if uses else text
        except engine.TemplateFailure as failure:
            location = self._failed_call(failure, source, joint.count("\n"))
            raise TemplateError(failure.message, location=location) from None

    def _before(self, engine: _Engine) -> str:
        """Give what the files write before any other text: white space."""
        if self._lead is None:
            self._lead = engine.render(self._defined, {})
        return self._lead

    def _failed_call(self, failure: "_Failure", source: Source, skipped: int) -> Location:
        """Tell where a text that `_call` rendered, or what it calls, was written."""
        for parts, text in (((source,), source.text), (self._files, self._front)):
            place = _named_at(failure.message, text)
            if place:
                return _written(parts, *place)
        if failure.in_front:
            return _written(self._files, failure.line, failure.column)
        return _written((source,), max(0, failure.line - skipped), failure.column)

    def _run(self, source: Source, values: Mapping[str, object], *, marked: bool = False) -> str:
        parts = self._parts(source)
        texts = [_with_newline(part.text) for part in parts[:-1]] + [source.text]
        text = _marked("".join(texts)) if marked else "".join(texts)
        engine = _engine()
        try:
            return engine.render(text, {"Values": values})
        except engine.TemplateFailure as failure:
            place = _named_at(failure.message, text) or (failure.line, failure.column)
            location = _written(parts, *place)
            raise TemplateError(failure.message, location=location) from None

    def _origins(self, rendered: Rendered) -> list[Location]:
        """List the origin of each line, or as much as can be told of it."""
        try:
            text = self._run(rendered.source, rendered.values, marked=True)
        except SpecError:
            return []  # a function did not like the marks
        parts = self._parts(rendered.source)
        lines, places = _read_marks(text, parts)
        wanted = rendered.text.split("\n")
        if lines == wanted:
            return places
        known = dict(zip(reversed(lines), reversed(places), strict=True))
        unknown = Location(rendered.source.path)
        return [known.get(line, unknown) if line.strip() else unknown for line in wanted]


def _check(file: Source) -> None:
    """Raise `TemplateError` where a file by itself is no template."""
    if "{{" not in file.text:
        return
    engine = _engine()
    try:
        engine.check(file.text)
    except engine.TemplateFailure as failure:
        location = _written((file,), failure.line, failure.column)
        raise TemplateError(failure.message, location=location) from None


def _named_at(message: str, text: str) -> tuple[int, int] | None:
    """Find the unknown name of a message; the engine does not know where that was called."""
    unknown = _UNKNOWN.fullmatch(message)
    index = text.rfind(f'"{unknown[1]}"') if unknown else -1
    if index < 0:
        return None
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


def _render_simple(text: str, values: Mapping[str, object]) -> str | None:
    """Render a text that only prints values; None where it takes the engine to do so."""
    if "{{" not in text:
        return text
    pieces = _SIMPLE.split(text)
    if any("{{" in piece for piece in pieces[::2]):
        return None
    for index in range(1, len(pieces), 2):
        printed = _printed(values, pieces[index])
        if printed is None:
            return None
        pieces[index] = printed
    return "".join(pieces)


def _printed(values: object, dotted: str) -> str | None:
    value = values
    for key in dotted.split(".")[1:]:
        if isinstance(value, Mapping):
            value = value.get(key)
        elif value is not None:
            return None
    if isinstance(value, str):
        return value
    if value is None:
        return NO_VALUE
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else None


def _with_newline(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _without_repeated(files: Sequence[Source]) -> list[Source]:
    """Drop a definition that an earlier file has with the same text, keeping the lines."""
    known: dict[str, tuple[str, Location]] = {}
    result = []
    for file in files:
        pieces, end = [], 0
        for start, stop, name in definitions(file.text):
            body = file.text[start:stop]
            place = Location(file.path, file.text.count("\n", 0, start) + 1)
            first, where = known.setdefault(name, (body, place))
            if where == place:
                continue
            if first != body:
                hint = f"another one stands at {where}; rename one of them"
                message = f"template {name!r} is defined twice"
                raise TemplateError(message, location=place, hint=hint)
            pieces += [file.text[end:start], "\n" * body.count("\n")]
            end = stop
        result.append(Source(file.path, "".join((*pieces, file.text[end:]))))
    return result


def _marked(text: str) -> str:
    """Put a mark with its line's number before the first printed character of each line."""
    if "\ue000" in text:
        return text
    pieces: list[str] = []
    end = 0
    number = 1
    fresh = True
    for action in [*ACTION.finditer(text), None]:
        plain = text[end : action.start()] if action else text[end:]
        marked, fresh = _mark_plain(plain, number, fresh=fresh)
        pieces.append(marked)
        number += plain.count("\n")
        if action is None:
            break
        if fresh and not action[0].startswith("{{-"):
            # the mark must not come between white space and an action that trims it
            pieces.append(_mark(number))
            fresh = False
        pieces.append(action[0])
        number += action[0].count("\n")
        end = action.end()
    return "".join(pieces)


def _mark_plain(text: str, number: int, *, fresh: bool) -> tuple[str, bool]:
    lines = []
    for offset, line in enumerate(text.split("\n")):
        fresh = fresh or offset > 0
        stripped = line.lstrip()
        if fresh and stripped:
            lines.append(line[: len(line) - len(stripped)] + _mark(number + offset) + stripped)
            fresh = False
        else:
            lines.append(line)
    return "\n".join(lines), fresh


def _mark(number: int) -> str:
    return f"\ue000{str(number).translate(_DIGITS)}\ue001"


def _read_marks(text: str, parts: Sequence[Source]) -> tuple[list[str], list[Location]]:
    """Take the marks out of a text: its lines, and the place of each."""
    lines, places = [], []
    number = 1
    for line in text.split("\n"):
        for found in _MARK.finditer(line):
            if found.start() and _MARK.sub("", line[: found.start()]).strip():
                break
            number = int(found[1].translate(_NUMBERS))
        lines.append(_MARK.sub("", line))
        places.append(_written(parts, number, 0))
    return lines, places


def _written_column(written: str, printed: str, column: int) -> int:
    """Tell the column of a line as written; where a template changed it, that of its first word."""
    shift = len(written) - len(written.lstrip()) - (len(printed) - len(printed.lstrip()))
    start = len(written) - len(written.lstrip()) + 1
    if written.lstrip().startswith(printed[: column - 1].lstrip()):
        return max(column + shift, start)
    return start


def _written(parts: Sequence[Source], line: int, column: int) -> Location:
    """Tell which file holds a line of the joined text."""
    if line == 0:
        return Location(parts[-1].path)
    starts = [0]
    for part in parts[:-1]:
        starts.append(starts[-1] + _with_newline(part.text).count("\n"))
    index = bisect_right(starts, line - 1) - 1
    return Location(parts[index].path, line - starts[index], column)
