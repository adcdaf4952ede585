"""What only root can show: owners, attributes, devices, other file systems, a disk that is full."""

import os
import stat
import tarfile
from pathlib import Path

import pytest

from compiler.archive.safety import Devices
from compiler.process import Command, run
from compiler.system.transaction import recover
from tests.system.lab import Lab, member, snapshot

pytestmark = pytest.mark.container

CHECKOUT = Path(__file__).parents[2]
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def with_mount(place: Path, options: str, folder: str, script: str) -> list[str]:
    """Run Python in an own mount namespace, in which `folder` is a small file system."""
    text = f"mount -t tmpfs -o {options} none {folder} && exec .venv/bin/python -"
    program = f"import sys; sys.path.insert(0, '.')\nfrom tests.system.lab import *\n{script}"
    (place / "script.py").write_text(program)
    argv = ("unshare", "--mount", "sh", "-ec", f"{text[:-1]} {place / 'script.py'}")
    said: list[str] = []
    run(Command(argv=argv, directory=CHECKOUT), on_line=said.append).check()
    return said


def test_owners_attributes_and_devices_are_those_of_the_archive(lab: Lab) -> None:
    info = tarfile.TarInfo("bin/tool")
    info.uid, info.gid, info.mode, info.mtime = 12, 34, 0o6755, 5
    info.pax_headers = {
        "SCHILY.xattr.user.note": "kept",
        "SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape"),
    }
    tool = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    device = tarfile.TarInfo("dev/null")
    device.type, device.devmajor, device.devminor, device.mode = tarfile.CHRTYPE, 1, 3, 0o666

    package = lab.package("a", [tool, device.tobuf(tarfile.PAX_FORMAT), member("p", b"6")])
    lab.apply(package, devices=Devices.MAKE)

    status = (lab.root / "bin/tool").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12, 34, 0o6755)
    assert os.getxattr(lab.root / "bin/tool", "user.note") == b"kept"
    assert os.getxattr(lab.root / "bin/tool", "security.capability") == CAPABILITY
    assert (lab.root / "dev/null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO((lab.root / "p").stat().st_mode)
    lab.apply(remove=["a"])
    assert snapshot(lab.root) == {}


def test_a_root_of_several_file_systems_is_changed_as_one(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    (lab.root / "boot").mkdir()

    said = with_mount(
        tmp_path,
        "size=4m",
        str(lab.root / "boot"),
        f"""
lab = Lab(Path({str(tmp_path)!r}))
files = {{"boot/": "700", "boot/k/kernel": "old", "usr/f": "old", "boot/sub/": "750"}}
lab.apply(lab.package("a-1", files))
new = {{"boot/k/kernel": "new", "boot/k/link": "= boot/k/kernel", "usr/f": "new"}}
lab.apply(lab.package("a-2", new), remove=["a-1"])
print(sorted(snapshot(lab.root)), (lab.root / "boot/k/link").read_text())
lab.apply(remove=["a-2"])
print(sorted(snapshot(lab.root)), lab.installed())
try:
    lab.apply(lab.package("b", {{"boot": "file"}}))
except Exception as error:
    print(error)
""",
    )

    assert said == [
        "['boot', 'boot/k', 'boot/k/kernel', 'boot/k/link', 'usr', 'usr/f'] new",
        "['boot'] []",
        "/boot: is a mount point",
    ]


def test_each_file_system_is_synced_before_what_changed_on_it_counts(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    (lab.root / "boot").mkdir()

    said = with_mount(
        tmp_path,
        "size=4m",
        str(lab.root / "boot"),
        f"""
from itertools import groupby
from compiler.system.transaction import apply
from compiler.system.change import Change
from tests.system.crash import RecordingDisk
lab = Lab(Path({str(tmp_path)!r}))
def change(*install, remove=()):
    disk = RecordingDisk(lab.root, lab.place / f"copies-{{len(list(lab.place.iterdir()))}}")
    with lab.system() as system:
        apply(Change(install=install, remove=tuple(map(id_of, remove))), system, disk=disk)
    phases = groupby(disk.log, lambda effect: effect.name == "commit")
    tops = [sorted(effect.top or "/" for effect in phase if effect.name == "sync")
            for is_commit, phase in phases if not is_commit]
    print(tops)
change(lab.package("a-1", {{"boot/": "700", "boot/k": "x"}}))
change(lab.package("a-2", {{"boot/": "755", "usr/k": "x"}}), remove=["a-1"])
change(lab.package("b-1", {{"boot/b": "x", "usr/b": "x"}}))
change(remove=["b-1"])
""",
    )

    assert said == [
        "[['boot'], ['boot'], ['boot']]",
        "[['/'], ['/', 'boot'], ['/', 'boot']]",
        "[[], ['/', 'boot'], ['/', 'boot'], ['/', 'boot']]",
        "[['/', 'boot']]",
    ]


def test_a_disk_that_is_really_full_leaves_the_old_state(tmp_path: Path) -> None:
    lab = Lab(tmp_path)

    said = with_mount(
        tmp_path,
        "size=3m",
        str(lab.root),
        f"""
lab = Lab(Path({str(tmp_path)!r}))
lab.apply(lab.package("a-1", {{"f": "old", "g": "old"}}))
before = snapshot(lab.root)
for size in range(2_300_000, 3_200_000, 100_000):
    large = lab.package("a-2", {{"f": "new", "large": "x" * size}})
    try:
        lab.apply(large, remove=["a-1"])
    except Exception as error:
        print(type(error).__name__, str(error).partition(": ")[2])
        assert snapshot(lab.root) == before
        assert lab.installed() == ["t/a-1"]
        with lab.system() as system:
            assert system.database.journal() is None
    else:
        lab.apply(lab.package("a-1", {{"f": "old", "g": "old"}}), remove=["a-2"])
""",
    )

    assert set(said) == {"OutsideError no space left on the disk (make room, then try again)"}


def test_nothing_is_left_to_recover_afterwards(lab: Lab) -> None:
    lab.apply(lab.package("a", {"f": "x"}))

    with lab.system() as system:
        assert recover(system) is None
