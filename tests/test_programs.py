"""Programs that are missing are named, with the packages that bring them."""

import pytest

from compiler.errors import OutsideError
from compiler.programs import need_programs, which


def test_a_missing_program_names_the_packages_that_bring_it() -> None:
    with pytest.raises(OutsideError) as unknown:
        which("no-such-program")

    assert str(unknown.value) == "the program 'no-such-program' is missing"


def test_a_known_program_that_is_missing_gets_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(OutsideError) as caught:
        which("qemu-img")

    assert str(caught.value) == (
        "the program 'qemu-img' is missing (apt install qemu-utils, dnf install qemu-img or"
        " zypper install qemu-img)"
    )


def test_all_programs_that_are_missing_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(OutsideError) as caught:
        need_programs(("qemu-img", "sh", "notary", "mksquashfs", "unsquashfs"))

    assert str(caught.value) == (
        "the programs 'qemu-img', 'sh', 'notary', 'mksquashfs', 'unsquashfs' are missing"
        " (apt install qemu-utils notary squashfs-tools, dnf install qemu-img notary squashfs-tools"
        " or zypper install qemu-img notary squashfs)"
    )
    need_programs(("mkfs.ext4",))
