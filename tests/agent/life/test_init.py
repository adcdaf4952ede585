"""A root tree that another distribution's image is: afterwards it has what a machine boots."""

from pathlib import Path

import pytest

from compiler.agent.life.host import Host
from compiler.agent.life.init import DEFAULTS, init
from compiler.agent.life.phases import LifeError
from compiler.agent.life.settings import gather
from compiler.agent.log import Level, Log

pytestmark = pytest.mark.container  # only root may

UNIT = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
MAKE = """#!/bin/sh
set -eu
boot=$(dirname "$0")/../../../boot
kernel=$(readlink "$boot/vmlinuz")
echo "$kernel" >> "$boot/initrd-${kernel#vmlinuz-}"
ln -sfn "initrd-${kernel#vmlinuz-}" "$boot/initrd"
"""
"""Makes an initrd that tells of what, and how often it was made."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with two kernels, and our defaults."""
    ours = DEFAULTS.lstrip("/")
    texts = {
        "usr/lib/modules/6.9.1-x/modules.dep": "",
        "usr/lib/modules/6.12.0-x/vmlinuz": "newest",
        "boot/vmlinuz-6.9.1-x": "older",
        "boot/vmlinuz-7.0": "its modules are not there",
        "etc/cos/grub.cfg": "mine",
        f"{ours}/etc/cos/grub.cfg": "ours",
        f"{ours}/etc/cos/bootargs.cfg": "arguments",
        f"{ours}/usr/lib/systemd/system/cos-x.service": UNIT,
        f"{ours}/usr/lib/systemd/system/cos-y.service": "[Service]\n",
        f"{ours}/usr/libexec/cos/make-initrd": MAKE,
    }
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / ours / "usr/libexec/cos/make-initrd").chmod(0o755)
    (tmp_path / ours / "usr/bin").mkdir()
    (tmp_path / ours / "usr/bin/cos-setup").symlink_to("cos-agent")
    return tmp_path


def run(root: Path, **flags: str) -> list[str]:
    """Run the command; returns what it said."""
    said: list[str] = []
    init(Host(log=Log(said.append, Level.INFO), root=root), gather({}, {}, flags))
    return said


def test_what_a_boot_needs_is_added_and_what_is_there_stays(root: Path) -> None:
    said = run(root)

    assert (root / "etc/cos/bootargs.cfg").read_text() == "arguments"
    assert (root / "etc/cos/grub.cfg").read_text() == "mine"
    assert str((root / "usr/bin/cos-setup").readlink()) == "cos-agent"
    assert str((root / "boot/vmlinuz").readlink()) == "vmlinuz-6.12.0-x"
    assert (root / "boot/vmlinuz").read_text() == "newest"
    assert (root / "boot/initrd").read_text() == "vmlinuz-6.12.0-x\n"
    wants = root / "etc/systemd/system/multi-user.target.wants"
    assert [each.name for each in wants.iterdir()] == ["cos-x.service"]
    assert "Added /etc/cos/bootargs.cfg" in said
    assert "Added /etc/cos/grub.cfg" not in said


def test_done_again_it_does_nothing(root: Path) -> None:
    run(root)

    assert run(root) == []
    assert (root / "boot/initrd").read_text() == "vmlinuz-6.12.0-x\n"


def test_by_force_files_are_ours_and_the_initrd_is_made_anew(root: Path) -> None:
    run(root)

    (root / "etc/cos/bootargs.cfg").chmod(0o600)

    said = run(root, FORCE="true")

    assert [line for line in said if "Added" in line or "Replaced" in line] == [
        "Replaced /etc/cos/bootargs.cfg",
        "Replaced /etc/cos/grub.cfg",
    ]
    assert (root / "etc/cos/grub.cfg").read_text() == "ours"
    assert (root / "boot/initrd").read_text() == "vmlinuz-6.12.0-x\n" * 2


def test_a_kernel_that_somebody_chose_stays(root: Path) -> None:
    (root / "boot/vmlinuz").symlink_to("vmlinuz-6.9.1-x")

    run(root)

    assert (root / "boot/vmlinuz").read_text() == "older"
    assert (root / "boot/initrd").read_text() == "vmlinuz-6.9.1-x\n"


def test_a_new_kernel_gets_its_initrd_once_the_chosen_one_is_gone(root: Path) -> None:
    (root / "boot/vmlinuz").symlink_to("vmlinuz-6.9.1-x")
    run(root)
    (root / "boot/vmlinuz-6.9.1-x").unlink()

    run(root)

    assert str((root / "boot/initrd").readlink()) == "initrd-6.12.0-x"


def test_the_initrd_can_be_left_to_somebody_else(root: Path) -> None:
    run(root, NO_INITRD="true")

    assert not (root / "boot/initrd").exists()


def test_without_a_kernel_it_is_refused(root: Path) -> None:
    (root / "usr/lib/modules/6.12.0-x/vmlinuz").unlink()
    (root / "boot/vmlinuz-6.9.1-x").unlink()

    with pytest.raises(LifeError) as caught:
        run(root)

    assert (caught.value.exit_code, "no kernel is in /boot" in str(caught.value)) == (91, True)


def test_without_our_files_it_says_where_to_take_them_from(tmp_path: Path) -> None:
    with pytest.raises(LifeError) as caught:
        run(tmp_path)

    assert (caught.value.exit_code, str(caught.value)) == (
        68,
        f"{DEFAULTS} is missing (COPY --from=A-SYSTEM-OF-OURS {DEFAULTS} {DEFAULTS})",
    )
