"""What every engine with containers does: real programs, real attributes, real isolation."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from compiler.engine import CacheMount, CopyFiles, Network, Run
from compiler.errors import EngineError
from compiler.process import Command, run
from tests.engine.lab import Lab, copy, said, step
from tests.processes import processes, wait_for


def test_a_folder_that_was_deleted_and_made_anew_is_opaque(boxes: Lab) -> None:
    built = boxes.build("rm -rf /etc/dpkg; mkdir /etc/dpkg; touch /etc/dpkg/new")

    assert built.paths() == {"etc": "/", "etc/dpkg": "/!", "etc/dpkg/new": "file"}


def test_hard_links_stay_links(boxes: Lab) -> None:
    built = boxes.build("echo x > /one; ln /one /two")

    one, two = (built.changes / "one").stat(), (built.changes / "two").stat()
    assert (one.st_ino, one.st_nlink) == (two.st_ino, 2)


def test_hard_links_are_copied_as_links(boxes: Lab) -> None:
    source = boxes.build("mkdir /d; echo x > /d/one; ln /d/one /d/two")

    built = boxes.build(copy("/d", to="/t", stack=(source.layer,)))

    one, two = (built.changes / "t/one").stat(), (built.changes / "t/two").stat()
    assert (one.st_ino, one.st_nlink) == (two.st_ino, 2)


def test_a_step_may_set_owners_and_make_devices_and_pipes(boxes: Lab) -> None:
    built = boxes.build(
        "mknod /device c 7 3; mkfifo /pipe; touch /owned; chown 12:34 /owned; chmod 4755 /owned"
    )

    owned = (built.changes / "owned").stat()
    assert (owned.st_uid, owned.st_gid, owned.st_mode & 0o7777) == (12, 34, 0o4755)
    assert (built.changes / "device").stat().st_rdev == os.makedev(7, 3)
    assert (built.changes / "pipe").is_fifo()


def test_a_folder_from_below_can_be_renamed(boxes: Lab) -> None:
    built = boxes.build("mv /etc/dpkg /etc/renamed && mv /etc/renamed/dpkg.cfg.d /opt/")

    with boxes.engine.mounted((*boxes.base, built.layer)) as root:
        assert not (root / "etc/dpkg").exists()
        assert (root / "etc/renamed/dpkg.cfg").is_file()
        assert (root / "opt/dpkg.cfg.d").is_dir()


def test_steps_have_an_own_loopback_only_without_network(boxes: Lab) -> None:
    show = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; cat /sys/class/net/lo/flags"
    none = boxes.done(boxes.request(show, network=Network.NONE))

    assert said(none) == ["lo", "0x9"]


def test_steps_have_the_network_of_the_host_by_default(boxes: Lab) -> None:
    ours = str(Path("/proc/self/ns/net").readlink())

    assert said(boxes.build("readlink /proc/self/ns/net")) == [ours]


@pytest.mark.parametrize(
    "target", ["../run/systemd/resolve/stub-resolv.conf", "/run/none", "/etc/hostname-x"]
)
def test_a_resolv_conf_that_is_a_link_stays_one(boxes: Lab, target: str) -> None:
    below = boxes.tree({"etc/resolv.conf": f"-> {target}"})

    built = boxes.build("cat /etc/resolv.conf", root=(*boxes.base, below))

    assert said(built) == Path("/etc/resolv.conf").read_text().splitlines()
    assert built.paths() == {}


def test_a_root_that_hides_the_usual_places_gets_them_too(boxes: Lab) -> None:
    hiding = boxes.build(
        "cp -a /etc /etc2; rm -rf /srv; mkdir /srv",
        Run(argv=("/bin/sh", "-c", "mkdir -p /opt/x"), text="x"),
    )
    mask = boxes.tree({"etc/passwd": "root:x:0:0::/root:/bin/sh\n"})
    os.setxattr(boxes.find(mask) / "etc", "trusted.overlay.opaque", b"y")

    built = boxes.build(
        "ls /etc; cat /etc/resolv.conf > /dev/null",
        root=(*boxes.base, hiding.layer, mask),
    )

    # Docker makes a link `mtab` as well
    assert [name for name in said(built) if name != "mtab"] == [
        "hostname", "hosts", "passwd", "resolv.conf",
    ]  # fmt: skip
    assert built.paths() == {}


def test_an_empty_root_gets_no_mount_points(boxes: Lab) -> None:
    static = boxes.new("static")
    (static / "bin").mkdir()
    shutil.copy(boxes.find(boxes.base[0]) / "usr/sbin/ldconfig", static / "bin")

    built = boxes.build(
        Run(argv=("/bin/ldconfig", "--version"), text="x"), root=(boxes.add(static),)
    )

    assert built.paths() == {}


def test_the_environment_is_exactly_what_is_asked_for(boxes: Lab) -> None:
    run = Run(argv=("/usr/bin/env",), text="env", env=(("A", "1"), ("PATH", "/bin")))

    assert sorted(said(boxes.build(run))) == ["A=1", "HOME=/root", "PATH=/bin"]


def test_a_missing_working_directory_is_made(boxes: Lab) -> None:
    run = Run(argv=("/bin/sh", "-c", "pwd"), text="pwd", directory="/srv/new/place")

    built = boxes.build(run)

    assert said(built) == ["/srv/new/place"]
    assert built.paths() == {"srv": "/", "srv/new": "/", "srv/new/place": "/"}


@pytest.mark.parametrize(
    ("user", "ids"),
    [("daemon", "1 1"), ("1:5", "1 5"), ("4711", "4711 0"), ("games:tty", "5 5"), ("", "0 0")],
)
def test_a_step_runs_as_the_user_it_names(boxes: Lab, user: str, ids: str) -> None:
    assert said(boxes.build(step("echo $(id -u) $(id -g)", user=user))) == [ids]


def test_an_unknown_user_is_an_error(boxes: Lab) -> None:
    with pytest.raises(EngineError) as caught:
        boxes.build(step("true", user="nosuch"))

    assert str(caught.value) == (
        f"unknown user 'nosuch' (the root has no such line in /etc/passwd)\nlog: {caught.value.log}"
    )
    assert caught.value.step == "true"


def test_a_program_for_another_machine_gets_a_hint(boxes: Lab) -> None:
    odd = boxes.tree({"odd": "\x7fELF of another machine"})
    (boxes.find(odd) / "odd").chmod(0o755)

    with pytest.raises(EngineError) as caught:
        boxes.build(Run(argv=("/odd",), text="odd"), root=(*boxes.base, odd))

    assert caught.value.hint == "/odd is made for another machine, or is a script without a #! line"


def test_a_killed_step_gets_a_hint(boxes: Lab) -> None:
    with pytest.raises(EngineError) as caught:
        boxes.build("sh -c 'kill -9 $$'")

    assert caught.value.message == "step failed with exit code 137: sh -c 'kill -9 $$'"
    assert caught.value.hint == "it was killed, most likely because the memory ran out"


def test_output_of_any_bytes_is_passed_on(boxes: Lab) -> None:
    built = boxes.build(r"printf 'a\377b\nprogress 1\rprogress 2\r\nno end'")

    assert said(built) == ["a\ufffdb", "progress 2", "no end"]
    assert b"a\xffb\nprogress 1\rprogress 2\r\nno end" in built.log.read_bytes()


def test_processes_of_a_step_end_with_it(boxes: Lab) -> None:
    boxes.build("sleep 4711 & setsid sleep 4711 & true")

    wait_for(lambda: not processes("sleep\0004711"))


def test_what_a_step_leaves_running_ends_before_the_next(boxes: Lab) -> None:
    built = boxes.build("setsid sleep 4716 >&- 2>&- &", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")

    assert not any("sleep 4716" in line for line in said(built))


def test_temporary_files_stay_between_steps(boxes: Lab) -> None:
    assert said(boxes.build("echo kept > /tmp/x", "cat /tmp/x")) == ["kept"]


def test_a_cache_is_shared_by_requests_and_in_no_layer(boxes: Lab) -> None:
    cache = CacheMount(target="/var/cache/tool", cache="tool")
    boxes.build(step("echo 1 > /var/cache/tool/file", mounts=(cache,)))

    built = boxes.build(step("cat /var/cache/tool/file", mounts=(cache,)))

    assert (said(built), built.paths()) == (["1"], {})


def test_a_memory_folder_starts_empty(boxes: Lab) -> None:
    memory = CacheMount(target="/etc/dpkg", tmpfs=True)

    built = boxes.build(step("ls /etc/dpkg; echo 1 > /etc/dpkg/x", mounts=(memory,)))

    assert (said(built), built.paths()) == ([], {})


def test_a_cache_does_not_lead_elsewhere(boxes: Lab) -> None:
    with pytest.raises(EngineError) as caught:
        boxes.build(step("true", mounts=(CacheMount(target="/x", cache="../y"),)))

    assert str(caught.value) == "'../y' cannot be the name of a cache"


def test_an_archive_is_unpacked_if_asked(boxes: Lab) -> None:
    folder = boxes.new("context")
    (folder / "file").write_text("1")
    run(Command(argv=("tar", "-C", str(folder), "-czf", str(folder / "a.tgz"), "file"))).check()
    add = CopyFiles(
        folder=folder, sources=("a.tgz", "file"), destination="/srv/", text="add", extract=True
    )

    assert sorted(boxes.build(add).paths()) == ["srv", "srv/file"]


def test_requests_run_at_the_same_time(boxes: Lab) -> None:
    gate = CacheMount(target="/gate", cache="gate")
    wait = "touch /gate/{0}; timeout 20 sh -c 'until [ -e /gate/{1} ]; do sleep 0.1; done'"
    texts = [wait.format("a", "b"), wait.format("b", "a")]
    requests = [boxes.request(step(text, mounts=(gate,))) for text in texts]
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            boxes.engine.build(requests[number], lambda _event: None)
        except EngineError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
