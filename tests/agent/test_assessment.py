from collections.abc import Callable
from dataclasses import astuple, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.agent.assessment import (
    ALLOWED,
    ALWAYS,
    ENABLED,
    GOOD,
    IMAGE,
    TENTATIVE,
    TRIES,
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
    Standing,
    Step,
    choose,
    gives_way,
    mark_bad,
    mark_good,
    menu,
    note_fallback,
    read_record,
    replace_steps,
    standing,
    tidy_steps,
    try_again,
    upgrade_steps,
    write_record,
)
from compiler.agent.snapshots import SNAPSHOTS, keeping
from compiler.layout import (
    ACTIVE_IMAGE,
    FORMER_IMAGE,
    PASSIVE_IMAGE,
    TRANSITION_IMAGE,
    Label,
    Slot,
    snapshot_image,
)
from tests.agent.boot_model import Rules, World, check, events, explore, grown_old, installed

Keep = Callable[[tuple[Step, ...], Disk, int | None], tuple[Step, ...]]

DEPTH = 6

OLD = Image(identity="old", label=Label.ACTIVE)
NEW = Image(identity="new", label=Label.ACTIVE)
BEFORE = Image(identity="before", label=Label.PASSIVE)
BOTH = Disk(images={ACTIVE_IMAGE: NEW, PASSIVE_IMAGE: BEFORE})
ENABLED_NEW = Record(enabled=True, good=("before",))


@pytest.mark.parametrize("record", [Record(), Record(always=True), Record(allowed=1)])
def test_all_sequences_of_events_keep_what_is_promised(record: Record) -> None:
    broken, met = explore(installed(record), Rules(), DEPTH)

    assert broken is None
    assert met > 1000


@pytest.mark.parametrize("systems", [None, 2, 3, 4])
def test_all_sequences_of_events_keep_what_is_promised_with_older_systems(
    systems: int | None,
) -> None:
    broken, met = explore(grown_old(), Rules(systems=systems), DEPTH - 2)

    assert broken is None
    assert met > 300


@settings(deadline=None)
@given(
    st.data(),
    st.sampled_from([Record(), Record(always=True), Record(allowed=9)]),
    st.sampled_from([None, 3, 5]),
)
def test_long_sequences_of_events_keep_what_is_promised(
    data: st.DataObject, record: Record, systems: int | None
) -> None:
    world, rules = installed(record), Rules(systems=systems)

    for _ in range(20):
        _, world = data.draw(st.sampled_from(list(events(world, rules))))
        check(world, rules)


def _takes_any_system_for_proved(disk: Disk, _: Record, current: Slot) -> tuple[Step, ...]:
    return upgrade_steps(disk, Record(good=(disk.images[ACTIVE_IMAGE].identity,)), current)


def _marks_what_is_active_rather_than_what_runs(world: World, record: Record, _: str) -> Record:
    return mark_good(record, world.disk.images[ACTIVE_IMAGE].identity)


def _takes_marks_for_those_of_any_image(
    disk: Disk, record: Record, choices: Choices, by_hand: Slot | None
) -> Boot | None:
    spoken_of = replace(record, image=disk.images[ACTIVE_IMAGE].identity)
    return menu(disk, spoken_of if record.image else record, choices, by_hand)


def _never_counts(
    disk: Disk, record: Record, choices: Choices, by_hand: Slot | None
) -> Boot | None:
    boot = menu(disk, record, choices, by_hand)
    return boot and replace(boot, record=record)


def _renames_before_it_labels(disk: Disk, record: Record, current: Slot) -> tuple[Step, ...]:
    steps = upgrade_steps(disk, record, current)
    return (*steps[1:], Relabel(ACTIVE_IMAGE, Label.ACTIVE))


def _labels_the_former_one_while_it_is_active(
    disk: Disk, record: Record, current: Slot
) -> tuple[Step, ...]:
    steps = upgrade_steps(disk, record, current)
    relabel = Relabel(FORMER_IMAGE, Label.PASSIVE)
    if relabel not in steps:
        return steps
    rest = [step for step in steps if step != relabel]
    return (*rest[:3], relabel, *rest[3:])


