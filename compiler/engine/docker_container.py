"""One container of a Docker engine: what goes in, the steps that run, and what it is asked."""

import io
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import IO, Any

from docker import APIClient
from docker.errors import APIError
from docker.types import LogConfig, Mount, Ulimit
from docker.utils import decode_json_header

from compiler.engine import Network, Run
from compiler.engine.docker_daemon import RUN_LABEL, remove_container, said_by
from compiler.engine.docker_wire import Wire
from compiler.engine.host import HOSTNAME
from compiler.errors import EngineError

_KEEPER = "while read -r line; do kill -9 -1 2>/dev/null; echo; done"
"""What the first process of a container does: when it is told, it ends all others. When nobody is
left to tell it anything, it ends itself, and with it whatever runs."""

Limits = Mapping[str, tuple[int, int]]
"""What steps may have, and how far they may raise that, by Docker's names of limits."""

LIMITS: Limits = {"nofile": (1024, 524288)}
"""As many open files as systemd gives."""

MODEST_LIMITS: Limits = {"nofile": (1024, 4096), "nproc": (4096, 4096)}
"""For engines that may not allow more; Podman raises the second, too, unless it is told one."""

_EMPTY = "mode=1777,notmpcopyup"
"""How Podman mounts a file system in memory that starts empty (podman-run(1), --tmpfs)."""

_MOMENT = 0.01
_NOT_STARTED = b"OCI runtime exec failed: "
_GO_FOLDER, _GO_LINK = 1 << 31, 1 << 27
"""Bits of a mode as Go has them (io/fs, FileMode)."""

Take = Callable[[bytes], None]


class NotStartedError(Exception):
    """A command could not be started; its text is the words of the container runtime."""


class LimitedError(Exception):
    """The engine itself may not open as many files as it was to allow a container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a container is made of; without a `shell` it runs `step` and nothing else.

    `tmpfs` are places in memory that Podman is asked for: as `mounts` it would fill them with what
    the root has there.
    """

    image: str
    run: str
    network: Network
    mounts: Sequence[Mount]
    tmpfs: Sequence[str] = ()
    shell: str = ""
    step: Run | None = None
    env: Sequence[str] = ()
    limits: Limits = field(default_factory=lambda: LIMITS)


@dataclass(frozen=True, slots=True)
class Stat:
    """What is at a path of a container; `target` is where a link leads in the end."""

    mode: int
    changed: str
    target: str

    @property
    def is_folder(self) -> bool:
        """Tell whether it is a folder itself."""
        return bool(self.mode & _GO_FOLDER)

    @property
    def is_link(self) -> bool:
        """Tell whether it is a symbolic link."""
        return bool(self.mode & _GO_LINK)


