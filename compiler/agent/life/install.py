"""`cos-installer`: puts a system on a disk, which is not touched before everything was checked."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile

from compiler.agent.life import (
    bootloader,
    cache,
    customs,
    disk,
    medium,
    owner,
    power,
    record,
    slots,
    snapshots,
)
from compiler.agent.life.detect import labelled
from compiler.agent.life.firmware import add_entry, eject_at_shutdown
from compiler.agent.life.hooks import Hooks
from compiler.agent.life.host import Host, need_room, sync_file, write_whole
from compiler.agent.life.inventory import check_system
from compiler.agent.life.partition import Firmware, Layout, Needs, Plan, make_plan, mib
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.life.relabel import relabel
from compiler.agent.life.settings import Settings
from compiler.agent.life.site import PARTITIONS, all_labels, label_of, menu_labels
from compiler.agent.life.source import System
from compiler.agent.life.steps import probe
from compiler.layout import ACTIVE_IMAGE, PASSIVE_IMAGE, RECOVERY_IMAGE, RECOVERY_SQUASHFS, Label
from compiler.store.images import host_platform

_AFTER_INSTALL = "usr/share/cos/90_after_install.yaml"
_TOOLS = ("lsblk", "blkid", "sfdisk", "partx", "wipefs", "mkfs.ext4", "mkfs.ext2", "tune2fs",
          "cp", "grub2-install|grub-install")  # fmt: skip
_QUIET_TTYS = ("", "tty1", "console")


@dataclass(frozen=True, slots=True, kw_only=True)
class Partitions:
    """The partitions of a disk as they are mounted; `devices` by label."""

    oem: Path
    state: Path
    recovery: Path
    persistent: Path
    efi: Path | None
    devices: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What was checked before the disk is touched.

    What is installed was looked through, or is still to be fetched onto the disk. Without a `plan`
    the disk has its partitions already.
    """

    host: Host
    settings: Settings
    firmware: Firmware
    configs: tuple[bytes, ...]
    hooks: Hooks
    what: "Job | medium.Source"
    plan: Plan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is put on the disk: a system, of `content` bytes, and a squashed recovery system."""

    frame: Frame
    system: System
    size: slots.Size
    content: int
    recovery: Path | None

    @property
    def host(self) -> Host:
        """The machine."""
        return self.frame.host

    @property
    def settings(self) -> Settings:
        """What was asked for."""
        return self.frame.settings


def install(host: Host, settings: Settings) -> None:
    """Install; raises `LifeError` with the phase that failed."""
    host.need_root()
    device = settings.text("COS_INSTALL_DEVICE")
    if not device:
        raise LifeError("name the disk to install on", Phase.DEVICE, hint="lsblk lists the disks")
    with ExitStack() as stack:
        stack.enter_context(host.alone())
        frame = _prepare(host, settings, device, stack)
        frame.hooks.before()
        parts = stack.enter_context(_partitions(frame, device))
        what = frame.what
        job = what if isinstance(what, Job) else _fetched(frame, what, parts, stack)
        _put(job, parts, device, with_loader=frame.plan is not None)
        if frame.plan is not None:
            add_entry(host, settings, parts.devices.get(Label.GRUB))
        frame.hooks.post()
        host.log.info("Unmounting disk partitions")
    eject_at_shutdown(host, settings)
    host.log.info("Installation completed")
    power.after(host, settings, asked=not settings.text("DEVICE_BY_FLAG"))


def firmware_of(host: Host, settings: Settings) -> Firmware:
    """Say what the machine is started by, or is to be."""
    efi = host.path("/sys/firmware/efi").is_dir()
    if settings.flag("COS_INSTALL_FORCE_EFI") and not efi:
        host.log.warning("this machine was not started by EFI, and may not boot what is installed")
    return Firmware.EFI if efi or settings.flag("COS_INSTALL_FORCE_EFI") else Firmware.BIOS


def _prepare(host: Host, settings: Settings, device: str, stack: ExitStack) -> Frame:
    """Check everything, and fetch what there is room for; the disk is only looked at."""
    firmware = firmware_of(host, settings)
    snapshots.check(settings)
    wanted = _layout(settings)
    chosen = {disk.mkfs_program(each) for each in wanted.made}
    host.need(*_TOOLS, *(["mkfs.fat"] if firmware is Firmware.EFI else []), *sorted(chosen))
    configs = owner.collect(host, settings.words("COS_INSTALL_CONFIG_URL"))
    target = _check(host, settings, device)
    source = medium.look(host, settings)
    frame = Frame(
        host=host,
        settings=settings,
        firmware=firmware,
        configs=configs,
        hooks=hooks_of(host, settings, "install"),
        what=source,
    )
    place = medium.place_for(source, host, settings)
    if place is None:
        host.log.info(f"{source.name} is fetched onto the new disk: nothing else has room for it")
        image = mib(source.unpacked)
        needs = Needs(image=image, recovery=mib(source.recovery) or image)
    else:
        job = _job(frame, stack.enter_context(source.open(place)))
        frame = replace(frame, what=job)
        image = mib(job.size.size)
        squashed = mib(job.recovery.stat().st_size) if job.recovery else image
        needs = Needs(image=image, recovery=squashed)
    if target is None:
        return frame
    gpt = settings.flag("COS_INSTALL_FORCE_GPT")
    plan = make_plan(target.size >> 20, needs, firmware=firmware, gpt=gpt, wanted=wanted)
    return replace(frame, plan=plan)


def _job(frame: Frame, opened: medium.Opened) -> Job:
    """Look through a system; raises `LifeError` for one that cannot run or boot here."""
    system, folder = opened
    settings = frame.settings
    with during(Phase.UNPACK, system.origin):
        inventory = system.inventory()
    check_system(inventory, system.origin, host_platform().architecture)
    size = slots.image_size(
        inventory,
        reserve=settings.number("IMAGE_RESERVE"),
        fixed=settings.number("DEFAULT_IMAGE_SIZE"),
    )
    squashed = folder / medium.RECOVERY_FILE
    return Job(
        frame=frame,
        system=system,
        size=size,
        content=inventory.size,
        recovery=squashed if squashed.is_file() else None,
    )


def _fetched(frame: Frame, source: medium.Source, parts: Partitions, stack: ExitStack) -> Job:
    """Fetch a system onto the new disk, where it is looked through; raises `LifeError`.

    What was fetched stays there for the next upgrade, within bounds.
    """
    place = parts.persistent / medium.WORK_FOLDER
    job = _job(frame, stack.enter_context(source.open(place)))
    stack.callback(_keep, job, place)
    squashed = job.recovery.stat().st_size if job.recovery else job.content
    need_room(parts.state, 2 * job.content, "the system, twice,")
    need_room(parts.recovery, squashed, "the recovery system")
    return job


def _keep(job: Job, place: Path) -> None:
    """Keep what the system is made of, for the first upgrade."""
    try:
        most = job.settings.number("CACHE_SIZE") << 20
        cache.settle(place, "system", job.system.contents, most)
    except OSError as error:
        job.host.log.warning(f"{place}: {error.strerror or error}: it may not be kept")


def hooks_of(host: Host, settings: Settings, operation: str) -> Hooks:
    """Return the hooks of an operation, as the settings want them run."""
    return Hooks(
        host=host,
        operation=operation,
        strict=settings.flag("STRICT"),
        silent=settings.flag("SILENCE_HOOKS"),
        paths=settings.text("CLOUD_INIT_PATHS"),
    )


def _layout(settings: Settings) -> Layout:
    name = settings.text("COS_PARTITION_LAYOUT")
    if not name:
        return Layout()
    with during(Phase.CONFIG, name):
        text = Path(name).read_text(errors="replace")
    return customs.parse_layout(text, name)


def _check(host: Host, settings: Settings, device: str) -> disk.Target | None:
    """Return the disk to be partitioned, None if prepared partitions are to be used."""
    devices = host.devices()
    force = settings.flag("COS_INSTALL_FORCE") or settings.flag("FORCE")
    if not settings.flag("COS_INSTALL_NO_FORMAT"):
        return disk.check_disk(device, devices, force=force)
    real = os.path.realpath(device)
    state = next((each for each in devices if each.name == real), None)
    if state is None or not Path(real).is_block_device():
        message = f"You should use an available device. Device {device} does not exist."
        raise LifeError(message, Phase.DEVICE)
    missing = [
        label
        for label in (Label.OEM, Label.RECOVERY, Label.PERSISTENT)
        if labelled(devices, label_of(settings, label), state.disk) is None
    ]
    if missing:
        message = f"no partition has the label {', '.join(missing)}"
        raise LifeError(message, Phase.ABSENT, hint="--no-format needs all of them prepared")
    return None


@contextmanager
def _partitions(frame: Frame, device: str) -> Iterator[Partitions]:
    """Make the partitions, or find those that were prepared, and mount them."""
    host, plan = frame.host, frame.plan
    if plan is None:
        devices = _prepared(frame, device)
    else:
        host.log.info("Formatting drives..")
        host.log.info("Partitioning device...")
        target = disk.Target(os.path.realpath(device), 0)
        devices = disk.partition(host, target, plan)
        disk.make_filesystems(host, plan, devices, own_labels(frame.settings))
    host.log.info("Mounting critical endpoints..")
    host.log.info("Mounting disk partitions")
    with ExitStack() as stack:

        def mount(label: Label) -> Path:
            return stack.enter_context(host.mounted(devices[label], label.name.lower()))

        yield Partitions(
            oem=mount(Label.OEM),
            state=mount(Label.STATE),
            recovery=mount(Label.RECOVERY),
            persistent=mount(Label.PERSISTENT),
            efi=mount(Label.GRUB) if Label.GRUB in devices else None,
            devices=devices,
        )


def own_labels(settings: Settings) -> dict[str, str]:
    """Return the labels that somebody wants in place of ours."""
    return {str(label): label_of(settings, label) for label in PARTITIONS}


def _prepared(frame: Frame, device: str) -> dict[str, str]:
    """Find prepared partitions; the state partition gets its label if nothing has it."""
    devices = frame.host.devices()
    state = next(each for each in devices if each.name == os.path.realpath(device))
    found = {str(Label.STATE): state.name}
    for ours, label in own_labels(frame.settings).items():
        at = labelled(devices, label, state.disk)
        if at is not None:
            found.setdefault(ours, at.name)
    if not state.label:
        with during(Phase.LABEL, state.name):
            frame.host.call("tune2fs", "-L", frame.settings.text("STATE_LABEL"), state.name)
    return found


def _put(job: Job, parts: Partitions, device: str, *, with_loader: bool) -> None:
    """Fill the partitions."""
    host, state = job.host, parts.state
    label = job.settings.text("ACTIVE_LABEL")
    active = state / ACTIVE_IMAGE
    with slots.new_image(host, active, label, job.size) as tree:
        host.log.info("Copying cOS..")
        with during(Phase.COPY, job.system.origin):
            job.system.fill(tree)
        slots.add_mount_points(tree)
        _configure(job, parts, tree)
        if with_loader:
            host.log.info("Installing GRUB..")
            places = bootloader.Places(
                disk=os.path.realpath(device),
                firmware=job.frame.firmware,
                state=state,
                efi=parts.efi,
                labels=menu_labels(job.settings),
            )
            bootloader.install(host, places, tree=tree, machine=os.uname().machine)
        relabel(host, tree)
        job.frame.hooks.after_chroot(tree, mounts_in_tree(parts))
        job.frame.hooks.after()
    _write_menu(job, parts)
    _copies(job, parts, active)


def mounts_in_tree(parts: Partitions) -> list[tuple[Path, str]]:
    """Say which partitions a hook sees where in the new tree."""
    found = [(parts.oem, "/oem"), (parts.persistent, "/usr/local")]
    return [*found, (parts.efi, "/boot/efi")] if parts.efi else found


def _configure(job: Job, parts: Partitions, tree: Path) -> None:
    """Write the owner's configuration, and what is to be told after the installation."""
    owner.write(parts.oem, job.frame.configs)
    owner.write_paths(parts.oem, job.settings)
    text = tree / _AFTER_INSTALL
    with during(Phase.COPY, "the configuration cannot be written"):
        folder = parts.persistent / "cloud-config"
        folder.mkdir(exist_ok=True)
        if text.is_file():
            write_whole(folder / text.name, text.read_bytes(), 0o640)


