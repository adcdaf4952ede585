"""The state machine of booting: what the menu boots next, and what an upgrade may replace.

A new system gets counted tries. A health check marks it good, or bad; one that is bad, or has used
up its tries, is passed over for the passive system until something else takes its place. What is
known is kept by the identity of an image, the UUID of the file system in it, so that a mark never
speaks of another image than the one that earned it. Whoever makes an image gives it a new UUID.

All here is pure. `/etc/cos/grub.cfg` follows the rules of `menu` (tests compare the two). The life
cycle carries out steps in the order given here, each durable before the next: the file and its
folder synced, and the journal of the partition written out, since the menu reads no journal. A
power cut between any two steps leaves a system that can be booted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, unique

from compiler.layout import (
    ACTIVE_IMAGE,
    FORMER_IMAGE,
    PASSIVE_IMAGE,
    TRANSITION_IMAGE,
    Label,
    Slot,
)

ENABLED = "enable_boot_assessment"
ALWAYS = "enable_boot_assessment_always"
TENTATIVE = "boot_assessment_tentative"
ALLOWED = "boot_assessment_allowed"
IMAGE = "boot_assessment_image"
TRIES = "boot_assessment_tries"
GOOD = "boot_assessment_good"
FAILURE = "boot_assessment_failure"
"""Variables of COS_STATE:/boot_assessment; the first three are those of cOS-toolkit 0.6."""

NEXT_ENTRY = "next_entry"
SAVED_ENTRY = "saved_entry"
"""Variables of COS_OEM:/grubenv: an entry for one boot, and one until it is changed."""

UPGRADE_FAILURE = "upgrade_failure"
"""On the kernel command line of a system that is booted because the active one is bad."""

BOOT_TRY = "cos.boot_try"
"""On the kernel command line of a boot that is counted."""

DEFAULT_TRIES = 3
_REMEMBERED = 4  # identities of good images; a block of GRUB has little room
_REASON = 200  # letters of a reason, for the same cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of the state partition: who it is, its label, whether it can mark itself good."""

    identity: str
    label: Label
    assessable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The images that the state partition has, by path on it, and whether there is a recovery."""

    images: Mapping[str, Image]
    recovery: bool = True

    def has(self, slot: Slot) -> bool:
        """Whether the system of a slot is there."""
        return self.recovery if slot is Slot.RECOVERY else _PATHS[slot] in self.images


_PATHS = {Slot.ACTIVE: ACTIVE_IMAGE, Slot.PASSIVE: PASSIVE_IMAGE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of images: the content of the environment block of the assessment."""

    enabled: bool = False
    """Whether an active system that is not proved has to prove itself. Set by each upgrade."""

    always: bool = False
    """Whether each boot of the active system is a try, also when it is proved. The owner's."""

    allowed: int = DEFAULT_TRIES
    """Tries that an image gets, from 1 to 9. The owner's."""

    image: str = ""
    """The image whose tries are counted, or were up."""

    tries: int | None = None
    """Further tries that this image has."""

    tentative: bool = False
    """Whether the menu booted this image and nothing was heard of it since."""

    good: tuple[str, ...] = ()
    """Images that proved themselves, the last one first."""

    failure: str = ""
    """Why the last image that failed did so."""

    def left(self, identity: str) -> int:
        """Return how many tries an image has left."""
        return self.allowed if self.tries is None or self.image != identity else self.tries

    def assesses(self, identity: str) -> bool:
        """Whether a boot of this image, as the active one, is a try."""
        return self.always or (self.enabled and identity not in self.good)

    def proved(self, identity: str) -> bool:
        """Whether an image booted well, and is not being tried again."""
        return identity in self.good and self.image != identity


def read_record(values: Mapping[str, str]) -> Record:
    """Read the variables of the block; what makes no sense counts as absent."""
    allowed = _digit(values.get(ALLOWED, ""))
    return Record(
        enabled=values.get(ENABLED) == "yes",
        always=values.get(ALWAYS) == "yes",
        allowed=allowed or DEFAULT_TRIES,
        image=values.get(IMAGE, ""),
        tries=_digit(values.get(TRIES, "")),
        tentative=values.get(TENTATIVE) == "yes",
        good=tuple(values.get(GOOD, "").split()),
        failure=values.get(FAILURE, ""),
    )


