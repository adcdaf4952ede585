"""The chain of secure boot on a machine that is installed, or gets its boot loader anew."""

from pathlib import Path

import pytest

from compiler.agent.life.host import Host
from compiler.agent.life.signed import copy_chain
from compiler.agent.log import Level, Log
from compiler.processors import AMD64
from tests.image.trees import signed_grub, with_chain, write_tree

SCRIPT = "echo\n"


@pytest.fixture
def said() -> list[str]:
    """What the command said."""
    return []


@pytest.fixture
def host(tmp_path: Path, said: list[str]) -> Host:
    return Host(log=Log(said.append, Level.INFO), root=tmp_path)


@pytest.fixture
def efi(tmp_path: Path) -> Path:
    """The partition as GRUB's installer leaves it, here with what shim would start before GRUB."""
    boot = tmp_path / "efi/EFI/BOOT"
    boot.mkdir(parents=True)
    (boot / "BOOTX64.EFI").write_bytes(b"GRUB")
    (boot / "fbx64.efi").write_bytes(b"fallback")
    return tmp_path / "efi"


def files(efi: Path) -> dict[str, bytes]:
    paths = (path for path in efi.rglob("*") if path.is_file())
    return {str(path.relative_to(efi)): path.read_bytes() for path in paths}


def test_the_signed_programs_take_the_place_of_what_grub_installed(
    host: Host, efi: Path, tmp_path: Path
) -> None:
    grub = signed_grub(tmp_path, "/EFI/acme")
    tree = with_chain(tmp_path / "root", grub)

    assert copy_chain(host, tree, efi, AMD64, SCRIPT)

    assert files(efi) == {
        "EFI/BOOT/BOOTX64.EFI": b"shim",
        "EFI/BOOT/grubx64.efi": grub,
        "EFI/BOOT/mmx64.efi": b"manager",
        "EFI/acme/grub.cfg": b"rmmod tpm\necho\n",
    }


def test_without_a_chain_all_stays_as_grub_installed_it(
    host: Host, efi: Path, tmp_path: Path
) -> None:
    before = files(efi)

    assert not copy_chain(host, write_tree(tmp_path / "root"), efi, AMD64, SCRIPT)

    assert files(efi) == before


def test_a_chain_that_could_not_boot_is_told_and_left_out(
    host: Host, efi: Path, said: list[str], tmp_path: Path
) -> None:
    before = files(efi)
    tree = with_chain(tmp_path / "root", b"no GRUB")

    assert not copy_chain(host, tree, efi, AMD64, SCRIPT)

    assert files(efi) == before
    assert any("this machine will not start with secure boot" in each for each in said)


def test_links_never_lead_out_of_the_tree(host: Host, efi: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"the machine's own")
    tree = with_chain(tmp_path / "root", signed_grub(tmp_path, "/EFI/acme"))
    manager = tree / "usr/lib/shim/mmx64.efi.signed"
    manager.unlink()
    manager.symlink_to("../../../../outside")

    assert not copy_chain(host, tree, efi, AMD64, SCRIPT)
