import hashlib
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from compiler.archive import Clamp
from compiler.archive.compress import decompressed
from compiler.errors import ExitCode, StoreError
from compiler.keys import LayerKey
from compiler.oci import Digest, Platform, hex_of
from compiler.store import NodeRecord
from compiler.store.images import ImageConfig
from compiler.store.importer import import_image
from compiler.store.local import LocalStore, default_store_path

NOBODY = 65534
CONFIG = ImageConfig(  # noqa: S604  (its shell is no subprocess's)
    platform=Platform("linux", "arm64", "v8"),
    env=(("PATH", "/bin"), ("A", "b=c")),
    user="nobody",
    shell=("/bin/bash", "-c"),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore(tmp_path / "store") as opened:
        yield opened


def add_layer(store: LocalStore, text: str) -> Digest:
    with store.scratch() as scratch:
        changes = scratch / "changes"
        (changes / "etc").mkdir(parents=True)
        (changes / "etc" / "name").write_text(text)
        return store.add_layer(changes, Clamp())


def node(key: str, layer: Digest) -> NodeRecord:
    return NodeRecord(
        key=LayerKey(key), content=key, package="a/b", layers=(layer,), builder=0, root=()
    )


def test_opening_a_store_to_read_makes_nothing(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "store") as store:
        found = store.node(LayerKey("a" * 64)), store.images(), store.collect(dry_run=False)

    assert found == (None, (), ())
    assert list(tmp_path.iterdir()) == []


def test_what_was_put_in_is_there_for_the_next_process(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "store") as store:
        layer = add_layer(store, "1")
        store.put_node(node("a" * 64, layer))
        image = store.put_image("debian:trixie", [layer], CONFIG)

    with LocalStore(tmp_path / "store") as store:
        assert store.node(LayerKey("a" * 64)) == node("a" * 64, layer)
        assert store.image("docker.io/library/debian:trixie") == image
        assert store.images() == (image,)
        assert store.verify() == []


def test_an_image_says_what_its_config_said(store: LocalStore) -> None:
    layer = add_layer(store, "1")

    image = store.put_image("debian:trixie", [layer], CONFIG)

    assert (image.name, image.layers) == ("docker.io/library/debian:trixie", (layer,))
    assert (image.platform, image.env) == (CONFIG.platform, CONFIG.env)
    assert (image.user, image.shell) == (CONFIG.user, CONFIG.shell)


def test_a_removed_image_is_collected_with_its_layers(store: LocalStore) -> None:
    layer, other = add_layer(store, "1"), add_layer(store, "2")
    store.put_image("debian:trixie", [layer], CONFIG)
    kept = store.put_image("debian:sid", [other], CONFIG)
    store.flush()

    store.remove_image("debian:trixie")
    removed = [each.what.split()[0] for each in store.collect(dry_run=False)]

    assert sorted(removed) == ["blob", "blob", "blob", "layer"]
    assert store.images() == (kept,)
    assert store.verify() == []


def test_the_compressed_layer_is_the_unpacked_one(store: LocalStore) -> None:
    layer = add_layer(store, "1")

    blob = store.blob(layer)

    file = store.root / "blobs" / "sha256" / hex_of(blob.digest)
    with file.open("rb") as packed, decompressed(packed) as stream:
        data = stream.read()
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == layer
    assert file.stat().st_size == blob.size


def test_a_layer_that_may_have_been_hurt_by_a_power_failure_is_read_again(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "store") as store:
        good, bad = add_layer(store, "good"), add_layer(store, "bad")
        for layer in (good, bad):
            meta = store.layer_path(layer).with_name("meta.json")
            meta.write_text(meta.read_text().replace('"boot": "', '"boot": "earlier-'))
        times = (store.layer_path(bad) / "etc" / "name").stat().st_mtime
        (store.layer_path(bad) / "etc" / "name").write_text("")
        os.utime(store.layer_path(bad) / "etc" / "name", (times, times))

    with LocalStore(tmp_path / "store") as store:
        assert store.layer_path(good).is_dir()
        with pytest.raises(StoreError):
            store.layer_path(bad)
        assert add_layer(store, "bad") == bad
        assert (store.layer_path(bad) / "etc" / "name").read_text() == "bad"


def test_a_compressed_layer_that_may_have_been_hurt_is_made_again(store: LocalStore) -> None:
    layer = add_layer(store, "1")
    blob = store.blob(layer)
    file = store.root / "blobs" / "sha256" / hex_of(blob.digest)
    whole = file.read_bytes()
    record = store.layer_path(layer).with_name("blob.json")
    record.write_text(record.read_text().replace('"boot": "', '"boot": "earlier-'))
    file.write_bytes(whole[:-1] + b"x")

    with LocalStore(store.root) as later:
        assert later.blob(layer) == blob
    assert file.read_bytes() == whole


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"key": 1}', b"\0" * 50])
def test_a_torn_record_counts_as_lost(store: LocalStore, damage: bytes) -> None:
    store.put_node(node("a" * 64, add_layer(store, "1")))
    for folder in ("nodes", "content", "latest"):
        (file,) = (store.root / folder).iterdir()
        file.write_bytes(damage)

    assert store.node(LayerKey("a" * 64)) is None
    assert store.node_by_content("a" * 64) is None
    assert store.latest("a/b") is None
    assert len(store.collect(dry_run=False)) > 0


