"""A machine that was installed with labels of its owner's: it boots, is upgraded and reset."""

from pathlib import Path

import pytest

from compiler.agent.installed import Installed
from compiler.agent.life.cli import settings_of
from compiler.agent.life.deploy import deploy
from compiler.agent.life.reset import reset
from compiler.agent.life.status import gather
from compiler.agent.life.upgrade import upgrade
from compiler.grubenv import read_block
from compiler.layout import Slot
from tests.agent.life.lab import CMDLINES, SMALL, Bench, label_of, partitions
from tests.agent.life.test_two_disks import in_recovery

pytestmark = pytest.mark.container

NAMES = ("STATE", "OEM", "RECOVERY", "PERSISTENT", "ACTIVE", "PASSIVE", "SYSTEM")
LABELS = {f"{name}_LABEL": f"MY_{name}" for name in NAMES}


@pytest.fixture
def own(blank: Bench, old: Path) -> Bench:
    """A machine with other labels on everything."""
    blank.install(old, **LABELS)
    return blank


def tell_kernel(bench: Bench, block: dict[str, str]) -> None:
    """Give the running system the words that the boot menu makes of its variables."""
    words = [f"rd.cos.{name.replace('_', '')}={label}" for name, label in block.items()
             if name.endswith("_label")]  # fmt: skip
    path = bench.root / "proc/cmdline"
    path.write_text(f"{path.read_text()} {' '.join(words)}".replace("LABEL=COS_", "LABEL=MY_"))


def test_the_labels_are_in_the_machine_and_its_record(own: Bench) -> None:
    assert set(partitions(own.device)) == {"MY_OEM", "MY_STATE", "MY_RECOVERY", "MY_PERSISTENT"}
    with own.partition("MY_STATE") as state:
        assert label_of(state / "cOS/active.img") == "MY_ACTIVE"
        block = read_block(state / "grub_oem_env")
    assert {name: block[f"{name.lower()}_label"] for name in NAMES} == {
        name: f"MY_{name}" for name in NAMES
    }


def test_what_runs_is_upgraded_assessed_and_reset_with_them(own: Bench, new: Path) -> None:
    with own.running(prefix="MY_") as mounted:
        tell_kernel(own, read_block(mounted["MY_STATE"] / "grub_oem_env"))
        settings = settings_of(own.root, {**SMALL, "SYSTEM": f"dir:{new}"})
        upgrade(own.host, settings)

        images = mounted["MY_STATE"] / "cOS"
        assert label_of(images / "active.img") == "MY_ACTIVE"
        assert label_of(images / "passive.img") == "MY_PASSIVE"
        found = gather(own.host, settings)
        assert found["booted"] == "active"
        assert found["images"]["active"]["fromAction"] == "upgrade"
        disk = Installed(own.root).disk()
        assert all(disk.has(slot) for slot in (Slot.ACTIVE, Slot.PASSIVE))
        block = read_block(mounted["MY_STATE"] / "grub_oem_env")

    with in_recovery(own, "MY_RECOVERY"):
        (own.root / "proc/cmdline").write_text(CMDLINES["recovery"])
        tell_kernel(own, block)
        reset(own.host, settings_of(own.root, SMALL))
    with own.running("recovery", prefix="MY_"):
        tell_kernel(own, block)
        deploy(own.host, settings_of(own.root, {**SMALL, "SYSTEM": f"dir:{new}", "FORCE": "true"}))
    with own.partition("MY_STATE") as state:
        assert label_of(state / "cOS/active.img") == "MY_ACTIVE"
        assert label_of(state / "cOS/passive.img") == "MY_PASSIVE"


def test_the_environment_wins_over_what_the_kernel_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cmdline").write_text(
        "a rd.cos.oemlabel=A rd.cos.statelabel=B rd.cos.xlabel=C"
    )
    monkeypatch.setenv("OEM_LABEL", "MINE")

    settings = settings_of(tmp_path, {})

    assert (settings.text("OEM_LABEL"), settings.text("STATE_LABEL")) == ("MINE", "B")
