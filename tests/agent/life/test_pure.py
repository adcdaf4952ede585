"""What is decided without looking at a machine: what runs, layouts, records, lists, arguments."""

import json
from pathlib import Path

import pytest

from compiler.agent.booted import Booted, booted, has_word
from compiler.agent.life import bootloader, record
from compiler.agent.life.customs import parse_layout
from compiler.agent.life.detect import (
    Device,
    labelled,
    parse_devices,
    parse_probed,
)
from compiler.agent.life.disk import check_disk, mkfs
from compiler.agent.life.feature import listing
from compiler.agent.life.inventory import Inventory, check_system
from compiler.agent.life.partition import Firmware
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.life.recovery import squash_options
from compiler.agent.life.source import Kind, Wanted, parse_wanted
from compiler.archive import Entry
from compiler.archive import Kind as EntryKind
from compiler.errors import OutsideError, TrustError
from tests.agent.life.lab import CMDLINES


@pytest.mark.parametrize("name", ["active", "passive", "recovery", "live"])
def test_the_kernel_command_line_says_what_runs(name: str) -> None:
    assert booted(CMDLINES[name], ["COS_ACTIVE", "COS_PASSIVE"], live=False) == Booted(name)


def test_a_squashed_recovery_is_seen_by_its_label() -> None:
    line = "root=live:LABEL=COS_RECOVERY rd.live.squashimg=/cOS/recovery.squashfs panic=5"

    assert booted(line, [], live=True) is Booted.RECOVERY


@pytest.mark.parametrize(
    ("labels", "which"),
    [(["COS_ACTIVE"], Booted.ACTIVE), (["COS_ACTIVE", "COS_PASSIVE"], Booted.PASSIVE),
     (["COS_SYSTEM"], Booted.RECOVERY), ([], Booted.OTHER)],
)  # fmt: skip
def test_without_it_labels_of_loop_devices_say(labels: list[str], which: Booted) -> None:
    assert booted("quiet", labels, live=False) is which


def test_of_an_image_that_is_named_twice_the_last_counts_and_a_strange_one_is_none_of_ours() -> (
    None
):
    both = "cos-img/filename=/cOS/active.img cos-img/filename=/cOS/passive.img"

    assert booted(both, [], live=False) is Booted.PASSIVE
    assert booted("cos-img/filename=/my.img", ["COS_ACTIVE"], live=False) is Booted.OTHER


@pytest.mark.parametrize(
    ("name", "which"),
    [("snapshot-1", Booted.PASSIVE), ("snapshot-12", Booted.PASSIVE), ("snapshot-0", Booted.OTHER),
     ("snapshot-x", Booted.OTHER), ("snapshot-1.img", Booted.OTHER)],
)  # fmt: skip
def test_an_older_system_counts_as_passive(name: str, which: Booted) -> None:
    line = f"root=LABEL=COS_PASSIVE cos-img/filename=/cOS/{name}.img"

    assert booted(line, ["COS_PASSIVE"], live=False) is which


def test_words_of_the_kernel_are_whole_words() -> None:
    assert has_word("quiet cos.upgrade.power_off=true", "cos.upgrade.power_off=true")
    assert not has_word("quiet xcos.upgrade.power_off=true", "cos.upgrade.power_off=true")


LISTED = json.dumps({"blockdevices": [
    {"name": "/dev/sda", "pkname": None, "type": "disk", "size": 100, "ro": False,
     "mountpoints": [None], "children": [
        {"name": "/dev/sda1", "pkname": "/dev/sda", "type": "part", "size": 10, "ro": False,
         "mountpoints": ["/oem"]},
        {"name": "/dev/sda2", "pkname": "/dev/sda", "type": "part", "size": 20, "ro": False,
         "mountpoints": [None]}]},
    {"name": "/dev/sdb1", "pkname": "/dev/sdb", "type": "part", "size": 20, "ro": True,
     "mountpoints": []},
]})  # fmt: skip
PROBED = r"""DEVNAME=/dev/sda1
LABEL=COS_OEM
TYPE=ext4

DEVNAME=/dev/sda2
LABEL=COS\ STATE\"
TYPE=ext4

DEVNAME=/dev/sdb1
LABEL=COS_OEM
TYPE=vfat
"""


def test_devices_are_read_with_what_is_on_them() -> None:
    disk, oem, state, other = parse_devices(LISTED, PROBED)

    assert (disk.kind, disk.disk, disk.label) == ("disk", "", "")
    assert (oem.disk, oem.label, oem.filesystem, oem.mounts) == (
        "/dev/sda", "COS_OEM", "ext4", ("/oem",),
    )  # fmt: skip
    assert state.label == 'COS STATE"'
    assert other.read_only


