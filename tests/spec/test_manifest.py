"""Manifests of images: both spellings say the same, and what is wrong is told where it is."""

from pathlib import Path

import pytest

from compiler.errors import Faults
from compiler.spec.image import ImageSpec, RepositorySpec
from compiler.spec.manifest import parse_manifest, read_manifest

CHECKOUT = Path(__file__).parents[2]

NORM = """
packages:
  rootfs:
  - system/cos
  uefi:
  - live/systemd-boot
  - live/boot
  isoimage:
  - live/syslinux
  - recovery/cos-img
initramfs:
  kernel_file: "vmlinuz"
  rootfs_file: "initrd"
overlay: "true"
image_prefix: "cOS-0."
image_date: true
label: "COS_LIVE"
luet:
  repositories:
  - name: cOS
    enable: true
    urls: [quay.io/costoolkit/releases-opensuse]
    type: docker
    priority: 90
build:
- utils/nerdctl
"""

LATER = """
name: "cOS-0."
date: true
iso:
  rootfs:
  - channel:system/cos
  uefi:
  - channel:live/systemd-boot
  - channel:live/boot
  image:
  - channel:live/syslinux
  - channel:recovery/cos-img
  label: "COS_LIVE"
repositories:
- uri: quay.io/costoolkit/releases-opensuse
  name: cOS
  type: docker
  priority: 90
build:
- utils/nerdctl
"""


def texts(spec: ImageSpec) -> dict[str, list[str]]:
    return {
        name: [str(each) for each in getattr(spec, name)]
        for name in ("rootfs", "uefi", "image", "overlay_rootfs", "overlay_uefi", "overlay_image")
    }


def faults(text: str) -> list[str]:
    with pytest.raises(Faults) as caught:
        parse_manifest(text, "m.yaml")
    return [str(each) for each in caught.value.exceptions]


def test_both_spellings_are_one_model() -> None:
    norm, later = (parse_manifest(text, "m.yaml") for text in (NORM, LATER))

    for spec in (norm, later):
        assert texts(spec)["rootfs"] == ["channel:system/cos"]
        assert texts(spec)["uefi"] == ["channel:live/systemd-boot", "channel:live/boot"]
        assert texts(spec)["image"] == ["channel:live/syslinux", "channel:recovery/cos-img"]
        assert (spec.name, spec.date, spec.label) == ("cOS-0.", True, "COS_LIVE")
        assert (spec.kernel, spec.initrd) == ("vmlinuz", "initrd")
        assert spec.build == ("utils/nerdctl",)
        assert spec.repositories == (
            RepositorySpec(
                name="cOS",
                urls=("quay.io/costoolkit/releases-opensuse",),
                type="docker",
                priority=90,
            ),
        )


def test_a_source_without_a_scheme_is_a_package_or_an_image_as_its_key_has_it() -> None:
    spec = parse_manifest(
        "packages: {rootfs: [a/b, 'docker:img:1', 'dir:x', 'file:/y.tar']}\n"
        "iso: {rootfs: ['quay.io/a/b:1', 'channel:c/d']}\nrootfs_image: reg.io/os:2\n",
        "at/m.yaml",
    )

    assert texts(spec)["rootfs"] == [
        "oci:reg.io/os:2",
        "channel:a/b",
        "oci:img:1",
        "dir:at/x",
        "file:/y.tar",
        "oci:quay.io/a/b:1",
        "channel:c/d",
    ]


def test_sources_know_where_they_were_written() -> None:
    spec = parse_manifest(NORM, "m.yaml")

    assert str(spec.rootfs[0].location) == "m.yaml:4:5"


@pytest.mark.parametrize("written", ["overlay: true", 'overlay: "false"', ""])
def test_an_overlay_that_is_no_folder_means_nothing(written: str) -> None:
    spec = parse_manifest(f"packages: {{rootfs: [a/b]}}\n{written}\n", "m.yaml")

    assert spec.overlay_rootfs == ()
    assert spec.warnings == ()


def test_overlays_are_folders_beside_the_manifest() -> None:
    spec = parse_manifest(
        "overlay: {rootfs: [over, /abs], uefi: u, isoimage: [i]}\ncloud-init: [c.yaml]\n",
        "at/m.yaml",
    )

    assert texts(spec)["overlay_rootfs"] == ["dir:at/over", "dir:/abs"]
    assert texts(spec)["overlay_uefi"] == ["dir:at/u"]
    assert texts(spec)["overlay_image"] == ["dir:at/i"]
    assert spec.cloud_init == ("at/c.yaml",)


