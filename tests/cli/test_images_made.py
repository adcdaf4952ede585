"""`cos iso` and `cos disk` as people call them."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir

import pytest
import yaml

from compiler.artifact.metadata import read_metadata
from compiler.oci import Reference
from compiler.registry.client import RegistryClient
from compiler.registry.settings import RegistrySettings
from tests.cli.machine import add_shell
from tests.cli.test_main import CHECKOUT, cos
from tests.image.arm64 import PROGRAM
from tests.image.test_disk import cut, dump
from tests.image.trees import FILES, write_archive, write_tree
from tests.publish.shop import Shop
from tests.repository.luet import luet_tar, push_schema2

FAST = ("-x", "-comp gzip -Xcompression-level 1")


def iso(folder: Path, *arguments: str | Path, **env: str) -> "subprocess.CompletedProcess[str]":
    return cos("iso", *arguments, *FAST, cwd=folder, HOME=str(folder), **env)


def extracted(image: Path, path: str) -> bytes:
    target = image.with_name("extracted")
    target.unlink(missing_ok=True)
    argv = ("xorriso", "-osirrox", "on", "-indev", image, "-extract_single", path, target)
    subprocess.run(argv, check=True, capture_output=True)
    return target.read_bytes()


def menu(image: Path) -> str:
    return extracted(image, "/boot/grub2/grub.cfg").decode()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Build results with a root, and a recovery system that needs it."""
    made = Shop(tmp_path / "shop")
    files = {path: data.decode("latin-1") for path, data in FILES.items() if path != "usr/bin/tool"}
    files |= {"boot/vmlinuz": files["boot/vmlinuz-6"], "boot/initrd": files["boot/initrd-6"]}
    made.build("extra", files={"usr/extra": "x"})
    made.build("os", files=files, more="requires: [{category: t, name: extra, version: '>=0'}]")
    made.build("recovery", files={"recovery.squashfs": "hsqs"})
    made.repository()
    return made


def test_a_root_tree_becomes_an_iso_named_on_standard_output(tmp_path: Path) -> None:
    write_archive(tmp_path / "root.tar")

    done = iso(tmp_path, "file:root.tar", "--output", "out", "--name", "acme")

    assert (done.returncode, done.stdout) == (0, "out/acme.iso\n"), done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "acme.iso",
        "acme.iso.sha256",
    ]
    assert 'menuentry "Acme OS"' in menu(tmp_path / "out/acme.iso")


