"""What only containers over overlayfs do: real programs, real attributes, real isolation."""

import ctypes
import os
import shutil
import signal
import tempfile
import threading
from multiprocessing import get_context
from pathlib import Path

import pytest

from compiler.engine import CacheMount, CopyFiles, Network, Run
from compiler.engine.namespace import prepare
from compiler.engine.overlay import OverlayEngine
from compiler.errors import EngineError, Interrupted
from compiler.events import StepOutput
from compiler.process import Command, run
from tests.engine.lab import Built, Lab, copy, step
from tests.processes import processes, python, wait_for

pytestmark = pytest.mark.container

PR_SET_DUMPABLE = 4
"""Gives /proc/self back to a process that changed its user (prctl(2)), as exec would."""

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
"""cap_net_bind_service+ep, as security.capability holds it (linux/capability.h, revision 2)."""


def said(built: Built) -> list[str]:
    """What the steps printed."""
    return [event.line for event in built.events if isinstance(event, StepOutput)]


def test_a_folder_that_was_deleted_and_made_anew_is_opaque(containers: Lab) -> None:
    built = containers.build("rm -rf /etc/dpkg; mkdir /etc/dpkg; touch /etc/dpkg/new")

    assert built.paths() == {"etc": "/", "etc/dpkg": "/!", "etc/dpkg/new": "file"}


def test_hard_links_stay_links(containers: Lab) -> None:
    built = containers.build("echo x > /one; ln /one /two")

    one, two = (built.changes / "one").stat(), (built.changes / "two").stat()
    assert (one.st_ino, one.st_nlink) == (two.st_ino, 2)


def test_hard_links_are_copied_as_links(containers: Lab) -> None:
    source = containers.build("mkdir /d; echo x > /d/one; ln /d/one /d/two")

    built = containers.build(copy("/d", to="/t", stack=(source.layer,)))

    one, two = (built.changes / "t/one").stat(), (built.changes / "t/two").stat()
    assert (one.st_ino, one.st_nlink) == (two.st_ino, 2)


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


def test_a_step_may_set_owners_and_make_devices_and_pipes(containers: Lab) -> None:
    built = containers.build(
        "mknod /device c 7 3; mkfifo /pipe; touch /owned; chown 12:34 /owned; chmod 4755 /owned"
    )

    owned = (built.changes / "owned").stat()
    assert (owned.st_uid, owned.st_gid, owned.st_mode & 0o7777) == (12, 34, 0o4755)
    assert (built.changes / "device").stat().st_rdev == os.makedev(7, 3)
    assert (built.changes / "pipe").is_fifo()


def test_devices_pipes_and_sparse_files_are_copied(containers: Lab) -> None:
    source = containers.build("mkdir /d; mknod /d/x b 8 1; mkfifo /d/p; truncate -s 1G /d/sparse")

    built = containers.build(copy("/d", to="/t", stack=(source.layer,)))

    sparse = (built.changes / "t/sparse").stat()
    assert (sparse.st_size, sparse.st_blocks < 1000) == (1 << 30, True)
    assert (built.changes / "t/x").stat().st_rdev == os.makedev(8, 1)
    assert (built.changes / "t/p").is_fifo()


def test_large_files_pass(containers: Lab) -> None:
    made = containers.build("head -c 200M /dev/urandom > /large; sha256sum < /large")

    used = containers.build(
        "sha256sum < /large",
        copy("/large", to="/copy", stack=(made.layer,)),
        "sha256sum < /copy",
        root=(*containers.base, made.layer),
    )

    assert said(used) == said(made) * 2


def test_a_folder_from_below_can_be_renamed(containers: Lab) -> None:
    built = containers.build("mv /etc/dpkg /etc/renamed && mv /etc/renamed/dpkg.cfg.d /opt/")

    with containers.engine.mounted((*containers.base, built.layer)) as root:
        assert not (root / "etc/dpkg").exists()
        assert (root / "etc/renamed/dpkg.cfg").is_file()
        assert (root / "opt/dpkg.cfg.d").is_dir()


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


