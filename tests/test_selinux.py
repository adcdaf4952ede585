"""What flavours with SELinux add: modules, labels at boot, kernel arguments."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
SYSTEM = CHECKOUT / "tree/system"
POLICIES = SYSTEM / "selinux-policies"
ON = ("fedora", "opensuse")
OFF = ("debian", "ubuntu")


def flavour(name: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(
        (CHECKOUT / f"specs/flavours/{name}.yaml").read_text()
    )
    return found


@pytest.mark.parametrize("name", ON)
def test_a_flavour_with_selinux_has_a_policy_its_tools_and_its_kernel_arguments(name: str) -> None:
    values = flavour(name)

    assert values["selinux"] is True
    assert {"selinux-policy-targeted", "policycoreutils"} <= set(str(values["packages"]).split())
    assert str(values["kernel_arguments"]).split()[:2] == ["security=selinux", "selinux=1"]


@pytest.mark.parametrize("name", OFF)
def test_a_flavour_without_selinux_says_nothing_of_it_to_the_kernel(name: str) -> None:
    values = flavour(name)

    assert (values["selinux"], values["kernel_arguments"]) == (False, "")


def grub_config(tmp_path: Path, selinux: str) -> str:
    """Run the steps of system/grub-config that change the boot arguments, and return those."""
    arguments = tmp_path / "bootargs.cfg"
    arguments.write_text((SYSTEM / "grub-config/files/etc/cos/bootargs.cfg").read_text())
    steps = (SYSTEM / "grub-config/build.yaml").read_text().splitlines()
    for line in steps:
        if ":RECOVERY_ARGUMENTS:" in line or ":KERNEL_ARGUMENTS:" in line:
            step = line.removeprefix("- ").replace("{{ .Values.selinux }}", selinux)
            step = step.replace("{{ .Values.kernel_arguments }}", "security=selinux enforcing=1")
            step = step.replace("/etc/cos/bootargs.cfg", str(arguments))
            subprocess.run(["sh", "-ec", step], check=True)
    return arguments.read_text()


def test_the_recovery_system_is_permissive_whatever_installed_systems_are(tmp_path: Path) -> None:
    text = grub_config(tmp_path, "true")

    squashed, image, _identity, recovery = re.findall(r'set kernelcmd="(.*)"', text)[:4]
    assert squashed.endswith(" enforcing=0")
    assert image.endswith(" security=selinux enforcing=1 rd.neednet=1")
    assert recovery == "${kernelcmd} enforcing=0"


def test_without_selinux_no_mark_is_left_in_the_boot_arguments(tmp_path: Path) -> None:
    text = grub_config(tmp_path, "false")

    assert re.findall(r":[A-Z_]+:|enforcing=0", text) == []


def test_the_module_labels_what_only_this_system_has() -> None:
    text = (POLICIES / "cos.cil").read_text()
    labelled = [
        re.sub(r"\(/\.\*\)\?$", "", each).replace("\\", "")
        for each in re.findall(r'\(filecon "([^"]+)"', text)
    ]

    assert {"/system", "/oem", "/usr/local/cloud-config", "/usr/lib/cos"} <= set(labelled)


def test_what_is_made_before_the_policy_is_labelled_in_the_stage_initramfs() -> None:
    stages = yaml.safe_load((SYSTEM / "cloud-config/selinux/10_selinux.yaml").read_text())["stages"]
    words = " ".join(text for step in stages["initramfs"] for text in step["commands"]).split()

    for path in ("/etc", "/root", "/opt", "/srv", "/var", "/home", "/oem", "/usr/local"):
        assert path in words
