"""What the owner of a machine decides: features, user data, configuration at installation."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.vm.conftest import Boot
from tests.vm.machine import Hardware, Machine
from tests.vm.systems import STATE, booted
from tests.vm.world import World, make_disk

pytestmark = pytest.mark.vm

Installed = Callable[..., Machine]

USER_DATA = """\
#cloud-config
hostname: cloudy
write_files:
- path: /etc/from-cloud
  content: hello
  permissions: "0600"
runcmd:
- echo ran > /run/from-cloud
"""
FEATURE = """\
name: "A feature of a test"
stages:
  network:
  - commands: ["echo on > /run/feature"]
"""
WISHES = """\
name: "What the owner wants"
stages:
  initramfs:
  - hostname: wished
"""
LAYOUT = """\
partitions:
  oem: {size: 100}
  state: {size: 4000}
  recovery: {size: 3000}
  persistent: {size: 200}
extra-partitions:
- {name: data, label: DATA, size: 300, fs: ext4}
"""


def test_user_data_on_a_cd_configures_the_machine(
    world: World, switch_on: Boot, tmp_path: Path
) -> None:
    (tmp_path / "cd").mkdir()
    (tmp_path / "cd/user-data").write_text(USER_DATA)
    (tmp_path / "cd/meta-data").write_text("instance-id: one\n")
    disc = tmp_path / "cidata.iso"
    argv = ["xorriso", "-as", "mkisofs", "-quiet", "-V", "cidata", "-J", "-o", str(disc)]
    subprocess.run([*argv, str(tmp_path / "cd")], check=True, capture_output=True)

    disk = tmp_path / "disk.qcow2"
    make_disk(disk, world.installed().before)
    machine = switch_on(Hardware(drives=[disk], cdroms=[disc]))
    machine.wait_up()

    assert machine.check("hostname") == "cloudy"
    assert machine.check("cat /etc/from-cloud") == "hello"
    assert machine.check("stat -c %a /etc/from-cloud") == "600"
    assert machine.check("cat /run/from-cloud") == "ran"
    assert machine.check("cat /run/config/provider") == "CDROM"
    machine.check("test -s /oem/userdata.yaml")


def test_a_feature_is_switched_on_and_off(installed: Installed) -> None:
    machine = installed()
    machine.check(f"mkdir -p /oem/mine && cat > /oem/mine/test.yaml << 'END'\n{FEATURE}END")
    env = "COS_FEATURESDIR=/oem/mine"

    assert "test enabled" in machine.check(f"{env} cos-feature enable test")
    assert "test (enabled)" in machine.check(f"{env} cos-feature list")
    machine.check("rm -f /run/feature; cos-setup network --strict")
    assert machine.check("cat /run/feature") == "on"
    assert "test disabled" in machine.check(f"{env} cos-feature disable test")
    assert "Feature test not enabled" in machine.run(f"{env} cos-feature disable test").text
    assert "k3s" in machine.check("cos-feature list")


def test_an_installation_takes_sizes_labels_and_configuration_and_is_not_overwritten(
    live: Callable[..., Machine],
) -> None:
    machine = live()
    for name, text in (("layout", LAYOUT), ("wishes", WISHES)):
        machine.check(f"cat > /tmp/{name}.yaml << 'END'\n{text}END")

    nope = machine.run("cos-installer /dev/nope")
    assert nope.code != 0
    assert "Device /dev/nope does not exist" in nope.text
    machine.check("STATE_LABEL=SYSTEMS PERSISTENT_LABEL=KEPT cos-installer --force-gpt --config"
                  " /tmp/wishes.yaml --partition-layout /tmp/layout.yaml /dev/vda",
                  1200)  # fmt: skip
    again = machine.run("cos-installer /dev/vda")
    assert again.code == 57
    machine.run("systemctl poweroff")
    machine.wait_off()

    machine.hardware = replace(machine.hardware, cdroms=())
    machine.start()
    machine.wait_up()
    assert booted(machine) == "active"
    assert machine.check("hostname") == "wished"
    assert machine.check("stat -c %a /oem/99_custom.yaml") == "600"
    assert machine.check("findmnt -no LABEL /usr/local") == "KEPT"
    assert machine.check(f"findmnt -no LABEL {STATE}") == "SYSTEMS"
    lines = machine.check("lsblk -bnro LABEL,SIZE /dev/vda").splitlines()
    sizes = {words[0]: int(words[1]) >> 20 for line in lines if len(words := line.split()) == 2}
    assert {name: size for name, size in sizes.items() if name.isupper()} == {
        "COS_OEM": 100,
        "SYSTEMS": 4000,
        "COS_RECOVERY": 3000,
        "KEPT": 200,
        "DATA": 300,
    }
