"""What a client's configuration wants of its reports: a log file, and that warnings are errors."""

import os
import threading
from datetime import UTC, datetime
from pathlib import Path

from compiler.cli.report import Relay, reporter, said_of
from compiler.cli.settings import Settings
from compiler.errors import CompilerError
from compiler.events import Event, Noted, Reporter, Transferred
from compiler.system.config import Config

_MODE = 0o640


class Listening(Relay):
    """A reporter that passes everything on, writes it into a log, and remembers warnings."""

    def __init__(self, target: Reporter, log: Path | None, *, fatal: bool) -> None:
        super().__init__(target)
        self._log = log
        self._fatal = fatal
        self._warnings = 0
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        super().__call__(event)
        is_warning = isinstance(event, Noted) and event.warning
        with self._lock:
            self._warnings += is_warning
        if not isinstance(event, Transferred):
            self.write("warning" if is_warning else "info", said_of(event))

    def write(self, level: str, text: str) -> None:
        """Write a line into the log, with its time; one that cannot be written is warned of."""
        if self._log is None:
            return
        line = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ} {level}: {' '.join(text.split())}\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            handle = os.open(self._log, flags, _MODE)
            with os.fdopen(handle, "ab", buffering=0) as file:
                file.write(line.encode(errors="surrogateescape"))
        except OSError as error:
            place, self._log = self._log, None
            self(Noted(f"{place}: no log is written: {error.strerror}", warning=True))

    def stop_if_warned(self) -> None:
        """Raise `CompilerError` where a warning is an error, and there was one."""
        if self._fatal and self._warnings:
            words = "a warning is an error" if self._warnings == 1 else "warnings are errors"
            raise CompilerError(words, hint="'general.fatal_warnings' and --fatal want it so")


def listening(settings: Settings, config: Config) -> Listening:
    """Choose who reports, as settings and configuration say."""
    log = Path(config.logging.path) if config.logging.enable_logfile else None
    return Listening(reporter(settings).target, log, fatal=config.general.fatal_warnings)
