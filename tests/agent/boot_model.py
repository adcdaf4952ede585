"""A machine in the mind: its disk, its marks, and what really happened to it.

`explore` follows all sequences of events, with a power cut between any two sub-steps of each, and
returns the first that breaks what is promised. The rules are a parameter, so that a test can show
that wrong rules are found out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from compiler.agent import assessment, snapshots
from compiler.agent.assessment import (
    Boot,
    Choices,
    Copy,
    Disk,
    Image,
    Link,
    Mark,
    Record,
    Relabel,
    Remove,
    Rename,
    Step,
    read_record,
    write_record,
)
from compiler.layout import (
    ACTIVE_IMAGE,
    PASSIVE_IMAGE,
    TRANSITION_IMAGE,
    Label,
    Slot,
    snapshot_image,
)

LABELS = {ACTIVE_IMAGE: Label.ACTIVE, PASSIVE_IMAGE: Label.PASSIVE}
PATHS = {Slot.ACTIVE: ACTIVE_IMAGE, Slot.PASSIVE: PASSIVE_IMAGE}


@dataclass(frozen=True)
class Rules:
    """The rules that a machine follows."""

    menu: Callable[[Disk, Record, Choices, Slot | None], Boot | None] = assessment.menu
    mark_good: Callable[["World", Record, str], Record] = lambda _, record, identity: (
        assessment.mark_good(record, identity)
    )
    gives_way: Callable[[Disk, Record, Slot, str], bool] = assessment.gives_way
    upgrade: Callable[[Disk, Record, Slot], tuple[Step, ...]] = assessment.upgrade_steps
    replace: Callable[[], tuple[Step, ...]] = assessment.replace_steps
    keep: Callable[[tuple[Step, ...], Disk, int | None], tuple[Step, ...]] = snapshots.keeping
    systems: int | None = None
    """How many systems stay on the machine."""


@dataclass(frozen=True)
class Truth:
    """What really became of an image: it came up well, was found bad, how many boots were lost."""

    ok: bool = False
    bad: bool = False
    lost: int = 0


@dataclass(frozen=True)
class World:
    """A machine between two events; `running` is the slot and the image that runs, if any."""

    images: tuple[tuple[str, Image], ...]
    record: Record
    truths: tuple[tuple[str, Truth], ...]
    running: tuple[Slot, str] | None = None
    lasting: Slot | None = None
    armed: bool = False
    """Whether new systems have to prove themselves: since the last upgrade, until a reset."""

    @property
    def disk(self) -> Disk:
        return Disk(images=dict(self.images))

    @property
    def choices(self) -> Choices:
        return Choices(lasting=self.lasting)

    def truth(self, identity: str) -> Truth:
        return dict(self.truths).get(identity, Truth())

    def assesses(self, truth: Truth) -> bool:
        """Whether the boot of an active image of which this is true has to be a try."""
        return self.record.always or (self.armed and not truth.ok)

    def with_truth(self, identity: str, truth: Truth) -> "World":
        return replace(self, truths=tuple(sorted({**dict(self.truths), identity: truth}.items())))


def installed(record: Record) -> World:
    """Return a machine that was just installed."""
    images = {
        ACTIVE_IMAGE: Image(identity="i", label=Label.ACTIVE),
        PASSIVE_IMAGE: Image(identity="i", label=Label.PASSIVE),
    }
    return World(images=tuple(images.items()), record=record, truths=())


def grown_old() -> World:
    """Return a machine that has seen upgrades: its active system runs and is proved."""
    images = {
        ACTIVE_IMAGE: Image(identity="a", label=Label.ACTIVE),
        PASSIVE_IMAGE: Image(identity="p", label=Label.PASSIVE),
        snapshot_image(2): Image(identity="s", label=Label.PASSIVE),
    }
    return World(
        images=tuple(sorted(images.items())),
        record=Record(enabled=True, good=("a", "p")),
        truths=(("a", Truth(ok=True)), ("p", Truth(ok=True))),
        running=(Slot.ACTIVE, "a"),
        armed=True,
    )


def carried_out(world: World, step: Step) -> World:
    """Return the machine after a sub-step of a change."""
    images = dict(world.images)
    match step:
        case Relabel(path, label):
            file = images[path]
            for name, image in images.items():
                linked = image == file and name != PASSIVE_IMAGE  # which is a copy
                if linked or name == path:
                    images[name] = replace(image, label=label)
        case Link(source, target) | Copy(source, target):
            assert target not in images
            images[target] = images[source]
        case Rename(source, target):
            images[target] = images.pop(source)
        case Remove(path):
            del images[path]
        case Mark(changes):
            values = {**write_record(world.record), **changes}
            kept = {name: value for name, value in values.items() if value is not None}
            return replace(world, record=read_record(kept))
    return replace(world, images=tuple(sorted(images.items())))


class BrokenError(Exception):
    """A promise that was not kept."""


def events(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """Return every event that can come next, and the machine after it."""
    for by_hand in (None, *PATHS):
        boot = rules.menu(world.disk, world.record, world.choices, by_hand)
        if boot is None or boot.slot is Slot.RECOVERY:
            raise BrokenError(f"the menu boots {boot}")
        yield from _boots(world, rules, boot, "" if by_hand is None else f" {by_hand} by hand")
    yield from _older(world, rules)
    yield "power cut", replace(world, running=None)
    if world.running:
        yield "found good", _good(world, rules)
        yield "found bad", _bad(world, rules)
        yield from _upgrades(world, "upgrade", rules, lambda it: _upgrade(it, rules, it.running))
    yield from _upgrades(
        world, "upgrade from recovery", rules, lambda it: _upgrade(it, rules, None)
    )
    yield from _changes(
        replace(world, running=None),
        "reset",
        lambda it: (*snapshots.all_removed(it.disk), *rules.replace()),
        armed=False,
    )
    for slot in (None, Slot.PASSIVE):
        yield f"saved_entry={slot}", replace(world, lasting=slot)


def _boots(world: World, rules: Rules, boot: Boot, how: str) -> Iterator[tuple[str, World]]:
    """Return how a boot may end: well, not at all, found bad, or nothing is known yet."""
    image = world.disk.images[PATHS[boot.slot]]
    if image.label is not LABELS[PATHS[boot.slot]]:
        raise BrokenError(f"{boot.slot} has the label {image.label}")
    truth = world.truth(image.identity)
    if boot.slot is Slot.ACTIVE and world.assesses(truth):
        truth = replace(truth, lost=min(truth.lost + 1, 9))
    begun = replace(
        world.with_truth(image.identity, truth),
        record=boot.record,
        running=(boot.slot, image.identity),
    )
    yield f"boot{how} begins", begun
    yield f"boot{how} fails", replace(begun, running=None)
    yield f"boot{how} is well", _good(begun, rules)
    yield f"boot{how} is bad", _bad(begun, rules)


def _older(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """Return how the boots of older systems may end, which somebody chooses in the menu."""
    for number in snapshots.numbers(world.disk.images):
        image = world.disk.images[snapshot_image(number)]
        begun = replace(world, running=(Slot.PASSIVE, image.identity))
        yield f"boot of snapshot {number} is well", _good(begun, rules)
        yield f"boot of snapshot {number} is bad", _bad(begun, rules)


def _good(world: World, rules: Rules) -> World:
    assert world.running
    identity = world.running[1]
    marked = replace(world, record=rules.mark_good(world, world.record, identity))
    return marked.with_truth(identity, Truth(ok=True))


def _bad(world: World, rules: Rules) -> World:
    """A system is found bad: it reboots if it gives way, and stays otherwise."""
    assert world.running
    slot, identity = world.running
    if not rules.gives_way(world.disk, world.record, slot, identity):
        return world
    found = world.with_truth(identity, replace(world.truth(identity), bad=True, ok=False))
    record = assessment.mark_bad(world.record, identity, "bad")
    found = replace(found, record=record, running=None)
    boot = rules.menu(found.disk, record, Choices(), None)
    if boot is None or (boot.slot, found.disk.images[PATHS[boot.slot]].identity) == world.running:
        raise BrokenError("a system that gave way is booted again")
    return found


def _upgrade(world: World, rules: Rules, running: tuple[Slot, str] | None) -> Sequence[Step]:
    current = running[0] if running else Slot.ACTIVE
    steps = rules.upgrade(world.disk, world.record, current)
    return rules.keep(steps, world.disk, rules.systems)


def _changes(
    world: World,
    name: str,
    steps: Callable[[World], Sequence[Step]],
    *,
    armed: bool = True,
    systems: int = 0,
) -> Iterator[tuple[str, World]]:
    """Return the machine after a change, and after each power cut in it."""
    for step in (*assessment.tidy_steps(world.disk), *snapshots.tidy(world.disk)):
        world = carried_out(world, step)
    used = {image.identity for _, image in world.images} | {name for name, _ in world.truths}
    new = next(each for each in (f"n{number}" for number in range(99)) if each not in used)
    made = {TRANSITION_IMAGE: Image(identity=new, label=Label.SYSTEM), **dict(world.images)}
    world = replace(world, images=tuple(sorted(made.items())))
    taken = steps(world)
    for number, step in enumerate(taken):
        yield f"{name} cut before {step}", replace(world, running=None)
        before, world = world, carried_out(world, step)
        if armed and (isinstance(step, Mark) or step == Rename(TRANSITION_IMAGE, ACTIVE_IMAGE)):
            world = replace(world, armed=True)
        elif not armed and number == len(taken) - 1:
            world = replace(world, armed=False)
        if name != "reset":
            _check_fallback(before, world)
            _check_older(before, world, systems)
    yield name, world


def _upgrades(
    world: World, name: str, rules: Rules, steps: Callable[[World], Sequence[Step]]
) -> Iterator[tuple[str, World]]:
    """Return the machine as `_changes` does; a whole upgrade leaves no more than are to stay."""
    for event, after in _changes(world, name, steps, systems=rules.systems or 0):
        there = snapshots.numbers(after.disk.images)
        if event == name and rules.systems is not None and len(there) > rules.systems - 2:
            raise BrokenError(f"{rules.systems} systems are to stay, and {there} are there besides")
        yield event, after


def _check_fallback(before: World, after: World) -> None:
    old, new = (dict(each.images).get(PASSIVE_IMAGE) for each in (before, after))
    if old and new and old.identity != new.identity and not after.truth(new.identity).ok:
        raise BrokenError(f"the fallback became {new.identity}, which has not proved itself")


def _check_older(before: World, after: World, systems: int) -> None:
    """Raise `BrokenError` if a system is gone that was to stay: one of the newest of them."""
    kept = systems - snapshots.BESIDES
    old, new = dict(before.images), dict(after.images)
    passive, following = old.get(PASSIVE_IMAGE), new.get(PASSIVE_IMAGE)
    if kept > 0 and passive and following and not _has(new, passive.identity):
        raise BrokenError(f"the passive system {passive.identity} was not kept")
    gone = [each for each in snapshots.numbers(old) if snapshot_image(each) not in new]
    if gone and len(snapshots.numbers(new)) < kept:
        raise BrokenError(f"the older systems {gone} are gone, and there was room for them")
    if gone and gone[0] != min(snapshots.numbers(old)):
        raise BrokenError(f"the older system {gone[0]} is gone before the oldest")


def _has(images: dict[str, Image], identity: str) -> bool:
    return any(image.identity == identity for image in images.values())


def check(world: World, rules: Rules) -> None:
    """Raise `BrokenError` if the machine does not keep what is promised."""
    for number in snapshots.numbers(world.disk.images):
        if world.disk.images[snapshot_image(number)].label is not Label.PASSIVE:
            raise BrokenError(f"snapshot {number} has not the label of a passive system")
    boot = rules.menu(world.disk, world.record, Choices(), None)
    if boot is None or boot.slot is Slot.RECOVERY:
        raise BrokenError("the menu has no system to boot")
    for path, label in LABELS.items():
        if path not in world.disk.images or world.disk.images[path].label is not label:
            raise BrokenError(f"{path} is not there, or has not the label {label}")
    active = world.disk.images[ACTIVE_IMAGE]
    truth = world.truth(active.identity)
    spent = truth.bad or truth.lost >= world.record.allowed
    if boot.slot is Slot.PASSIVE and not spent:
        raise BrokenError(f"the menu passes over {active.identity}, which has done nothing")
    if boot.slot is Slot.ACTIVE and spent and world.assesses(truth):
        raise BrokenError(f"the menu boots {active.identity} again and again")


def explore(world: World, rules: Rules, depth: int) -> tuple[str | None, int]:
    """Follow all sequences up to a length: what broke with the events before it, and the count.

    The count is that of different machines that were met.
    """
    seen: dict[World, tuple[str, ...]] = {world: ()}
    edge = [world]
    for _ in range(depth):
        following: list[World] = []
        for each in edge:
            trail = seen[each]
            try:
                for event, after in events(each, rules):
                    known = _known(after)
                    if known not in seen:
                        trail = seen[known] = (*seen[each], event)
                        check(known, rules)
                        following.append(known)
            except BrokenError as broken:
                return f"{broken}; after {', '.join(trail)}", len(seen)
        edge = following
    return None, len(seen)


def _known(world: World) -> World:
    """Return the machine with its images named in order, and what is gone forgotten."""
    order = [image.identity for _, image in sorted(world.images)]
    order += [world.running[1]] if world.running else []
    order += [world.record.image, *world.record.good]
    names = {each: f"i{number}" for number, each in enumerate(dict.fromkeys(order)) if each}
    names[""] = ""
    return replace(
        world,
        images=tuple(
            (path, replace(image, identity=names[image.identity])) for path, image in world.images
        ),
        record=replace(
            world.record,
            image=names[world.record.image],
            good=tuple(names[each] for each in world.record.good),
        ),
        running=world.running and (world.running[0], names[world.running[1]]),
        truths=tuple(sorted((names[each], truth) for each, truth in world.truths if each in names)),
    )
