"""Carries out the steps by which images become those that the menu boots.

Which steps, and in which order, `compiler.agent.assessment` decides; each is on the disk, where the
menu can read it, before the next.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compiler.agent import snapshots
from compiler.agent.assessment import (
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
    tidy_steps,
)
from compiler.agent.installed import read_image
from compiler.agent.journal import checkpoint
from compiler.agent.life import slots
from compiler.agent.life.detect import BLKID, parse_probed
from compiler.agent.life.host import Host, sync_file, sync_folder
from compiler.agent.life.phases import Phase, during
from compiler.grubenv import change_block, read_block
from compiler.layout import (
    ACTIVE_IMAGE,
    BOOT_ASSESSMENT,
    FORMER_IMAGE,
    PASSIVE_IMAGE,
    TRANSITION_IMAGE,
    Label,
    snapshot_image,
)

_IMAGES = (ACTIVE_IMAGE, PASSIVE_IMAGE, TRANSITION_IMAGE, FORMER_IMAGE)
_UNFINISHED = (f"{TRANSITION_IMAGE}.new",)
_NOTHING_FOUND = (0, 2)


@dataclass(frozen=True, slots=True)
class State:
    """The images of a state partition, mounted at `folder`; `labels` are others than ours."""

    host: Host
    folder: Path
    labels: Mapping[Label, str] = field(default_factory=dict)

    def disk(self) -> Disk:
        """Look which images there are."""
        older = map(snapshot_image, self.snapshots())
        names = (*(name for name in _IMAGES if self._has(name)), *older)
        return Disk(images={name: self._image(name) for name in names})

    def snapshots(self) -> tuple[int, ...]:
        """List the older systems that are there, the newest first."""
        folder = (self.folder / ACTIVE_IMAGE).parent
        files = folder.iterdir() if folder.is_dir() else ()
        paths = (f"{folder.name}/{each.name}" for each in files)
        return snapshots.numbers(path for path in paths if self._has(path))

    def _has(self, name: str) -> bool:
        return (self.folder / name).is_file()

    def _image(self, name: str) -> Image:
        names = {text: ours for ours, text in self.labels.items()}
        return read_image(self.folder / name, Label.SYSTEM, names)

    def record(self) -> Record:
        """Read what the boot menu knows of the images."""
        return read_record(read_block(self.folder / BOOT_ASSESSMENT))

    def tidy(self) -> None:
        """Remove what a command that was stopped has left."""
        with during(Phase.COPY, "what was left of an upgrade cannot be removed"):
            for name in _UNFINISHED:
                (self.folder / name).unlink(missing_ok=True)
        disk = self.disk()
        self.carry_out((*tidy_steps(disk), *snapshots.tidy(disk)))

    def carry_out(self, steps: Iterable[Step]) -> None:
        """Do one step after another; raises `LifeError`."""
        for step in steps:
            self.host.log.debug(f"step: {step}")
            self._do(step)
            with during(Phase.COPY, str(self.folder)):
                sync_folder(self.folder)
                if (self.folder / ACTIVE_IMAGE).parent.is_dir():
                    sync_folder((self.folder / ACTIVE_IMAGE).parent)
                checkpoint(self.folder)

    def _do(self, step: Step) -> None:
        place = self.folder
        with during(Phase.COPY, str(place)):
            match step:
                case Relabel(path, label):
                    slots.set_label(self.host, place / path, self.labels.get(label, str(label)))
                case Link(source, target):
                    (place / target).unlink(missing_ok=True)
                    (place / target).hardlink_to(place / source)
                case Copy(source, target):
                    slots.copy_file(self.host, place / source, place / target)
                    sync_file(place / target)
                case Rename(source, target):
                    slots.rename(place / source, place / target)
                case Remove(path):
                    (place / path).unlink(missing_ok=True)
                case Mark(changes):
                    change_block(place / BOOT_ASSESSMENT, changes)


def probe(host: Host, image: Path) -> dict[str, str]:
    """Return what blkid says of an image; nothing for what it does not know."""
    with during(Phase.DEVICE, str(image)):
        said = host.answer(*BLKID, str(image), codes=_NOTHING_FOUND)
    return parse_probed(said).get(str(image), {})
