"""The text of a step, a prelude entry or an `env` entry, as Docker reads it.

luet pastes each entry after `RUN ` or `ENV ` into a Dockerfile, so an entry can hold everything
that a Dockerfile can: continued lines, flags, here-documents, and further instructions. What would
be a syntax error there, several plain lines, is run as the script that its author meant.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from compiler.errors import Location, SpecError
from compiler.spec.instruction import (
    CopyIn,
    Exec,
    From,
    Instruction,
    Mount,
    Noted,
    SetArg,
    SetEnv,
    SetShell,
    Shell,
    User,
    Workdir,
)
from compiler.spec.words import split

_HEREDOC = re.compile(r"(?<![<\w])<<(-?)(?:([A-Za-z_][\w.]*)|'([^']+)'|\"([^\"]+)\")")
_FLAG = re.compile(r"--([a-z]+)(?:=(\S*))?(?:\s+|$)")
_FLAGS = re.compile(r"(?:--[a-z]+(?:=\S*)?\s+)*")
_MAX_STEP = 1 << 20
_MAX_DOCUMENTS = 50
"""Here-documents of one instruction that are looked for; each costs a walk through the text."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One instruction: its first and last line, and its text with continued lines joined.

    `documents` are the here-documents that follow it: name and content.
    """

    line: int
    end: int
    text: str
    documents: tuple[tuple[str, str], ...] = ()

    @property
    def word(self) -> str:
        """The first word, in upper case."""
        return self.text.split(maxsplit=1)[0].upper()

    @property
    def rest(self) -> str:
        """What follows the first word."""
        return self.text.partition(self.text.split(maxsplit=1)[0])[2].strip()


def parse_run(text: str, *, location: Location | None = None) -> tuple[Instruction, ...]:
    """Read a step or prelude entry; an empty one is nothing. Raises `SpecError`."""
    return _pasted("RUN", text, location)


def parse_env_entry(text: str, *, location: Location | None = None) -> tuple[Instruction, ...]:
    """Read an entry of `env`, mostly one `SetEnv`. Raises `SpecError`."""
    return _pasted("ENV", text, location)


def parse_env(text: str) -> tuple[tuple[str, str], ...]:
    """Read what follows `ENV`: `K=V K2="a b"`, or the old form `K V`; values are words.

    Raises `SpecError`. A word without `=` after the first belongs to the value before it: Docker
    refuses `K=with space`, but nothing else can be meant.
    """
    words = split(text)
    if not words:
        raise SpecError("sets no variable", hint="write NAME=value")
    if "=" not in words[0]:
        name, _, value = text.strip().partition(" ")
        if not value.strip():
            raise SpecError(f"sets no value for {name!r}", hint=f"write {name}=value")
        return ((name, value.strip()),)
    pairs: list[tuple[str, str]] = []
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name:
            pairs.append((name, value))
        elif not pairs:
            raise SpecError(f"sets a variable without name: {word!r}")
        else:
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]}' '{word}")
    return tuple(pairs)


def statements(text: str) -> Iterator[Statement]:
    """Split a Dockerfile's text into instructions, without comments and empty lines."""
    lines = text.split("\n")
    index = 0
    while index < len(lines):
        if not _is_content(lines[index]):
            index += 1
            continue
        start = index
        joined, index = _join(lines, index)
        if not joined.strip():
            continue  # nothing but backslashes
        documents, index = _documents(joined, lines, index)
        yield Statement(start + 1, index, joined.strip(), documents)


def instruction(statement: Statement) -> Instruction:
    """Read one instruction; raises `SpecError` for one that does not exist or makes no sense."""
    parse = _INSTRUCTIONS.get(statement.word)
    if parse is None:
        known = ", ".join(sorted(_INSTRUCTIONS))
        raise SpecError(f"unknown instruction {statement.word!r}", hint=f"known are {known}")
    return parse(statement)