def test_options_are_words_as_text_or_as_a_list() -> None:
    spec = parse_manifest(
        "squashfs_options: -b 1024k -comp xz\nextra-cmdline: [a=b, 'c d']\n", "m.yaml"
    )

    assert spec.squashfs_options == ("-b", "1024k", "-comp", "xz")
    assert spec.extra_arguments == ("a=b", "c", "d")


def test_what_a_disk_is_like_is_read() -> None:
    spec = parse_manifest(
        "disk: {size: 8192, state: 4096, deploy-command: cos-deploy}\n"
        "raw_disk:\n  x86_64:\n    packages:\n"
        "    - {name: 'channel:system/grub2-efi-image', target: efi}\n"
        "    - {name: recovery/cos-img, target: root/cOS}\n"
        "  arm64: {packages: [{name: x/y, target: root/cOS}]}\n",
        "m.yaml",
    )

    assert spec.disk.sizes == {"size": 8192, "state": 4096}
    assert spec.disk.deploy_command == "cos-deploy"
    found = {name: [str(each) for each in of] for name, of in spec.disk.recovery.items()}
    assert found == {"amd64": ["channel:recovery/cos-img"], "arm64": ["channel:x/y"]}


def test_keys_of_other_boot_loaders_and_slips_are_told_as_warnings() -> None:
    spec = parse_manifest("packages: {rootfs: [a/b]}\nboot_file: x\nlabl: y\n", "m.yaml")

    assert [str(each) for each in spec.warnings] == [
        "m.yaml:2:1: key 'boot_file' has no effect: GRUB starts the image",
        "m.yaml:3:1: unknown key 'labl' is ignored (did you mean 'label'?)",
    ]


def test_keys_that_mean_nothing_here_are_told_with_the_reason() -> None:
    spec = parse_manifest(
        "packages: {rootfs: [a/b], initramfs: [c/d], keep_luet_db: true}\n"
        "ensure_common_dirs: true\n",
        "m.yaml",
    )

    assert [str(each) for each in spec.warnings] == [
        "m.yaml:1:27: key 'initramfs' has no effect: kernel and initrd come out of the root",
        "m.yaml:1:45: key 'keep_luet_db' has no effect:"
        " nothing is installed, so there is no database",
        "m.yaml:2:1: key 'ensure_common_dirs' has no effect:"
        " the folders that systems mount on are always there",
    ]


def test_everything_that_is_wrong_is_told_at_once_with_its_line() -> None:
    assert faults(
        "packages:\n  rootfs: {a: b}\n  uefi: ['dir:']\nimage_date: yes please\narch: sparc\n"
        "luet: {repositories: [{name: x}]}\ntimeout: -1\nfirmware: [coreboot]\n"
    ) == [
        "m.yaml:2:11: 'rootfs' must be a list of strings, not a map"
        " (write it as a list: one line for each, starting with '- ')",
        "m.yaml:3:10: 'dir:' names no source (write dir:PATH, file:PATH, oci:IMAGE …)",
        "m.yaml:4:13: 'image_date' must be true or false, not a string",
        "m.yaml:5:7: images are made for amd64 and arm64 only, not for 'sparc'",
        "m.yaml:6:23: a repository needs an address (write urls: [ADDRESS])",
        "m.yaml:7:10: 'timeout' must be a whole number, 0 or more",
        "m.yaml:8:11: 'firmware' is bios, efi, or a list of both",
    ]


@pytest.mark.parametrize("text", ["", "[]", "just text"])
def test_a_file_that_is_no_manifest_is_refused(text: str) -> None:
    assert faults(text) == [
        "m.yaml:1:1: is no manifest"
        " (name what the root is made of: 'packages: {rootfs: [system/cos]}')"
    ]


def test_yaml_that_is_broken_is_told_where() -> None:
    assert faults("packages: [\n")[0].startswith("m.yaml:")


@pytest.mark.parametrize("path", sorted((CHECKOUT / "specs/images").glob("*.yaml")))
def test_our_own_manifests_are_free_of_doubts(path: Path) -> None:
    spec = read_manifest(path)

    assert spec.rootfs
    assert spec.warnings == ()
