"""The Makefile: what it lists, and which commands its variables lead to."""

import base64
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import yaml

from compiler.repository.trust.root import first_root, make_policy, sign_root
from compiler.signing.keys import generate, write_key_pair

CHECKOUT = Path(__file__).resolve().parents[1]


def make(*arguments: str) -> list[str]:
    """Run make without the variables of a make that runs the tests."""
    done = subprocess.run(
        ["env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.replace("\\\n", " ").splitlines()


def cos_commands(*arguments: str) -> list[str]:
    """The `cos` commands of a dry run, blanks squeezed."""
    lines = make("--dry-run", "-o", "setup", *arguments)
    return [" ".join(line.split()) for line in lines if line.startswith(".venv/bin/cos")]


def test_help_is_the_default_and_lists_every_target_that_people_call() -> None:
    said = make()

    listed = {line.split()[0] for line in said if line.startswith("  ") and line[2].islower()}
    assert {
        "setup",
        "build-tree",
        "publish-repo",
        "iso",
        "disk",
        "run-qemu",
        "test",
        "test-unit",
        "check",
        "bench",
        "clean",
        "distclean",
        "help",
    } <= listed


def test_help_lists_every_variable_with_its_value() -> None:
    said = make("help", "FLAVOR=fedora")

    values = {line.split()[0]: line.rpartition("[")[2] for line in said if line[2:4].isupper()}
    assert values["FLAVOR"] == "fedora]"
    assert values["VALUES"] == "specs/flavours/fedora.yaml]"
    assert set(values) == {
        "FLAVOR",
        "TREE",
        "VALUES",
        "PACKAGES",
        "DESTINATION",
        "COMPRESSION",
        "MTREE",
        "CONCURRENCY",
        "BACKEND",
        "FINAL_REPO",
        "REPO_CACHE",
        "BUILD_ARGS",
        "RELEASE_KEY",
        "RELEASE_ROOT",
        "PYTEST_ARGS",
        "MACHINES",
        "MANIFEST",
        "DISK_MANIFEST",
        "DISK_FORMAT",
        "DISK_LAYOUT",
        "IMAGE_ARGS",
        "PUBLISH_ARGS",
        "ISO",
        "ACCEL",
        "QEMU_MEMORY",
        "QEMU_DISK",
        "QEMU_ARGS",
        "SSH_PORT",
    }


def test_build_tree_builds_everything_for_debian_and_writes_the_repository() -> None:
    assert cos_commands("build-tree") == [
        ".venv/bin/cos build --tree tree --values specs/flavours/debian.yaml"
        " --destination build --compression zstd --sbom --mtree --all",
        ".venv/bin/cos create-repo --tree tree --packages build --output build --name cos"
        " --descr 'cos-toolkit for debian' --type http"
        " --tree-compression zstd --meta-compression zstd",
    ]


def test_every_variable_reaches_the_build() -> None:
    build, repository = cos_commands(
        "build-tree",
        "FLAVOR=ubuntu",
        "TREE=tree more",
        "VALUES=a.yaml b.yaml",
        "PACKAGES=system/cos utils/installer",
        "DESTINATION=out",
        "COMPRESSION=gzip",
        "MTREE=",
        "CONCURRENCY=3",
        "BACKEND=overlay",
        "FINAL_REPO=registry.example.org/os",
        "REPO_CACHE=registry.example.org/cache",
        "BUILD_ARGS=--rebuild",
    )

    assert build == (
        ".venv/bin/cos build --tree tree --tree more --values a.yaml --values b.yaml"
        " --values out/channel.values.yaml --destination out --compression gzip --sbom"
        " --concurrency 3 --backend overlay --image-repository registry.example.org/cache --rebuild"
        " system/cos utils/installer"
    )
    assert repository.startswith(
        ".venv/bin/cos create-repo --tree tree --tree more --packages out --output out"
    )


def test_the_iso_is_made_of_what_build_tree_leaves() -> None:
    build, repository, iso = cos_commands("iso", "FLAVOR=ubuntu", "DESTINATION=out")

    assert " --destination out " in build
    assert " --output out " in repository
    assert iso == (
        ".venv/bin/cos iso specs/images/cos.yaml --name cOS-ubuntu --local out --output out --force"
    )


def test_the_disk_is_made_in_the_form_that_is_asked_for() -> None:
    disk = cos_commands("disk", "DISK_FORMAT=vhd", "DISK_LAYOUT=recovery", "IMAGE_ARGS=-q")[-1]

    assert disk == (
        ".venv/bin/cos disk specs/images/disk.yaml --name cOS-debian --format vhd"
        " --layout recovery --local build --output build --force -q"
    )


def test_packages_are_published_where_final_repo_says() -> None:
    (publish,) = cos_commands("publish-repo", "FINAL_REPO=registry.example.org/os")

    assert " --type docker --output registry.example.org/os " in publish
    assert publish.endswith("--push-images")


def test_cos_build_builds_one_of_the_flavours_that_there_are() -> None:
    done = subprocess.run(
        [CHECKOUT / "cos-build", "nothing"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr == (
        "error: there is no flavour 'nothing' (there are: debian fedora opensuse ubuntu)\n"
    )


def test_a_flavour_that_there_is_not_is_told_before_anything_is_built() -> None:
    done = subprocess.run(
        ["make", "base-image", "FLAVOR=nothing"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert (
        "error: specs/flavours/nothing.yaml is not there, which the flavour nothing is made by"
        " (specs/flavours/ has: debian fedora opensuse ubuntu)\n"
    ) in done.stderr
    assert "base system" not in done.stdout


def cos_build(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run `cos-build`; make only says what it would do."""
    environment = {"PATH": os.environ["PATH"], "MAKEFLAGS": "n", **env}
    return subprocess.run(
        [CHECKOUT / "cos-build", *arguments],
        env=environment, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_cos_build_makes_packages_repository_and_iso_from_any_folder() -> None:
    done = cos_build("fedora", "DESTINATION=out", "IMAGE_ARGS=--no-date")

    assert done.returncode == 0, done.stderr
    text = done.stdout.replace("\\\n", " ")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    commands = [line for line in lines if line.startswith(".venv/bin/cos ")]
    assert [line.split()[1] for line in commands] == ["build", "create-repo", "iso"]
    assert " --values specs/flavours/fedora.yaml " in commands[0]
    assert commands[2] == (
        ".venv/bin/cos iso specs/images/cos.yaml --name cOS-fedora --local out --output out"
        " --force --no-date"
    )
    known = subprocess.run(
        [sys.executable, "-m", "compiler", "--help"],
        cwd=CHECKOUT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert all(name in known for name in ("build", "create-repo", "iso"))


def test_cos_build_takes_the_flavour_of_the_environment_if_none_is_named() -> None:
    assert "--name cOS-ubuntu" in cos_build(FLAVOR="ubuntu").stdout
    assert "--name cOS-debian" in cos_build("debian", FLAVOR="ubuntu").stdout
    assert "--name cOS-debian" in cos_build().stdout
    assert "cos image bootstrap ubuntu:resolute" in cos_build("ubuntu").stdout


def test_cos_build_refuses_what_is_no_variable() -> None:
    done = cos_build("debian", "fedora")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: 'fedora' is no VARIABLE=VALUE (`make help` lists the variables)\n"


def test_cos_build_says_how_it_is_called() -> None:
    done = cos_build("--help")

    assert done.returncode == 0
    assert done.stdout.startswith(
        "cos-build [FLAVOR] [VARIABLE=VALUE…]: packages, their repository"
    )


def test_the_machine_has_the_iso_a_disk_and_a_way_in_and_no_accelerator_that_may_be_absent() -> (
    None
):
    (line,) = (
        " ".join(each.split())
        for each in make("--dry-run", "run-qemu", "ISO=a b.iso", "QEMU_ARGS=-bios OVMF.fd")
        if each.startswith("qemu-system-x86_64")
    )

    assert line == (
        "qemu-system-x86_64 -accel tcg,thread=multi -m 2048 -smp 2 -display none -serial mon:stdio"
        " -drive file='build/qemu.qcow2',if=virtio,format=qcow2 -cdrom 'a b.iso'"
        " -boot order=cd,once=d -nic user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:2222-:22"
        " -bios OVMF.fd"
    )


def test_a_machine_boots_its_disk_alone_where_no_iso_is_asked_for() -> None:
    line = next(
        each for each in make("--dry-run", "run-qemu", "ISO=") if each.startswith("qemu-system")
    )

    assert "-drive file='build/qemu.qcow2'" in line
    assert "-cdrom" not in line
    assert "-boot" not in line


def test_without_an_iso_no_machine_and_no_disk_are_made(tmp_path: Path) -> None:
    done = subprocess.run(
        ["env", "-u", "MAKEFLAGS", "make", "run-qemu", f"ISO={tmp_path}/none.iso",
         f"QEMU_DISK={tmp_path}/disk"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert f"error: {tmp_path}/none.iso is not there; `make iso` makes it\n" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_lock_file_names_an_index_or_a_path_of_one_machine() -> None:
    texts = [path.read_text(encoding="utf-8") for path in CHECKOUT.glob("requirements*.lock")]

    assert len(texts) == 2
    lines = "".join(texts).splitlines()
    assert [line for line in lines if "/" in line or "--" in line or "==" not in line] == []


def channel(folder: Path, key: str, root: str) -> "subprocess.CompletedProcess[str]":
    """Write the values of a channel, as `build-tree` does before it builds."""
    script = [sys.executable, str(CHECKOUT / "scripts/channel.py")]
    words = [str(folder / "channel.yaml"), "registry.example.org/os", key, root]
    return subprocess.run([*script, *words], capture_output=True, text=True, check=False)


def test_what_built_systems_trust_is_written_into_their_values(tmp_path: Path) -> None:
    key, root = generate(), tmp_path / "root.json"
    (tmp_path / "online.pub").write_bytes(key.public.pem)
    policy = make_policy([key.public], [key.public])
    root.write_bytes(sign_root(first_root(policy, datetime.now(UTC)), [key]))

    done = channel(tmp_path, str(tmp_path / "online.pub"), str(root))

    assert (done.returncode, done.stderr) == (0, "")
    values = yaml.safe_load((tmp_path / "channel.yaml").read_text())
    assert values["release_repository"] == "registry.example.org/os"
    assert base64.b64decode(values["release_key"]) == key.public.pem
    assert base64.b64decode(values["release_root"]) == root.read_bytes()
    assert channel(tmp_path, "", "").returncode == 0
    values = yaml.safe_load((tmp_path / "channel.yaml").read_text())
    assert (values["release_key"], values["release_root"]) == ("", "")


def test_no_system_is_built_that_trusts_a_file_which_is_no_key_or_no_root(tmp_path: Path) -> None:
    key = generate()
    write_key_pair(key, tmp_path / "online", password=b"x")
    public, private, gone = (str(tmp_path / f"online.{end}") for end in ("pub", "key", "gone"))
    unsigned = tmp_path / "unsigned.json"
    unsigned.write_bytes(first_root(make_policy([key.public], [key.public]), datetime.now(UTC)))

    for given in ((gone, ""), (private, ""), ("", gone), ("", public), ("", str(unsigned))):
        done = channel(tmp_path, *given)

        assert done.returncode != 0
        assert done.stderr.startswith("error: ")
        assert next(filter(None, given)) in done.stderr
        assert not (tmp_path / "channel.yaml").exists()
