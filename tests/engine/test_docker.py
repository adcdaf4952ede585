"""What only the Docker engine does: it talks to a daemon, and leaves nothing behind there."""

import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from docker import APIClient

from compiler.engine import CacheMount, CopyFiles, Network, Run
from compiler.engine.docker import DockerEngine
from compiler.engine.docker_daemon import RUN_LABEL, Daemon
from compiler.engine.docker_images import STACKS, forget
from compiler.errors import EngineError, Interrupted, OutsideError
from compiler.store.local import LocalStore
from tests.e2e.lab import Lab as Workplace
from tests.e2e.lab import little_root, on, on_base
from tests.engine.lab import Lab, copy, said, step
from tests.processes import python, wait_for
from tests.servers.dockerd import DockerServer

pytestmark = [
    pytest.mark.container,
    pytest.mark.registry,
    pytest.mark.xdist_group("docker"),
]

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
"""cap_net_bind_service+ep, as security.capability holds it (linux/capability.h, revision 2)."""

TREE = {
    "base": on_base(
        "seq 1 20000 > /base; ln /base /linked; ln -s base /soft; mkdir -p /d/e /gone /anew",
        "echo x > /d/e/f; echo x > /gone/x; echo 1 > /anew/1; echo 2 > /anew/2",
        "mknod /device c 7 3; mkfifo /pipe; chown 12:34 /d/e/f; chmod 4755 /d/e/f",
    ),
    # in place, so that the folder keeps its time although its layer has it
    "account": on("base", "echo 'user:x:1000:1000::/:/bin/sh' >> /etc/passwd"),
    "new-account": on("base", "cp /etc/passwd /etc/passwd-; echo g:x:7: > /etc/group"),
    "delete": on("base", "rm -r /gone /linked; rm -r /anew; mkdir /anew; echo 3 > /anew/3"),
    "move": on("base", "mv /d/e /d/moved; mv /soft /softer; chmod 700 /d"),
    "names": on(
        "base", "mkdir -p '/n/ä b' '/n/.wh'; touch '/n/ä b/\\n' /n/$(seq -s- 60); touch -d@7 /n/old"
    ),
    "workspace": on("base", "echo kept > made; mkdir -p sub; cp made sub/again", "cat sub/again")
    + "prelude:\n- echo prepared > prepared; echo /luetbuild > /where\n",
    "top": on("account delete names", "cat /anew/* /etc/passwd > /all; rm /d/e/f; echo y > /d/e/g"),
}


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory, base_image: Path) -> Path:
    """A base system of some megabytes."""
    root = tmp_path_factory.mktemp("little")
    little_root(base_image, root)
    for folder, _, files in os.walk(root):
        for path in (folder, *(f"{folder}/{name}" for name in files)):
            os.utime(path, (0, 0), follow_symlinks=False)  # as old as a base system is
    return root


@pytest.fixture
def place(tmp_path: Path, little: Path) -> Workplace:
    """A tree to build with the real command."""
    place = Workplace(tmp_path, little)
    place.tree(TREE)
    return place


@contextmanager
def asking(server: DockerServer) -> Iterator[APIClient]:
    """Ask an engine ourselves."""
    api = APIClient(f"unix://{server.socket}")
    try:
        yield api
    finally:
        api.close()


def left_in(server: DockerServer) -> list[str]:
    """List what runs have left in an engine, besides the stacks that are kept for the next."""
    with asking(server) as api:
        containers = [each["Id"] for each in api.containers(all=True)]
        tags = [tag for image in api.images(all=True) for tag in image["RepoTags"] or ["<none>"]]
        volumes = [each["Name"] for each in api.volumes()["Volumes"] or ()]
    kept = (f"{STACKS}:", "<none>:")
    caches = [name for name in volumes if not name.startswith("cos-toolkit-")]
    return [*containers, *(tag for tag in tags if not tag.startswith(kept)), *caches]


def layers_of(place: Workplace) -> dict[str, tuple[str, ...]]:
    """Name the layers of every package."""
    with LocalStore(place.store) as store:
        records = {name: store.latest(f"t/{name}") for name in TREE}
    return {name: record.layers for name, record in records.items() if record is not None}


@pytest.mark.parametrize("way", ["local", "remote"])
def test_a_tree_gives_the_same_layers_and_archives_as_with_the_embedded_engine(
    place: Workplace, docker_server: DockerServer, way: str
) -> None:
    done = place.build("--all", "--concurrency", "2")
    assert done.returncode == 0, done.stderr
    layers, archives = layers_of(place), place.built()
    for folder in (place.store, place.out):
        shutil.rmtree(folder)
    place.__post_init__()
    environ = docker_server.local if way == "local" else docker_server.remote

    done = place.build("--all", "--backend", "docker", "--concurrency", "2", **environ)

    assert done.returncode == 0, done.stderr
    assert layers_of(place) == layers
    assert place.built() == archives
    assert len(layers) == len(TREE)
    assert place.faults() == []
    assert left_in(docker_server) == []


