"""An upgrade of the machine around a container: the container's root is the new system."""

import fcntl
import shutil
from pathlib import Path

import pytest

from compiler.agent.life.host import Host
from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.life.suc_upgrade import suc_upgrade
from compiler.agent.log import Log
from tests.agent.life.lab import CMDLINES, Bench, do, leftovers, make_system

pytestmark = pytest.mark.container


@pytest.fixture
def container(machine: Bench, tmp_path: Path) -> Bench:
    """A container of version 2, of the machine that version 1 runs on."""
    root = make_system(tmp_path / "container", "2", proc__cmdline=CMDLINES["active"])
    make_system(machine.root, "1")
    (machine.root / "dev").mkdir()
    return Bench(root, machine.device)


@pytest.fixture
def boots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that notes how the machine was booted: nothing here may do that."""
    noted = tmp_path / "boots"
    program = tmp_path / "bin/nsenter"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >> {noted}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/sbin:/usr/bin:/sbin:/bin")
    assert shutil.which("nsenter") == str(program)
    return noted


def run(container: Bench, machine: Bench, **given: str) -> int:
    """Run the command in the container."""
    host = Host(
        log=Log(container.said.append),
        root=container.root,
        disks=(machine.device,),
        pause=lambda _seconds: None,
    )
    return suc_upgrade(host, container.settings(HOST_DIR=str(machine.root), **given))


def test_the_machine_gets_the_system_of_the_container_and_boots(
    machine: Bench, container: Bench, boots: Path
) -> None:
    with machine.running():
        code = run(container, machine)

        assert leftovers(container) == []

    assert code == 1, "it is done only after the boot"
    assert machine.systems() == {"active": "kernel 2", "passive": "kernel 1"}
    assert boots.read_text() == "--target 1 --mount --uts --ipc --net --pid -- reboot\n"
    assert machine.record()["state"]["active"]["source"] == f"dir:{container.root}"


def test_the_same_system_is_put_in_again_only_if_that_is_forced(
    machine: Bench, container: Bench, boots: Path
) -> None:
    shutil.copy(container.root / "etc/os-release", machine.root / "etc/os-release")
    with machine.running():
        assert run(container, machine) == 0
        assert not boots.exists()
        assert run(container, machine, FORCE="true") == 1

    assert machine.systems()["active"] == "kernel 2"


def test_what_the_machine_itself_does_to_its_systems_is_waited_for_by_nobody(
    machine: Bench, container: Bench, boots: Path
) -> None:
    lock = machine.root / "run/cos/life.lock"
    lock.parent.mkdir(parents=True)
    with machine.running(), lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(LifeError) as caught:
            run(container, machine)
        assert caught.value.phase is Phase.BUSY
        assert leftovers(container) == []

    assert not boots.exists()
    assert machine.systems() == {"active": "kernel 1", "passive": "kernel 1"}


def test_an_upgrade_that_fails_boots_nothing(machine: Bench, container: Bench, boots: Path) -> None:
    (container.root / "boot/vmlinuz-2").unlink()
    with machine.running(), pytest.raises(LifeError) as caught:
        run(container, machine)

    assert caught.value.phase is Phase.UNBOOTABLE
    assert not boots.exists()
    assert do("losetup", "--list", "--noheadings").count(str(container.root)) == 0
