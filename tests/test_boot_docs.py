"""docs/boot.md: every kernel argument and every variable of the layout that our scripts read."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
BOOT = (CHECKOUT / "docs/boot.md").read_text(encoding="utf-8")
DRACUT = CHECKOUT / "tree/system/immutable-rootfs/files/usr/lib/dracut/modules.d"
LAYOUT = DRACUT / "30cos-immutable-rootfs/cos-mount-layout.sh"
BOOTARGS = CHECKOUT / "tree/system/grub-config/files/etc/cos/bootargs.cfg"

OURS = re.compile(
    r"\b(?:rd\.cos\.[a-z]+|cos\.setup|cos\.autologin|cos\.boot_try|cos\.[a-z]+\.power_off|cos-img/filename)\b"
)
"""Arguments that are ours by their names."""
ASKED = re.compile(r"getarg(?:s|bool [01])? ([\w./-]+)")
"""Arguments that scripts of the initrd ask dracut for."""
VARIABLE = re.compile(r"\$\{?([A-Z][A-Z_]+)\b")
TESTS_ONLY = {"SYSROOT", "OVERLAY_BASE", "COS_HOME"}
"""Variables that say where the script works, for tests."""


def sources() -> list[str]:
    """Read all that is ours in a built system."""
    files = [
        *(CHECKOUT / "tree").rglob("*"),
        *(CHECKOUT / "compiler/agent").rglob("*.py"),
    ]
    return [
        each.read_text(encoding="utf-8")
        for each in files
        if each.is_file() and each.suffix not in {".whl", ".lock"} and each.parent.name != "wheels"
    ]


def arguments() -> set[str]:
    """Name every kernel argument that something of ours reads or gives."""
    texts = sources()
    found = {name for text in texts for name in (*OURS.findall(text), *ASKED.findall(text))}
    for line in BOOTARGS.read_text().splitlines():
        if "kernelcmd=" in line:
            words = line.partition('"')[2].rstrip('"').split()
            found |= {word.partition("=")[0] for word in words if word[0] not in "$:"}
    for flavour in (CHECKOUT / "specs/flavours").iterdir():
        given = re.findall(r"^kernel_arguments: *(.*)$", flavour.read_text(), re.MULTILINE)
        found |= {word.partition("=")[0] for word in given[0].strip('"').split()}
    return found


def table(heading: str) -> dict[str, str]:
    """Read a table of a section: the names in its first column, without values, and their rows."""
    section = BOOT.split(f"### {heading}\n")[1].split("\n#")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return {
        re.split(r"[=\[ ]", name)[0]: row
        for row in rows
        for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])
    }


def test_the_scripts_read_the_arguments_that_this_test_looks_for() -> None:
    assert {
        "rd.cos.overlay",
        "rd.cos.mount",
        "cos-img/filename",
        "cos.setup",
        "root",
    } <= arguments()


def test_every_kernel_argument_is_explained() -> None:
    assert arguments() - table("Kernel arguments").keys() == set()


def test_no_argument_is_explained_that_nobody_reads() -> None:
    words = {"LABEL", "UUID", "stages.STAGE", "upgrade_failure"}  # forms of values, and dots

    assert table("Kernel arguments").keys() - arguments() - words == set()


def test_every_variable_of_the_layout_is_explained_and_no_other() -> None:
    read = set(VARIABLE.findall(LAYOUT.read_text())) - TESTS_ONLY

    assert table("The layout").keys() == read


@pytest.mark.parametrize(
    ("page", "heading"),
    [
        ("agent.md", "The disk"),
        ("boot.md", "From the firmware to the login"),
        ("cloud-config.md", "Stages"),
        ("agent.md", "Upgrading"),
        ("agent.md", "Reset and deploy"),
    ],
)
def test_what_people_have_to_know_is_drawn(page: str, heading: str) -> None:
    text = (CHECKOUT / "docs" / page).read_text(encoding="utf-8")

    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    assert re.search(r"```\n[^`]*[►▼│]", section), "a drawing"