class Container:
    """A container while it lasts; of one thread."""

    def __init__(self, api: APIClient, id_: str) -> None:
        self._api = api
        self.id = id_
        self._wire: Wire | None = None
        self._answers: Iterator[bytes] = iter(())

    def stat(self, path: str) -> Stat | None:
        """Look at a path, links on the way followed and the last one not; None for nothing."""
        address = f"{self._api.base_url}/v{self._api.api_version}/containers/{self.id}/archive"
        answer = self._api.head(address, params={"path": path})
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        answer.raise_for_status()
        value = decode_json_header(answer.headers["X-Docker-Container-Path-Stat"])
        return Stat(int(value["mode"]), str(value["mtime"]), str(value["linkTarget"]))

    def put(self, path: str, archive: IO[bytes]) -> None:
        """Unpack an archive in a folder of the container."""
        self._api.put_archive(self.id, path, archive)

    def get(self, path: str, archive: IO[bytes]) -> None:
        """Pack a path of the container."""
        pieces, _ = self._api.get_archive(self.id, path)
        for piece in pieces:
            archive.write(piece)

    def read(self, path: str) -> bytes:
        """Read a small file, b"" if there is none."""
        status = self.stat(path)
        if status is None:
            return b""
        packed = io.BytesIO()
        self.get(status.target if status.is_link else path, packed)
        packed.seek(0)
        with tarfile.open(fileobj=packed) as archive:
            member = archive.next()
            content = archive.extractfile(member) if member is not None else None
            return content.read() if content is not None else b""

    def make_folders(self, path: str) -> None:
        """Make the folders of a path that are missing; raises `EngineError` if one is a file."""
        there, missing = path.rstrip("/") or "/", list[str]()
        while (status := self.stat(there)) is None:
            there, _, name = there.rpartition("/")
            missing.insert(0, name)
            there = there or "/"
        if status.is_link:
            status = self.stat(status.target)
        if status is None or not status.is_folder:
            raise EngineError(f"{there} is not a folder")
        if missing:
            self.put(there, _folders(missing))

    def keep(self) -> None:
        """Start a container whose shell waits for steps."""
        self._connect(stdin=1, stdout=1)
        self._start()

    def execute(self, step: Run, env: Sequence[str], take: Take) -> int:
        """Run a step in a container that is kept, and end what it leaves running.

        Returns its exit code; raises `NotStartedError` with the reason if it could not start.
        """
        asked = self._asked(step, env)
        refused = (_NOT_STARTED, f"exec {step.argv[0]}: exec format error".encode())
        code = self._followed(asked, refused, take)
        self._end_the_rest()
        return code

    def _asked(self, step: Run, env: Sequence[str]) -> str:
        """Ask for a step; Podman cannot take variables away, which a name without value does."""
        ask = partial(
            self._api.exec_create,
            self.id,
            list(step.argv),
            user=step.user,
            workdir=step.directory or "/",
        )
        try:
            return str(ask(environment=list(env))["Id"])
        except APIError as error:
            given = [each for each in env if "=" in each]
            if "badly formed" not in said_by(error) or given == list(env):
                raise
            return str(ask(environment=given)["Id"])

    def run(self, take: Take) -> int:
        """Run the one step that the container was made for; returns its exit code."""
        self._connect(stdout=1, stderr=1)
        self._start()
        for data in self._answers:
            take(data)
        return int(self._api.wait(self.id)["StatusCode"])

    def end(self) -> None:
        """Let the shell go, and wait until nothing runs any more."""
        if self._wire is not None:
            self.cut()
            self._api.wait(self.id)

    def cut(self) -> None:
        """End the connection to the first process, if there is one."""
        if self._wire is not None:
            self._wire.cut()
            self._wire = None

    def inspect(self) -> Mapping[str, Any]:
        """Ask for everything that the engine knows of it."""
        found: Mapping[str, Any] = self._api.inspect_container(self.id)
        return found

    def _connect(self, **streams: int) -> None:
        """Connect to the first process, before it starts."""
        with _starting():  # as far as Podman is concerned, it begins here
            wire = self._api.attach_socket(self.id, params={"stream": 1, **streams})
        self._wire = Wire(wire)
        self._answers = self._wire.said()

    def _start(self) -> None:
        with _starting():
            self._api.start(self.id)

    def _followed(self, asked: str, refused: tuple[bytes, ...], take: Take) -> int:
        """Start what was asked for and pass on what it prints; returns its exit code.

        What begins with `refused` is not from the process, which then could not start.
        """
        try:
            wire = Wire(self._api.exec_start(asked, socket=True))
        except APIError as error:
            raise NotStartedError(_shortened(said_by(error))) from error
        first = b""
        try:
            for data in wire.said():
                first = first or data
                if not first.startswith(refused):
                    take(data)
        finally:
            wire.cut()
        if first.startswith(refused):
            raise NotStartedError(_shortened(first.decode(errors="replace")))
        return self._exit_code(asked)

    def _exit_code(self, asked: str) -> int:
        """Wait for the engine to notice that a process has ended, some moments after its output."""
        while (found := self._api.exec_inspect(asked))["Running"]:
            time.sleep(_MOMENT)
        code = found["ExitCode"]
        return -1 if code is None else int(code)

    def _end_the_rest(self) -> None:
        """Have the shell end all other processes, and hear that it did."""
        if self._wire is None:
            raise AssertionError
        try:
            self._wire.tell(b"\n")
            answer = next(self._answers, b"")
        except OSError:
            answer = b""
        if not answer:
            raise EngineError("the container ended before its steps did")


@contextmanager
def _starting() -> Iterator[None]:
    """Tell limits that cannot be set from everything else that keeps a container from starting."""
    try:
        yield
    except APIError as error:
        if "rlimit" in said_by(error):
            raise LimitedError from error
        raise NotStartedError(_shortened(said_by(error))) from error


@contextmanager
def container(api: APIClient, setup: Setup) -> Iterator[Container]:
    """Make a container, not yet running; it goes with the context, and all that is in it."""
    made = api.create_container(
        setup.image,
        command=_command(setup),
        hostname=HOSTNAME,
        user=setup.step.user if setup.step else None,
        working_dir=setup.step.directory if setup.step else None,
        environment=list(setup.env),
        stdin_open=bool(setup.shell),
        labels={RUN_LABEL: setup.run},
        host_config=_host_config(api, setup),
        use_config_proxy=False,
    )
    found = Container(api, str(made["Id"]))
    try:
        yield found
    finally:
        found.cut()
        remove_container(api, found.id)


def _command(setup: Setup) -> list[str]:
    if setup.shell:
        return [setup.shell, "-c", _KEEPER]
    return list(setup.step.argv) if setup.step else ["/nothing"]


def _host_config(api: APIClient, setup: Setup) -> Any:  # noqa: ANN401  (the SDK's own)
    return api.create_host_config(
        network_mode=setup.network.value,
        mounts=list(setup.mounts),
        tmpfs=dict.fromkeys(setup.tmpfs, _EMPTY),
        log_config=LogConfig(type="none"),
        ulimits=[
            Ulimit(name=name, soft=soft, hard=hard) for name, (soft, hard) in setup.limits.items()
        ],
    )


def _folders(names: Sequence[str]) -> IO[bytes]:
    """Pack folders that lie in each other."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for number in range(1, len(names) + 1):
            info = tarfile.TarInfo("/".join(names[:number]))
            info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, int(time.time())
            archive.addfile(info)
    packed.seek(0)
    return packed


def _shortened(said: str) -> str:
    """Leave out who told whom: an error comes through four programs, and the last words count."""
    return said.strip().removesuffix(": unknown").rpartition("container process: ")[2]