def _moves_the_active_image_away_first(
    disk: Disk, record: Record, current: Slot
) -> tuple[Step, ...]:
    label, mark, *rest = upgrade_steps(disk, record, current)
    if len(rest) == 1:
        return label, mark, *rest
    return (
        label,
        mark,
        Rename(ACTIVE_IMAGE, PASSIVE_IMAGE),
        Relabel(PASSIVE_IMAGE, Label.PASSIVE),
        Rename(TRANSITION_IMAGE, ACTIVE_IMAGE),
    )


def _marks_after_the_swap(disk: Disk, record: Record, current: Slot) -> tuple[Step, ...]:
    label, mark, *rest = upgrade_steps(disk, record, current)
    return (label, *rest, mark)


def _forgets_marks_before_it_replaces() -> tuple[Step, ...]:
    *steps, mark = replace_steps()
    return (mark, *steps)


def _forgets_marks_before_it_upgrades(
    disk: Disk, record: Record, current: Slot
) -> tuple[Step, ...]:
    fresh = Mark({ENABLED: "yes", IMAGE: None, TRIES: None, TENTATIVE: None})
    return (fresh, *upgrade_steps(disk, record, current))


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (Rules(upgrade=_takes_any_system_for_proved), "which has not proved itself"),
        (Rules(mark_good=_marks_what_is_active_rather_than_what_runs), "again and again"),
        (Rules(menu=_takes_marks_for_those_of_any_image), "which has done nothing"),
        (Rules(menu=_never_counts), "again and again"),
        (Rules(gives_way=lambda *_: True), "gave way is booted again"),
        (Rules(upgrade=_renames_before_it_labels), "has not the label"),
        (Rules(upgrade=_labels_the_former_one_while_it_is_active), "has not the label"),
        (Rules(upgrade=_moves_the_active_image_away_first), "has not the label"),
        (Rules(upgrade=_marks_after_the_swap), "again and again"),
        (Rules(upgrade=_forgets_marks_before_it_upgrades), "again and again"),
        (Rules(replace=_forgets_marks_before_it_replaces), "again and again"),
    ],
)
def test_wrong_rules_are_found_out(rules: Rules, found: str) -> None:
    broken, _ = explore(installed(Record()), rules, DEPTH)

    assert broken
    assert found in broken


def _gives_the_passive_image_another_name(
    steps: tuple[Step, ...], disk: Disk, systems: int | None
) -> tuple[Step, ...]:
    kept = keeping(steps, disk, systems)
    return tuple(Rename(*astuple(each)) if isinstance(each, Link) and each.source == PASSIVE_IMAGE
                 else each for each in kept)  # fmt: skip


def _removes_the_newest(
    steps: tuple[Step, ...], disk: Disk, systems: int | None
) -> tuple[Step, ...]:
    kept = keeping(steps, disk, systems)
    new = [each.target for each in kept if isinstance(each, Link) and each.source == PASSIVE_IMAGE]
    return tuple(Remove(new[0]) if isinstance(each, Remove) and new else each for each in kept)


def _removes_nothing(steps: tuple[Step, ...], disk: Disk, systems: int | None) -> tuple[Step, ...]:
    return tuple(each for each in keeping(steps, disk, systems) if not isinstance(each, Remove))


@pytest.mark.parametrize(
    ("keep", "found"),
    [
        (lambda steps, *_: steps, "was not kept"),
        (_gives_the_passive_image_another_name, "is not there, or has not the label"),
        (_removes_the_newest, "is gone before the oldest"),
        (_removes_nothing, "3 systems are to stay"),
    ],
)
def test_wrong_rules_of_older_systems_are_found_out(keep: Keep, found: str) -> None:
    broken, _ = explore(grown_old(), Rules(systems=3, keep=keep), DEPTH - 2)

    assert broken
    assert found in broken


