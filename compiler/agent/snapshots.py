"""Older systems: what the passive image was before, kept under numbers and offered by the menu.

They are files beside the active and the passive image, with the label of a passive one, which each
of them was: so none is ever changed. Numbers only grow, so the lowest is the oldest. All here is
pure, as in `compiler.agent.assessment`, whose steps these are.
"""

from collections.abc import Iterable, Iterator

from compiler.agent.assessment import Disk, Link, Mark, Remove, Rename, Step
from compiler.layout import (
    ACTIVE_IMAGE,
    FORMER_IMAGE,
    PASSIVE_IMAGE,
    snapshot_image,
    snapshot_number,
)

SNAPSHOTS = "boot_snapshots"
"""Variable of COS_STATE:/boot_assessment: the numbers that the menu offers, if they are there."""

BESIDES = 2
"""The systems that every machine has: the active and the passive one."""


def numbers(paths: Iterable[str]) -> tuple[int, ...]:
    """List the snapshots among images, the newest first."""
    found = (snapshot_number(path) for path in paths)
    return tuple(sorted((each for each in found if each is not None), reverse=True))


def keeping(
    steps: Iterable[Step], disk: Disk, systems: int | None, running: str = ""
) -> tuple[Step, ...]:
    """Return the steps of an upgrade so that `systems` systems stay, of which two are as ever.

    A passive image that is about to be replaced gets a number, unless it is the same system as the
    active one. The menu hears of it before it is there. What is too old goes last, the one that
    is `running` never. Where nobody says how many stay, nothing is kept and nothing goes.
    """
    steps = tuple(steps)
    if systems is None:
        return steps
    there = numbers(disk.images)
    new = _next(there) if systems > BESIDES and _is_worth_it(steps, disk) else None
    offered = there if new is None else (new, *there)
    surplus = offered[max(systems - BESIDES, 0) :]
    return (*_numbered(steps, new, offered), *_removed(surplus, running))


def _next(there: tuple[int, ...]) -> int:
    return there[0] + 1 if there else 1


def _is_worth_it(steps: tuple[Step, ...], disk: Disk) -> bool:
    """Whether a passive image is replaced that is not the same system as the active one."""
    active, passive = disk.images.get(ACTIVE_IMAGE), disk.images.get(PASSIVE_IMAGE)
    replaced = Rename(FORMER_IMAGE, PASSIVE_IMAGE) in steps
    return replaced and passive is not None and active is not None and (
        passive.identity != active.identity
    )  # fmt: skip


def _numbered(steps: Iterable[Step], new: int | None, offered: tuple[int, ...]) -> Iterator[Step]:
    """Put in the second name of the passive image, and what the menu is told."""
    for step in steps:
        if isinstance(step, Mark) and offered:
            yield Mark({**step.changes, SNAPSHOTS: " ".join(map(str, offered))})
            continue
        if new is not None and step == Rename(FORMER_IMAGE, PASSIVE_IMAGE):
            yield Link(PASSIVE_IMAGE, snapshot_image(new))
        yield step


def _removed(surplus: tuple[int, ...], running: str = "") -> Iterator[Step]:
    """Remove snapshots, the oldest first."""
    paths = [snapshot_image(number) for number in reversed(surplus)]
    yield from (Remove(path) for path in paths if path != running)


def tidy(disk: Disk) -> tuple[Step, ...]:
    """Return what removes second names of the passive image: an upgrade was cut off there."""
    passive = disk.images.get(PASSIVE_IMAGE)
    doubles = (
        number
        for number in numbers(disk.images)
        if passive and disk.images[snapshot_image(number)].identity == passive.identity
    )
    return tuple(_removed(tuple(doubles)))


def all_removed(disk: Disk) -> tuple[Step, ...]:
    """Return what removes every snapshot: the owner wants the machine anew."""
    return tuple(_removed(numbers(disk.images)))