def test_attributes_of_files_are_kept_where_the_disk_is_shared(docker: Lab) -> None:
    folder = docker.new("context")
    (folder / "tool").write_text("x")
    os.setxattr(folder / "tool", "user.note", b"kept")
    os.setxattr(folder / "tool", "security.capability", CAPABILITY)

    built = docker.build(copy("tool", to="/tool", folder=folder), "cp --preserve=all /tool /again")

    assert os.getxattr(built.changes / "tool", "security.capability") == CAPABILITY
    assert os.getxattr(built.changes / "again", "user.note") == b"kept"


def test_sparse_files_stay_sparse_where_the_disk_is_shared(docker: Lab) -> None:
    built = docker.build("truncate -s 1G /sparse")

    sparse = (built.changes / "sparse").stat()
    assert (sparse.st_size, sparse.st_blocks < 1000) == (1 << 30, True)


def test_copies_between_steps_see_what_earlier_ones_did(docker: Lab) -> None:
    source = docker.tree({"d/new": "1", "d/over": "2"})

    built = docker.build(
        "mkdir /real; ln -s real /link; echo old > /real/over; echo x > /gone",
        copy("/d", to="/link", stack=(source,)),
        "cat /real/new /real/over; rm /gone; mv /real/new /real/newer",
    )

    assert said(built) == ["12"]
    assert built.paths() == {
        "link": "link", "real": "/", "real/newer": "file", "real/over": "file",
    }  # fmt: skip


def test_steps_with_other_networks_and_caches_share_the_root(docker: Lab) -> None:
    cache = CacheMount(target="/srv/in/cache", cache="tool")
    memory = CacheMount(target="/opt", tmpfs=True)

    built = docker.build(
        step("echo 1 > /one; echo c > /file"),
        step("ls /srv/in/cache; echo 2 > /srv/in/cache/two", mounts=(cache,)),
        step("ls /opt; echo 3 > /opt/three", mounts=(memory,)),
        step("ls /opt; cat /one; rm /one", mounts=(memory,)),
        Run(argv=("/bin/sh", "-c", "ls /sys/class/net"), text="ls", network=Network.NONE),
    )

    assert [line for line in said(built) if "No such file" not in line] == ["1", "lo"]
    assert built.paths() == {"file": "file"}


def test_a_root_without_a_shell_runs_programs(docker: Lab, small_image: Path) -> None:
    static = docker.new("static")
    (static / "bin").mkdir()
    shutil.copy(small_image / "usr/sbin/ldconfig", static / "bin")
    (static / "etc").mkdir()
    runs = [Run(argv=("/bin/ldconfig", "-v", "-C", f"/etc/{name}"), text=name) for name in "ab"]

    built = docker.build(*runs, root=(docker.add(static),))

    assert {"etc/a", "etc/b"} <= built.paths().keys()


def test_a_root_without_a_shell_gets_a_hint(docker: Lab) -> None:
    request = docker.request("make all", root=(docker.tree({"a": "1"}),))

    with pytest.raises(EngineError) as caught:
        docker.done(request)

    assert str(caught.value) == (
        'step could not start: exec: "/bin/sh": stat /bin/sh: no such file or directory: make all'
        " (the root has no /bin/sh, or not the loader that it names; does the package require an"
        f" image with a shell?)\nlog: {request.log}"
    )


def test_accounts_that_a_step_adds_are_known_to_the_next(docker: Lab) -> None:
    built = docker.build(
        "echo 'new:x:4000:4001::/place:/bin/sh' >> /etc/passwd",
        "echo 'more:x:4002:new' >> /etc/group",
        step("id -u; id -G; echo $HOME", user="new"),
    )

    assert said(built) == ["4000", "4001 4002", "/place"]


def test_hundreds_of_layers_are_merged_to_what_an_engine_takes(docker: Lab) -> None:
    first = docker.tree({"many/first": "x"})
    layers = [docker.tree({f"many/{number}": "x"}) for number in range(300)]
    between = docker.build("rm /many/first", root=(*docker.base, first))

    built = docker.build(
        "ls /many | wc -l; rm /many/7", root=(*docker.base, first, between.layer, *layers)
    )

    assert said(built) == ["300"]
    assert built.paths() == {"many": "/", "many/7": "!"}