def test_the_root_is_squashed_without_compression_if_asked(tmp_path: Path) -> None:
    write_archive(tmp_path / "root.tar")

    done = cos("iso", "file:root.tar", "--squash-no-compression", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    (tmp_path / "root").write_bytes(extracted(tmp_path / "cOS.iso", "/rootfs.squashfs"))
    said = subprocess.run(
        ["unsquashfs", "-s", tmp_path / "root"], capture_output=True, text=True, check=True
    ).stdout
    for what in ("Inodes", "Data", "Fragments", "Xattrs"):
        assert f"{what} are uncompressed" in said or f"{what} is uncompressed" in said


def test_the_date_goes_behind_the_name(tmp_path: Path) -> None:
    write_archive(tmp_path / "root.tar")

    done = iso(tmp_path, "file:root.tar", "--date", "--name", "a-", SOURCE_DATE_EPOCH="1625702400")

    assert done.stdout == "a-20210708.iso\n", done.stderr


def test_options_reach_the_menu_and_the_files_of_the_iso(tmp_path: Path) -> None:
    write_tree(tmp_path / "root")
    (tmp_path / "over/etc").mkdir(parents=True)
    (tmp_path / "over/etc/os-release").write_text("GRUB_ENTRY_NAME=Other\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/readme").write_text("read me")
    (tmp_path / "90_mine.yaml").write_text("name: mine\n")

    done = iso(
        tmp_path, "dir:root", "--label", "MINE", "--extra-cmdline", "a=b", "--timeout", "3",
        "--overlay-rootfs", "over", "--overlay-iso", "more", "--cloud-init", "90_mine.yaml",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    image = tmp_path / "cOS.iso"
    assert extracted(image, "/readme") == b"read me"
    assert extracted(image, "/iso-config/90_mine.yaml") == b"name: mine\n"
    text = menu(image)
    assert "root=live:CDLABEL=MINE " in text
    assert "cos.setup=/run/initramfs/live/iso-config a=b\n" in text
    assert "set timeout=3\n" in text
    assert 'menuentry "Other"' in text


def test_a_manifest_takes_packages_of_local_results_with_what_they_need(
    tmp_path: Path, shop: Shop
) -> None:
    (tmp_path / "manifest.yaml").write_text(
        "packages: {rootfs: [t/os], isoimage: [t/recovery]}\nimage_name: ours\n"
    )

    done = iso(tmp_path, "--local", shop.artifacts)

    assert done.stdout == "ours.iso\n", done.stderr
    assert extracted(tmp_path / "ours.iso", "/recovery.squashfs") == b"hsqs"
    (tmp_path / "sq").write_bytes(extracted(tmp_path / "ours.iso", "/rootfs.squashfs"))
    listed = subprocess.run(
        ["unsquashfs", "-l", tmp_path / "sq"], capture_output=True, text=True, check=True
    )
    assert "squashfs-root/usr/extra\n" in listed.stdout
    assert "squashfs-root/proc\n" in listed.stdout


@pytest.fixture
def finalizing(tmp_path: Path, shop: Shop) -> Path:
    """A manifest whose packages have finalizers; the shell for them lies beside them."""
    add_shell(tmp_path / "shell")
    text = "install: ['echo {{.Values.name}} $KEY >> /etc/said', 'echo x > /etc/os-release']\n"
    shop.build("first", finalizer=text)
    shop.build(
        "second",
        finalizer=text,
        more="requires: [{category: t, name: first, version: '>=0'}]",
    )
    shop.build("broken", finalizer="install: ['echo oops; exit 3']")
    shop.repository()
    (tmp_path / "over/etc").mkdir(parents=True)
    (tmp_path / "over/etc/os-release").write_text("GRUB_ENTRY_NAME=Mine\n")
    (tmp_path / ".luet.yaml").write_text("finalizer_envs: [{key: KEY, value: told}]\n")
    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        "packages: {rootfs: [t/os, t/second, dir:shell], isoimage: [t/second]}\n"
        "overlay: {rootfs: over}\n"
    )
    return manifest


@pytest.mark.container
def test_finalizers_run_in_the_root_before_overlays_and_give_the_same_image_twice(
    tmp_path: Path, shop: Shop, finalizing: Path
) -> None:
    before = sorted(Path(gettempdir()).glob("cos-finalized-*"))

    one = iso(tmp_path, finalizing, "--local", shop.artifacts, "--name", "one")
    two = iso(tmp_path, finalizing, "--local", shop.artifacts, "--name", "two")

    assert one.returncode == 0, one.stderr
    assert (tmp_path / "one.iso").read_bytes() == (tmp_path / "two.iso").read_bytes()
    (tmp_path / "sq").write_bytes(extracted(tmp_path / "one.iso", "/rootfs.squashfs"))
    said = subprocess.run(
        ["unsquashfs", "-cat", tmp_path / "sq", "etc/said"], capture_output=True, check=True
    )
    assert said.stdout == b"first told\nsecond told\n"
    assert 'menuentry "Mine"' in menu(tmp_path / "one.iso")
    warnings = [line for line in one.stderr.splitlines() if line.startswith("warning")]
    assert warnings == [
        f"warning: t/{name}-1: its finalizer is not run: only those of the root are"
        for name in ("first", "second")
    ]
    assert two.returncode == 0
    assert sorted(Path(gettempdir()).glob("cos-finalized-*")) == before


@pytest.mark.container
def test_a_finalizer_that_fails_makes_no_image(
    tmp_path: Path, shop: Shop, finalizing: Path
) -> None:
    finalizing.write_text("packages: {rootfs: [t/os, t/broken, dir:shell]}\n")

    done = iso(tmp_path, finalizing, "--local", shop.artifacts)

    assert done.returncode == 1
    assert done.stderr.endswith(
        "error: t/broken-1: its finalizer failed: 'echo oops; exit 3' ended with exit code 3\n"
        "    oops\n"
    )
    assert not list(tmp_path.glob("*.iso*"))


@pytest.mark.container
def test_finalizers_that_cannot_be_run_are_told_before_anything_is_done(
    tmp_path: Path, shop: Shop, finalizing: Path
) -> None:
    argv = ("unshare", "--map-root-user", "--", sys.executable, "-m", "compiler", "iso",
            finalizing, "--local", shop.artifacts)  # fmt: skip

    done = subprocess.run(
        argv, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(CHECKOUT), "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: the finalizers of t/first-1, t/second-1 cannot be run: no other user than root is"
        " here (run it as root, or give yourself subordinate ids in /etc/subuid and /etc/subgid)"
    )
    assert not list(tmp_path.glob("*.iso*"))


def test_the_recovery_system_can_be_left_out(tmp_path: Path, shop: Shop) -> None:
    (tmp_path / "m.yaml").write_text("packages: {rootfs: [t/os], isoimage: [t/recovery]}\n")

    done = iso(tmp_path, "m.yaml", "--local", shop.artifacts, "--no-recovery")

    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        ["xorriso", "-indev", tmp_path / "cOS.iso", "-find", "/"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "recovery.squashfs" not in listed.stdout


def test_a_package_that_no_repository_has_is_told_with_its_line(tmp_path: Path, shop: Shop) -> None:
    (tmp_path / "m.yaml").write_text("packages:\n  rootfs:\n  - t/os\n  - t/gone\n")

    done = iso(tmp_path, "m.yaml", "--local", shop.artifacts)

    assert done.returncode == 1
    assert "error: m.yaml:4:5: " in done.stderr
    assert "t/gone" in done.stderr
    assert not list(tmp_path.glob("*.iso*"))


def refused(folder: Path, *arguments: str | Path, code: int, **env: str) -> str:
    done = iso(folder, *arguments, **env)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stderr.splitlines()[-1]


def test_what_is_there_already_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    write_archive(tmp_path / "root.tar")
    (tmp_path / "cOS.iso").write_text("mine")

    assert refused(tmp_path, "file:root.tar", code=2) == (
        "error: cOS.iso exists (--force replaces it)"
    )
    assert (tmp_path / "cOS.iso").read_text() == "mine"
    assert iso(tmp_path, "file:root.tar", "--force").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "what is the image to be made of?"),
        (("gone.yaml",), 1, "gone.yaml: there is no such manifest"),
        (("dir:gone",), 1, "dir:gone: there is no such folder"),
        (("file:gone",), 1, "file:gone: there is no such file"),
        (("file:root.tar", "--label", "a b"), 2, "'a b' cannot be the label of an ISO"),
        (("file:root.tar", "--name", "../x"), 2, "'../x' cannot be the name of an image"),
        (("file:root.tar", "-c", "gone.yaml"), 1, "gone.yaml: there is no such file"),
        (("file:root.tar", "-c", "root.tar"), 2, "its name is none of a cloud-config file"),
        (("channel:t/os", "--local", "gone"), 1, "--local gone: there is no such folder"),
        (("channel:t/os", "--local", "."), 1, "--local .: holds no repository"),
        (("file:root.tar", "-o", "root.tar"), 3, "root.tar"),
    ],
)
def test_bad_input_is_told_in_one_line_and_leaves_nothing(
    tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    write_archive(tmp_path / "root.tar")

    said = refused(tmp_path, *arguments, code=code)

    assert message in said
    assert [path.name for path in tmp_path.iterdir()] == ["root.tar"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"stages:\n  boot:\n  - commands: 5\n", "bad.yaml:3:"),
        (b"stages: [\n", "bad.yaml:2:1: "),
        (b"name: \xff\n", "bad.yaml: is not UTF-8"),
    ],
)
@pytest.mark.parametrize("command", ["iso", "disk"])
def test_a_cloud_config_that_no_machine_could_read_is_refused_at_its_place(
    tmp_path: Path, command: str, data: bytes, message: str
) -> None:
    write_archive(tmp_path / "root.tar")
    (tmp_path / "bad.yaml").write_bytes(data)

    done = cos(command, "file:root.tar", "-c", "bad.yaml", cwd=tmp_path, HOME=str(tmp_path))

    assert done.returncode == 1, done.stderr
    assert f"error: {message}" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"bad.yaml", "root.tar"}


