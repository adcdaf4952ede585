"""The real GRUB with our menu, beside the rules of `compiler.agent.assessment.menu`."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from compiler.agent.assessment import (
    Boot,
    Choices,
    Disk,
    Image,
    Record,
    choose,
    mark_bad,
    mark_good,
    menu,
    read_record,
    write_record,
)
from compiler.agent.booted import Booted, booted
from compiler.agent.installed import Installed
from compiler.agent.snapshots import SNAPSHOTS
from compiler.grubenv import change_block
from compiler.layout import (
    ACTIVE_IMAGE,
    PASSIVE_IMAGE,
    RECOVERY_IMAGE,
    RECOVERY_SQUASHFS,
    Slot,
    snapshot_image,
)
from tests.agent.grub_machine import (
    IDENTITIES,
    LABELS,
    MENU,
    Files,
    Machine,
    Outcome,
    block,
    make_image,
)

pytestmark = pytest.mark.vm

ACTIVE, PASSIVE = IDENTITIES[ACTIVE_IMAGE], IDENTITIES[PASSIVE_IMAGE]
UNPROVED = Record(enabled=True, good=(PASSIVE,))
PROVED = Record(enabled=True, good=(PASSIVE, ACTIVE, "x"))
NO_CHOICE = Choices()
BAD = mark_bad(UNPROVED, ACTIVE, "it is")
AT_ONCE = {"grub_oem_env": block({"timeout": "0"})}
DEVICES = {"cos_active": Slot.ACTIVE, "cos_passive": Slot.PASSIVE, "cos_recovery": Slot.RECOVERY}
DAMAGED: dict[str, bytes | None] = {
    "absent": None,
    "empty": b"",
    "garbage": b"\x7fELF" * 256,
    "short": b"# GRUB Environment Block\nnext_entry=recovery",
    "zeros": bytes(1024),
}


@pytest.fixture(name="images", scope="module")
def made_images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("images")
    return {name: make_image(folder, name) for name in IDENTITIES}


@dataclass(frozen=True, kw_only=True)
class Life:
    """What a machine begins with."""

    record: Record = UNPROVED
    choices: Choices = NO_CHOICE
    there: tuple[str, ...] = (ACTIVE_IMAGE, PASSIVE_IMAGE, RECOVERY_IMAGE)

    def files(self, images: Mapping[str, Path]) -> Files:
        state = {name: images[name] for name in self.there if name != RECOVERY_IMAGE}
        chosen = choose(once=self.choices.once, lasting=self.choices.lasting)
        return Files(
            state={**AT_ONCE, **state, "boot_assessment": block(write_record(self.record))},
            oem={"grubenv": block(chosen)},
            recovery={RECOVERY_IMAGE: images[RECOVERY_IMAGE]}
            if RECOVERY_IMAGE in self.there
            else {},
        )

    def lived(self, boots: int) -> list[Boot]:
        """Return what the rules say that the menu does, when nothing is heard of any system."""
        known = {
            name: Image(identity=IDENTITIES[name], label=LABELS[name])
            for name in self.there
            if name != RECOVERY_IMAGE
        }
        disk = Disk(images=known, recovery=RECOVERY_IMAGE in self.there)
        record, choices, done = self.record, self.choices, []
        for _ in range(boots):
            boot = menu(disk, record, choices)
            assert boot
            done.append(boot)
            record, choices = boot.record, boot.choices
        return done


LIVES = {
    "nothing was ever upgraded": (Life(record=Record()), 2),
    "a new system": (Life(), 5),
    "a new system that gets one try": (Life(record=replace(UNPROVED, allowed=1)), 3),
    "a new system that gets nine tries": (Life(record=replace(UNPROVED, allowed=9)), 1),
    "a system that proved itself": (Life(record=PROVED), 2),
    "each boot is a try": (Life(record=replace(PROVED, always=True)), 4),
    "a bad system": (Life(record=BAD), 2),
    "another system was bad": (Life(record=replace(BAD, image="x")), 2),
    "no upgrade, and marks of a bad system": (Life(record=replace(BAD, enabled=False)), 1),
    "recovery once": (Life(choices=Choices(once=Slot.RECOVERY)), 2),
    "passive once": (Life(record=PROVED, choices=Choices(once=Slot.PASSIVE)), 2),
    "a bad system once": (Life(record=BAD, choices=Choices(once=Slot.ACTIVE)), 2),
    "a new system once": (Life(choices=Choices(once=Slot.ACTIVE)), 1),
    "recovery until it is changed": (Life(choices=Choices(lasting=Slot.RECOVERY)), 2),
    "passive until it is changed": (Life(record=BAD, choices=Choices(lasting=Slot.PASSIVE)), 2),
    "a bad system until it is changed": (Life(record=BAD, choices=Choices(lasting=Slot.ACTIVE)), 2),
    "once, and until it is changed": (
        Life(choices=Choices(once=Slot.PASSIVE, lasting=Slot.RECOVERY)),
        2,
    ),
    "no active image": (Life(record=BAD, there=(PASSIVE_IMAGE, RECOVERY_IMAGE)), 1),
    "no passive image": (Life(there=(ACTIVE_IMAGE, RECOVERY_IMAGE)), 2),
    "a bad system and no passive image": (
        Life(record=BAD, there=(ACTIVE_IMAGE, RECOVERY_IMAGE)),
        2,
    ),
    "only recovery": (Life(there=(RECOVERY_IMAGE,)), 1),
}


def seen(line: str) -> tuple[Slot, bool, bool]:
    """Return the slot of a boot, whether it is a try, and whether a failure is its reason."""
    words = line.split()
    device = words[0].partition("(")[2].partition(")")[0]
    return DEVICES[device], "cos.boot_try" in words, "upgrade_failure" in words


def run(machine: Machine, files: Files, boots: int = 1) -> Outcome:
    machine.write(files)
    return machine.run(boots)


def _compare(life: Life, outcome: Outcome, boots: int) -> None:
    lived = life.lived(boots)
    assert [seen(line) for line in outcome.lines] == [
        (boot.slot, boot.counted, boot.after_failure) for boot in lived
    ]
    assert read_record(outcome.assessment) == lived[-1].record
    assert outcome.owner.get("saved_entry") == (life.choices.lasting and life.choices.lasting.value)
    assert not outcome.owner.get("next_entry")


@pytest.mark.parametrize("name", LIVES)
def test_the_menu_follows_the_rules(name: str, images: dict[str, Path], tmp_path: Path) -> None:
    life, boots = LIVES[name]

    outcome = run(Machine(tmp_path), life.files(images), boots)

    _compare(life, outcome, boots)


def test_the_menu_follows_the_rules_on_efi(images: dict[str, Path], tmp_path: Path) -> None:
    life = Life(record=replace(UNPROVED, allowed=2), choices=Choices(once=Slot.RECOVERY))

    outcome = run(Machine(tmp_path, "x86_64-efi"), life.files(images), 4)

    _compare(life, outcome, 4)


def test_every_system_gets_the_arguments_of_its_image(
    images: dict[str, Path], tmp_path: Path
) -> None:
    life = Life(choices=Choices(once=Slot.RECOVERY))

    recovery, active = run(Machine(tmp_path), life.files(images), 2).lines

    common = "console=tty1 console=ttyS0"
    assert f"{common} root=LABEL=COS_SYSTEM cos-img/filename=/cOS/recovery.img panic=5" in recovery
    assert "rd.shell=0" not in recovery
    assert f"{common} root=LABEL=COS_ACTIVE cos-img/filename=/cOS/active.img panic=5" in active
    assert "rd.emergency=reboot rd.shell=0" in active
    for line in (recovery, active):
        assert re.search(" cos-img/uuid=[0-9a-f-]{36}", line), "the partition of the image"
        assert "rd.cos." not in line, "labels are ours"


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_variables_never_stop_a_boot(
    damage: str, images: dict[str, Path], tmp_path: Path
) -> None:
    content = DAMAGED[damage]
    files = Life().files(images)
    damaged = {} if content is None else {"boot_assessment": content, "grub_oem_env": content}
    state = {name: files.state[name] for name in (ACTIVE_IMAGE, PASSIVE_IMAGE)}
    oem = {} if content is None else {"grubenv": content}

    outcome = run(Machine(tmp_path), replace(files, state={**state, **damaged}, oem=oem))

    assert seen(outcome.lines[0])[0] is Slot.ACTIVE


@pytest.mark.parametrize("broken", ["no file system", "no kernel command", "no initrd"])
def test_an_active_image_that_cannot_be_loaded_gives_way_and_is_no_failure(
    broken: str, images: dict[str, Path], tmp_path: Path
) -> None:
    files = Life().files(images)
    image: bytes | Path = b"\xff" * 9999
    if broken == "no kernel command":
        image = make_image(tmp_path, ACTIVE_IMAGE, arguments="# nothing\n")
    elif broken == "no initrd":
        image = make_image(tmp_path, ACTIVE_IMAGE, whole=False)

    outcome = run(Machine(tmp_path), replace(files, state={**files.state, ACTIVE_IMAGE: image}))

    assert seen(outcome.lines[0]) == (Slot.PASSIVE, False, False)
    assert read_record(outcome.assessment) == UNPROVED


def test_a_passive_image_that_cannot_be_loaded_gives_way_to_the_bad_one_and_not_to_recovery(
    images: dict[str, Path], tmp_path: Path
) -> None:
    files = Life(record=BAD).files(images)
    state = {**files.state, PASSIVE_IMAGE: b"\xff" * 9999}

    outcome = run(Machine(tmp_path), replace(files, state=state))

    assert seen(outcome.lines[0]) == (Slot.ACTIVE, False, False)


def test_a_squashed_recovery_system_is_booted_as_a_live_one(
    images: dict[str, Path], tmp_path: Path
) -> None:
    make_image(tmp_path, RECOVERY_IMAGE)
    squashed = tmp_path / "recovery.squashfs"
    command: list[str | Path] = ["mksquashfs", tmp_path / "recovery.tree", squashed]
    command += ["-b", "1024k", "-comp", "xz"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    files = Life(there=()).files(images)

    line = run(Machine(tmp_path), replace(files, recovery={RECOVERY_SQUASHFS: squashed})).lines[0]

    assert seen(line)[0] is Slot.RECOVERY
    assert re.search(
        "root=live:UUID=[0-9a-f-]{36} rd.live.dir=/ rd.live.squashimg=/cOS/recovery.squashfs", line
    )
    assert "rd.cos.recoverylabel=COS_RECOVERY" in line.split()


def test_other_labels_are_told_to_the_system(images: dict[str, Path], tmp_path: Path) -> None:
    settings = {"timeout": "0", "oem_label": "MY_OEM", "persistent_label": "MY_DATA"}
    files = Life().files(images)

    line = run(
        Machine(tmp_path), replace(files, state={**files.state, "grub_oem_env": block(settings)})
    ).lines[0]

    words = [word for word in line.split() if word.startswith("rd.cos.")]
    assert words == ["rd.cos.oemlabel=MY_OEM", "rd.cos.persistentlabel=MY_DATA"]


def test_settings_change_titles_arguments_and_the_order_of_fallback(
    images: dict[str, Path], tmp_path: Path
) -> None:
    settings = block(
        {
            "timeout": "1",
            "default_menu_entry": "My OS",
            "default_fallback": "2 1",
            "extra_cmdline": "all=1 more=2",
            "extra_active_cmdline": "only.active",
            "extra_recovery_cmdline": "only.recovery",
        }
    )
    files = Life(record=Record()).files(images)
    machine = Machine(tmp_path)

    active = run(machine, replace(files, state={**files.state, "grub_oem_env": settings}))
    without = {name: each for name, each in files.state.items() if name != ACTIVE_IMAGE}
    recovery = run(machine, replace(files, state={**without, "grub_oem_env": settings}))

    assert "only.active" in active.lines[0].split()
    assert "all=1 more=2" in active.lines[0]
    assert "only.recovery" not in active.lines[0]
    for title in ("My OS ", "My OS (fallback)", "My OS recovery"):
        assert title in active.console
    assert seen(recovery.lines[0])[0] is Slot.RECOVERY
    assert "only.recovery" in recovery.lines[0].split()


def test_the_menu_is_shown_on_the_serial_line_for_ten_seconds(
    images: dict[str, Path], tmp_path: Path
) -> None:
    files = Life(record=Record()).files(images)
    state = {name: each for name, each in files.state.items() if name != "grub_oem_env"}

    outcome = run(Machine(tmp_path), replace(files, state=state))

    for text in ("*cOS ", "cOS (fallback)", "cOS recovery", "executed automatically in 10s"):
        assert text in outcome.console


def test_a_label_that_nothing_has_ends_in_recovery_without_a_failure(
    images: dict[str, Path], tmp_path: Path
) -> None:
    settings = block({"timeout": "0", "state_label": "WRONG"})
    files = Life(record=BAD).files(images)

    outcome = run(
        Machine(tmp_path), replace(files, state={**files.state, "grub_oem_env": settings})
    )

    assert seen(outcome.lines[0]) == (Slot.RECOVERY, False, False)


def test_older_systems_have_entries_of_their_own_and_boot_like_the_passive_one(
    images: dict[str, Path], tmp_path: Path
) -> None:
    life = Life(record=PROVED)
    files = life.files(images)
    assessment = block({**write_record(life.record), SNAPSHOTS: "12 3 2"})
    older = {snapshot_image(number): images[PASSIVE_IMAGE] for number in (12, 2)}
    settings = block({"timeout": "1", "extra_passive_cmdline": "only.passive"})
    state = {**files.state, **older, "boot_assessment": assessment, "grub_oem_env": settings}
    oem = {"grubenv": block({"next_entry": "snapshot12", "saved_entry": "snapshot2"})}

    outcome = run(Machine(tmp_path), replace(files, state=state, oem=oem), 2)

    for number, line in zip((12, 2), outcome.lines, strict=True):
        words = line.split()
        assert words[0] == f"BOOT_IMAGE=(cos_snapshot{number})/boot/vmlinuz"
        assert {f"cos-img/filename=/cOS/snapshot-{number}.img", "root=LABEL=COS_PASSIVE"} <= {
            *words
        }
        assert "only.passive" in words
        assert "cos.boot_try" not in words
        assert booted(line, (), live=False) is Booted.PASSIVE
    for title in ("cOS recovery", "cOS (snapshot 12)", "cOS (snapshot 2)"):
        assert title in outcome.console
    assert "(snapshot 3)" not in outcome.console
    assert outcome.assessment[SNAPSHOTS] == "12 3 2"


def test_an_older_system_that_cannot_be_loaded_gives_way_to_the_active_one(
    images: dict[str, Path], tmp_path: Path
) -> None:
    files = Life(record=PROVED).files(images)
    assessment = block({**write_record(PROVED), SNAPSHOTS: "1"})
    damaged = {snapshot_image(1): b"\xff" * 9999, "boot_assessment": assessment}
    oem = {"grubenv": block({"next_entry": "snapshot1"})}

    outcome = run(Machine(tmp_path), replace(files, state={**files.state, **damaged}, oem=oem))

    assert seen(outcome.lines[0]) == (Slot.ACTIVE, False, False)


def test_the_owner_can_add_entries_and_commands(images: dict[str, Path], tmp_path: Path) -> None:
    entry = b"""
