"""Upgrades of an installed machine: what comes in place of what, and what is refused before."""

from pathlib import Path

import pytest

from compiler.agent.life.phases import LifeError, Phase
from compiler.grubenv import read_block
from tests.agent.life.lab import Bench, bootable, do, label_of, leftovers, make_system, prove

pytestmark = pytest.mark.container


def refusal(bench: Bench, source: str, **given: str) -> LifeError:
    """Fail to upgrade; both systems are what they were, and nothing is left."""
    before = bench.systems()
    with bench.running(), pytest.raises(LifeError) as caught:
        bench.upgrade(source, **given)
    assert bench.systems() == before
    with bench.partition("COS_STATE") as state:
        assert sorted(each.name for each in (state / "cOS").iterdir()) == [
            "active.img",
            "passive.img",
        ]
    assert leftovers(bench) == []
    return caught.value


def test_the_running_system_becomes_the_passive_one_when_it_has_proved_itself(
    machine: Bench, new: Path, tmp_path: Path
) -> None:
    with machine.running() as mounted:
        machine.upgrade(f"dir:{new}")
        prove(mounted["COS_STATE"])
        machine.upgrade(f"dir:{make_system(tmp_path / 'third', '3')}")

    assert machine.systems() == {"active": "kernel 3", "passive": "kernel 2"}
    assert leftovers(machine) == []


def test_a_system_that_has_not_proved_itself_never_replaces_the_passive_one(
    machine: Bench, new: Path
) -> None:
    with machine.running():
        machine.upgrade(f"dir:{new}")

    assert machine.systems() == {"active": "kernel 2", "passive": "kernel 1"}


def test_from_the_passive_system_only_the_active_one_is_replaced(
    machine: Bench, new: Path, tmp_path: Path
) -> None:
    with machine.running("active"):
        machine.upgrade(f"dir:{new}")
    with machine.running("passive") as mounted:
        prove(mounted["COS_STATE"])
        machine.upgrade(f"dir:{make_system(tmp_path / 'third', '3')}")

    assert machine.systems() == {"active": "kernel 3", "passive": "kernel 1"}


def test_it_says_what_people_have_always_read(machine: Bench, new: Path) -> None:
    with machine.running():
        machine.upgrade(f"dir:{new}")

    assert machine.said == [
        "Upgrading system..", "-> Upgrade target: active.img",
        f"Upgrading from local folder: {new}", "Running before-upgrade hook",
        "Running after-upgrade-chroot hook", "Running after-upgrade hook",
        "Running post-upgrade hook", "Upgrade done, now you might want to reboot",
    ]  # fmt: skip


def test_the_new_system_has_to_prove_itself_and_the_menu_keeps_its_title(
    machine: Bench, new: Path
) -> None:
    with machine.running():
        machine.upgrade(f"dir:{new}", GRUB_ENTRY_NAME="Mine")

    with machine.partition("COS_STATE") as state:
        assert read_block(state / "boot_assessment") == {"enable_boot_assessment": "yes"}
        assert read_block(state / "grub_oem_env") == {"default_menu_entry": "Mine"}

    with machine.running():
        machine.upgrade(f"dir:{new}")

    with machine.partition("COS_STATE") as state:
        assert read_block(state / "grub_oem_env") == {"default_menu_entry": "Mine"}


def test_the_record_follows_the_images(machine: Bench, old: Path, new: Path) -> None:
    with machine.running() as mounted:
        prove(mounted["COS_STATE"])
        machine.upgrade(f"dir:{new}")

    state = machine.record()["state"]
    assert (state["active"]["source"], state["active"]["fromAction"]) == (f"dir:{new}", "upgrade")
    assert (state["passive"]["source"], state["passive"]["fromAction"]) == (f"dir:{old}", "install")
    assert (state["active"]["label"], state["passive"]["label"]) == ("COS_ACTIVE", "COS_PASSIVE")


def test_the_state_partition_is_read_only_again_afterwards(machine: Bench, new: Path) -> None:
    with machine.running() as mounted:
        machine.upgrade(f"dir:{new}")
        options = do("findmnt", "-no", "OPTIONS", mounted["COS_STATE"])

    assert "ro" in options.split(",")


