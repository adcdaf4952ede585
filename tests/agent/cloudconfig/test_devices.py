"""Real block devices: partitions are added and grow, discs are read. Needs loop devices."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.agent.cloudconfig.datasource.local import cdrom, vmware
from compiler.agent.cloudconfig.disks.table import parse_table
from tests.agent.scratch import Scratch, add_program, make_root

pytestmark = [pytest.mark.container, pytest.mark.xdist_group("loop")]

MIB = 1 << 20


def output(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A disk that grew to 200 MiB, with one partition of 20 MiB."""
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(100 * MIB)
    output("sgdisk", "-o", "-n=1:0:+20M", "-c=1:first", str(image))
    with image.open("r+b") as file:
        file.truncate(200 * MIB)
    loop = output("losetup", "--find", "--show", "--partscan", str(image))
    output("partx", "--update", loop)
    for _ in range(100):
        if Path(f"{loop}p1").exists():
            break
        time.sleep(0.1)
    yield loop
    output("losetup", "--detach", loop)


def test_partitions_are_added_formatted_and_grow(disk: str, tmp_path: Path) -> None:
    config = tmp_path / "f.yaml"
    config.write_text(
        f"stages: {{t: [{{layout: {{device: {{path: {disk}p1}}, add_partitions: ["
        "{fsLabel: COS_TEST_A, size: 30, filesystem: ext4},"
        "{pLabel: raw, size: 10, filesystem: '-'},"
        "{fsLabel: COS_TEST_B, pLabel: last, size: 30}], expand_partition: {}}}]}\n"
    )
    argv = [sys.executable, "-m", "compiler.agent", "run-stage", "t", str(config)]

    for _ in range(2):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    entries = parse_table(output("sgdisk", "-p", disk)).entries
    assert [((each.last - each.first + 1) // 2048, each.name) for each in entries] == [
        (20, "first"), (30, ""), (10, "raw"), (138, "last"),
    ]  # fmt: skip
    assert output("blkid", "-o", "value", "-s", "LABEL", f"{disk}p2") == "COS_TEST_A"
    assert output("blkid", "-o", "value", "-s", "TYPE", f"{disk}p4") == "ext2"
    blocks = next(
        line.split()[-1]
        for line in output("dumpe2fs", "-h", f"{disk}p4").splitlines()
        if line.startswith("Block count:")
    )
    assert int(blocks) > 130 * 1024


def test_a_disc_has_user_data(tmp_path: Path) -> None:
    scratch = Scratch(make_root(tmp_path / "root"))
    (tmp_path / "content").mkdir()
    (tmp_path / "content/user-data").write_text("#cloud-config\n")
    image = tmp_path / "disc.img"
    with image.open("wb") as file:
        file.truncate(4 * MIB)
    output("mkfs.ext2", "-q", "-d", str(tmp_path / "content"), str(image))
    loop = output("losetup", "--find", "--show", str(image))
    try:
        (scratch.folder / "dev").mkdir()
        node = Path(loop).stat()
        os.mknod(scratch.folder / "dev/sr0", 0o60600, node.st_rdev)

        found = cdrom(scratch.machine)
    finally:
        output("losetup", "--detach", loop)

    assert found.userdata == b"#cloud-config\n"


def test_vmware_is_asked_by_a_program_of_the_root(tmp_path: Path) -> None:
    scratch = Scratch(make_root(tmp_path / "root"))
    told = '*userdata) echo "hostname: x" ;; *metadata) echo "local-hostname: me" ;;'
    body = f'case "$2" in {told} esac'
    add_program(scratch.folder, "vmtoolsd", body)

    found = vmware(scratch.machine)

    assert (found.userdata, found.hostname) == (b"hostname: x\n", "me")