def test_a_store_in_use_is_not_collected(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "store") as one, LocalStore(tmp_path / "store") as two:
        add_layer(one, "1")
        add_layer(two, "2")

        with pytest.raises(StoreError) as caught:
            two.collect(dry_run=False)

    assert str(caught.value) == (
        f"{tmp_path}/store: in use by another process (try again when the other `cos` has ended)"
    )
    assert caught.value.exit_code is ExitCode.OUTSIDE


def test_a_store_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")

    with LocalStore(tmp_path / "store") as store, pytest.raises(StoreError) as caught:
        store.put_overlaps("a", ())

    assert str(caught.value) == f"{tmp_path}/store/blobs/sha256: not a directory"


def test_threads_add_the_same_and_other_layers_at_once(store: LocalStore) -> None:
    def add(number: int) -> Digest:
        layer = add_layer(store, str(number % 5))
        store.put_node(node(f"{number:064x}", layer))
        return layer

    with ThreadPoolExecutor(8) as pool:
        layers = list(pool.map(add, range(40)))

    store.flush()
    assert len(set(layers)) == 5
    assert store.verify() == []


def busy(root: str, start: int, stop: int) -> None:
    """Add the same things as the other processes do."""
    with LocalStore(Path(root)) as store:
        for number in range(start, stop):
            layer = add_layer(store, str(number % 7))
            store.put_node(node(f"{number % 10:064x}", layer))
            if number % 5 == 0:
                store.put_image(f"image:{number % 3}", [layer], CONFIG)
        store.flush()


def test_processes_add_the_same_layers_nodes_and_images_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    root = str(tmp_path / "store")
    processes = [context.Process(target=busy, args=(root, 0, 30)) for _ in range(3)]
    for each in processes:
        each.start()
    for each in processes:
        each.join()

    assert [each.exitcode for each in processes] == [0, 0, 0]
    with LocalStore(tmp_path / "store") as store:
        assert store.verify() == []
        assert len(store.images()) == 3
        assert list((store.root / "scratch").iterdir()) == []


def work_for_ever(root: Path, ready: int) -> None:
    """Change a store in every way until killed."""
    with LocalStore(root) as store:
        os.write(ready, b"x")
        for number in itertools.count():
            key = f"{number % 20:064x}"
            layer = add_layer(store, f"{number} {os.getpid()}" * (number % 50 * 100))
            store.put_node(node(key, layer))
            if number % 3 == 0:
                store.put_image(f"image:{number % 9}", [layer], CONFIG)
                store.flush()
            if number % 5 == 0:
                store.keep("run", [LayerKey(key)])
                store.collect(dry_run=False)


def kill_often(root: Path, kills: int) -> None:
    """Kill a process that uses a store at many moments; the store must stay whole."""
    for kill in range(kills):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            work_for_ever(root, writing)
        os.read(reading, 1)
        time.sleep(kill * 0.0005)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
        with LocalStore(root) as store:
            assert store.verify() == []
            add_layer(store, f"after {kill}")
            assert len(list((root / "scratch").iterdir())) == 2