def test_a_layer_is_sent_once(docker: Lab, small_image: Path, docker_server: DockerServer) -> None:
    layer, above = docker.tree({"sent": "1\n"}), docker.tree({"more": "2\n"})
    docker.build("true", root=(*docker.base, layer))
    (docker.find(layer) / "sent").write_text("not seen\n")
    docker.use_docker(small_image, docker_server.local)  # as the next run does

    built = docker.build("cat /sent /more", root=(*docker.base, layer, above))

    assert said(built) == ["1", "2"]


def test_proxies_and_certificates_reach_steps_and_no_layer(
    tmp_path: Path, small_image: Path, docker_server: DockerServer
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("a certificate\n")
    for environ in (docker_server.local, docker_server.remote):
        lab = Lab(tmp_path, environ={"https_proxy": "http://p:1", "SSL_CERT_FILE": str(bundle)})
        lab.use_docker(small_image, environ)

        built = lab.build("echo $https_proxy; cat $SSL_CERT_FILE")

        assert said(built) == ["http://p:1", "a certificate"]
        assert built.paths() == {}


def test_root_that_may_not_mount_needs_no_mounts(
    tmp_path: Path, small_image: Path, docker_server: DockerServer
) -> None:
    script = (
        "from pathlib import Path\n"
        "from tests.engine.lab import Lab, copy, said\n"
        f"lab = Lab(Path({str(tmp_path)!r}))\n"
        f"lab.use_docker(Path({str(small_image)!r}), {docker_server.local!r})\n"
        "source = lab.tree({'d/file': '1\\n', 'd/sub/deep': '2\\n'})\n"
        "built = lab.build(\n"
        "    copy('/d', to='/opt/new/', stack=(source,)),\n"
        "    copy('/d/file', to='/luetbuild/here', stack=(source,)),\n"
        "    'cat here /opt/new/sub/deep; rm -r /etc/dpkg; mkdir /etc/dpkg; echo > /etc/dpkg/x',\n"
        ")\n"
        "assert said(built) == ['1', '2'], built.events\n"
        "with lab.engine.mounted((*lab.base, built.layer)) as root:\n"
        "    assert [path.name for path in (root / 'etc/dpkg').iterdir()] == ['x']\n"
        "    assert (root / 'opt/new/file').read_text() == '1\\n'\n"
    )
    less = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")

    done = subprocess.run([*less, sys.executable, "-c", script], check=False)

    assert done.returncode == 0


def test_nothing_is_left_after_a_failure(docker: Lab, docker_server: DockerServer) -> None:
    cache = CacheMount(target="/var/cache", cache="tool")
    with pytest.raises(EngineError):
        docker.build("echo 1 > /made", copy("/etc/passwd", to="/x", stack=docker.base), "exit 1")
    with pytest.raises(EngineError):
        docker.build(step("false", mounts=(cache,)))

    assert left_in(docker_server) == []


def test_a_stop_ends_what_runs(docker: Lab, docker_server: DockerServer) -> None:
    engine = docker.engine
    assert isinstance(engine, DockerEngine)
    timer = threading.Timer(1.5, engine.stop)
    timer.start()

    with pytest.raises(Interrupted):
        docker.build("sleep 4712 & sleep 4712")

    timer.join()
    assert left_in(docker_server) == []
    with pytest.raises(Interrupted):
        docker.build("true")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_build_and_leaves_nothing(
    place: Workplace, docker_server: DockerServer, number: signal.Signals
) -> None:
    place.tree({"slow": on_base("echo began; sleep 4714")})
    argv = ("build", "--tree", "tree", "--destination", place.out, "--backend", "docker", "t/slow")
    with place.start(*argv, **docker_server.local) as command:
        assert command.stdout is not None
        while "began" not in command.stdout.readline():
            assert command.poll() is None

        command.send_signal(number)

        assert command.wait(20) == 130
    assert left_in(docker_server) == []


def test_what_a_killed_run_leaves_ends_itself_and_goes_with_the_next(
    docker: Lab, tmp_path: Path, small_image: Path, docker_server: DockerServer
) -> None:
    script = (
        "from pathlib import Path\n"
        "from tests.engine.lab import Lab\n"
        f"lab = Lab(Path({str(tmp_path / 'killed')!r}))\n"
        "lab.folder.mkdir()\n"
        f"lab.use_docker(Path({str(small_image)!r}), {docker_server.local!r})\n"
        "lab.build('setsid sleep 4715 & sleep 4715')\n"
    )
    with asking(docker_server) as api, python(script) as builder:
        wait_for(lambda: len(api.containers()) == 1 and "4715" in str(api.top(api.containers()[0])))
        builder.send_signal(signal.SIGKILL)
        wait_for(lambda: not api.containers())
        assert len(api.containers(all=True)) == 1

    docker.use_docker(small_image, docker_server.local)

    assert left_in(docker_server) == []


def test_the_containers_of_a_run_that_goes_on_are_left_alone(
    docker: Lab, docker_server: DockerServer, small_image: Path
) -> None:
    ours = Daemon(docker_server.local).run
    docker.build("true")
    with asking(docker_server) as api:
        image = api.images(name=STACKS)[0]["Id"]
        elsewhere = "other-boot.4026531836.7.12345"
        for run in (ours, elsewhere):
            api.create_container(image, command="x", labels={RUN_LABEL: run}, name=run)

        docker.use_docker(small_image, docker_server.local)

        assert len(api.containers(all=True)) == 2
        for run in (ours, elsewhere):
            api.remove_container(run)


def test_the_kept_images_can_be_forgotten(docker: Lab, docker_server: DockerServer) -> None:
    docker.build("true")

    with asking(docker_server) as api:
        assert forget(api)
        assert api.images() == []


def test_an_image_that_the_engine_does_not_take_is_an_error_of_the_outside(docker: Lab) -> None:
    odd = docker.tree({"file": "1"})
    (docker.find(odd) / "trap").symlink_to("file")
    (docker.find(odd) / ".wh..wh.x").mkdir()

    with pytest.raises((OutsideError, EngineError)):
        docker.build(CopyFiles(sources=("/no",), destination="/x", text="x", stack=(odd,)))


def test_without_an_engine_the_error_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(OutsideError) as caught:
        Daemon({"DOCKER_HOST": f"unix://{tmp_path}/none"})

    assert str(caught.value) == (
        f"cannot use the Docker engine at unix://{tmp_path}/none: no such file or directory (start"
        " it (`systemctl start docker`), or let DOCKER_HOST name another one; Podman: `systemctl"
        " start podman.socket`)"
    )


def test_an_engine_that_is_down_is_an_error_of_the_outside() -> None:
    with pytest.raises(OutsideError) as caught:
        Daemon({"DOCKER_HOST": "tcp://127.0.0.1:1"})

    assert caught.value.message == (
        "cannot use the Docker engine at tcp://127.0.0.1:1: connection refused"
    )


def test_missing_certificates_are_an_error_of_the_outside(tmp_path: Path) -> None:
    environ = {"DOCKER_HOST": "tcp://127.0.0.1:1", "DOCKER_CERT_PATH": str(tmp_path)}

    with pytest.raises(OutsideError) as caught:
        Daemon(environ)

    assert "tcp://127.0.0.1:1" in caught.value.message


def test_a_user_who_may_not_use_the_engine_is_told_how(docker_server: DockerServer) -> None:
    ours, theirs = get_context("fork").Pipe()
    environ = docker_server.local
    child = get_context("fork").Process(target=reach_as_nobody, args=(environ, theirs))
    child.start()
    assert ours.poll(20)
    message = ours.recv()
    child.join()

    assert message == (
        f"cannot use the Docker engine at unix://{docker_server.socket}: permission denied (run as"
        " root, or join the group that may use it (`usermod -aG docker USER`))"
    )


def reach_as_nobody(environ: dict[str, str], answer: Connection) -> None:
    """Try it as a user without any rights."""
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    try:
        Daemon(environ)
    except OutsideError as error:
        answer.send(str(error))


@pytest.mark.parametrize(
    ("version", "info", "message"),
    [
        ("1.39", {}, "speaks version 1.39 of its API, and 1.41 is needed"),
        ("1.45", {"Architecture": "s390x"}, "runs linux/s390x, and packages are built for linux/"),
        ("1.45", {"OSType": "windows"}, "runs windows/"),
    ],
)
def test_an_engine_that_does_not_fit_is_refused(
    tmp_path: Path, version: str, info: dict[str, str], message: str
) -> None:
    facts = {"Architecture": os.uname().machine, "OSType": "linux", **info}
    answers = {"/version": {"ApiVersion": version}, f"/v{version}/info": facts}
    with pretending(tmp_path / "socket", answers) as environ, pytest.raises(OutsideError) as caught:
        Daemon(environ)

    assert message in caught.value.message


@contextmanager
def pretending(path: Path, answers: Mapping[str, object]) -> Iterator[dict[str, str]]:
    """Answer as an engine would, on a socket."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = json.dumps(answers[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

        def address_string(self) -> str:
            return "socket"

    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield {"DOCKER_HOST": f"unix://{path}"}
        server.shutdown()
        thread.join()


def test_the_sdk_is_loaded_for_nobody_else() -> None:
    script = (
        "import sys, compiler.cli.build, compiler.cli.building\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'docker']\n"
    )

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