def test_of_two_file_systems_with_one_label_that_of_the_own_disk_counts() -> None:
    devices = parse_devices(LISTED, PROBED)

    def found(disk: str) -> str:
        device = labelled(devices, "COS_OEM", disk)
        return device.name if device else ""

    assert (found("/dev/sdb"), found("")) == ("/dev/sdb1", "/dev/sda1")
    assert labelled(devices, "COS_STATE") is None


def test_what_lsblk_prints_and_is_no_json_is_an_error() -> None:
    with pytest.raises(LifeError, match="cannot read what lsblk prints"):
        parse_devices("no", "")
    assert parse_probed("garbage\n=x\n") == {}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("quay.io/team/os:1", Wanted(Kind.IMAGE, "quay.io/team/os:1")),
     ("oci:os:1", Wanted(Kind.IMAGE, "os:1")), ("docker:os:1", Wanted(Kind.IMAGE, "os:1")),
     ("docker://os:1", Wanted(Kind.IMAGE, "os:1")), ("dir:/run/x", Wanted(Kind.FOLDER, "/run/x")),
     ("file:///x.tar", Wanted(Kind.FILE, "/x.tar")),
     ("channel:system/cos", Wanted(Kind.CHANNEL, "system/cos"))],
)  # fmt: skip
def test_sources_are_named_by_a_scheme(text: str, wanted: Wanted) -> None:
    assert parse_wanted(text) == wanted


def test_a_layout_of_elementals_is_read_as_well() -> None:
    found = parse_layout(
        "install: {partitions: {state: {size: 4000, fs: ext4}, bootloader: {size: 1}},\n"
        " extra-partitions: [{name: data, size: 10, fs: xfs, label: DATA}]}\n", "layout",
    )  # fmt: skip

    assert (found.sizes, found.filesystems) == (
        (("COS_STATE", 4000),), (("COS_STATE", "ext4"),),
    )  # fmt: skip
    assert [(part.name, part.label, part.size, part.filesystem) for part in found.extra] == [
        ("data", "DATA", 10, "xfs"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "layout:1:5: is not YAML"), ("[]", "layout: is no map of keys"),
     ("partitions: {state: {size: large}}", "layout: a size is a number of MiB, not 'large'"),
     ("partitions: {boot: {}}",
      "layout: 'boot' is none of our partitions: oem, state, recovery, persistent"),
     ("extra-partitions: [{size: 1}]", "layout: a partition has neither a name nor a label"),
     ("extra-partitions: [{name: 'a\"b'}]",
      "layout: name cannot be 'a\"b': letters, digits, '_', '.' and '-'"),
     ("partitions: {state: {sise: 8000}}",
      "layout: 'sise' is none of flags, fs, label, mountPoint, name, size"),
     ("partitions: {state: {label: MINE}}", "layout: state has the label COS_STATE, and no other"),
     ("partitions: {state: {fs: xfs}}",
      "layout: xfs is no file system for COS_STATE: ext2, ext3, ext4"),
     ("extra-partitions: [{name: data, fs: ntfs}]",
      "layout: ntfs is no file system: ext2, ext3, ext4, xfs, btrfs, vfat"),
     ("extra-partitions: [{label: COS_ACTIVE}]",
      "layout: another partition, or an image, has the label COS_ACTIVE"),
     ("extra-partitions: [{label: A}, {label: A}]",
      "layout: another partition, or an image, has the label A"),
     ("stages: []", "layout: stages is to be a map of keys")],
)  # fmt: skip
def test_a_layout_that_makes_no_sense_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(LifeError) as caught:
        parse_layout(text, "layout")

    assert (caught.value.phase, str(caught.value)) == (Phase.CONFIG, said)


def test_the_record_keeps_what_it_does_not_know_and_follows_images_by_their_uuid() -> None:
    first = record.with_images({"mine": 1}, {
        "active": {"uuid": "a", "source": "one"}, "passive": {"uuid": "p", "source": "two"},
        "transition": {"uuid": "t", "source": "three"},
    })  # fmt: skip
    labels = {"active": "COS_ACTIVE", "passive": "COS_PASSIVE"}

    swapped = record.reconciled(first, {"active": "t", "passive": "a"}, labels)

    assert swapped["mine"] == 1
    assert swapped["state"]["active"] == {"uuid": "t", "source": "three", "label": "COS_ACTIVE"}
    assert swapped["state"]["passive"] == {"uuid": "a", "source": "one", "label": "COS_PASSIVE"}
    assert "transition" not in swapped["state"]


def test_an_image_that_the_record_does_not_know_is_unknown() -> None:
    found = record.reconciled({}, {"active": "x"}, {"active": "COS_ACTIVE", "passive": "P"})

    assert found["state"] == {
        "label": "COS_STATE",
        "active": {"source": "unknown", "uuid": "x", "label": "COS_ACTIVE"},
    }


