"""What a text of Go templates defines, and what it writes besides: found without the engine."""

import re
from typing import cast

ACTION = re.compile(
    r"""\{\{-?\s*+(?:/\*.*?\*/|(?:"(?:\\.|[^"\\\n])*+"|`[^`]*+`|'(?:\\.|[^'\\\n])*+'"""
    r"""|[^"`'{}]|\}(?!\})|\{(?!\{))*+)\s*-?\}\}""",
    re.DOTALL,
)
_WORD = re.compile(r'\{\{-?\s*(\w+)(?:\s+"([^"]*)")?')


_COMPUTED = re.compile(r"""\b(?:tpl\b|(?:include|template)\s*(?!"[^"\\\n]*"|`[^`]*`|\s))""")
"""A call whose name the text does not show."""


def is_quiet(text: str) -> bool:
    """Whether a text only defines templates and writes nothing itself."""
    depth = 0
    end = 0
    for action in ACTION.finditer(text):
        if depth == 0 and text[end : action.start()].strip():
            return False
        end = action.end()
        word = _action_word(action[0])
        if word == "end":
            depth -= 1
        elif word in ("define", "if", "range", "with", "block"):
            if depth == 0 and word != "define":
                return False
            depth += 1
        elif depth == 0 and not action[0].lstrip("{- \t\n").startswith("/*"):
            return False
    return not text[end:].strip()


def _action_word(action: str) -> str:
    found = _WORD.match(action)
    return found[1] if found else ""


def definitions(text: str) -> list[tuple[int, int, str]]:
    """Find the outermost `define` blocks: start, end, name."""
    found: list[tuple[int, int, str]] = []
    depth, start, name = 0, 0, ""
    for action in ACTION.finditer(text):
        word = _action_word(action[0])
        if word in ("define", "if", "range", "with", "block"):
            if depth == 0:
                start, name = action.start(), ""
                if word == "define":
                    name = cast("re.Match[str]", _WORD.match(action[0]))[2] or ""
            depth += 1
        elif word == "end":
            depth -= 1
            if depth == 0 and name:
                found.append((start, action.end(), name))
    return found


def seam(front: str) -> tuple[int, str]:
    """Tell where the last action of a quiet text ends, and give what joins another text to it.

    What stands before that place writes the same whatever follows. The seam is the white space
    after it, which the following text may trim, behind a comment where the last action trims it.
    """
    end, trims = 0, False
    for action in ACTION.finditer(front):
        end, trims = action.end(), action[0].endswith("-}}")
    return end, ("{{/* */ -}}" if trims else "") + front[end:]


class Library:
    """The definitions of a text; each other text gets those that it can reach."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found = {name: (start, stop) for start, stop, name in definitions(text)}
        self._bodies = {name: text[start:stop] for name, (start, stop) in self._found.items()}
        self._always = self._only(frozenset())
        self._texts: dict[frozenset[str], str] = {}

    def reached_from(self, text: str) -> str:
        """Give the text of the definitions without those that `text` cannot call, directly or not.

        Linking takes time for each that is there. Lines and columns stay as they are.
        """
        reached: set[str] = set()
        pending = [text, self._always]
        while pending:
            caller = pending.pop()
            if _COMPUTED.search(caller):
                return self._text
            new = {name for name in self._found if name not in reached and name in caller}
            reached |= new
            pending += [self._bodies[name] for name in new]
        names = frozenset(reached)
        if names not in self._texts:
            self._texts[names] = self._only(names)
        return self._texts[names]

    def _only(self, names: frozenset[str]) -> str:
        """Blank out all definitions but those of `names`."""
        pieces, end = [], 0
        for name, (start, stop) in self._found.items():
            if name not in names:
                blank = re.sub(r"[^\n]", " ", self._bodies[name])
                pieces += [self._text[end:start], blank]
                end = stop
        return "".join((*pieces, self._text[end:]))