def _pasted(word: str, text: str, location: Location | None) -> tuple[Instruction, ...]:
    """Read `text` as it stands in a Dockerfile after `word`."""
    if not text.strip():
        return ()
    try:
        if len(text) > _MAX_STEP:
            raise SpecError(f"is longer than {_MAX_STEP} characters")  # noqa: TRY301  (so that its place is added below)
        pasted = f"{word} {text.lstrip()}"
        found = list(statements(pasted))
        if not all(each.word in _INSTRUCTIONS for each in found):
            found = _with_scripts(pasted)
        return tuple(instruction(each) for each in found)
    except SpecError as error:
        raise SpecError(error.message, location=location, hint=error.hint) from None


def _with_scripts(text: str) -> list[Statement]:
    """Read a text with lines that are no instructions: they go on with the script before them.

    Among such lines only words in capitals begin an instruction: `env` may be the program. What
    goes on is kept as written, with its comments and empty lines.
    """
    lines = text.split("\n")
    result: list[Statement] = []
    ends: list[int] = []
    for each in statements(text):
        written = each.text.split(maxsplit=1)[0]
        if written in _INSTRUCTIONS or not result or result[-1].word != "RUN":
            result.append(each)
            ends.append(each.end)
        else:
            ends[-1] = each.end
    return [
        each
        if each.end == end
        else Statement(each.line, end, _as_script("\n".join(lines[each.line - 1 : end])))
        for each, end in zip(result, ends, strict=True)
    ]


def _as_script(raw: str) -> str:
    """Make a step of many lines stop at the first that fails; its flags stay in front."""
    body = raw.strip()[len("RUN") :].lstrip()
    flags = _FLAGS.match(body)
    start = flags.end() if flags else 0
    return f"RUN {body[:start]}set -e\n{body[start:]}"


def _is_content(line: str) -> bool:
    stripped = line.strip()
    return bool(stripped) and not stripped.startswith("#")


def _join(lines: Sequence[str], index: int) -> tuple[str, int]:
    """Join continued lines; comments and empty lines among them vanish."""
    joined = ""
    while index < len(lines):
        line = lines[index]
        index += 1
        if joined and not _is_content(line):
            continue
        stripped = line.rstrip()
        if not stripped.endswith("\\"):
            return joined + line, index
        joined += stripped[:-1]
    return joined, index


def _documents(
    joined: str, lines: Sequence[str], index: int
) -> tuple[tuple[tuple[str, str], ...], int]:
    """Read the here-documents that an instruction announces, if they are there."""
    if joined.split(maxsplit=1)[0].upper() not in ("RUN", "COPY", "ADD"):
        return (), index
    found: list[tuple[str, str]] = []
    for dash, *names in _HEREDOC.findall(joined)[:_MAX_DOCUMENTS]:
        name = next(filter(None, names))
        ends = [
            number
            for number in range(index, len(lines))
            if (lines[number].lstrip("\t") if dash else lines[number]).rstrip("\r") == name
        ]
        if not ends:
            continue  # the shell may still make something of it: $((1<<n))
        body = [line.lstrip("\t") if dash else line for line in lines[index : ends[0]]]
        found.append((name, "".join(f"{line}\n" for line in body)))
        index = ends[0] + 1
    return tuple(found), index


def _flags(text: str, known: Sequence[str]) -> tuple[list[tuple[str, str]], str]:
    """Take the leading `--flag=value`s off; raises `SpecError` for an unknown one."""
    flags: list[tuple[str, str]] = []
    while found := _FLAG.match(text):
        if found[1] not in known:
            raise SpecError(f"unknown flag '--{found[1]}'")
        flags.append((found[1], found[2] or ""))
        text = text[found.end() :]
    return flags, text


