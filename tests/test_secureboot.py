"""The chain of secure boot: what a GRUB as one program holds, and that our menus need no more."""

import re
import subprocess
from pathlib import Path

import pytest

from compiler.errors import ImageError
from compiler.image.menu import SIGNED, live_menu
from compiler.processors import AMD64
from compiler.secureboot import NEEDED, Chain, Core, chain_files, disk_script, parse_core
from tests.image.trees import signed_grub

CHECKOUT = Path(__file__).resolve().parents[1]
MENUS = CHECKOUT / "tree/system/grub-config/files/etc/cos"
MODULES = Path("/usr/lib/grub/x86_64-efi")
KERNEL = {"set", "unset", "insmod", "ls"}
"""Commands of the kernel of GRUB itself (grub-core/kern/corecmd.c)."""

_KEYWORDS = re.compile(r"(?:(?:if|elif|while|then|do|else|fi|done|\{|\}|!)(?:\s+|$))+")
_NO_COMMANDS = re.compile(r"(?:for\s.*|function\s+(\w+).*|)")


def commands(script: str) -> set[str]:
    """Name the commands of a script of GRUB, but not the functions that it defines."""
    found, own = set(), set()
    for line in script.splitlines():
        if line.strip().startswith("#"):
            continue
        plain = re.sub(r"\"[^\"]*\"|'[^']*'", "quoted", line)
        for part in plain.split(";"):
            words = _KEYWORDS.sub("", part.strip(), count=1)
            nothing = _NO_COMMANDS.fullmatch(words)
            if nothing:
                own.add(nothing[1])
            else:
                found.add(words.split()[0])
    return found - own


def scripts() -> dict[str, str]:
    """Give every script that a signed GRUB may be given."""
    return {
        "menu": (MENUS / "grub.cfg").read_text(),
        "arguments": (MENUS / "bootargs.cfg").read_text(),
        "iso": live_menu("cOS", "quiet", timeout=1),
        "first of an iso": SIGNED,
        "first of a disk": disk_script(),
        "tpm": "rmmod tpm\n",
    }


@pytest.mark.parametrize("name", scripts())
def test_every_command_of_our_menus_is_in_a_module_that_a_signed_grub_has_to_have(
    name: str,
) -> None:
    listed = (MODULES / "command.lst").read_text().splitlines()
    module_of = dict(line.removeprefix("*").split(": ") for line in listed)

    used = commands(scripts()[name])

    assert used
    assert {module_of[each] for each in used - KERNEL} <= NEEDED


def test_every_module_that_our_menus_load_is_asked_for() -> None:
    text = "".join(scripts().values())

    loaded = set(re.findall(r"^\s*insmod (\S+)", text, re.MULTILINE))

    assert {"loopback", "squash4"} <= loaded <= NEEDED


def test_the_commands_of_a_script_are_told_from_its_words() -> None:
    script = "if [ -n x ]; then\n  search a; echo 'b; c'\nfi\nfunction f {\n  true\n}\nf\n"

    assert commands(script) == {"[", "search", "echo", "true"}


def test_a_grub_says_where_it_looks_for_its_menu_and_which_modules_it_has(tmp_path: Path) -> None:
    core = parse_core(signed_grub(tmp_path, "/EFI/acme"))

    assert core.prefix == "/EFI/acme"
    assert core.lacking == frozenset()
    assert "extcmd" in core.modules, "what others stand on"
    assert "tpm" in core.modules


def test_the_programs_get_the_names_that_each_looks_for_the_next_by(tmp_path: Path) -> None:
    grub = signed_grub(tmp_path, "/EFI/acme")

    files = chain_files(Chain(b"shim", grub, b"manager"), AMD64, "echo hello\n")

    assert files == {
        "EFI/BOOT/BOOTX64.EFI": b"shim",
        "EFI/BOOT/grubx64.efi": grub,
        "EFI/BOOT/mmx64.efi": b"manager",
        "EFI/acme/grub.cfg": b"rmmod tpm\necho hello\n",
    }


def test_a_grub_that_measures_nothing_is_told_nothing_of_it(tmp_path: Path) -> None:
    grub = signed_grub(tmp_path, "/EFI/acme", without="tpm")

    assert chain_files(Chain(b"", grub, b""), AMD64, "echo\n")["EFI/acme/grub.cfg"] == b"echo\n"


def test_a_signed_grub_that_lacks_a_module_is_refused(tmp_path: Path) -> None:
    grub = signed_grub(tmp_path, "/EFI/acme", without="squash4")

    with pytest.raises(ImageError) as caught:
        chain_files(Chain(b"", grub, b""), AMD64, "")

    assert str(caught.value) == (
        "the signed GRUB has no module squash4"
        " (the boot menu needs it, and a signed GRUB cannot load modules)"
    )


@pytest.mark.parametrize("cut", [0, 1, 100, 1000, 100_000])
def test_what_is_no_grub_is_refused(tmp_path: Path, cut: int) -> None:
    grub = signed_grub(tmp_path, "/EFI/acme")

    with pytest.raises(ImageError, match="the signed GRUB"):
        parse_core(grub[:cut])


@pytest.mark.parametrize("prefix", ["(hd0,gpt1)/EFI/x", "/EFI/../.."])
def test_a_menu_that_would_be_elsewhere_is_refused(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(ImageError, match="looks for its menu in"):
        parse_core(signed_grub(tmp_path, prefix))


def test_the_menu_of_a_disk_is_looked_for_by_the_labels_of_the_machine() -> None:
    assert "for label in 'MINE' 'COS_RECOVERY'; do\n" in disk_script("MINE")


def test_scripts_are_such_as_grub_reads(tmp_path: Path) -> None:
    for name, text in scripts().items():
        path = tmp_path / "script"
        path.write_text(text)
        done = subprocess.run(["grub-script-check", path], capture_output=True, check=False)
        assert done.returncode == 0, (name, done.stderr)


def test_what_a_core_lacks_is_what_our_menus_need() -> None:
    assert Core("/x", NEEDED - {"probe"}).lacking == {"probe"}