def test_steps_have_an_own_loopback_only_without_network(containers: Lab) -> None:
    show = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; cat /sys/class/net/lo/flags"
    none = containers.done(containers.request(show, network=Network.NONE))

    assert said(none) == ["lo", "0x9"]


def test_steps_have_the_network_of_the_host_by_default(containers: Lab) -> None:
    ours = str(Path("/proc/self/ns/net").readlink())

    assert said(containers.build("readlink /proc/self/ns/net")) == [ours]


def test_names_are_resolved_as_the_host_does_and_nothing_of_it_stays(containers: Lab) -> None:
    built = containers.build("cat /etc/resolv.conf; echo changed > /etc/resolv.conf; hostname")

    expected = Path("/etc/resolv.conf").read_text().splitlines()
    assert said(built) == [*expected, "cos"]
    assert built.paths() == {}
    assert Path("/etc/resolv.conf").read_text().splitlines() == expected


@pytest.mark.parametrize(
    "target", ["../run/systemd/resolve/stub-resolv.conf", "/run/none", "/etc/hostname-x"]
)
def test_a_resolv_conf_that_is_a_link_stays_one(containers: Lab, target: str) -> None:
    below = containers.tree({"etc/resolv.conf": f"-> {target}"})

    built = containers.build("cat /etc/resolv.conf", root=(*containers.base, below))

    assert said(built) == Path("/etc/resolv.conf").read_text().splitlines()
    assert built.paths() == {}


def test_a_root_that_hides_the_usual_places_gets_them_too(containers: Lab) -> None:
    hiding = containers.build(
        "cp -a /etc /etc2; rm -rf /srv; mkdir /srv",
        Run(argv=("/bin/sh", "-c", "mkdir -p /opt/x"), text="x"),
    )
    mask = containers.tree({"etc/passwd": "root:x:0:0::/root:/bin/sh\n"})
    os.setxattr(containers.find(mask) / "etc", "trusted.overlay.opaque", b"y")

    built = containers.build(
        "ls /etc; cat /etc/resolv.conf > /dev/null",
        root=(*containers.base, hiding.layer, mask),
    )

    assert said(built) == ["hostname", "hosts", "passwd", "resolv.conf"]
    assert built.paths() == {}


def test_an_empty_root_gets_no_mount_points(containers: Lab) -> None:
    static = containers.new("static")
    (static / "bin").mkdir()
    shutil.copy(containers.find(containers.base[0]) / "usr/sbin/ldconfig", static / "bin")

    built = containers.build(
        Run(argv=("/bin/ldconfig", "--version"), text="x"), root=(containers.add(static),)
    )

    assert built.paths() == {}


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


def test_the_environment_is_exactly_what_is_asked_for(containers: Lab) -> None:
    run = Run(argv=("/usr/bin/env",), text="env", env=(("A", "1"), ("PATH", "/bin")))

    assert sorted(said(containers.build(run))) == ["A=1", "HOME=/root", "PATH=/bin"]


def test_a_missing_working_directory_is_made(containers: Lab) -> None:
    run = Run(argv=("/bin/sh", "-c", "pwd"), text="pwd", directory="/srv/new/place")

    built = containers.build(run)

    assert said(built) == ["/srv/new/place"]
    assert built.paths() == {"srv": "/", "srv/new": "/", "srv/new/place": "/"}


@pytest.mark.parametrize(
    ("user", "ids"),
    [("daemon", "1 1"), ("1:5", "1 5"), ("4711", "4711 0"), ("games:tty", "5 5"), ("", "0 0")],
)
def test_a_step_runs_as_the_user_it_names(containers: Lab, user: str, ids: str) -> None:
    assert said(containers.build(step("echo $(id -u) $(id -g)", user=user))) == [ids]


def test_an_unknown_user_is_an_error(containers: Lab) -> None:
    with pytest.raises(EngineError) as caught:
        containers.build(step("true", user="nosuch"))

    assert str(caught.value) == (
        f"unknown user 'nosuch' (the root has no such line in /etc/passwd)\nlog: {caught.value.log}"
    )
    assert caught.value.step == "true"