def test_an_image_that_nothing_is_known_of_is_booted_and_counted() -> None:
    boot = menu(BOTH, ENABLED_NEW, Choices())

    assert boot
    assert (boot.slot, boot.counted, boot.after_failure) == (Slot.ACTIVE, True, False)
    assert boot.record == replace(ENABLED_NEW, image="new", tries=2, tentative=True)


def test_an_image_without_tries_is_passed_over() -> None:
    boot = menu(BOTH, replace(ENABLED_NEW, image="new", tries=0, tentative=True), Choices())

    assert boot
    assert (boot.slot, boot.counted, boot.after_failure) == (Slot.PASSIVE, False, True)


@pytest.mark.parametrize(
    "record",
    [
        replace(ENABLED_NEW, image="old", tries=0),
        replace(ENABLED_NEW, image="old", tries=0, good=("new",)),
        Record(image="new", tries=0),
    ],
)
def test_the_tries_of_another_image_do_not_count_and_nor_do_any_before_an_upgrade(
    record: Record,
) -> None:
    boot = menu(BOTH, record, Choices())

    assert boot
    assert boot.slot is Slot.ACTIVE


def test_an_image_that_proved_itself_is_not_counted_unless_each_boot_is() -> None:
    proved = Record(enabled=True, good=("new",))

    boots = [menu(BOTH, record, Choices()) for record in (proved, replace(proved, always=True))]

    assert [boot.counted for boot in boots if boot] == [False, True]


def test_an_image_that_cannot_mark_itself_good_is_not_counted() -> None:
    disk = replace(BOTH, images={**BOTH.images, ACTIVE_IMAGE: replace(NEW, assessable=False)})

    boot = menu(disk, ENABLED_NEW, Choices())

    assert boot
    assert (boot.slot, boot.counted, boot.record) == (Slot.ACTIVE, False, ENABLED_NEW)


def test_a_choice_for_one_boot_wins_over_the_marks_and_is_gone_after_it() -> None:
    bad = mark_bad(ENABLED_NEW, "new", "it is")
    choices = Choices(once=Slot.ACTIVE, lasting=Slot.RECOVERY)

    boot = menu(BOTH, bad, choices)

    assert boot
    assert (boot.slot, boot.counted) == (Slot.ACTIVE, False)
    assert boot.choices == Choices(lasting=Slot.RECOVERY)


@pytest.mark.parametrize("slot", [Slot.PASSIVE, Slot.RECOVERY])
def test_a_lasting_choice_is_no_failure(slot: Slot) -> None:
    bad = mark_bad(ENABLED_NEW, "new", "it is")

    boot = menu(BOTH, bad, Choices(lasting=slot))

    assert boot
    assert (boot.slot, boot.after_failure) == (slot, False)


def test_a_lasting_choice_of_the_active_system_keeps_no_bad_one() -> None:
    boot = menu(BOTH, mark_bad(ENABLED_NEW, "new", "it is"), Choices(lasting=Slot.ACTIVE))

    assert boot
    assert (boot.slot, boot.after_failure) == (Slot.PASSIVE, True)


@pytest.mark.parametrize(
    ("images", "recovery", "slot"),
    [
        ({PASSIVE_IMAGE: BEFORE}, True, Slot.PASSIVE),
        ({}, True, Slot.RECOVERY),
        ({ACTIVE_IMAGE: NEW}, True, Slot.ACTIVE),
        ({}, False, None),
    ],
)
def test_what_is_absent_gives_way_to_the_next_and_is_no_failure(
    images: dict[str, Image],
    recovery: bool,  # noqa: FBT001  (pytest passes it by name)
    slot: Slot | None,
) -> None:
    bad = mark_bad(ENABLED_NEW, "new", "it is")

    boot = menu(Disk(images=images, recovery=recovery), bad, Choices())

    assert (boot and boot.slot) == slot
    assert boot is None or not boot.after_failure


def test_a_good_image_keeps_its_mark_when_it_becomes_the_passive_one() -> None:
    record = mark_good(ENABLED_NEW, "new")

    assert [record.proved(each) for each in ("new", "before")] == [True, True]


