"""The sample of a derivative: built as its README says, it boots and greets."""

import json
from pathlib import Path

import pytest

from tests.e2e.own_tree import CHECKOUT, cos
from tests.vm.conftest import Boot
from tests.vm.machine import Hardware
from tests.vm.world import ISO_OPTIONS, World, made, must

pytestmark = [pytest.mark.vm, pytest.mark.long]

_SAMPLE = CHECKOUT / "examples/sample-os"


def test_the_sample_is_built_boots_and_greets(world: World, switch_on: Boot) -> None:
    def build(folder: Path) -> None:
        made(
            "build-tree",
            f"TREE=tree {_SAMPLE / 'tree'}",
            f"DESTINATION={folder}",
            f"VALUES={' '.join(world.values())}",
            "PACKAGES=system/sampleOS recovery/cos-img",
        )
        must(cos("iso", "--local", folder, "--output", folder, "--name", "sample", "--no-date",
                 *ISO_OPTIONS, _SAMPLE / "iso.yaml"))  # fmt: skip

    iso = world.once("sample", build) / "sample.iso"
    machine = switch_on(Hardware(cdroms=[iso]))
    machine.wait_up()

    said = machine.check("curl --retry 30 --retry-connrefused -s http://127.0.0.1:8090/greeting")
    assert json.loads(said) == {"greeting": "Hello from Sample OS v1.0.0"}
    assert "Sample OS" in machine.check(". /etc/os-release && echo $PRETTY_NAME")
    assert machine.check("systemctl --failed --no-legend") == ""