def test_a_root_without_a_shell_gets_a_hint(containers: Lab) -> None:
    request = containers.request("make all", root=(containers.tree({"a": "1"}),))

    with pytest.raises(EngineError) as caught:
        containers.done(request)

    assert str(caught.value) == (
        "step could not start: executable file `/bin/sh` not found in $PATH: No such file or"
        " directory: make all (the root has no /bin/sh, or not the loader that it names; does the"
        f" package require an image with a shell?)\nlog: {request.log}"
    )


def test_a_program_for_another_machine_gets_a_hint(containers: Lab) -> None:
    odd = containers.tree({"odd": "\x7fELF of another machine"})
    (containers.find(odd) / "odd").chmod(0o755)

    with pytest.raises(EngineError) as caught:
        containers.build(Run(argv=("/odd",), text="odd"), root=(*containers.base, odd))

    assert caught.value.hint == "/odd is made for another machine, or is a script without a #! line"


def test_a_killed_step_gets_a_hint(containers: Lab) -> None:
    with pytest.raises(EngineError) as caught:
        containers.build("sh -c 'kill -9 $$'")

    assert caught.value.message == "step failed with exit code 137: sh -c 'kill -9 $$'"
    assert caught.value.hint == "it was killed, most likely because the memory ran out"


def test_output_of_any_bytes_is_passed_on(containers: Lab) -> None:
    built = containers.build(r"printf 'a\377b\nprogress 1\rprogress 2\r\nno end'")

    assert said(built) == ["a\ufffdb", "progress 2", "no end"]
    assert b"a\xffb\nprogress 1\rprogress 2\r\nno end" in built.log.read_bytes()


def test_processes_of_a_step_end_with_it(containers: Lab) -> None:
    containers.build("sleep 4711 & setsid sleep 4711 & true")

    wait_for(lambda: not processes("sleep\0004711"))


def test_temporary_files_stay_between_steps(containers: Lab) -> None:
    assert said(containers.build("echo kept > /tmp/x", "cat /tmp/x")) == ["kept"]


def test_a_cache_is_shared_by_requests_and_in_no_layer(containers: Lab) -> None:
    cache = CacheMount(target="/var/cache/tool", cache="tool")
    containers.build(step("echo 1 > /var/cache/tool/file", mounts=(cache,)))

    built = containers.build(step("cat /var/cache/tool/file", mounts=(cache,)))

    assert (said(built), built.paths()) == (["1"], {})


def test_a_memory_folder_starts_empty(containers: Lab) -> None:
    memory = CacheMount(target="/etc/dpkg", tmpfs=True)

    built = containers.build(step("ls /etc/dpkg; echo 1 > /etc/dpkg/x", mounts=(memory,)))

    assert (said(built), built.paths()) == ([], {})


def test_a_cache_does_not_lead_elsewhere(containers: Lab) -> None:
    with pytest.raises(EngineError) as caught:
        containers.build(step("true", mounts=(CacheMount(target="/x", cache="../y"),)))

    assert str(caught.value) == "'../y' cannot be the name of a cache"


def test_an_archive_is_unpacked_if_asked(containers: Lab) -> None:
    folder = containers.new("context")
    (folder / "file").write_text("1")
    run(Command(argv=("tar", "-C", str(folder), "-czf", str(folder / "a.tgz"), "file"))).check()
    add = CopyFiles(
        folder=folder, sources=("a.tgz", "file"), destination="/srv/", text="add", extract=True
    )

    assert sorted(containers.build(add).paths()) == ["srv", "srv/file"]


def test_requests_run_at_the_same_time(containers: Lab) -> None:
    gate = CacheMount(target="/gate", cache="gate")
    wait = "touch /gate/{0}; timeout 20 sh -c 'until [ -e /gate/{1} ]; do sleep 0.1; done'"
    texts = [wait.format("a", "b"), wait.format("b", "a")]
    requests = [containers.request(step(text, mounts=(gate,))) for text in texts]
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            containers.engine.build(requests[number], lambda _event: None)
        except EngineError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []


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