def test_a_store_whose_process_is_killed_at_any_moment_stays_whole(tmp_path: Path) -> None:
    store = str(tmp_path / "store")

    assert run_here(f"kill_often(Path({store!r}), 120)") == ""


def run_here(statement: str) -> str:
    """Run a statement in a process of its own; returns what it says on standard error."""
    script = f"from pathlib import Path; from test_local import *; {statement}"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.stderr


def use_as_nobody(folder: Path) -> None:
    """Use a store without root: only what needs device nodes is out of reach."""
    os.chown(folder, NOBODY, NOBODY)
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    with LocalStore(folder / "store") as store:
        layer = add_layer(store, "1")
        store.put_node(node("a" * 64, layer))
        image = import_image(store, "mine", f"dir:{store.layer_path(layer)}")
        assert image.layers == (layer,)
        assert {each.uid for each in store.entries(layer)} == {NOBODY}
        assert [each.what[:5] for each in store.collect(dry_run=False)][:2] == ["conte", "lates"]
        assert store.verify() == []


@pytest.mark.container
def test_an_ordinary_user_can_use_a_store_of_his_own() -> None:
    with TemporaryDirectory() as folder:
        assert run_here(f"use_as_nobody(Path({folder!r}))") == ""


def use_of_another(folder: Path) -> None:
    """Use a store that belongs to root, as somebody else."""
    with LocalStore(folder / "store") as store:
        store.put_overlaps("stack", ("a",))
    folder.chmod(0o755)
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    with LocalStore(folder / "store") as store:
        assert store.overlaps("stack") == ("a",)
        try:
            store.put_overlaps("stack", ())
        except StoreError as error:
            sys.stdout.write(f"{error}\n")


@pytest.mark.container
def test_a_store_of_another_user_can_be_read_and_not_written(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with TemporaryDirectory() as folder:
        assert run_here(f"use_of_another(Path({folder!r}))") == ""

        said = capfd.readouterr().out
    assert said.startswith(f"{folder}/store/scratch/")
    assert said.endswith(
        ".lock: permission denied (choose a store of your own with --store or $COS_STORE)\n"
    )


def test_the_default_store_lies_beside_the_git_root(tmp_path: Path) -> None:
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "repo" / "trees" / "one").mkdir(parents=True)

    assert default_store_path(tmp_path / "repo" / "trees" / "one") == tmp_path / "repo/.cos/store"


@pytest.mark.container
def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk], check=True)
    try:
        with LocalStore(disk / "store") as store:
            kept = add_layer(store, "kept")
            store.put_node(node("a" * 64, kept))
            store.put_image("debian:trixie", [kept], CONFIG)
            ballast = disk / "ballast"
            ballast.write_bytes(b"x" * (8 * 2**20 - 120_000))
            messages = {fill_up(store, number) for number in range(40)}

            assert messages - {""} == {
                f"3: {disk}/store: no space left on the disk"
                " (make room, `cos gc` removes what is unused)"
            }
            assert store.verify() == []
            ballast.unlink()
            assert add_layer(store, "after") != kept
            assert store.image("debian:trixie") is not None
    finally:
        subprocess.run(["umount", disk], check=True)


def fill_up(store: LocalStore, number: int) -> str:
    """Add a layer and all that goes with it; returns what went wrong."""
    try:
        layer = add_layer(store, os.urandom(2000).hex())
        store.put_node(node(f"{number:064x}", layer))
        store.put_image(f"image:{number}", [layer], CONFIG)
        store.flush()
    except StoreError as error:
        return f"{error.exit_code.value}: {error}"
    except OSError:
        pass  # its own files, not the store's
    return ""


@pytest.mark.parametrize(("given", "kept"), [(5, 10), (19, 19)])
def test_who_stands_back_already_is_not_brought_forward(given: int, kept: int) -> None:
    code = (
        "import os; from concurrent.futures import ThreadPoolExecutor;"
        " from compiler.store.local import _stand_back;"
        f" os.setpriority(os.PRIO_PROCESS, 0, {given});"
        " pool = ThreadPoolExecutor(1, initializer=_stand_back);"
        " print(pool.submit(os.getpriority, os.PRIO_PROCESS, 0).result())"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == f"{kept}\n"
