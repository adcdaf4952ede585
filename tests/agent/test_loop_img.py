"""The script that finds the image to boot, on two disks that both have it."""

from pathlib import Path

import pytest

from tests.agent.life.lab import do
from tests.agent.test_home import HOME, Disk, booted, made_disk

pytestmark = pytest.mark.container

SCRIPT = HOME.with_name("cos-loop-img.sh")
GETARG = """
getarg() {
    for word in $(cat /proc/cmdline); do case "$word" in "$1"*) echo "${word#*=}" ;; esac; done
}
getargbool() { return 1; }
"""


def found(image_of: Disk, link_to: Disk, link: str, cmdline: str, more: str = "") -> str:
    """Say which partition the script mounts, where udev has made a link to a state partition.

    It is none if "" is returned. `image_of` is only where the test's own mounts are.
    """
    target = link_to.part("state")
    program = (
        "umount /run/initramfs/cos-state; mkdir /run/dev; cp -a /dev/loop* /dev/null /run/dev;"
        " : > /run/dev/kmsg; mount --bind /run/dev /dev; mount -t tmpfs tmp /tmp;"
        f" mkdir -p $(dirname /dev/disk/{link}); ln -s {target} /dev/disk/{link};"
        f" sh -c '{GETARG} . {SCRIPT}' sh mine {more};"
        " findmnt -no SOURCE /run/initramfs/cos-state || :;"
        " losetup --associated /run/initramfs/cos-state/mine --noheadings --output NAME"
        " | xargs --no-run-if-empty losetup --detach"
    )
    kept = HOME.parent
    said = booted(image_of, f"cd {kept}; {program}", cmdline=cmdline)
    return said.partition("\n")[0] if said.startswith("/dev/") else ""


def uuid_of(disk: Disk) -> str:
    return do("blkid", "-p", "-o", "value", "-s", "UUID", disk.part("state")).strip()


def test_the_partition_that_the_menu_names_is_waited_for_and_no_other_is_taken(
    tmp_path: Path,
) -> None:
    with made_disk(tmp_path / "one") as one, made_disk(tmp_path / "two") as two:
        line = f"cos-img/uuid={uuid_of(two)}"

        assert found(one, one, "by-label/COS_STATE", line) == ""
        assert found(one, two, f"by-uuid/{uuid_of(two)}", line) == two.part("state")
        assert found(one, one, "by-label/COS_STATE", line, "any") == one.part("state")


def test_labels_say_it_where_the_menu_does_not(tmp_path: Path) -> None:
    with made_disk(tmp_path / "one") as one:
        assert found(one, one, "by-label/COS_STATE", "quiet") == one.part("state")
        line = "rd.cos.statelabel=MY_STATE"
        assert found(one, one, "by-label/MY_STATE", line) == one.part("state")
        assert found(one, one, "by-label/COS_STATE", line) == ""
