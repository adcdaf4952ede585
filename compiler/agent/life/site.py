"""An installed machine as a command finds it: its partitions, mounted, and what runs."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from compiler.agent.booted import Booted
from compiler.agent.life import cache, record
from compiler.agent.life.detect import Device, labelled, without_label
from compiler.agent.life.host import Host
from compiler.agent.life.medium import WORK_FOLDER
from compiler.agent.life.partition import Firmware
from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.life.settings import Settings
from compiler.agent.life.source import Opening
from compiler.agent.life.steps import State
from compiler.layout import ACTIVE_IMAGE, PASSIVE_IMAGE, Label, snapshot_number

PARTITIONS = (Label.OEM, Label.STATE, Label.RECOVERY, Label.PERSISTENT, Label.GRUB)
"""The partitions of an installation."""

_SPARE = ".cos-fetched"
"""On the state partition, during a command: what has no room on the persistent one."""

_NAMES = {ACTIVE_IMAGE: "active", PASSIVE_IMAGE: "passive"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A machine whose partitions are mounted to be written to."""

    host: Host
    settings: Settings
    devices: Sequence[Device]
    booted: Booted
    disk: str
    """The disk whose partitions come first: that which was booted, else that of the state."""
    state_device: Device
    state: Path
    persistent: Path | None
    oem: Path | None
    efi: Path | None

    @property
    def images(self) -> State:
        """The images of the state partition."""
        return State(self.host, self.state, slot_labels(self.settings))

    @property
    def firmware(self) -> Firmware:
        """What starts the machine."""
        efi = self.host.path("/sys/firmware/efi").is_dir() or self.efi is not None
        return Firmware.EFI if efi else Firmware.BIOS

    def opening(self) -> Opening:
        """Return what is needed to open a source."""
        named = self.settings.text("CACHE_DIR")
        base = self.persistent or self.state
        return Opening(
            host=self.host,
            settings=self.settings,
            cache=Path(named) if named else base / WORK_FOLDER,
            spare=self.spare if named or self.persistent else None,
        )

    @property
    def spare(self) -> Path:
        """Where that goes which is fetched and not kept."""
        return self.state / _SPARE

    def settle(self, place: str, contents: Sequence[str]) -> None:
        """Keep of what was fetched what the images at a place are made of, once one is there."""
        most = self.settings.number("CACHE_SIZE") << 20
        folder = self.opening().cache
        try:
            cache.settle(folder, place, contents, most)
        except OSError as error:
            self.host.log.warning(f"{folder}: {error.strerror or error}: it may not be kept")

    def mounts_in_tree(self) -> list[tuple[Path, str]]:
        """Say which partitions a hook sees where in the new tree."""
        places = ((self.oem, "/oem"), (self.persistent, "/usr/local"), (self.efi, "/boot/efi"))
        return [(folder, path) for folder, path in places if folder is not None]

    def device(self, label: Label) -> Device | None:
        """Find a partition by our name for it; raises `LifeError` as `labelled`."""
        return labelled(self.devices, label_of(self.settings, label), self.disk)

    def write_record(self, changes: Mapping[str, record.Record | None]) -> None:
        """Change the record, and make it right about what the names of images stand for."""
        names = {label: label_of(self.settings, label) for label in PARTITIONS}
        known = record.with_images(record.read(self.state), changes, names)
        if "transition" not in changes:
            known = self.reconciled(known)
        record.write(self.state, known)

    def reconciled(self, known: record.Record) -> record.Record:
        """Return a record that is right about the images that are there."""
        images = self.images.disk().images
        uuids = {_NAMES[path]: image.identity for path, image in images.items() if path in _NAMES}
        labels = {
            "active": self.settings.text("ACTIVE_LABEL"),
            "passive": self.settings.text("PASSIVE_LABEL"),
        }
        numbered = ((snapshot_number(path), image.identity) for path, image in images.items())
        older = {number: uuid for number, uuid in numbered if number is not None}
        return record.reconciled(known, uuids, labels, older)