menuentry "Mine" --id mine {
  loopback mine "(${state})/cOS/passive.img"
  linux (mine)/boot/vmlinuz my_entry
  initrd (mine)/boot/initrd
}
"""
    files = Life(record=Record()).files(images)
    oem = {"grubenv": block({"saved_entry": "mine"}), "grubmenu": entry}
    state = {**files.state, "grubcustom": b"set default=fallback\n"}
    machine = Machine(tmp_path)

    mine = run(machine, replace(files, oem=oem))
    custom = run(machine, replace(files, state=state))

    assert mine.lines[0] == "BOOT_IMAGE=(mine)/boot/vmlinuz my_entry"
    assert seen(custom.lines[0])[0] is Slot.PASSIVE


OLD_ARGUMENTS = """
set kernel=/boot/vmlinuz
set initramfs=/boot/initrd
set kernelcmd="console=ttyS0 root=LABEL=$label cos-img/filename=$img panic=5"
"""

OLD_MENU = """
set timeout=0
set default=0
insmod loopback
menuentry "cOS" --id cos {
  search.fs_label COS_STATE root
  set img=/cOS/active.img
  set label=COS_ACTIVE
  loopback loop0 /$img
  set root=($root)
  source (loop0)/etc/cos/bootargs.cfg
  linux (loop0)$kernel $kernelcmd
  initrd (loop0)$initramfs
}
"""


def test_an_image_that_knows_nothing_of_tries_is_booted_and_not_counted(
    images: dict[str, Path], tmp_path: Path
) -> None:
    old = make_image(tmp_path, ACTIVE_IMAGE, arguments=OLD_ARGUMENTS)
    files = Life().files(images)

    outcome = run(Machine(tmp_path), replace(files, state={**files.state, ACTIVE_IMAGE: old}), 4)

    assert {seen(line) for line in outcome.lines} == {(Slot.ACTIVE, False, False)}
    assert "root=LABEL=COS_ACTIVE cos-img/filename=/cOS/active.img panic=5" in outcome.lines[0]


def test_a_menu_of_before_boots_our_image(images: dict[str, Path], tmp_path: Path) -> None:
    files = Life().files(images)
    state = {**files.state, "grub/grub.cfg": OLD_MENU.encode()}

    line = run(Machine(tmp_path), replace(files, state=state)).lines[0]

    assert line.startswith("BOOT_IMAGE=(loop0)/boot/vmlinuz ")
    assert "root=LABEL=COS_ACTIVE cos-img/filename=/cOS/active.img" in line
    assert "cos.boot_try" not in line


def _mark_good(root: Path, *, how: str) -> None:
    """Mark the active image good in a mounted state partition."""
    installed = Installed(root)
    if how == "only the file":
        values = write_record(mark_good(installed.record(), ACTIVE))
        change_block(installed.state / "boot_assessment", values)
    else:
        installed.change(lambda record: mark_good(record, ACTIVE))


@pytest.mark.parametrize(
    ("options", "how", "counted"),
    [
        ("ro", "as we do", False),
        ("rw", "as we do", False),
        ("rw", "only the file", True),  # the menu reads no journal: what is written is not seen
    ],
)
def test_marks_are_seen_by_the_menu_although_the_power_goes_right_after(
    images: dict[str, Path], tmp_path: Path, options: str, how: str, *, counted: bool
) -> None:
    machine = Machine(tmp_path)
    machine.write(Life().files(images))
    place = tmp_path / "root/run/initramfs/cos-state"
    place.mkdir(parents=True)
    part = f"loop,offset={machine.offset('state')},sizelimit={machine.size('state')}"

    subprocess.run(["mount", "-o", part, machine.disk, place], check=True)
    try:
        subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)
        _mark_good(tmp_path / "root", how=how)
        cut = shutil.copyfile(machine.disk, tmp_path / "cut.raw")
    finally:
        subprocess.run(["umount", place], check=True)
    cut.replace(machine.disk)
    outcome = machine.run(1)

    assert seen(outcome.lines[0]) == (Slot.ACTIVE, counted, False)


def test_the_menu_has_no_error_of_syntax() -> None:
    for name in ("grub.cfg", "bootargs.cfg"):
        subprocess.run(["grub-script-check", MENU / name], check=True)
