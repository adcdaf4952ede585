"""A user without any rights makes the same images as root, to the byte, owners and all."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.machine import add_shell
from tests.e2e.users import Somebody, python_for_all
from tests.image.trees import FILES, write_archive
from tests.publish.shop import Shop

FAST = ("-x", "-comp gzip -Xcompression-level 1")
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--")


def test_a_user_without_rights_makes_the_same_iso_and_disk_as_root(place: Path) -> None:
    archive = write_archive(place / "root.tar")
    python, env = python_for_all(place)
    made = {}
    for who, prefix in (("root", ()), ("nobody", NOBODY)):
        folder = place / who
        folder.mkdir()
        if prefix:
            shutil.chown(folder, 65534, 65534)
        for command in ("iso", "disk"):
            argv = (*prefix, python, "-m", "compiler", command, f"file:{archive}", *FAST)
            subprocess.run(
                argv, cwd=folder, env={**os.environ, **env, "HOME": str(folder)}, check=True
            )
        made[who] = [(folder / f"cOS.{kind}.sha256").read_text() for kind in ("iso", "raw")]
        assert (folder / "cOS.iso").stat().st_uid == (65534 if prefix else 0)

    assert made["nobody"] == made["root"]


@pytest.mark.container
def test_a_user_runs_finalizers_as_root_does(
    place: Path,
    somebody: Somebody,
) -> None:
    shop = Shop(place / "shop")
    files = {path: data.decode("latin-1") for path, data in FILES.items() if path != "usr/bin/tool"}
    files |= {"boot/vmlinuz": files["boot/vmlinuz-6"], "boot/initrd": files["boot/initrd-6"]}
    shop.build("os", files=files)
    shop.build(
        "last", finalizer="install: ['umask 077; echo x > /etc/made; echo y > /etc/os-release']"
    )
    shop.repository()
    add_shell(place / "shell")
    (place / "m.yaml").write_text("packages: {rootfs: [t/os, t/last, dir:shell]}\n")
    python, env = python_for_all(place)
    made = []
    for who in (Somebody("root", place), somebody):
        folder = place / f"of-{who.name}"
        folder.mkdir()
        shutil.chown(folder, who.name)
        argv = (python, "-m", "compiler", "iso", "m.yaml", "--local", str(shop.artifacts), *FAST)
        who.run(*argv, "-o", str(folder), env={**env, "HOME": str(folder)})
        made.append((folder / "cOS.iso").read_bytes())

    assert made[0] == made[1]
