"""The life-cycle commands as people call them: names, flags, exit codes, and quick stages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compiler.agent.life import status
from compiler.agent.life.feature import feature
from compiler.agent.life.host import Host
from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.life.settings import gather
from compiler.agent.life.status import gather as gather_status
from compiler.agent.life.suc_upgrade import suc_upgrade
from compiler.agent.log import Log
from tests.agent.life.lab import Bench, make_system

START = "import sys; sys.argv[0] = {name!r}; from compiler.agent.cli import main; main()"


def call(name: str, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Call a command by a name of its own."""
    argv = [sys.executable, "-c", START.format(name=name), *words]
    return subprocess.run(
        argv, capture_output=True, check=False, text=True, env={**os.environ, **env}
    )


@pytest.mark.parametrize(
    "name",
    ["cos-installer", "cos-install", "cos-upgrade", "cos-reset", "cos-deploy", "cos-rebrand",
     "cos-feature", "cos-status", "suc-upgrade"],
)  # fmt: skip
def test_each_command_has_a_name_of_its_own(name: str) -> None:
    done = call(name, "--help")

    assert (done.returncode, done.stdout.startswith(f"usage: {name}")) == (0, True)


def test_all_are_commands_of_the_agent_as_well() -> None:
    done = call("cos-agent", "upgrade", "--help")

    assert done.returncode == 0
    assert "--no-verify" in done.stdout
    assert "--docker-image" in done.stdout


def test_half_a_flag_is_none() -> None:
    done = call("cos-upgrade", "--docker-image", "--cosig", "quay.io/x/y:1")

    assert (done.returncode, "unrecognized arguments: --cosig" in done.stderr) == (2, True)


@pytest.mark.container
def test_the_code_of_the_phase_is_that_of_the_process() -> None:
    done = call("cos-installer", "/dev/nope", COS_INSTALL_CONFIG_URL="")

    assert (done.returncode, done.stderr) == (
        47,
        "error: You should use an available device. Device /dev/nope does not exist. "
        "(lsblk lists the disks)\n",
    )


def test_a_setting_that_makes_no_sense_is_told() -> None:
    done = call("cos-upgrade", STRICT="perhaps", COS_DEBUG="maybe")

    assert (done.returncode, done.stderr) == (
        31, "error: COS_DEBUG is true or false, not 'maybe'\n",
    )  # fmt: skip


def test_a_stage_of_a_boot_loads_nothing_of_it() -> None:
    program = (
        "import sys; sys.argv = ['cos-setup', '--help']\n"
        "from compiler.agent.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([name for name in sys.modules if 'life' in name or name == 'pydantic'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.fixture
def host(tmp_path: Path) -> tuple[Host, list[str]]:
    """A machine with two features, and what is said."""
    said: list[str] = []
    make_system(tmp_path, "1", system__features__a="x").joinpath("system/features/a.yaml").touch()
    (tmp_path / "oem").mkdir()
    return Host(log=Log(said.append), root=tmp_path), said


def feature_of(host: Host, action: str, *names: str) -> None:
    feature(host, gather({}, {}, {"ACTION": action, "FEATURE": " ".join(names)}))


def test_features_are_enabled_once_and_disabled_once(host: tuple[Host, list[str]]) -> None:
    machine, said = host
    for action in ("enable", "enable", "list", "disable", "disable"):
        feature_of(machine, action, "k3s")

    assert said == [
        "k3s enabled", "Feature k3s enabled already", "cOS features:", "- a", "- k3s (enabled)",
        "Feature k3s disabled", "Feature k3s not enabled",
    ]  # fmt: skip


def test_an_enabled_feature_is_a_link_that_stages_follow(host: tuple[Host, list[str]]) -> None:
    feature_of(host[0], "enable", "k3s")

    link = host[0].root / "oem/features/k3s.yaml"
    assert str(link.readlink()) == "/system/features/k3s.yaml"


@pytest.mark.parametrize("name", ["nothing", "../../etc/passwd"])
def test_a_feature_that_is_not_there_is_refused(host: tuple[Host, list[str]], name: str) -> None:
    with pytest.raises(LifeError) as caught:
        feature_of(host[0], "enable", name)

    assert (caught.value.exit_code, caught.value.message) == (1, "Feature not present")


@pytest.mark.container
def test_status_tells_what_runs_and_what_is_installed(machine: Bench, new: Path) -> None:
    with machine.running():
        machine.upgrade(f"dir:{new}")
        found = gather_status(machine.host, machine.settings())

    assert json.loads(json.dumps(found)) == found
    assert found["booted"] == "active"
    assert found["images"]["active"]["source"] == f"dir:{new}"
    assert found["images"]["active"]["standing"] == "not proved"
    assert found["images"]["active"]["tries_left"] == 3
    assert found["assessment"]["next"] == "active"
    assert found["assessment"]["enabled"]
    lines = list(status.lines_of(found))
    assert f"dir:{new} since" in lines[1]
    assert lines[1].endswith(", not proved, 3 tries left")
    assert "Next:       active" in lines


@pytest.mark.container
def test_a_machine_in_a_cluster_that_has_the_system_is_left_alone(tmp_path: Path) -> None:
    container = make_system(tmp_path / "container", "1")
    machine = make_system(tmp_path / "machine", "1")
    said: list[str] = []
    host = Host(log=Log(said.append), root=container)

    assert suc_upgrade(host, gather({}, {}, {"HOST_DIR": str(machine)})) == 0
    assert said[0] == "Update to date with"

    with pytest.raises(LifeError) as caught:
        suc_upgrade(host, gather({}, {}, {"HOST_DIR": str(tmp_path)}))
    assert caught.value.phase is Phase.ABSENT
