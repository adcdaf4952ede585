"""Which system runs: the kernel was told, and stages, assessment and life cycle read it here."""

import shlex
from collections.abc import Iterable
from enum import Enum, unique

from compiler.layout import (
    ACTIVE_IMAGE,
    PASSIVE_IMAGE,
    RECOVERY_IMAGE,
    RECOVERY_SQUASHFS,
    Label,
    snapshot_number,
)

_IMAGE = ("cos-img/filename=", f"rd.live.squashimg=/{RECOVERY_SQUASHFS}")


@unique
class Booted(Enum):
    """Which system is running."""

    ACTIVE = "active"
    PASSIVE = "passive"
    RECOVERY = "recovery"
    LIVE = "live"
    OTHER = "none of ours"


_FILES = {
    f"/{ACTIVE_IMAGE}": Booted.ACTIVE,
    f"/{PASSIVE_IMAGE}": Booted.PASSIVE,
    f"/{RECOVERY_IMAGE}": Booted.RECOVERY,
    f"/{RECOVERY_SQUASHFS}": Booted.RECOVERY,
}
"""The images that are booted, as the kernel is told of them."""


def booted(cmdline: str, labels: Iterable[str], *, live: bool) -> Booted:
    """Decide which system runs: the kernel is told first of all, else labels of loop devices say.

    `labels` are those of loop devices, `live` whether the root of a live system is there. Of an
    image that is named twice the last name counts, as in the initrd. An older system counts as
    passive.
    """
    words = _words(cmdline)
    image = booted_image(cmdline)
    if image:
        older = snapshot_number(image.removeprefix("/")) is not None
        return Booted.PASSIVE if older else _FILES.get(image, Booted.OTHER)
    if any(Label.RECOVERY in word or Label.SYSTEM in word for word in words):
        return Booted.RECOVERY
    there = set(labels)
    if live or any(Label.LIVE in word for word in words):
        return Booted.LIVE
    for label, which in (
        (Label.SYSTEM, Booted.RECOVERY),
        (Label.PASSIVE, Booted.PASSIVE),
        (Label.ACTIVE, Booted.ACTIVE),
    ):
        if label in there:
            return which
    return Booted.OTHER


def booted_image(cmdline: str) -> str:
    """Return the image that the kernel was told of last, "" if of none."""
    files = [word.partition("=")[2] for word in _words(cmdline) if word.startswith(_IMAGE)]
    return files[-1] if files else ""


def has_word(cmdline: str, word: str) -> bool:
    """Whether the kernel was told this word."""
    return word in _words(cmdline)


def _words(cmdline: str) -> list[str]:
    try:
        return shlex.split(cmdline)
    except ValueError:
        return cmdline.split()