def test_what_a_cloud_config_says_in_vain_is_a_warning(tmp_path: Path) -> None:
    write_archive(tmp_path / "root.tar")
    (tmp_path / "odd.yaml").write_text("stages:\n  boott:\n  - commands: [true]\n")

    done = iso(tmp_path, "file:root.tar", "-c", "odd.yaml")

    assert done.returncode == 0, done.stderr
    assert "warning: odd.yaml:2" in done.stderr or "warning: odd.yaml:3" in done.stderr
    assert "nothing runs a stage 'boott' by itself (did you mean 'boot'?)" in done.stderr


def test_without_a_repository_it_is_told_how_to_name_one(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("packages:\n  rootfs:\n  - t/os\n")

    done = iso(tmp_path, "m.yaml")

    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == (
        "error: m.yaml:3:5: there is no package t/os (no repository is known: --local FOLDER names"
        " build results, `repositories` of the manifest others)"
    )


@pytest.mark.parametrize("command", ["iso", "disk"])
def test_a_system_without_a_kernel_is_told_at_the_line_that_names_it(
    tmp_path: Path, command: str
) -> None:
    write_tree(tmp_path / "root", **{"boot__vmlinuz-6": None})
    (tmp_path / "m.yaml").write_text("packages:\n  rootfs:\n  - dir:root\n")

    done = cos(command, "m.yaml", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (
        1,
        "error: m.yaml:3:5: root: /boot/vmlinuz leads to vmlinuz-6 (it has to be a"
        " link to the kernel)\n",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.yaml", "root"]


@pytest.mark.parametrize("command", ["iso", "disk"])
def test_a_system_for_other_processors_is_refused(tmp_path: Path, command: str) -> None:
    risc = b"\x7fELF\x02\x01" + bytes(12) + (243).to_bytes(2, "little") + bytes(40)
    write_tree(tmp_path / "root", usr__bin__env=risc)

    done = cos(command, "dir:root", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (
        1,
        "error: root: /usr/bin/env is a program for riscv64, and images are made for amd64 and"
        " arm64 only (take the system for one of these)\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


@pytest.mark.parametrize("command", ["iso", "disk"])
def test_a_system_for_another_platform_than_asked_for_is_refused(
    tmp_path: Path, command: str
) -> None:
    write_tree(tmp_path / "root", usr__bin__env=PROGRAM)

    done = cos(command, "dir:root", "--platform", "linux/amd64", cwd=tmp_path)
    other = cos(command, "dir:root", "--platform", "plan9/386", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (
        1,
        "error: root: /usr/bin/env is a program for arm64, and the image is to be for amd64"
        " (take the system for amd64)\n",
    )
    assert (other.returncode, other.stderr) == (
        2,
        "error: images are made for linux on amd64 and arm64 only, not for plan9/386\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    write_archive(tmp_path / "root.tar")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "setpriv", "mksquashfs", "mkfs.fat", "mcopy"):
        found = next(Path(at, name) for at in ("/usr/bin", "/usr/sbin") if Path(at, name).exists())
        (programs / name).symlink_to(found)

    said = refused(tmp_path, "file:root.tar", code=3, PATH=str(programs))

    assert said == (
        "error: the program 'xorriso' is missing"
        " (apt install xorriso, dnf install xorriso or zypper install xorriso)"
    )


def test_a_full_disk_is_told_and_nothing_half_made_stays(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    write_archive(tmp_path / "root.tar")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", small], check=True)
    try:
        done = iso(tmp_path, "file:root.tar", "-o", "small")

        assert done.returncode == 3
        assert "(make room there, or set TMPDIR to a folder with more)" in done.stderr
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_disk_is_made_in_the_form_that_is_asked_for(tmp_path: Path) -> None:
    write_archive(tmp_path / "root.tar")

    done = cos(
        "disk", "file:root.tar", "--format", "qcow2", "--layout", "recovery", "--size", "1G",
        "--partition", "oem=96", *FAST, cwd=tmp_path, HOME=str(tmp_path),
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "cOS.qcow2\n"), done.stderr
    info = subprocess.run(
        ["qemu-img", "info", tmp_path / "cOS.qcow2"], capture_output=True, text=True, check=True
    )
    assert "virtual size: 1 GiB" in info.stdout


def test_a_box_needs_the_feature_that_makes_the_user_of_vagrant(tmp_path: Path) -> None:
    words = ("--format", "vagrant", "--layout", "recovery", *FAST)
    write_tree(tmp_path / "root")
    write_tree(tmp_path / "more", **{"system__features__vagrant.yaml": b"name: v"})

    without = cos("disk", "dir:root", *words, cwd=tmp_path, HOME=str(tmp_path))
    done = cos("disk", "dir:more", *words, cwd=tmp_path, HOME=str(tmp_path))

    assert (without.returncode, without.stderr) == (
        1,
        "error: root: /system/features/vagrant.yaml is not there, for Vagrant's user"
        " (add the package system/cos-features to the system)\n",
    )
    assert (done.returncode, done.stdout) == (0, "cOS.box\n"), done.stderr


def recorded(folder: Path, *arguments: str | Path) -> dict[str, str]:
    """Make a disk with a recovery system; return what its record says of that."""
    layout = ("--layout", "recovery")
    done = cos("disk", *arguments, *layout, *FAST, cwd=folder, HOME=str(folder))
    assert done.returncode == 0, done.stderr
    part = cut(folder / "cOS.raw", "recovery", folder / "part")
    record = yaml.safe_load(dump(part, "/state.yaml", folder / "record").read_bytes())
    found: dict[str, str] = record["recovery"]["recovery"]
    return found


def test_the_record_of_a_disk_has_the_digest_of_its_package(tmp_path: Path, shop: Shop) -> None:
    record = recorded(tmp_path, "channel:t/os", "--local", shop.artifacts)

    archive = read_metadata(shop.artifacts / "os-t-1.metadata.yaml").sha256
    assert (record["source"], record["digest"]) == ("channel:t/os-1", f"sha256:{archive}")


@pytest.mark.registry
def test_the_record_of_a_disk_has_the_digest_that_its_image_has_in_the_registry(
    tmp_path: Path, repository: Reference
) -> None:
    image = replace(repository, tag="1")
    files = {**FILES, "boot/vmlinuz": FILES["boot/vmlinuz-6"], "boot/initrd": b"initrd"}
    with RegistryClient(RegistrySettings()) as registry:
        push_schema2(registry, image, luet_tar(files, packed=True))
        pushed = registry.head(image)

    record = recorded(tmp_path, f"docker:{image}")

    assert pushed is not None
    assert (record["source"], record["digest"]) == (f"oci:{image}", pushed.digest)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--size", "big", "--size: 'big' is no size: write MiB, or a number with G"),
        ("--partition", "boot=1", "--partition is NAME=SIZE with one of efi, oem,"),
        ("--partition", "oem=x", "--partition: 'x' is no size"),
    ],
)
def test_sizes_that_are_none_are_refused(
    tmp_path: Path, option: str, value: str, message: str
) -> None:
    write_archive(tmp_path / "root.tar")

    done = cos("disk", "file:root.tar", option, value, cwd=tmp_path, HOME=os.devnull)

    assert done.returncode == 2
    assert message in done.stderr