def _json_words(text: str) -> tuple[str, ...] | None:
    """Read the form `["a", "b"]`; None when it is none, then it is for the shell."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    words = value if isinstance(value, list) else []
    return tuple(words) if words and all(isinstance(word, str) for word in words) else None


def _run(statement: Statement) -> Instruction:
    flags, text = _flags(statement.rest, ("mount", "network", "security"))
    mounts = tuple(_mount(value) for name, value in flags if name == "mount")
    network = next((value for name, value in flags if name == "network"), "")
    argv = _json_words(text)
    if argv is not None:
        return Exec(argv, mounts, network)
    if not text:
        raise SpecError("RUN without a command")
    return Shell(_script(statement, text), mounts, network)


def _script(statement: Statement, text: str) -> str:
    """Give the script of a RUN: its line, or its here-document, or the line with the documents."""
    if not statement.documents:
        return text
    if _HEREDOC.fullmatch(text) and len(statement.documents) == 1:
        return statement.documents[0][1]
    bodies = (f"{content}{name}\n" for name, content in statement.documents)
    return "".join((text, "\n", *bodies))


def _mount(text: str) -> Mount:
    options = dict(part.partition("=")[::2] for part in text.split(",") if part)
    kind = options.pop("type", "bind")
    target = next(
        (options.pop(key) for key in ("target", "dst", "destination") if key in options), ""
    )
    if kind not in ("cache", "tmpfs", "bind", "secret", "ssh"):
        raise SpecError(f"unknown kind of mount {kind!r}", hint="cache, tmpfs, bind, secret or ssh")
    if not target and kind not in ("secret", "ssh"):
        raise SpecError(f"--mount=type={kind} needs a target", hint="add ,target=/a/path")
    return Mount(kind, target, options)


def _env(statement: Statement) -> Instruction:
    return SetEnv(parse_env(statement.rest))


def _arg(statement: Statement) -> Instruction:
    pairs = [word.partition("=") for word in split(statement.rest)]
    if not pairs:
        raise SpecError("ARG without a name")
    return SetArg(tuple((name, value if equals else None) for name, equals, value in pairs))


def _copy(statement: Statement) -> Instruction:
    known = ("from", "chown", "chmod", "link", "parents", "exclude", "checksum", "keep")
    flags, text = _flags(statement.rest, known)
    words = list(_json_words(text) or split(text))
    if len(words) < 2:  # noqa: PLR2004  (a source and a destination)
        raise SpecError(f"{statement.word} needs a source and a destination")
    given = dict(flags)
    return CopyIn(
        tuple(word for word in words[:-1] if not _HEREDOC.fullmatch(word)),
        words[-1],
        origin=given.get("from", ""),
        add=statement.word == "ADD",
        owner=given.get("chown", ""),
        mode=given.get("chmod", ""),
        files=statement.documents,
    )


def _workdir(statement: Statement) -> Instruction:
    return Workdir(_needed(statement))


def _user(statement: Statement) -> Instruction:
    return User(_needed(statement))


def _shell(statement: Statement) -> Instruction:
    argv = _json_words(statement.rest)
    if argv is None:
        raise SpecError("SHELL needs a list", hint='write SHELL ["/bin/bash", "-c"]')
    return SetShell(argv)


def _from(statement: Statement) -> Instruction:
    _, text = _flags(statement.rest, ("platform",))
    words = text.split()
    if len(words) == 3 and words[1].lower() == "as":  # noqa: PLR2004  (image, AS, name)
        return From(words[0], words[2])
    if len(words) != 1:
        raise SpecError(f"cannot read 'FROM {text}'", hint="write FROM image [AS name]")
    return From(words[0])


def _noted(statement: Statement) -> Instruction:
    return Noted(statement.word, statement.rest)


def _needed(statement: Statement) -> str:
    if not statement.rest:
        raise SpecError(f"{statement.word} needs an argument")
    return statement.rest


_NOTED = "CMD ENTRYPOINT EXPOSE HEALTHCHECK LABEL MAINTAINER ONBUILD STOPSIGNAL VOLUME"
_INSTRUCTIONS: Mapping[str, Callable[[Statement], Instruction]] = {
    "RUN": _run,
    "ENV": _env,
    "ARG": _arg,
    "COPY": _copy,
    "ADD": _copy,
    "WORKDIR": _workdir,
    "USER": _user,
    "SHELL": _shell,
    "FROM": _from,
    **dict.fromkeys(_NOTED.split(), _noted),
}
