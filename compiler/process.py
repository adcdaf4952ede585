"""Starts programs: the only module that does.

Nothing outlives us: a program gets SIGKILL when the thread that started it dies (`setpriv
--pdeathsig`, since Python's `preexec_fn` would turn off the fast vfork path), a stop kills its
whole session, and with `family` it is the first process of an own PID namespace, so that the kernel
ends its descendants with it.
"""

import os
import selectors
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedWriter, RawIOBase
from pathlib import Path
from typing import IO, cast

from compiler.errors import Interrupted, OutsideError
from compiler.programs import which

LineHandler = Callable[[str], None]

_TAIL = 20
_LINE = 1000
"""How many letters of a line are kept for an error; the log has all of it."""
_CHUNK = 65536
_LONGEST_LINE = 65536
_GRACE = 5.0
_IF_WE_LIVE = '[ "$PPID" = "$1" ] && shift && exec "$@"'
"""The kernel tells only of deaths from now on; a child whose parent is gone already ends here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program to start; `env` None means ours, `timeout` is in seconds."""

    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    directory: Path | None = None
    timeout: float | None = None
    family: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended: its exit code (128 + N after signal N) and its last lines of output."""

    program: str
    code: int
    tail: tuple[str, ...]

    def check(self) -> None:
        """Raise `OutsideError` with the last lines unless the program succeeded."""
        if self.code:
            said = "".join(f"\n    {line}" for line in self.tail)
            raise OutsideError(f"{self.program} failed with exit code {self.code}{said}")


@dataclass(slots=True)
class Running:
    """The programs that run on behalf of one owner, so that all of them can be stopped at once."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _children: set[int] = field(default_factory=set)
    _stopped: bool = False

    @property
    def stopped(self) -> bool:
        """Tell whether `stop` was called."""
        return self._stopped

    def stop(self) -> None:
        """Kill every program that runs, and let no further one start; any thread may call it."""
        with self._lock:
            self._stopped = True
            for pid in self._children:
                _kill_session(pid)

    @contextmanager
    def start(
        self, start: Callable[[], "subprocess.Popen[bytes]"]
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """Start a child; until it was waited for, `stop` kills it."""
        with self._lock:
            if self._stopped:
                raise Interrupted("stopped before a program was started")
            child = start()
            self._children.add(child.pid)
        try:
            yield child
        finally:
            with self._lock:
                self._children.discard(child.pid)
                _end(child)


def run(
    command: Command,
    *,
    on_line: LineHandler | None = None,
    log: IO[bytes] | None = None,
    running: Running | None = None,
) -> Finished:
    """Run a program to its end; output goes to `log` as it comes and to `on_line` line by line.

    Raises `OutsideError` when it is missing, cannot start or takes longer than its timeout, and
    `Interrupted` when `running` was stopped. Any exception on the way kills the program.
    """
    argv = _guarded(command)
    owner = running or Running()
    output = Output(on_line, log)
    with owner.start(lambda: _spawn(argv, command)) as child:
        _follow(child, output, command)
    output.end()
    if owner.stopped:
        raise Interrupted(f"{command.argv[0]} was stopped")
    code = child.returncode
    return Finished(Path(command.argv[0]).name, 128 - code if code < 0 else code, output.tail())


def ask(command: Command, question: bytes) -> tuple[Finished, bytes]:
    """Give a program `question` to read; return how it ended, and what it printed as its answer.

    What it says on the error stream is the tail of `Finished`. Raises `OutsideError` when it is
    missing, cannot start or takes longer than its timeout.
    """
    argv = _guarded(command)
    try:
        done = subprocess.run(  # noqa: S603  (this is the module that starts programs)
            argv,
            input=question,
            capture_output=True,
            check=False,
            env=command.env,
            cwd=command.directory,
            timeout=command.timeout,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        said = f"{command.argv[0]} did not end within {command.timeout:g} seconds"
        raise OutsideError(said) from error
    except OSError as error:
        raise OutsideError(f"cannot start {command.argv[0]}: {error.strerror}") from error
    output = Output(None, None)
    output.take(done.stderr)
    output.end()
    code = 128 - done.returncode if done.returncode < 0 else done.returncode
    return Finished(Path(command.argv[0]).name, code, output.tail()), done.stdout


def feed(
    command: Command, write: Callable[[IO[bytes]], None], running: Running | None = None
) -> Finished:
    """Run a program that reads what `write` writes, of any length, and wait for its end.

    Raises `OutsideError` when it is missing or cannot start, `Interrupted` when `running` was
    stopped; whatever `write` raises kills the program.
    """
    output = Output(None, None)
    owner = running or Running()
    with owner.start(lambda: _spawn(_guarded(command), command, subprocess.PIPE)) as child:
        if child.stdin is None or child.stdout is None:
            raise AssertionError
        said = threading.Thread(target=_hear, args=(child.stdout, output), daemon=True)
        said.start()
        try:
            # a pipe may take only part of what is written: when a signal comes, as of another child
            with BufferedWriter(cast("RawIOBase", child.stdin)) as pipe:
                write(pipe)
        except BrokenPipeError:
            pass  # its exit code and its last words say why
        child.wait()
        said.join(_GRACE)
    output.end()
    if owner.stopped:
        raise Interrupted(f"{command.argv[0]} was stopped")
    code = child.returncode
    return Finished(Path(command.argv[0]).name, 128 - code if code < 0 else code, output.tail())


def _hear(pipe: IO[bytes], output: "Output") -> None:
    """Take what a program says, so that it never waits for us."""
    while data := pipe.read(_CHUNK):
        output.take(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Which of our own streams a program gets; of the others it has nothing."""

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True


def attached(command: Command, streams: Streams) -> int:
    """Run a program on our own streams; returns its exit code (128 + N after signal N).

    It stays in our session, so that a terminal works. Any exception on the way kills it. Raises
    `OutsideError` when it is missing or cannot start.
    """
    no = subprocess.DEVNULL
    try:
        child = subprocess.Popen(  # noqa: S603  (this is the module that starts programs)
            _guarded(command),
            env=command.env,
            cwd=command.directory,
            stdin=None if streams.stdin else no,
            stdout=None if streams.stdout else no,
            stderr=None if streams.stderr else no,
        )
    except OSError as error:
        raise OutsideError(f"cannot start {command.argv[0]}: {error.strerror}") from error
    with child:
        try:
            code = child.wait()
        except BaseException:
            child.kill()
            raise
    return 128 - code if code < 0 else code


@contextmanager
def companion(script: str) -> Iterator[Callable[[], None]]:
    """Start a shell that waits to be let go, then runs `script`; it keeps the namespaces of now.

    Calling the yielded function lets it go and waits for it; raises `OutsideError` if it fails.
    """
    argv = [which("sh"), "-c", f"read go && {{ {script}; }}"]
    with subprocess.Popen(  # noqa: S603  (this is the module that starts programs)
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as shell:

        def let_go() -> None:
            said, _ = shell.communicate(b"go\n")
            tail = tuple(said.decode(errors="replace").splitlines()[-_TAIL:])
            Finished(script.split(maxsplit=1)[0], shell.returncode, tail).check()

        yield let_go
        if shell.stdin is not None:
            shell.stdin.close()


class Output:
    """Cuts a stream of bytes into lines; keeps the last few, never more than a bounded rest."""

    def __init__(self, on_line: LineHandler | None, log: IO[bytes] | None) -> None:
        self._on_line = on_line
        self._log = log
        self._rest = b""
        self._tail: deque[str] = deque(maxlen=_TAIL)

    def take(self, data: bytes) -> None:
        """Hear the next bytes."""
        if self._log is not None:
            self._log.write(data)
            self._log.flush()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > _LONGEST_LINE:
            self.end()

    def end(self) -> None:
        """Hear that nothing follows what was begun."""
        if self._rest:
            self._line(self._rest)
            self._rest = b""

    def tail(self) -> tuple[str, ...]:
        """Return the last lines."""
        return tuple(self._tail)

    def _line(self, line: bytes) -> None:
        shown = line.rstrip(b"\r").rpartition(b"\r")[2]
        text = shown.decode(errors="replace")
        self._tail.append(text if len(text) <= _LINE else f"{text[:_LINE]}…")
        if self._on_line is not None:
            self._on_line(text)


def _guarded(command: Command) -> list[str]:
    """Put the programs in front that make the kernel end the child when we end."""
    argv = [which(command.argv[0]), *command.argv[1:]]
    guard = [which("setpriv"), "--pdeathsig", "KILL", "--"]
    guard += [which("sh"), "-c", _IF_WE_LIVE, "sh", str(os.getpid())]
    if command.family:
        guard += [which("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    return guard + argv


def _spawn(
    argv: list[str], command: Command, stdin: int = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(  # noqa: S603  (this is the module that starts programs)
            argv,
            env=command.env,
            cwd=command.directory,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        raise OutsideError(f"cannot start {command.argv[0]}: {error.strerror}") from error


def _follow(child: "subprocess.Popen[bytes]", output: Output, command: Command) -> None:
    """Pass on what `child` prints until it ends, even if a stray of it keeps the pipe open."""
    deadline = None if command.timeout is None else time.monotonic() + command.timeout
    if child.stdout is None:
        raise AssertionError
    pipe = child.stdout.fileno()
    os.set_blocking(pipe, False)
    with _pidfd(child.pid) as ended, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select(_remaining(deadline, command))}
            if pipe in ready and not _drain(pipe, output):
                selector.unregister(pipe)
            if ended in ready:
                _drain(pipe, output)
                break
    child.wait()


@contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    handle = os.pidfd_open(pid)
    try:
        yield handle
    finally:
        os.close(handle)


def _remaining(deadline: float | None, command: Command) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise OutsideError(f"{command.argv[0]} did not end within {command.timeout:g} seconds")
    return left


def _drain(pipe: int, output: Output) -> bool:
    """Read what is there; False once the other end is closed."""
    with suppress(BlockingIOError):
        while data := os.read(pipe, _CHUNK):
            output.take(data)
        return False
    return True


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Make sure that nothing of the child's session runs on, and collect it."""
    if child.stdout is None:
        raise AssertionError
    if child.returncode is None:
        _kill_session(child.pid)
        child.wait(_GRACE)
        _await_last_writer(child.stdout.fileno())
    child.stdout.close()


def _await_last_writer(pipe: int) -> None:
    """Wait until nobody holds the pipe any more: killed descendants have ended by then."""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        deadline = time.monotonic() + _GRACE
        while selector.select(deadline - time.monotonic()):
            if not os.read(pipe, _CHUNK):
                return


def _kill_session(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
