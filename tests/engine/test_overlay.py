"""What only containers over overlayfs do: real programs, real attributes, real isolation."""

import ctypes
import os
import shutil
import signal
import tempfile
import threading
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from compiler.engine.namespace import prepare
from compiler.engine.overlay import OverlayEngine
from compiler.errors import EngineError, Interrupted, OutsideError
from compiler.process import Command, run
from tests.engine.lab import Lab, copy, said
from tests.processes import processes, python, wait_for

pytestmark = pytest.mark.container

PR_SET_DUMPABLE = 4
"""Gives /proc/self back to a process that changed its user (prctl(2)), as exec would."""

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
"""cap_net_bind_service+ep, as security.capability holds it (linux/capability.h, revision 2)."""


def test_owners_attributes_and_capabilities_stay(containers: Lab) -> None:
    folder = containers.new("context")
    (folder / "tool").write_text("x")
    (folder / "tool").chmod(0o755)
    os.chown(folder / "tool", 1000, 1001)
    os.setxattr(folder / "tool", "user.note", b"kept")
    os.setxattr(folder / "tool", "security.capability", CAPABILITY)

    built = containers.build(
        copy("tool", to="/tool", folder=folder), "cp --preserve=all /tool /again"
    )

    for name in ("tool", "again"):
        path = built.changes / name
        assert (path.stat().st_uid, path.stat().st_gid) == (1000, 1001)
        assert os.getxattr(path, "user.note") == b"kept"
    assert os.getxattr(built.changes / "tool", "security.capability") == CAPABILITY


def test_devices_pipes_and_sparse_files_are_copied(containers: Lab) -> None:
    source = containers.build("mkdir /d; mknod /d/x b 8 1; mkfifo /d/p; truncate -s 1G /d/sparse")

    built = containers.build(copy("/d", to="/t", stack=(source.layer,)))

    sparse = (built.changes / "t/sparse").stat()
    assert (sparse.st_size, sparse.st_blocks < 1000) == (1 << 30, True)
    assert (built.changes / "t/x").stat().st_rdev == os.makedev(8, 1)
    assert (built.changes / "t/p").is_fifo()


def test_a_full_disk_is_told_with_its_folder_and_what_helps(containers: Lab) -> None:
    request = replace(containers.request("true"), log=Path("/dev/full"))

    with pytest.raises(OutsideError) as caught:
        containers.done(request)

    assert str(caught.value) == (
        f"cannot build a/b: {request.changes}: no space left on device"
        " (make room, `cos gc` removes what is unused)"
    )


def test_large_files_pass(containers: Lab) -> None:
    made = containers.build("head -c 200M /dev/urandom > /large; sha256sum < /large")

    used = containers.build(
        "sha256sum < /large",
        copy("/large", to="/copy", stack=(made.layer,)),
        "sha256sum < /copy",
        root=(*containers.base, made.layer),
    )

    assert said(used) == said(made) * 2


def test_four_hundred_layers_stack(containers: Lab) -> None:
    layers = [containers.tree({f"many/{number}": "x"}) for number in range(400)]

    built = containers.build("ls /many | wc -l; rm /many/7", root=(*containers.base, *layers))

    assert said(built) == ["400"]
    assert built.paths() == {"many": "/", "many/7": "!"}


def test_more_layers_than_the_kernel_takes_are_an_error(containers: Lab) -> None:
    layers = [containers.tree({"x": str(number)}) for number in range(491)]

    with pytest.raises(EngineError) as caught:
        containers.build("true", root=tuple(layers))

    assert caught.value.message == (
        "492 layers are too many for one root, the kernel's limit is 490"
    )


def test_names_that_mean_something_in_mount_options_are_harmless(tmp_path: Path) -> None:
    odd = tmp_path / "a:b,c\\d e"
    odd.mkdir()
    lab = Lab(odd)
    lab.use_overlay(lab.new("base,upperdir=x:y"))

    with lab.engine.mounted((*lab.base, lab.tree({"file": "1"}))) as root:
        assert (root / "file").read_text() == "1"


