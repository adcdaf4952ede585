"""Words as Dockerfiles have them: splitting, quotes and variables."""

import re
from collections.abc import Mapping

from compiler.errors import SpecError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?]")
_BRACED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?])(:?[-+?])?")

_MAX_DEPTH = 50
_SHOWN = 60


def split(text: str) -> list[str]:
    """Split at blanks outside quotes; quotes and backslashes stay, for `expand`."""
    words: list[str] = []
    word = ""
    quote = ""
    index = 0
    while index < len(text):
        letter = text[index]
        if letter == "\\" and quote != "'" and index + 1 < len(text):
            word += text[index : index + 2]
            index += 2
            continue
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter.isspace():
            words += [word] if word else []
            word = letter = ""
        word += letter
        index += 1
    return [*words, word] if word else words


def expand(word: str, env: Mapping[str, str]) -> str:
    """Take the quotes off a word and put variables in, as Docker does it.

    `$VAR`, `${VAR}`, `${VAR:-word}`, `${VAR:+word}`, `${VAR:?message}`, and the three without the
    colon; nothing is expanded in single quotes. Raises `SpecError` for what is none of these.
    """
    return _Expansion(word, env).run("")


def _shortened(word: str) -> str:
    return repr(word if len(word) <= _SHOWN else f"{word[:_SHOWN]}...")


class _Expansion:
    """Goes through one word."""

    def __init__(self, word: str, env: Mapping[str, str]) -> None:
        self.word = word
        self.env = env
        self.index = 0
        self.depth = 0

    def run(self, end: str) -> str:
        """Expand up to `end`, outside quotes."""
        result: list[str] = []
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise SpecError(f"nests more than {_MAX_DEPTH} variables in each other")
        while self.index < len(self.word):
            letter = self._next()
            if letter == end:
                break
            if letter == "'":
                result.append(self._single())
            elif letter == '"':
                result.append(self._double())
            elif letter == "\\":
                result.append(self._next())
            else:
                result.append(self._variable() if letter == "$" else letter)
        else:
            if end:
                raise SpecError(f"'${{' without '}}' in {_shortened(self.word)}")
        self.depth -= 1
        return "".join(result)

    def _next(self) -> str:
        letter = self.word[self.index : self.index + 1]
        self.index += 1
        return letter

    def _single(self) -> str:
        end = self.word.find("'", self.index)
        start, self.index = self.index, len(self.word) if end < 0 else end + 1
        return self.word[start : end if end >= 0 else None]

    def _double(self) -> str:
        result: list[str] = []
        while self.index < len(self.word) and (letter := self._next()) != '"':
            if letter == "\\" and self.word[self.index : self.index + 1] in ('"', "$", "\\"):
                letter = self._next()
            elif letter == "$":
                letter = self._variable()
            result.append(letter)
        return "".join(result)

    def _variable(self) -> str:
        if self.word[self.index : self.index + 1] != "{":
            found = _NAME.match(self.word, self.index)
            if not found:
                return "$"
            self.index = found.end()
            return self.env.get(found[0], "")
        found = _BRACED.match(self.word, self.index)
        if not found or (not found[2] and self.word[found.end() : found.end() + 1] != "}"):
            raise SpecError(
                f"cannot expand {_shortened(self.word)}", hint="write ${VAR} or ${VAR:-default}"
            )
        self.index = found.end()
        return self._modified(found[1], found[2] or "", self.run("}"))

    def _modified(self, name: str, operator: str, other: str) -> str:
        value = self.env.get(name)
        given = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("+"):
            return other if given else ""
        if operator.endswith("-"):
            return value if given and value is not None else other
        if operator.endswith("?") and not given:
            raise SpecError(f"variable {name!r} is not set: {other or 'it has to be'}")
        return value or ""
