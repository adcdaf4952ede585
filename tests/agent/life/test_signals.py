"""A command that is asked to stop unwinds, so that nothing stays mounted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.agent.life.lab import Bench, do, leftovers, make_system

pytestmark = pytest.mark.container

PROGRAM = """
import sys
from pathlib import Path
from compiler.agent.life import cli
from compiler.agent.life.host import Host
from compiler.agent.log import Log
from compiler.agent.life.upgrade import upgrade
from compiler.errors import CompilerError
from tests.agent.life.victim import settings
root, device, source = sys.argv[1:]
try:
    with cli.stopping():
        log = Log(lambda text: print(text, flush=True))
        host = Host(log=log, root=Path(root), disks=(device,))
        upgrade(host, settings([f"SYSTEM={source}"]))
except CompilerError as error:
    print(error)
    sys.exit(int(error.exit_code))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_unwinds_an_upgrade(machine: Bench, tmp_path: Path, number: signal.Signals) -> None:
    system = make_system(tmp_path / "system", "2")
    (system / "system/oem").mkdir()
    busybox = Path(do("which", "busybox").strip())
    for name in ("sh", "sleep"):
        (system / "usr/bin" / name).write_bytes(busybox.read_bytes())
        (system / "usr/bin" / name).chmod(0o755)
    (system / "bin").symlink_to("usr/bin")
    hook = "stages: {after-upgrade-chroot: [{commands: ['sleep 60']}]}\n"
    (system / "system/oem/hook.yaml").write_text(hook)

    with machine.running():
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(machine.root), machine.device, f"dir:{system}"],
            stdout=subprocess.PIPE, text=True,
        ) as child:  # fmt: skip
            assert child.stdout
            for line in child.stdout:
                if "Running after-upgrade-chroot hook" in line:
                    break
            time.sleep(1)
            os.kill(child.pid, number)
            said = child.stdout.read()
        assert (child.returncode, said.splitlines()[-1]) == (130, f"stopped by {number.name}")
        state = machine.root / "run/initramfs/cos-state/cOS"
        assert sorted(each.name for each in state.iterdir()) == ["active.img", "passive.img"]

    assert machine.systems() == {"active": "kernel 1", "passive": "kernel 1"}
    assert leftovers(machine) == []