def test_a_damaged_record_says_nothing(tmp_path: Path) -> None:
    assert record.read(tmp_path) == {}
    (tmp_path / "state.yaml").write_bytes(b"\x00: [")
    assert record.read(tmp_path) == {}


def test_each_feature_is_listed_by_itself() -> None:
    assert listing(["a", "b", "c"], {"b"}) == ["cOS features:", "- a", "- b (enabled)", "- c"]


def inventory(**links: str) -> Inventory:
    found = Inventory()
    for path in ("boot/vmlinuz-1", "boot/initrd-1", "etc/cos/bootargs.cfg"):
        found.add(Entry(path=path, kind=EntryKind.FILE, size=5000), bytes)
    for name, target in links.items():
        path = f"boot/{name}"
        found.add(Entry(path=path, kind=EntryKind.SYMLINK, target=target), bytes)
    return found


@pytest.mark.parametrize("kernel", ["vmlinuz-1", "/boot/vmlinuz-1", "../boot/./vmlinuz-1"])
def test_links_to_kernels_are_followed_inside_of_the_system(kernel: str) -> None:
    check_system(inventory(vmlinuz=kernel, initrd="initrd-1"), "it", "amd64")


@pytest.mark.parametrize("kernel", ["vmlinuz-2", "vmlinuz", "/nowhere/vmlinuz-1"])
def test_a_link_that_leads_nowhere_is_no_kernel(kernel: str) -> None:
    with pytest.raises(LifeError, match="it has no kernel"):
        check_system(inventory(vmlinuz=kernel, initrd="initrd-1"), "it", "amd64")


def test_what_is_deleted_counts_no_more() -> None:
    found = inventory(vmlinuz="vmlinuz-1", initrd="initrd-1")
    size = found.size
    found.remove("boot/initrd-1")

    assert size - found.size == 8192 + 256
    assert not found.has("boot/initrd")


@pytest.mark.parametrize(("number", "name"), [(1, "gzip"), (4, "xz"), (6, "zstd")])
def test_a_squashfs_says_how_it_was_made(number: int, name: str) -> None:
    header = b"hsqs" + bytes(8) + (1 << 20).to_bytes(4, "little") + bytes(4)
    header += number.to_bytes(2, "little")

    assert squash_options(header) == ["-b", "1048576", "-comp", name]


def test_grub_is_told_where_everything_is() -> None:
    bios = bootloader.Places(disk="/dev/sda", firmware=Firmware.BIOS, state=Path("/s"))
    efi = bootloader.Places(
        disk="/dev/sda", firmware=Firmware.EFI, state=Path("/s"), efi=Path("/e")
    )

    common = ["--root-directory=/t", "--boot-directory=/s"]
    assert bootloader.arguments(bios, tree=Path("/t"), machine="x86_64") == [
        "--target=i386-pc", *common, "--removable", "--force", "/dev/sda",
    ]  # fmt: skip
    assert bootloader.arguments(efi, tree=Path("/t"), machine="x86_64") == [
        "--target=x86_64-efi", *common, "--efi-directory=/e", "--no-nvram", "--removable",
        "--force", "/dev/sda",
    ]  # fmt: skip
    with pytest.raises(LifeError, match="no boot loader for aarch64"):
        bootloader.arguments(bios, tree=Path("/t"), machine="aarch64")


def test_file_systems_are_made_with_their_labels() -> None:
    assert mkfs("vfat", "L", "/dev/x", boot=True) == ["mkfs.fat", "-F", "32", "-n", "L", "/dev/x"]
    assert mkfs("xfs", "L", "/dev/x", boot=False) == ["mkfs.xfs", "-f", "-L", "L", "/dev/x"]
    assert mkfs("ext2", "", "/dev/x", boot=False) == ["mkfs.ext2", "-q", "-F", "/dev/x"]


def test_a_disk_that_is_read_only_or_a_partition_is_no_target() -> None:
    part = Device(name="/dev/null", disk="/dev/sda", kind="part", size=1)

    with pytest.raises(LifeError) as caught:
        check_disk("/dev/null", [part], force=True)
    assert caught.value.phase is Phase.DEVICE


def test_what_fails_has_the_code_of_its_phase_and_what_is_not_trusted_always_the_same() -> None:
    def code(error: Exception) -> tuple[int, str]:
        with pytest.raises(LifeError) as caught, during(Phase.COPY, "copying"):
            raise error
        return caught.value.exit_code, str(caught.value)

    assert code(OutsideError("broke", hint="mend it")) == (48, "copying: broke (mend it)")
    assert code(OSError(28, "No space left on device", "/x")) == (
        48, "copying: /x: no space left on device (make room on its disk)",
    )  # fmt: skip
    assert code(TrustError("forged")) == (14, "copying: forged")
    assert code(LifeError("deeper", Phase.SIZE)) == (83, "deeper")
