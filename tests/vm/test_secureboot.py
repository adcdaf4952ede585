"""A machine whose firmware starts only what is signed: the live system, an installation, a disk."""

from pathlib import Path

import pytest

from tests.vm.conftest import Boot
from tests.vm.machine import BOOT, Hardware, Machine
from tests.vm.systems import booted, version
from tests.vm.test_disk import built_disk
from tests.vm.world import VERSION, World, make_disk, wait_well

pytestmark = [pytest.mark.vm, pytest.mark.long]

_MEMORY = 2048
"""MiB: shim and the signed GRUB hold more than our own GRUB does."""


def test_the_live_system_and_what_it_installs_start_with_secure_boot(
    world: World, switch_on: Boot, tmp_path: Path
) -> None:
    disk = tmp_path / "disk.qcow2"
    make_disk(disk)
    parts = Hardware(drives=[disk], cdroms=[world.iso], efi=True, secure=True, memory=_MEMORY)
    live = switch_on(Machine(tmp_path / "live", parts))
    live.wait_up(2 * BOOT)

    assert booted(live) == "live"
    assert is_secure(live)
    live.check("cos-installer /dev/vda", 1200)
    live.run("systemctl poweroff")
    live.wait_off()
    machine = switch_on(
        Machine(
            tmp_path / "installed",
            Hardware(drives=[disk], efi=True, secure=True, memory=_MEMORY),
        )
    )
    wait_well(machine)

    assert (booted(machine), version(machine)) == ("active", VERSION)
    assert is_secure(machine)


def test_a_disk_that_was_built_starts_with_secure_boot(
    world: World, switch_on: Boot, tmp_path: Path
) -> None:
    disk = built_disk(world, tmp_path, "full")
    machine = switch_on(Hardware(drives=[disk], efi=True, secure=True, memory=_MEMORY))

    wait_well(machine)

    assert booted(machine) == "active"
    assert is_secure(machine)


def is_secure(machine: Machine) -> bool:
    """Whether the kernel was started with secure boot, and holds to it."""
    said = machine.check("mokutil --sb-state")
    locked = machine.check("cat /sys/kernel/security/lockdown")
    return "SecureBoot enabled" in said and "[integrity]" in locked