def write_record(record: Record) -> dict[str, str | None]:
    """Return the changes that put a record into the block; None takes a variable out."""
    return {
        ENABLED: "yes" if record.enabled else None,
        ALWAYS: "yes" if record.always else None,
        ALLOWED: str(record.allowed) if record.allowed != DEFAULT_TRIES else None,
        IMAGE: record.image or None,
        TRIES: None if record.tries is None else str(record.tries),
        TENTATIVE: "yes" if record.tentative else None,
        GOOD: " ".join(record.good) or None,
        FAILURE: record.failure or None,
    }


def _digit(text: str) -> int | None:
    """Read one digit, as the menu does."""
    return int(text) if len(text) == 1 and text in "0123456789" else None


@unique
class Standing(Enum):
    """What is known of an image; the value is what a person reads."""

    PROVED = "good"
    UNPROVED = "not proved"
    TRIED = "being tried"
    FAILED = "bad"


def standing(record: Record, identity: str) -> Standing:
    """Say what is known of an image."""
    if record.image == identity and record.tentative:
        return Standing.TRIED
    if record.image == identity and record.tries == 0:
        return Standing.FAILED
    return Standing.PROVED if record.proved(identity) else Standing.UNPROVED


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the owner asked the menu for: an entry for one boot, and one for all."""

    once: Slot | None = None
    lasting: Slot | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What the menu boots, and what it has written before."""

    slot: Slot
    record: Record
    choices: Choices
    counted: bool = False
    """Whether it is a try; then `BOOT_TRY` is on the kernel command line."""

    after_failure: bool = False
    """Whether the active system was passed over; then `UPGRADE_FAILURE` is on the command line."""


def menu(disk: Disk, record: Record, choices: Choices, by_hand: Slot | None = None) -> Boot | None:
    """Say what the menu boots, by itself or because somebody chose; None if nothing is there.

    Only an active system that nobody asked for by name is passed over, and only for a passive one
    that is there. An image that is absent gives way to the next: active, passive, recovery.
    """
    chosen = choices.once or choices.lasting or Slot.ACTIVE
    after_failure = choices.once is None and chosen is Slot.ACTIVE and _is_passed_over(disk, record)
    if after_failure:
        chosen = Slot.PASSIVE
    slot = next((each for each in (by_hand or chosen, *Slot) if disk.has(each)), None)
    if slot is None:
        return None
    counted = slot is Slot.ACTIVE and _has_a_try(disk, record)
    return Boot(
        slot=slot,
        record=_counted(record, disk.images[ACTIVE_IMAGE].identity) if counted else record,
        choices=replace(choices, once=None),
        counted=counted,
        after_failure=after_failure and slot is Slot.PASSIVE,
    )


def _is_passed_over(disk: Disk, record: Record) -> bool:
    active = disk.images.get(ACTIVE_IMAGE)
    return (
        active is not None
        and disk.has(Slot.PASSIVE)
        and record.assesses(active.identity)
        and record.left(active.identity) == 0
    )


def _has_a_try(disk: Disk, record: Record) -> bool:
    """Whether booting the active system uses up a try; without a passive one there is no point."""
    active = disk.images[ACTIVE_IMAGE]
    return (
        disk.has(Slot.PASSIVE)
        and active.assessable
        and record.assesses(active.identity)
        and record.left(active.identity) > 0
    )


def _counted(record: Record, identity: str) -> Record:
    return replace(record, image=identity, tries=record.left(identity) - 1, tentative=True)


def mark_good(record: Record, identity: str) -> Record:
    """Note that an image booted well, however it was booted."""
    others = tuple(each for each in record.good if each != identity)
    proved = replace(record, good=(identity, *others)[:_REMEMBERED])
    if record.image != identity:
        return proved
    return replace(proved, image="", tries=None, tentative=False, failure="")


def mark_bad(record: Record, identity: str, reason: str) -> Record:
    """Note that the active image is bad: the menu passes it over from now on."""
    return replace(
        record,
        enabled=True,
        image=identity,
        tries=0,
        tentative=False,
        good=tuple(each for each in record.good if each != identity),
        failure=" ".join(reason.split())[:_REASON],
    )