def _write_menu(job: Job, parts: Partitions) -> None:
    """Write the variables of the boot menu."""
    bootloader.add_choices(parts.oem)
    bootloader.rebrand(parts.state, job.settings.text("GRUB_ENTRY_NAME"))
    tty = job.settings.text("COS_INSTALL_TTY").removeprefix("/dev/")
    if tty not in _QUIET_TTYS:
        bootloader.change_settings(parts.state, {"extra_cmdline": f"console={tty}"})
    bootloader.write_labels(parts.state, all_labels(job.settings))


def _copies(job: Job, parts: Partitions, active: Path) -> None:
    """Make the recovery system and the passive image, and write the record."""
    host, settings = job.host, job.settings
    host.log.info("Preparing recovery..")
    uuid = probe(host, active).get("UUID", "")
    image = record.Image(
        uuid=uuid,
        source=job.system.origin,
        digest=job.system.digest,
        label=settings.text("ACTIVE_LABEL"),
        filesystem="ext2",
        action="install",
        date=record.now(),
        labels=settings.pairs("SNAPSHOT_LABELS"),
    )
    recovery = replace(image, label=settings.text("SYSTEM_LABEL"), labels={})
    if job.recovery is not None:
        host.log.info(f"Copying {job.recovery} into {parts.recovery / RECOVERY_SQUASHFS}")
        with during(Phase.RECOVERY):
            place = parts.recovery / RECOVERY_SQUASHFS
            place.parent.mkdir(parents=True, exist_ok=True)
            beside = place.with_name("transition.squashfs")
            copyfile(job.recovery, beside)
            sync_file(beside)
            slots.rename(beside, place)
        recovery = replace(recovery, source=str(job.recovery), digest="", label="", uuid="",
                           filesystem="squashfs")  # fmt: skip
    else:
        place = parts.recovery / RECOVERY_IMAGE
        place.parent.mkdir(parents=True, exist_ok=True)
        slots.copy_image(host, active, place, settings.text("SYSTEM_LABEL"))
    host.log.info("Preparing passive boot..")
    label = settings.text("PASSIVE_LABEL")
    slots.copy_image(host, active, parts.state / PASSIVE_IMAGE, label)
    images = {
        "active": record.entry(image),
        "passive": record.entry(replace(image, label=label)),
        "recovery": record.entry(recovery),
    }
    names = {label: label_of(settings, label) for label in PARTITIONS}
    systems = snapshots.number_of(settings)
    known = {} if systems is None else record.with_systems({}, systems)
    written = record.with_images(known, images, names)
    record.write(parts.state, written)
    record.write(parts.recovery, written)