def test_only_so_many_good_images_are_remembered() -> None:
    record = Record()

    for number in range(9):
        record = mark_good(record, f"i{number}")

    assert record.good == ("i8", "i7", "i6", "i5")


def test_a_system_found_bad_gives_way_in_a_try_only() -> None:
    tried = replace(ENABLED_NEW, image="new", tries=2, tentative=True)

    assert gives_way(BOTH, tried, Slot.ACTIVE, "new")
    assert not gives_way(BOTH, ENABLED_NEW, Slot.ACTIVE, "new")
    assert not gives_way(BOTH, tried, Slot.PASSIVE, "new")
    assert not gives_way(BOTH, mark_bad(tried, "new", "it is"), Slot.ACTIVE, "new")
    assert not gives_way(Disk(images={ACTIVE_IMAGE: NEW}), tried, Slot.ACTIVE, "new")


def test_the_fallback_notes_that_the_active_system_did_not_come_up() -> None:
    lost = replace(ENABLED_NEW, image="new", tries=0, tentative=True)

    noted = note_fallback(lost, "new")

    assert standing(noted, "new") is Standing.FAILED
    assert noted.failure == "it did not come up in 3 tries"
    assert note_fallback(noted, "new") == noted
    assert note_fallback(lost, "other") == lost


def test_what_is_known_of_an_image_has_words() -> None:
    tried = replace(ENABLED_NEW, image="new", tries=1, tentative=True)

    assert standing(ENABLED_NEW, "new") is Standing.UNPROVED
    assert standing(tried, "new") is Standing.TRIED
    assert standing(mark_bad(tried, "new", "it is"), "new") is Standing.FAILED
    assert standing(mark_good(tried, "new"), "new") is Standing.PROVED
    assert standing(try_again(tried, "new"), "new") is Standing.UNPROVED


def test_a_reason_of_many_lines_becomes_a_short_one() -> None:
    record = mark_bad(Record(), "new", "first\n  second " + "x" * 999)

    assert record.failure.startswith("first second xxx")
    assert len(record.failure) == 200


def test_an_upgrade_makes_a_proved_system_the_fallback() -> None:
    disk = Disk(images={ACTIVE_IMAGE: OLD, PASSIVE_IMAGE: BEFORE})

    assert upgrade_steps(disk, Record(good=("old",)), Slot.ACTIVE) == (
        Relabel(TRANSITION_IMAGE, Label.ACTIVE),
        Mark({ENABLED: "yes"}),
        Link(ACTIVE_IMAGE, FORMER_IMAGE),
        Rename(TRANSITION_IMAGE, ACTIVE_IMAGE),
        Relabel(FORMER_IMAGE, Label.PASSIVE),
        Rename(FORMER_IMAGE, PASSIVE_IMAGE),
    )


@pytest.mark.parametrize(
    ("record", "current"),
    [
        (Record(good=("old",)), Slot.PASSIVE),
        (Record(good=("old",)), Slot.RECOVERY),
        (Record(), Slot.ACTIVE),
        (Record(good=("old",), image="old", tries=2, tentative=True), Slot.ACTIVE),
    ],
)
def test_an_upgrade_keeps_the_fallback_when_it_runs_or_nothing_is_better(
    record: Record, current: Slot
) -> None:
    disk = Disk(images={ACTIVE_IMAGE: OLD, PASSIVE_IMAGE: BEFORE})

    assert upgrade_steps(disk, record, current) == (
        Relabel(TRANSITION_IMAGE, Label.ACTIVE),
        Mark({ENABLED: "yes"}),
        Rename(TRANSITION_IMAGE, ACTIVE_IMAGE),
    )