def test_names_are_resolved_as_the_host_does_and_nothing_of_it_stays(containers: Lab) -> None:
    built = containers.build("cat /etc/resolv.conf; echo changed > /etc/resolv.conf; hostname")

    expected = Path("/etc/resolv.conf").read_text().splitlines()
    assert said(built) == [*expected, "cos"]
    assert built.paths() == {}
    assert Path("/etc/resolv.conf").read_text().splitlines() == expected


def test_proxies_and_certificates_reach_steps_and_no_layer(
    tmp_path: Path, base_image: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("a certificate\n")
    lab = Lab(tmp_path, environ={"https_proxy": "http://p:1", "SSL_CERT_FILE": str(bundle)})
    lab.use_overlay(base_image)

    built = lab.build("echo $https_proxy; cat $SSL_CERT_FILE")

    assert said(built) == ["http://p:1", "a certificate"]
    assert built.paths() == {}


def test_a_root_without_a_shell_gets_a_hint(containers: Lab) -> None:
    request = containers.request("make all", root=(containers.tree({"a": "1"}),))

    with pytest.raises(EngineError) as caught:
        containers.done(request)

    assert str(caught.value) == (
        "step could not start: executable file `/bin/sh` not found in $PATH: No such file or"
        " directory: make all (the root has no /bin/sh, or not the loader that it names; does the"
        f" package require an image with a shell?)\nlog: {request.log}"
    )


def test_a_stop_ends_what_runs(containers: Lab) -> None:
    engine = containers.engine
    assert isinstance(engine, OverlayEngine)
    timer = threading.Timer(0.5, engine.stop)
    timer.start()

    with pytest.raises(Interrupted):
        containers.build("sleep 4712 & sleep 4712")

    timer.join()
    wait_for(lambda: not processes("sleep\0004712"))


def test_a_killed_builder_leaves_no_process_and_no_mount(tmp_path: Path, base_image: Path) -> None:
    script = (
        "from pathlib import Path\n"
        "from tests.engine.lab import Lab\n"
        f"lab = Lab(Path({str(tmp_path)!r}))\n"
        f"lab.use_overlay(Path({str(base_image)!r}))\n"
        "lab.build('setsid sleep 4713 & sleep 4713')\n"
    )
    with python(script) as builder:
        wait_for(lambda: len(processes("sleep\0004713")) == 2)
        builder.send_signal(signal.SIGKILL)

    wait_for(lambda: not processes("sleep\0004713"))
    assert str(tmp_path) not in Path("/proc/1/mounts").read_text()
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_nothing_stays_mounted(containers: Lab) -> None:
    containers.build("true", copy("/etc/passwd", to="/x", stack=containers.base))

    assert str(containers.folder) not in Path("/proc/thread-self/mounts").read_text()


def test_the_engine_works_without_root(base_tar: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, 65534, 65534)
        child = get_context("fork").Process(target=build_as_nobody, args=(Path(name), base_tar))
        child.start()
        child.join()

        assert child.exitcode == 0


def build_as_nobody(folder: Path, tar: Path) -> None:
    """Build in a process of a user without any rights; raises when it does not work."""
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)
    base = folder / "base"
    base.mkdir()
    run(Command(argv=("tar", "--no-same-owner", "-xf", str(tar), "-C", str(base)))).check()
    prepare.cache_clear()
    lab = Lab(folder)
    lab.use_overlay(base)
    built = lab.build("id -u; rm -rf /etc/dpkg; mkdir /etc/dpkg; echo 1 > /etc/dpkg/x; rm -r /opt")
    assert said(built) == ["0"]
    assert built.paths() == {"etc": "/", "etc/dpkg": "/!", "etc/dpkg/x": "file", "opt": "!"}
    shutil.rmtree(base)
