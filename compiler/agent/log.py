"""What a run says as it goes, by how much it matters; remembers whether anything failed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum

from compiler.errors import CompilerError


class Level(IntEnum):
    """How much is said: each level includes those before it."""

    ERROR = 0
    WARNING = 1
    INFO = 2
    DEBUG = 3

    @classmethod
    def named(cls, text: str) -> "Level":
        """Read the value of LOGLEVEL; raises `KeyError` for what is no level."""
        words = {"warn": "warning", "trace": "debug", "fatal": "error"}
        name = words.get(text.lower(), text.lower()).upper()
        return cls.__members__[name]


class Log:
    """Passes on what is worth saying, one line or more at a time, and counts the errors."""

    def __init__(self, say: Callable[[str], None], level: Level = Level.INFO) -> None:
        self._say = say
        self._level = level
        self.errors = 0
        self._about: Callable[[], str] | None = None

    @contextmanager
    def about(self, place: Callable[[], str]) -> Iterator[None]:
        """Say of all warnings what they are about; `place` is asked when there is one."""
        before, self._about = self._about, place
        try:
            yield
        finally:
            self._about = before

    def fail(self, error: CompilerError) -> None:
        """Say what failed; the run goes on, and ends with an exit code that is not 0."""
        self.errors += 1
        self._say(f"error: {error}")

    def warning(self, text: str) -> None:
        """Say what is odd but no failure."""
        self._at(Level.WARNING, f"warning: {self._place()}{text}")

    def info(self, text: str) -> None:
        """Say what is done."""
        self._at(Level.INFO, text)

    def debug(self, text: str) -> None:
        """Say what only somebody who looks for a fault wants to know."""
        self._at(Level.DEBUG, text)

    def _place(self) -> str:
        return f"{self._about()}: " if self._about else ""

    def _at(self, level: Level, text: str) -> None:
        if level <= self._level:
            self._say(text)
