"""What a Dockerfile can say, as values: the instructions that steps and Dockerfiles become."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Mount:
    """A `RUN --mount`: `kind` is cache, tmpfs, bind, secret or ssh; the rest is in `options`."""

    kind: str
    target: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shell:
    """A command line or a script for the shell; `network` is empty, `none`, `host` or `default`."""

    script: str
    mounts: tuple[Mount, ...] = ()
    network: str = ""


@dataclass(frozen=True, slots=True)
class Exec:
    """A program with its arguments, started without a shell."""

    argv: tuple[str, ...]
    mounts: tuple[Mount, ...] = ()
    network: str = ""


@dataclass(frozen=True, slots=True)
class SetEnv:
    """Variables to set, as words: `step.expand` takes quotes off and puts variables in.

    All of them see the environment as it was before.
    """

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SetArg:
    """Variables for the build only; a default of None takes what is given from outside."""

    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class CopyIn:
    """Files to copy: from the context, a stage or an image (`origin`).

    With `add`, archives are unpacked and URLs fetched. `files` are the names and contents of
    here-documents among the sources. Sources and destination are words, as in `SetEnv`.
    """

    sources: tuple[str, ...]
    destination: str
    origin: str = ""
    add: bool = False
    owner: str = ""
    mode: str = ""
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Workdir:
    """The folder in which what follows runs; a relative one is below that before."""

    path: str


@dataclass(frozen=True, slots=True)
class User:
    """Who runs what follows: `name[:group]`, by name or number."""

    name: str


@dataclass(frozen=True, slots=True)
class SetShell:
    """The program that runs the scripts that follow, with its first arguments."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class From:
    """Begins a stage, on an image or on an earlier stage."""

    image: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Noted:
    """An instruction that only matters to a container that is started: LABEL, CMD and the like."""

    word: str
    text: str


Instruction = Shell | Exec | SetEnv | SetArg | CopyIn | Workdir | User | SetShell | From | Noted