def test_an_older_system_gets_a_number_before_its_image_is_replaced() -> None:
    older = {snapshot_image(number): BEFORE for number in (2, 9, 10)}
    disk = Disk(images={ACTIVE_IMAGE: OLD, PASSIVE_IMAGE: BEFORE, **older})
    steps = upgrade_steps(disk, Record(good=("old",)), Slot.ACTIVE)

    assert keeping(steps, disk, 4) == (
        Relabel(TRANSITION_IMAGE, Label.ACTIVE),
        Mark({ENABLED: "yes", SNAPSHOTS: "11 10 9 2"}),
        Link(ACTIVE_IMAGE, FORMER_IMAGE),
        Rename(TRANSITION_IMAGE, ACTIVE_IMAGE),
        Relabel(FORMER_IMAGE, Label.PASSIVE),
        Link(PASSIVE_IMAGE, snapshot_image(11)),
        Rename(FORMER_IMAGE, PASSIVE_IMAGE),
        Remove(snapshot_image(2)),
        Remove(snapshot_image(9)),
    )
    assert keeping(steps, disk, None) == steps
    assert Remove(snapshot_image(9)) not in keeping(steps, disk, 2, snapshot_image(9))


def test_a_machine_without_a_fallback_gets_one_by_an_upgrade() -> None:
    steps = upgrade_steps(Disk(images={ACTIVE_IMAGE: OLD}), Record(), Slot.ACTIVE)

    assert Rename(FORMER_IMAGE, PASSIVE_IMAGE) in steps


def test_an_upgrade_of_a_machine_without_systems_makes_the_active_one() -> None:
    steps = upgrade_steps(Disk(images={}), Record(), Slot.RECOVERY)

    assert steps[-1] == Rename(TRANSITION_IMAGE, ACTIVE_IMAGE)


def test_a_reset_replaces_both_systems_and_forgets_the_marks_but_not_the_settings() -> None:
    *steps, mark = replace_steps()

    assert steps == [
        Relabel(TRANSITION_IMAGE, Label.PASSIVE),
        Rename(TRANSITION_IMAGE, PASSIVE_IMAGE),
        Copy(PASSIVE_IMAGE, TRANSITION_IMAGE),
        Relabel(TRANSITION_IMAGE, Label.ACTIVE),
        Rename(TRANSITION_IMAGE, ACTIVE_IMAGE),
    ]
    assert isinstance(mark, Mark)
    assert set(mark.changes.values()) == {None}
    assert not {ALWAYS, ALLOWED} & set(mark.changes)


def test_leftovers_of_an_upgrade_are_removed() -> None:
    disk = Disk(images={ACTIVE_IMAGE: OLD, FORMER_IMAGE: OLD, TRANSITION_IMAGE: NEW})

    assert tidy_steps(disk) == (Remove(TRANSITION_IMAGE), Remove(FORMER_IMAGE))
    assert tidy_steps(BOTH) == ()


@given(
    st.builds(
        Record,
        enabled=st.booleans(),
        always=st.booleans(),
        allowed=st.integers(1, 9),
        image=st.sampled_from(["", "old"]),
        tries=st.none() | st.integers(0, 9),
        tentative=st.booleans(),
        good=st.lists(st.sampled_from(["old", "new"]), max_size=2).map(tuple),
        failure=st.sampled_from(["", "why"]),
    )
)
def test_a_record_survives_being_written(record: Record) -> None:
    values = {name: value for name, value in write_record(record).items() if value is not None}

    assert read_record(values) == record


def test_variables_that_make_no_sense_count_as_absent() -> None:
    values = {ENABLED: "1", ALLOWED: "0", TRIES: "12", TENTATIVE: "", GOOD: "  ", ALWAYS: "no"}

    assert read_record(values) == Record()


def test_the_block_of_a_long_life_has_room() -> None:
    identity = "01234567-89ab-cdef-0123-456789abcdef"
    record = Record(
        enabled=True,
        always=True,
        allowed=9,
        image=identity,
        tries=9,
        tentative=True,
        good=(identity,) * 4,
        failure="x" * 200,
    )

    assert sum(len(f"{name}={value}\n") for name, value in write_record(record).items()) < 700


def test_choices_are_written_as_the_menu_reads_them() -> None:
    assert choose(once=Slot.RECOVERY) == {"next_entry": "recovery"}
    assert choose(lasting=Slot.ACTIVE) == {"saved_entry": "cos"}
