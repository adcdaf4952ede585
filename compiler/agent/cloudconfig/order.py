"""The order in which the steps of a stage run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from compiler.agent.cloudconfig.load import Loaded
from compiler.agent.cloudconfig.model import Step
from compiler.errors import Location


@dataclass(frozen=True)
class Operation:
    """A step with the file that has it, and the number that it has there."""

    loaded: Loaded
    stage: str
    index: int

    @property
    def step(self) -> Step:
        """The step itself."""
        return self.loaded.config.stages[self.stage][self.index]

    @property
    def location(self) -> Location:
        """Where the step was written."""
        return self.loaded.location(("stages", self.stage, self.index))

    @property
    def name(self) -> str:
        """What `after` calls it: the file's name or path, and the step's name or number."""
        file = self.loaded.config.name or self.loaded.source.name
        return f"{file}.{self.step.name or self.index}"


@dataclass(frozen=True)
class Order:
    """Operations in the order in which they run, and what `after` asked for in vain."""

    operations: tuple[Operation, ...]
    notes: tuple[str, ...] = ()


def operations(configs: Iterable[Loaded], stage: str) -> tuple[Operation, ...]:
    """List the steps of a stage as they are written, file by file."""
    return tuple(
        Operation(loaded, stage, index)
        for loaded in configs
        for index in range(len(loaded.config.stages.get(stage, ())))
    )


def ordered(written: Sequence[Operation]) -> Order:
    """Put steps in order: as written, except that those with `after` follow what they name.

    Names that no step has are noted; steps that wait for each other run as written.
    """
    by_name: dict[str, list[int]] = {}
    for number, each in enumerate(written):
        by_name.setdefault(each.name, []).append(number)
    notes: list[str] = []
    waits = [_awaited(number, written, by_name, notes) for number in range(len(written))]
    done: dict[int, None] = {}
    while len(done) < len(written):
        free = (n for n in range(len(written)) if n not in done and waits[n] <= done.keys())
        chosen = next(free, None)
        if chosen is None:
            left = [each for number, each in enumerate(written) if number not in done]
            notes.append(f"steps wait for each other: {', '.join(each.name for each in left)}")
            chosen = written.index(left[0])
        done[chosen] = None
    return Order(tuple(written[number] for number in done), tuple(notes))


def _awaited(
    number: int, written: Sequence[Operation], by_name: Mapping[str, list[int]], notes: list[str]
) -> set[int]:
    """Tell which steps go before one: those it names, else the one before it without `after`."""
    after = written[number].step.after
    if not after:
        before = (n for n in range(number - 1, -1, -1) if not written[n].step.after)
        return {each for each in (next(before, None),) if each is not None}
    found: set[int] = set()
    for each in after:
        if each.name not in by_name:
            notes.append(f"{written[number].name} waits for {each.name!r}, which no step is called")
        found |= set(by_name.get(each.name, ()))
    return found - {number}


def layers(order: Order, stage: str) -> tuple[tuple[str, ...], ...]:
    """Show an order as layers of names, one below the other; the first is the stage itself."""
    return ((stage,), *((each.name,) for each in order.operations))
