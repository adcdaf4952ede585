"""How disks are divided, as a plan and as a script for sfdisk."""

import pytest

from compiler.agent.life.partition import (
    Firmware,
    Layout,
    Needs,
    Part,
    Plan,
    make_plan,
    node,
    sfdisk_script,
)
from compiler.agent.life.phases import LifeError, Phase

NEEDS = Needs(image=800, recovery=300)


def plan(
    size: int = 40_000, *, gpt: bool = False, efi: bool = False, wanted: Layout | None = None
) -> Plan:
    firmware = Firmware.EFI if efi else Firmware.BIOS
    return make_plan(size, NEEDS, firmware=firmware, gpt=gpt, wanted=wanted or Layout())


def sizes(found: Plan) -> dict[str, int]:
    return {part.label or part.name: part.size for part in found.parts}


def test_a_roomy_disk_gets_the_usual_sizes() -> None:
    assert sizes(plan()) == {
        "COS_OEM": 64, "COS_STATE": 15000, "COS_RECOVERY": 8000, "COS_PERSISTENT": 0,
    }  # fmt: skip


def test_a_small_disk_gets_what_three_images_take() -> None:
    assert sizes(plan(8000)) == {
        "COS_OEM": 64, "COS_STATE": 2656, "COS_RECOVERY": 856, "COS_PERSISTENT": 0,
    }  # fmt: skip


def test_a_system_larger_than_usual_gets_more_than_usual() -> None:
    found = make_plan(100_000, Needs(image=6000, recovery=300), firmware=Firmware.BIOS, gpt=False,
                      wanted=Layout())  # fmt: skip

    assert sizes(found)["COS_STATE"] == 18_256


def test_a_disk_that_is_too_small_is_refused_with_numbers() -> None:
    with pytest.raises(LifeError) as caught:
        plan(3000)

    assert (caught.value.phase, str(caught.value)) == (
        Phase.SIZE,
        "the disk has 3000 MiB, and at least 3835 MiB are needed (oem 64, state 2656, "
        "recovery 856, persistent 256) (use a larger disk, or a smaller system)",
    )


def test_bios_has_an_msdos_table_whose_state_partition_boots() -> None:
    assert sfdisk_script(plan()) == (
        "label: dos\nsize=64MiB, type=83\nsize=15000MiB, type=83, bootable\n"
        "size=8000MiB, type=83\ntype=83\n"
    )


def test_efi_has_a_gpt_that_begins_with_its_system_partition() -> None:
    script = sfdisk_script(plan(efi=True)).splitlines()

    assert script[:2] == [
        "label: gpt", 'size=64MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="efi"',
    ]  # fmt: skip
    assert [line.rpartition("name=")[2] for line in script[2:]] == [
        '"oem"', '"state"', '"recovery"', '"persistent"',
    ]  # fmt: skip


def test_bios_with_a_gpt_begins_with_a_partition_for_its_boot_loader() -> None:
    script = sfdisk_script(plan(gpt=True)).splitlines()

    assert script[1] == 'size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name="bios"'


def test_sizes_that_somebody_wants_are_kept_and_checked() -> None:
    wanted = Layout(sizes=(("COS_STATE", 4000),))
    assert sizes(plan(wanted=wanted))["COS_STATE"] == 4000

    with pytest.raises(LifeError) as caught:
        plan(wanted=Layout(sizes=(("COS_STATE", 2000),)))
    assert caught.value.message == "COS_STATE with 2000 MiB is too small: 2400 MiB are needed"


def test_further_partitions_stand_before_the_one_with_the_rest() -> None:
    extra = Part(name="data", label="DATA", size=100, filesystem="ext4")

    found = plan(gpt=True, wanted=Layout(extra=(extra,)))

    assert [part.name for part in found.parts][-2:] == ["data", "persistent"]


def test_a_further_partition_can_have_the_rest() -> None:
    extra = Part(name="data", label="DATA", size=0, filesystem="ext4")
    wanted = Layout(sizes=(("COS_PERSISTENT", 500),), extra=(extra,))

    assert [part.name for part in plan(gpt=True, wanted=wanted).parts][-2:] == [
        "persistent",
        "data",
    ]


def test_only_one_partition_has_the_rest() -> None:
    extra = Part(name="data", label="DATA", size=0, filesystem="ext4")

    with pytest.raises(LifeError) as caught:
        plan(gpt=True, wanted=Layout(extra=(extra,)))

    assert caught.value.message == (
        "only one partition can have the rest of the disk, not data and persistent"
    )


def test_an_msdos_table_has_no_room_for_a_fifth_partition_nor_for_large_disks() -> None:
    extra = Part(name="data", label="DATA", size=100, filesystem="ext4")

    with pytest.raises(LifeError, match="has room for 4 partitions, not 5"):
        plan(wanted=Layout(extra=(extra,)))
    with pytest.raises(LifeError, match="reaches 2 TiB"):
        plan(3 << 20)


@pytest.mark.parametrize(
    ("disk", "name"),
    [("/dev/sda", "/dev/sda3"), ("/dev/nvme0n1", "/dev/nvme0n1p3"), ("/dev/loop7", "/dev/loop7p3"),
     ("/dev/mmcblk0", "/dev/mmcblk0p3")],
)  # fmt: skip
def test_names_of_partitions_have_a_p_after_a_digit(disk: str, name: str) -> None:
    assert node(disk, 3) == name
