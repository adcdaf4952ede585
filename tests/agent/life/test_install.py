"""Installing on a disk: what is there afterwards, and what is refused before it is touched."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from compiler.agent.life.phases import LifeError, Phase
from compiler.grubenv import read_block
from compiler.signing.files import sign_bytes
from tests.agent.life.lab import (
    Bench,
    bootable,
    do,
    label_of,
    leftovers,
    make_system,
    partitions,
)
from tests.signing.lab import key

pytestmark = pytest.mark.container

Disks = Callable[[int], AbstractContextManager[Bench]]


def contents(device: str) -> str:
    with Path(device).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refusal(bench: Bench, system: Path, **given: str) -> LifeError:
    """Fail to install; the disk is what it was before."""
    before = contents(bench.device)
    with pytest.raises(LifeError) as caught:
        bench.install(system, **given)
    assert contents(bench.device) == before
    assert leftovers(bench) == []
    return caught.value


def test_a_disk_gets_two_systems_a_recovery_and_a_boot_loader(blank: Bench, old: Path) -> None:
    blank.install(old)

    assert list(partitions(blank.device)) == [
        "COS_OEM",
        "COS_STATE",
        "COS_RECOVERY",
        "COS_PERSISTENT",
    ]
    assert blank.systems() == {"active": "kernel 1", "passive": "kernel 1"}
    with blank.partition("COS_RECOVERY") as recovery:
        assert label_of(recovery / "cOS/recovery.img") == "COS_SYSTEM"
        assert bootable(recovery / "cOS/recovery.img") == "kernel 1"
    with blank.partition("COS_STATE") as state:
        assert (state / "grub/grub.cfg").read_text() == "# menu 1\n"
        assert (state / "grub/i386-pc/normal.mod").exists()
        assert read_block(state / "grub_oem_env") == {"default_menu_entry": "cOS"}
    with blank.partition("COS_OEM") as oem:
        assert (oem / "grubenv").stat().st_size == 1024
    assert b"GRUB" in Path(blank.device).read_bytes()[:512]
    assert leftovers(blank) == []


def test_it_says_what_people_have_always_read(blank: Bench, old: Path) -> None:
    blank.install(old)

    assert blank.said == [
        "Running before-install hook", "Formatting drives..", "Partitioning device...",
        "Mounting critical endpoints..", "Mounting disk partitions", "Copying cOS..",
        "Installing GRUB..", "Running after-install-chroot hook", "Running after-install hook",
        "Preparing recovery..", "Preparing passive boot..", "Running post-install hook",
        "Unmounting disk partitions", "Installation completed",
    ]  # fmt: skip


def test_the_record_says_where_each_image_came_from(blank: Bench, old: Path) -> None:
    blank.install(old)

    record = blank.record()
    images = [record["state"]["active"], record["state"]["passive"], record["recovery"]["recovery"]]
    assert [each["source"] for each in images] == [f"dir:{old}"] * 3
    assert [each["label"] for each in images] == ["COS_ACTIVE", "COS_PASSIVE", "COS_SYSTEM"]
    assert {each["fromAction"] for each in images} == {"install"}


def test_a_gpt_for_bios_begins_with_a_partition_for_the_boot_loader(
    blank: Bench, old: Path
) -> None:
    blank.install(old, COS_INSTALL_FORCE_GPT="true")

    table = do("sfdisk", "--dump", blank.device)
    assert "label: gpt" in table
    assert "type=21686148-6449-6E6F-744E-656564454649" in table.split("p1 :")[1].splitlines()[0]
    assert blank.systems() == {"active": "kernel 1", "passive": "kernel 1"}


def test_the_recovery_system_of_the_medium_is_taken(blank: Bench, old: Path) -> None:
    medium = blank.root / "run/initramfs/live"
    medium.mkdir(parents=True)
    do("mksquashfs", old, medium / "recovery.squashfs", "-noappend", "-no-progress")

    blank.install(old)

    with blank.partition("COS_RECOVERY") as recovery:
        assert sorted(each.name for each in (recovery / "cOS").iterdir()) == ["recovery.squashfs"]
        copied = (recovery / "cOS/recovery.squashfs").read_bytes()
        assert copied == (medium / "recovery.squashfs").read_bytes()


def test_the_live_system_is_installed_if_nothing_is_named(blank: Bench) -> None:
    make_system(blank.root / "run/rootfsbase", "live")

    blank.install(Path("/"), SYSTEM="")

    assert blank.systems() == {"active": "kernel live", "passive": "kernel live"}


def test_one_configuration_is_99_and_several_are_numbered(
    disk_of: Disks, old: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"name: {name}\n")
    with disk_of(1200) as one:
        one.install(old, COS_INSTALL_CONFIG_URL=f"{tmp_path}/a")
        with one.partition("COS_OEM") as oem:
            custom = oem / "99_custom.yaml"
            assert (custom.read_text(), custom.stat().st_mode & 0o777) == ("name: a\n", 0o600)
    with disk_of(1201) as several:
        several.install(old, COS_INSTALL_CONFIG_URL=f"{tmp_path}/a {tmp_path}/b")
        with several.partition("COS_OEM") as oem:
            found = {each.name: each.read_text() for each in oem.glob("9*")}
    assert found == {"90_custom.yaml": "name: a\n", "91_custom.yaml": "name: b\n"}


def test_sizes_file_systems_and_further_partitions_are_the_owners(
    blank: Bench, old: Path, tmp_path: Path
) -> None:
    layout = tmp_path / "layout.yaml"
    layout.write_text(
        "stages: {partitioning: [{layout: {add_partitions: ["
        "{fsLabel: COS_STATE, size: 600, filesystem: ext4}, {fsLabel: COS_OEM, size: 10},"
        "{fsLabel: COS_RECOVERY, size: 200, filesystem: ext2},"
        "{fsLabel: COS_PERSISTENT, size: 100, filesystem: ext2},"
        "{fsLabel: DATA, pLabel: data, size: 50}]}}]}\n"
    )

    blank.install(old, COS_PARTITION_LAYOUT=str(layout), COS_INSTALL_FORCE_GPT="true")

    found = {}
    for label, node in partitions(blank.device).items():
        size = int(do("blockdev", "--getsize64", node)) >> 20
        kind = do("blkid", "-p", "-o", "value", "-s", "TYPE", node).strip() if label else ""
        found[label] = (size, kind)
    assert found == {
        "": (1, ""), "COS_OEM": (10, "ext4"), "COS_STATE": (600, "ext4"), "DATA": (50, "ext4"),
        "COS_RECOVERY": (200, "ext2"), "COS_PERSISTENT": (100, "ext2"),
    }  # fmt: skip


def test_paths_that_are_kept_are_told_to_the_initrd(blank: Bench, old: Path) -> None:
    blank.install(old, PERSISTENT_PATHS="/etc/ssh /home", EPHEMERAL_PATHS="/data /etc")

    with blank.partition("COS_OEM") as oem:
        text = (oem / "80_layout.yaml").read_text()
    assert "PERSISTENT_STATE_PATHS: /etc/ssh /home\n" in text
    assert "RW_PATHS: /etc /root /home /opt /srv /usr/local /var /data\n" in text


def test_hooks_run_on_the_machine_and_in_the_new_tree(blank: Bench, tmp_path: Path) -> None:
    busybox = do("which", "busybox").strip()
    system = make_system(tmp_path / "system", "1")
    for name in ("sh", "touch", "ls"):
        (system / "usr/bin" / name).write_bytes(Path(busybox).read_bytes())
        (system / "usr/bin" / name).chmod(0o755)
    (system / "bin").symlink_to("usr/bin")
    hooks = "stages: {after-install-chroot: [{commands: ['ls /proc/1 && touch /oem/seen /made']}]}"
    (system / "system/oem").mkdir(parents=True)
    (system / "system/oem/hook.yaml").write_text(hooks)

    blank.install(system)

    with blank.partition("COS_OEM") as oem, blank.partition("COS_STATE") as state:
        assert (oem / "seen").exists()
        assert "Inode:" in do("debugfs", "-R", "stat /made", state / "cOS/active.img")
        assert "Inode:" in do("debugfs", "-R", "stat /made", state / "cOS/passive.img")


def test_a_hook_that_fails_stops_a_strict_installation(blank: Bench, old: Path) -> None:
    folder = blank.root / "oem"
    folder.mkdir()
    (folder / "hook.yaml").write_text("stages: {before-install: [{commands: ['false']}]}\n")

    error = refusal(blank, old, STRICT="true")

    assert (error.phase, str(error)) == (
        Phase.BEFORE_INSTALL, "the hook before-install failed",
    )  # fmt: skip


def test_prepared_partitions_are_used_and_keep_what_they_hold(machine: Bench, new: Path) -> None:
    nodes = partitions(machine.device)
    with machine.running("live") as mounted:
        (mounted["COS_PERSISTENT"] / "mine").write_text("kept")

    machine.install(new, COS_INSTALL_DEVICE=nodes["COS_STATE"], COS_INSTALL_NO_FORMAT="true")

    assert machine.systems() == {"active": "kernel 2", "passive": "kernel 2"}
    with machine.partition("COS_PERSISTENT") as persistent:
        assert (persistent / "mine").read_text() == "kept"


def test_an_installation_is_not_overwritten_unless_forced(machine: Bench, new: Path) -> None:
    error = refusal(machine, new)
    assert error.phase is Phase.INSTALLED
    assert "holds an installation already (COS_RECOVERY, COS_STATE)" in str(error)

    machine.install(new, FORCE="true")

    assert machine.systems() == {"active": "kernel 2", "passive": "kernel 2"}


def test_a_disk_that_holds_data_is_refused(blank: Bench, old: Path) -> None:
    do("mkfs.ext4", "-q", "-F", blank.device)

    error = refusal(blank, old)

    assert (error.exit_code, str(error)) == (
        57, f"{blank.device} holds data already (ext4) (--force overwrites what is there)",
    )  # fmt: skip


def test_a_disk_that_is_in_use_is_refused_although_forced(machine: Bench, old: Path) -> None:
    with machine.running("live"), pytest.raises(LifeError) as caught:
        machine.install(old, FORCE="true")

    assert caught.value.phase is Phase.DEVICE
    assert "is in use: " in str(caught.value)
    assert machine.systems() == {"active": "kernel 1", "passive": "kernel 1"}


def test_a_disk_that_is_too_small_is_refused_with_numbers(disk_of: Disks, old: Path) -> None:
    with disk_of(300) as small:
        error = refusal(small, old)

    assert error.exit_code == 83
    assert str(error).startswith("the disk has 300 MiB, and at least ")
    assert str(error).endswith("(use a larger disk, or a smaller system)")


@pytest.mark.parametrize("name", ["/dev/nope", "/etc/passwd"])
def test_what_is_no_disk_is_refused(blank: Bench, old: Path, name: str) -> None:
    error = refusal(blank, old, COS_INSTALL_DEVICE=name)

    assert (error.exit_code, error.message) == (
        47, f"You should use an available device. Device {name} does not exist.",
    )  # fmt: skip


def test_a_system_that_cannot_boot_is_refused(blank: Bench, tmp_path: Path) -> None:
    system = make_system(tmp_path / "system")
    (system / "boot/vmlinuz-1").unlink()
    (system / "etc/cos/bootargs.cfg").unlink()

    error = refusal(blank, system)

    assert error.exit_code == 91
    assert error.message == (
        f"dir:{system} cannot boot: it has no kernel (/boot/vmlinuz), "
        "no boot arguments (/etc/cos/bootargs.cfg)"
    )


def test_a_system_for_another_processor_is_refused(blank: Bench, tmp_path: Path) -> None:
    system = make_system(tmp_path / "system")
    program = bytearray((system / "usr/bin/env").read_bytes())
    program[18:20] = (183).to_bytes(2, "little")
    (system / "usr/bin/env").write_bytes(program)

    error = refusal(blank, system)

    assert (error.exit_code, error.message) == (
        90, f"dir:{system} is for arm64, and this machine is amd64",
    )  # fmt: skip


def test_configuration_that_cannot_be_had_is_missed_before_the_disk_is_touched(
    blank: Bench, old: Path
) -> None:
    error = refusal(blank, old, COS_INSTALL_CONFIG_URL="http://127.0.0.1:1/config.yaml")
    assert error.exit_code == 53
    assert sum("trying again" in line for line in blank.said) == 4

    error = refusal(blank, old, COS_INSTALL_CONFIG_URL="/nowhere")
    assert error.exit_code == 31


def test_a_table_that_is_damaged_is_not_taken_for_an_empty_disk(machine: Bench, old: Path) -> None:
    with Path(machine.device).open("r+b") as disk:
        disk.seek(446)
        disk.write(bytes(60))

    error = refusal(machine, old)

    assert error.exit_code == 57


def make_medium(system: Path, folder: Path) -> Path:
    """Make a medium in a file: an ISO, but for its file system, which not every kernel has."""
    files = folder / "medium"
    files.mkdir()
    do("mksquashfs", system, files / "rootfs.squashfs", "-noappend", "-no-progress")
    do("mksquashfs", system, files / "recovery.squashfs", "-noappend", "-no-progress")
    do("mkfs.ext4", "-q", "-d", files, folder / "system.iso", "20M")
    return folder / "system.iso"


def test_a_medium_in_a_file_is_installed_with_its_recovery_system(
    blank: Bench, new: Path, tmp_path: Path
) -> None:
    iso = make_medium(new, tmp_path)

    blank.install(Path("/"), SYSTEM="", COS_INSTALL_ISO_URL=str(iso))

    assert blank.systems() == {"active": "kernel 2", "passive": "kernel 2"}
    with blank.partition("COS_RECOVERY") as recovery:
        assert [each.name for each in (recovery / "cOS").iterdir()] == ["recovery.squashfs"]
    assert blank.record()["state"]["active"]["source"] == f"iso:{iso}"
    assert leftovers(blank) == []


def test_a_medium_needs_a_signature_where_a_key_is_trusted(
    blank: Bench, new: Path, tmp_path: Path
) -> None:
    iso = make_medium(new, tmp_path)
    (blank.root / "etc/cos/cosign.pub").write_bytes(key("ours").public.pem)

    error = refusal(blank, Path("/"), SYSTEM="", COS_INSTALL_ISO_URL=str(iso))
    assert (error.exit_code, error.message) == (14, f"{iso}: is not signed")

    iso.with_name("system.iso.sig").write_text(sign_bytes(iso.read_bytes(), key("ours")))
    blank.install(Path("/"), SYSTEM="", COS_INSTALL_ISO_URL=str(iso))

    assert blank.systems() == {"active": "kernel 2", "passive": "kernel 2"}


def test_a_title_a_console_and_labels_are_told_to_the_boot_menu(blank: Bench, old: Path) -> None:
    blank.install(
        old, GRUB_ENTRY_NAME="Mine", COS_INSTALL_TTY="/dev/ttyS1", PERSISTENT_LABEL="MINE",
        PASSIVE_LABEL="OTHER",
    )  # fmt: skip

    assert "MINE" in partitions(blank.device)
    with blank.partition("COS_STATE") as state:
        assert read_block(state / "grub_oem_env") == {
            "default_menu_entry": "Mine", "extra_cmdline": "console=ttyS1",
            "persistent_label": "MINE", "passive_label": "OTHER",
        }  # fmt: skip
        assert label_of(state / "cOS/passive.img") == "OTHER"


def test_a_live_system_that_is_none_is_told(blank: Bench) -> None:
    error = refusal(blank, Path("/"), SYSTEM="")

    assert (error.exit_code, error.message) == (68, "this is no live system")
