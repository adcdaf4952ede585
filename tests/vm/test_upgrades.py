"""Upgrades over the air: from a channel, an image, a folder; signed, unsigned, tampered with."""

import io
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.registry import run_registry
from tests.vm.channel import Channel, make_channel
from tests.vm.machine import Machine
from tests.vm.systems import STATE, booted, choose, open_state, version
from tests.vm.world import NEXT, VERSION, World

pytestmark = [
    pytest.mark.vm,
    pytest.mark.registry,
    pytest.mark.xdist_group("channel"),
]

Installed = Callable[..., Machine]
_CHANGE = b"by somebody else\n"
DONE = "Upgrade done, now you might want to reboot"


@pytest.fixture(scope="module")
def channel(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Channel]:
    """A channel with two versions of the system."""
    with run_registry(tmp_path_factory.mktemp("registry")) as server:
        yield make_channel(server, world)


def test_a_machine_upgrades_from_its_channel_proves_itself_and_falls_back_by_choice(
    installed: Installed, channel: Channel
) -> None:
    machine = installed()
    channel.follow(machine)

    said = machine.check("cos-upgrade", 1200)
    assert "-> Upgrade target: active.img" in said
    assert DONE in said
    machine.cut_and_boot()
    assert (booted(machine), version(machine)) == ("active", NEXT)
    assert "cos.boot_try" in machine.check("cat /proc/cmdline")
    machine.wait_console("is well, and marked good")

    choose(machine, next_entry="fallback")
    machine.cut_and_boot()
    assert (booted(machine), version(machine)) == ("passive", VERSION)
    machine.cut_and_boot()
    assert (booted(machine), version(machine)) == ("active", NEXT)
    assert "cos.boot_try" not in machine.check("cat /proc/cmdline")


def test_a_machine_upgrades_to_an_image_and_is_reset_to_what_it_was_installed_with(
    installed: Installed, channel: Channel
) -> None:
    machine = installed()
    channel.follow(machine)

    said = machine.check(f"cos-upgrade --docker-image {channel.image(f'cos-system-{NEXT}')}", 1200)
    assert "to /usr/local/tmp/rootfs" in said
    machine.cut_and_boot()
    assert (booted(machine), version(machine)) == ("active", NEXT)

    choose(machine, next_entry="recovery")
    machine.cut_and_boot()
    assert booted(machine) == "recovery"
    machine.check("cos-reset", 1200)
    machine.cut_and_boot()
    assert (booted(machine), version(machine)) == ("active", VERSION)


def test_an_image_that_was_changed_after_it_was_signed_is_refused(
    installed: Installed, channel: Channel, tmp_path: Path
) -> None:
    machine = installed()
    channel.follow(machine)
    change_image(channel, f"cos-system-{NEXT}", "changed", tmp_path)

    done = machine.run(f"cos-upgrade --docker-image {channel.image('changed')}", 600)
    assert done.code != 0
    assert "signature" in done.text
    assert machine.run(f"ls {STATE}/cOS").text.split() == ["active.img", "passive.img"]

    machine.check(f"cos-upgrade --no-verify --docker-image {channel.image('changed')}", 1200)
    read = f"debugfs -R 'cat /usr/share/changed' {STATE}/cOS/active.img 2> /dev/null"
    assert machine.check(read) == _CHANGE.decode().strip()


def test_a_registry_that_stops_in_the_middle_changes_nothing(
    installed: Installed, world: World, channel: Channel, tmp_path: Path
) -> None:
    machine = installed()
    before = machine.check(f"sha256sum {STATE}/cOS/*.img")
    with run_registry(tmp_path / "registry") as server:
        other = Channel(server.repository("os"), world)
        subprocess.run(
            ["skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false",
             f"docker://{channel.place}:cos-system-{NEXT}", f"docker://{other.place}:new"],
            check=True,
        )  # fmt: skip
        other.follow(machine)
        command = f"cos-upgrade --no-verify --docker-image {other.image('new')}"
        machine.check(f"systemd-run --unit upgrade -p RemainAfterExit=yes {command}")
        machine.check("for i in $(seq 120); do [ $(du -s /usr/local | cut -f 1) -gt 20000 ]"
                      " && exit; sleep 1; done; exit 1", 200)  # fmt: skip

    machine.check("for i in $(seq 300); do systemctl is-failed upgrade && exit; sleep 1; done;"
                  " exit 1", 400)  # fmt: skip
    said = machine.run("journalctl -u upgrade --no-pager -o cat").text
    assert "error: " in said
    assert machine.run(f"ls {STATE}/cOS").text.split() == ["active.img", "passive.img"]
    assert machine.run("losetup -a | grep -c transition").text.strip() == "0"
    assert machine.check(f"sha256sum {STATE}/cOS/*.img") == before


def test_a_full_state_partition_is_told_before_anything_is_touched(
    installed: Installed, channel: Channel
) -> None:
    machine = installed()
    channel.follow(machine)
    open_state(machine)
    machine.check(f"fallocate -l $(($(stat -f -c '%a*%S' {STATE}) - 50000000)) {STATE}/full")

    done = machine.run("cos-upgrade", 600)
    assert done.code != 0
    assert re.search(rf"needs \d+ MiB, and {STATE} has \d+ MiB left \(make room", done.text)
    left = machine.run(f"ls {STATE}/cOS").text.split()
    assert left == ["active.img", "passive.img"]


@pytest.mark.long
def test_the_recovery_system_is_upgraded_and_deploys(
    installed: Installed, channel: Channel
) -> None:
    machine = installed()
    channel.follow(machine)

    refused = machine.run("cos-deploy", 600)
    assert refused.code != 0
    assert "There is already an active deployment in the system, use '--force'" in refused.text
    assert "Upgrading recovery partition" in machine.check("cos-upgrade --recovery", 1500)
    choose(machine, next_entry="recovery")
    machine.cut_and_boot()
    assert (booted(machine), version(machine)) == ("recovery", NEXT)

    channel.follow(machine)
    said = machine.check("cos-deploy --force", 1500)
    assert "Forcing overwrite current COS_ACTIVE and COS_PASSIVE partitions" in said
    assert "now you might want to reboot" in said
    machine.cut_and_boot()
    assert (booted(machine), version(machine)) == ("active", NEXT)


def change_image(channel: Channel, tag: str, name: str, scratch: Path) -> None:
    """Push an image that is that of `tag` with one more file."""
    layout, layer = scratch / "layout", scratch / "layer.tar"
    with tarfile.open(layer, "w") as archive:
        info = tarfile.TarInfo("usr/share/changed")
        info.size = len(_CHANGE)
        archive.addfile(info, io.BytesIO(_CHANGE))
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    copy = ["skopeo", "copy", "-q", *plain]
    subprocess.run([*copy, f"docker://{channel.place}:{tag}", f"oci:{layout}:x"], check=True)
    add = ["umoci", "raw", "add-layer", "--image", f"{layout}:x", str(layer)]
    subprocess.run(add, check=True, capture_output=True)
    subprocess.run([*copy, f"oci:{layout}:x", f"docker://{channel.place}:{name}"], check=True)
