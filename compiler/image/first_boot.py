"""What a disk does to itself when it is booted first: cloud-config of its OEM partition."""

from collections.abc import Mapping, Sequence

import yaml

from compiler.layout import Label

GROWING = "00_disk_layout.yaml"
DEPLOYING = "05_first_boot.yaml"
"""Names of the files: before those of whoever configures the machine."""


def growing() -> bytes:
    """Let the last partition grow to the end of the disk; done again when the disk has grown."""
    layout = {"device": {"label": str(Label.PERSISTENT)}, "expand_partition": {"size": 0}}
    return _config("Grow the last partition", {"rootfs.before": [{"layout": layout}]})


def deploying(command: str, *, state: int) -> bytes:
    """Add what the disk lacks, install the system, and reboot; `state` is a size in MiB.

    The file goes once that is done. Partitions are added again in the stage of the network, where
    nothing happens if they are there: a slow disk may come too late for the first stage.
    """
    deploy: dict[str, object] = {
        "name": "Install the system",
        "if": "[ -f /run/cos/recovery_mode ]",
        "commands": [f"{command} && rm -f /oem/{DEPLOYING} && systemctl --no-block reboot"],
    }
    return _config(
        "Complete the disk at its first boot",
        {
            "rootfs.before": [{"layout": _completed(state)}],
            "network": [{"layout": _completed(state)}, deploy],
        },
    )


def _completed(state: int) -> dict[str, object]:
    """Say which partitions a disk with a recovery system lacks."""
    return {
        "device": {"label": str(Label.RECOVERY)},
        "add_partitions": [
            {"fsLabel": str(Label.STATE), "size": state, "pLabel": "state", "filesystem": "ext4"},
            {"fsLabel": str(Label.PERSISTENT), "size": 0, "pLabel": "persistent",
             "filesystem": "ext4"},
        ],
    }  # fmt: skip


def _config(name: str, stages: Mapping[str, Sequence[Mapping[str, object]]]) -> bytes:
    return yaml.safe_dump({"name": name, "stages": dict(stages)}, sort_keys=False).encode()