@pytest.mark.parametrize("kind", ["squashfs", "ext4", "tar"])
def test_a_file_is_taken_whatever_kind_it_is(
    machine: Bench, new: Path, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "system"
    if kind == "squashfs":
        do("mksquashfs", new, file, "-noappend", "-no-progress")
    elif kind == "ext4":
        do("mkfs.ext4", "-q", "-d", new, file, "60M")
    else:
        do("tar", "--zstd", "-C", new, "-cf", file, ".")

    with machine.running():
        machine.upgrade(f"file:{file}")

    assert any("SIGNATURES ARE NOT CHECKED" in each for each in machine.said), "there is no key"
    assert machine.systems() == {"active": "kernel 2", "passive": "kernel 1"}
    assert machine.record()["state"]["active"]["digest"].startswith("sha256:")


def test_from_recovery_somebody_has_to_say_what_is_upgraded(machine: Bench, new: Path) -> None:
    machine.boot("recovery")

    with pytest.raises(LifeError) as caught:
        machine.upgrade(f"dir:{new}")
    assert caught.value.hint == "CURRENT=active.img says so without being asked"
    machine.upgrade(f"dir:{new}", CURRENT="active.img")

    assert machine.systems() == {"active": "kernel 2", "passive": "kernel 1"}


def test_hooks_see_the_partitions_in_the_new_tree(machine: Bench, tmp_path: Path) -> None:
    busybox = do("which", "busybox").strip()
    system = make_system(tmp_path / "system", "2")
    for name in ("sh", "touch"):
        (system / "usr/bin" / name).write_bytes(Path(busybox).read_bytes())
        (system / "usr/bin" / name).chmod(0o755)
    (system / "bin").symlink_to("usr/bin")

    with machine.running() as mounted:
        text = "stages: {after-upgrade-chroot: [{commands: ['touch /usr/local/seen /made']}]}\n"
        (mounted["COS_OEM"] / "hooks.yaml").write_text(text)
        machine.upgrade(f"dir:{system}")
        assert (mounted["COS_PERSISTENT"] / "seen").exists()

    with machine.partition("COS_STATE") as state:
        assert "Inode:" in do("debugfs", "-R", "stat /made", state / "cOS/active.img")


def test_a_hook_that_fails_is_told_and_stops_only_a_strict_upgrade(
    machine: Bench, new: Path
) -> None:
    with machine.running() as mounted:
        text = "stages: {after-upgrade: [{commands: ['false']}]}\n"
        (mounted["COS_OEM"] / "hooks.yaml").write_text(text)

    error = refusal(machine, f"dir:{new}", STRICT="true")
    assert error.phase is Phase.AFTER_UPGRADE
    with machine.running():
        machine.upgrade(f"dir:{new}")

    assert machine.systems()["active"] == "kernel 2"
    assert "warning: the hook after-upgrade failed; --strict makes that an error" in machine.said


def test_a_system_that_cannot_boot_changes_nothing(machine: Bench, tmp_path: Path) -> None:
    system = make_system(tmp_path / "system", "2")
    (system / "boot/initrd").unlink()

    error = refusal(machine, f"dir:{system}")

    assert (error.exit_code, error.message) == (
        91, f"dir:{system} cannot boot: it has no initrd (/boot/initrd)",
    )  # fmt: skip


def test_a_system_that_has_no_room_changes_nothing(machine: Bench, tmp_path: Path) -> None:
    system = make_system(tmp_path / "system", "2")
    (system / "large").write_bytes(b"x" * (400 << 20))

    error = refusal(machine, f"dir:{system}")

    assert error.exit_code == 83
    assert error.message.startswith("the new system needs 41")


def test_a_system_that_is_larger_than_images_may_be_changes_nothing(
    machine: Bench, new: Path
) -> None:
    error = refusal(machine, f"dir:{new}", DEFAULT_IMAGE_SIZE="10")

    assert error.exit_code == 83
    assert "images are to have 10 MiB" in error.message


@pytest.mark.parametrize(
    ("source", "code"),
    [("dir:/nowhere", 20), ("file:/nowhere", 20), ("oci:127.0.0.1:1/os:1", 14), ("channel:", 20)],
)
def test_a_source_that_is_not_there_changes_nothing(machine: Bench, source: str, code: int) -> None:
    assert refusal(machine, source).exit_code == code


def test_a_damaged_archive_changes_nothing(machine: Bench, new: Path, tmp_path: Path) -> None:
    file = tmp_path / "system.tar"
    do("tar", "-C", new, "-cf", file, ".")
    file.write_bytes(file.read_bytes()[:20000])

    error = refusal(machine, f"file:{file}")

    assert (error.exit_code, error.message) == (
        66, f"file:{file}: {file}: the archive ends too early",
    )  # fmt: skip


def test_what_an_upgrade_that_was_stopped_has_left_is_taken_away(machine: Bench, new: Path) -> None:
    with machine.running() as mounted:
        state = mounted["COS_STATE"]
        do("mount", "-o", "remount,rw", state)
        for name in ("transition.img", "transition.img.new", "former.img"):
            (state / "cOS" / name).write_bytes(b"half")
        do("mount", "-o", "remount,ro", state)
        machine.upgrade(f"dir:{new}")

    with machine.partition("COS_STATE") as state:
        assert sorted(each.name for each in (state / "cOS").iterdir()) == [
            "active.img",
            "passive.img",
        ]


def test_two_upgrades_never_run_at_the_same_time(machine: Bench, new: Path) -> None:
    with machine.running(), machine.host.alone(), pytest.raises(LifeError) as caught:
        machine.upgrade(f"dir:{new}")

    assert (caught.value.exit_code, str(caught.value)) == (92, "another of these commands runs")


def test_the_recovery_image_is_replaced_by_one_rename(machine: Bench, new: Path) -> None:
    with machine.running():
        machine.upgrade(f"dir:{new}", UPGRADE_RECOVERY="true")

    assert "Upgrading recovery partition.." in machine.said
    with machine.partition("COS_RECOVERY") as recovery:
        assert [each.name for each in (recovery / "cOS").iterdir()] == ["recovery.img"]
        assert label_of(recovery / "cOS/recovery.img") == "COS_SYSTEM"
        assert bootable(recovery / "cOS/recovery.img") == "kernel 2"
    assert machine.systems() == {"active": "kernel 1", "passive": "kernel 1"}
    assert machine.record()["recovery"]["recovery"]["fromAction"] == "upgrade-recovery"


@pytest.mark.parametrize("inner", [False, True])
def test_a_squashed_recovery_is_squashed_again_as_it_was(
    blank: Bench, old: Path, new: Path, tmp_path: Path, *, inner: bool
) -> None:
    medium = blank.root / "run/initramfs/live"
    medium.mkdir(parents=True)
    do("mksquashfs", old, medium / "recovery.squashfs", "-no-progress", "-comp", "xz", "-b", "256k")
    blank.install(old)
    source = new
    if inner:
        source = tmp_path / "holder"
        source.mkdir()
        do("mksquashfs", new, source / "recovery.squashfs", "-no-progress")

    with blank.running():
        blank.upgrade(f"dir:{source}", UPGRADE_RECOVERY="true")

    with blank.partition("COS_RECOVERY") as recovery:
        squashed = recovery / "cOS/recovery.squashfs"
        assert [each.name for each in squashed.parent.iterdir()] == ["recovery.squashfs"]
        about = do("unsquashfs", "-s", squashed)
        assert do("unsquashfs", "-cat", squashed, "boot/vmlinuz-2") == "kernel 2"
    assert "Compression xz" in about
    assert "Block size 262144" in about
    assert leftovers(blank) == []


def test_recovery_does_not_replace_itself(machine: Bench, new: Path) -> None:
    machine.boot("recovery")

    with pytest.raises(LifeError) as caught:
        machine.upgrade(f"dir:{new}", UPGRADE_RECOVERY="true")

    assert caught.value.exit_code == 88