def slot_labels(settings: Settings) -> dict[Label, str]:
    """Return the labels of images."""
    names = (Label.ACTIVE, Label.PASSIVE, Label.SYSTEM)
    return {label: settings.text(f"{label.name}_LABEL") for label in names}


def label_of(settings: Settings, label: Label) -> str:
    """Return what a label of ours is called on this machine."""
    return settings.text(f"{label.name}_LABEL")


def menu_labels(settings: Settings) -> tuple[str, str]:
    """Return the labels of the partitions that the boot menu may be on."""
    return label_of(settings, Label.STATE), label_of(settings, Label.RECOVERY)


def all_labels(settings: Settings) -> dict[Label, str]:
    """Return what all labels of ours are called on this machine."""
    names = (*PARTITIONS, Label.ACTIVE, Label.PASSIVE, Label.SYSTEM)
    return {label: label_of(settings, label) for label in names}


def own_disk(host: Host, settings: Settings, devices: Sequence[Device]) -> str:
    """Say whose partitions are meant: the disk that somebody names, else that which was booted."""
    named = settings.text("COS_DISK")
    return os.path.realpath(named) if named else host.home(devices)


def state_of(settings: Settings, devices: Sequence[Device], disk: str) -> Device:
    """Find the state partition; never that of another disk where this one has lost its label.

    Raises `LifeError`.
    """
    lost = lost_partition(settings, devices, Label.STATE, disk)
    if lost is not None:
        hint = "`cos-reset` in the recovery system makes it anew"
        message = f"State partition cannot be found: {lost.name} has no file system of that name"
        raise LifeError(message, Phase.ABSENT, hint=hint)
    state = labelled(devices, label_of(settings, Label.STATE), disk)
    if state is None:
        hint = "is this an installed machine?"
        raise LifeError("State partition cannot be found", Phase.ABSENT, hint=hint)
    return state


def lost_partition(
    settings: Settings, devices: Sequence[Device], label: Label, disk: str
) -> Device | None:
    """Find the partition of a disk that has lost its label, if it has."""
    names = {each: label_of(settings, each) for each in PARTITIONS}
    return without_label(devices, label, disk, names)


def _has_loader(settings: Settings, devices: Sequence[Device], disk: str) -> bool:
    """Whether EFI starts a disk: what another one has for it is never that of this."""
    label = label_of(settings, Label.GRUB)
    return any(each.label == label and each.disk == disk for each in devices)


@contextmanager
def open_site(host: Host, settings: Settings, *, persistent: bool = True) -> Iterator[Site]:
    """Find and mount the partitions of a machine; raises `LifeError` for what is missing.

    With `persistent` false the owner's partitions need be neither there nor whole.
    """
    devices = host.devices()
    disk = own_disk(host, settings, devices)
    state = state_of(settings, devices, disk)
    disk = disk or state.disk
    with ExitStack() as stack:

        def use(label: Label) -> Path | None:
            device = labelled(devices, label_of(settings, label), disk)
            if device is None or lost_partition(settings, devices, label, disk) is not None:
                return None
            try:
                return stack.enter_context(host.used(device, label.name.lower()))
            except LifeError as error:
                if persistent or label is Label.GRUB:
                    raise
                host.log.warning(f"{error}; the work goes on without it")
                return None

        kept = use(Label.PERSISTENT)
        if kept is None and persistent:
            raise LifeError("Persistent partition cannot be found", Phase.ABSENT)
        site = Site(
            host=host,
            settings=settings,
            devices=devices,
            booted=host.booted(devices),
            disk=disk,
            state_device=state,
            state=stack.enter_context(host.used(state, "state")),
            persistent=kept,
            oem=use(Label.OEM),
            efi=use(Label.GRUB) if _has_loader(settings, devices, state.disk) else None,
        )
        stack.callback(_remove, site.spare)
        _remove(site.spare)  # a command that was killed has left it
        yield site


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
