"""What happens during a run, as data, and the Reporter that hears of it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunPlanned:
    """A run begins: how many nodes it will build and pack, and how many it reuses."""

    build: int
    pack: int
    reuse: int


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """Work on a node begins; `action` and `reason` are those of the plan."""

    node: str
    action: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step begins to run; `text` is its command as written."""

    node: str
    text: str


@dataclass(frozen=True, slots=True)
class StepOutput:
    """One line that a step printed."""

    node: str
    line: str


@dataclass(frozen=True, slots=True)
class NodeFinished:
    """A node is done, `seconds` after it started."""

    node: str
    action: str
    seconds: float


@dataclass(frozen=True, slots=True)
class NodeFailed:
    """A node could not be made; the error itself is raised at the end of the run."""

    node: str
    message: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that the user should know although the run goes on; a warning if `warning`."""

    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Transferred:
    """How far a long transfer is, in bytes; `ended` comes last, also for one that failed."""

    what: str
    done: int
    total: int
    ended: bool = False


Event = (
    RunPlanned
    | NodeStarted
    | StepStarted
    | StepOutput
    | NodeFinished
    | NodeFailed
    | Noted
    | Transferred
)

Reporter = Callable[[Event], None]
"""Hears every event, possibly from several threads at once; must not raise."""


def silent(_event: Event) -> None:
    """Report nothing."""