def gives_way(disk: Disk, record: Record, booted: Slot, identity: str) -> bool:
    """Whether a booted system that is not well has to give way to the passive one.

    It does once: in a boot that is a try. A system that somebody boots although it is known to be
    bad, one that proved itself in an earlier boot, and the passive one, stay for somebody to look.
    """
    return (
        booted is Slot.ACTIVE
        and disk.has(Slot.PASSIVE)
        and standing(record, identity) is Standing.TRIED
    )


def note_fallback(record: Record, active: str) -> Record:
    """Note, in a passive system booted for a failure, that the active image used up its tries."""
    if record.image != active or not record.tentative:
        return record
    return mark_bad(record, active, f"it did not come up in {record.allowed} tries")


def try_again(record: Record, identity: str) -> Record:
    """Give an image all its tries anew."""
    if record.image != identity:
        return record
    return replace(record, image="", tries=None, tentative=False)


@dataclass(frozen=True, slots=True)
class Relabel:
    """Give the file system in an image a label. It is never one that the menu can boot now."""

    path: str
    label: Label


@dataclass(frozen=True, slots=True)
class Link:
    """Give an image a second name."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy an image, sparse as it is, to a name that nothing has."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Rename:
    """Give an image another name; what had that name is gone, unless it is running."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove an image that the menu never boots."""

    path: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Change variables of COS_STATE:/boot_assessment; None takes one out. It is made if absent."""

    changes: Mapping[str, str | None] = field(hash=False)


Step = Relabel | Link | Copy | Rename | Remove | Mark


def tidy_steps(disk: Disk) -> tuple[Step, ...]:
    """Return what removes the leftovers of an upgrade that was cut off; first in every change."""
    return tuple(Remove(path) for path in (TRANSITION_IMAGE, FORMER_IMAGE) if path in disk.images)


def upgrade_steps(disk: Disk, record: Record, current: Slot) -> tuple[Step, ...]:
    """Return how a finished transition image becomes the active system.

    The former active system becomes the passive one if it is the `current` one and has proved
    itself (or there is no passive one); else the passive system stays. The mark comes first:
    the image that it is for is known by its identity, and what is known of the former one stays.
    """
    into_place: tuple[Step, ...] = (Rename(TRANSITION_IMAGE, ACTIVE_IMAGE),)
    if _is_kept(disk, record, current):
        into_place = (
            Link(ACTIVE_IMAGE, FORMER_IMAGE),
            *into_place,
            Relabel(FORMER_IMAGE, Label.PASSIVE),
            Rename(FORMER_IMAGE, PASSIVE_IMAGE),
        )
    return (Relabel(TRANSITION_IMAGE, Label.ACTIVE), Mark({ENABLED: "yes"}), *into_place)


def _is_kept(disk: Disk, record: Record, current: Slot) -> bool:
    active = disk.images.get(ACTIVE_IMAGE)
    if active is None or current is not Slot.ACTIVE:
        return False
    return record.proved(active.identity) or not disk.has(Slot.PASSIVE)


def replace_steps() -> tuple[Step, ...]:
    """Return how a finished transition image becomes both systems: installation, reset, deploy.

    The owner asked for it, so it needs no proof, and it is not counted: the passive system is the
    same and could do no better. The marks go last, for until then the former active one may be bad.
    """
    return (
        Relabel(TRANSITION_IMAGE, Label.PASSIVE),
        Rename(TRANSITION_IMAGE, PASSIVE_IMAGE),
        Copy(PASSIVE_IMAGE, TRANSITION_IMAGE),
        Relabel(TRANSITION_IMAGE, Label.ACTIVE),
        Rename(TRANSITION_IMAGE, ACTIVE_IMAGE),
        Mark(dict.fromkeys((ENABLED, IMAGE, TRIES, TENTATIVE, GOOD, FAILURE))),
    )


def choose(*, once: Slot | None = None, lasting: Slot | None = None) -> dict[str, str]:
    """Return the changes of COS_OEM:/grubenv that make the menu boot a slot."""
    wanted = {NEXT_ENTRY: once, SAVED_ENTRY: lasting}
    return {name: slot.value for name, slot in wanted.items() if slot is not None}
