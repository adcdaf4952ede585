"""What every `Store` must do."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.archive import DEFAULT_EPOCH, Clamp, Entry, Kind
from compiler.errors import StoreError
from compiler.keys import ArtifactKey, LayerKey
from compiler.oci import Digest
from compiler.store import ArtifactRecord, NodeRecord, Store
from compiler.store.local import LocalStore
from compiler.store.memory import MemoryStore

MISSING = Digest("sha256:" + 64 * "0")


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = LocalStore(tmp_path / "store") if request.param == "local" else MemoryStore()
    yield opened
    opened.close()


def add_layer(store: Store, **files: str) -> Digest:
    with store.scratch() as scratch:
        changes = scratch / "changes"
        changes.mkdir()
        for name, text in files.items():
            (changes / name).write_text(text)
        return store.add_layer(changes, Clamp())


def node(
    key: str, *layers: Digest, needs: tuple[str, ...] = (), package: str = "a/b"
) -> NodeRecord:
    return NodeRecord(
        key=LayerKey(key * 64),
        content=f"content of {key}",
        package=package,
        layers=layers,
        builder=1,
        root=(),
        inputs={"steps": "12ab"},
        needs=tuple(LayerKey(each * 64) for each in needs),
        log=f"{key}.log",
        seconds=1.5,
    )


def test_a_layer_is_kept_with_canonical_times_and_the_digests_of_its_files(store: Store) -> None:
    layer = add_layer(store, name="text")

    file = store.layer_path(layer) / "name"
    assert file.read_text() == "text"
    assert file.stat().st_mtime_ns == DEFAULT_EPOCH * 10**9
    assert store.entries(layer) == (
        Entry(
            path="name",
            kind=Kind.FILE,
            mode=0o644,
            uid=os.geteuid(),
            gid=os.getegid(),
            size=4,
            mtime=DEFAULT_EPOCH,
            digest="982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1",
        ),
    )


def test_equal_changes_are_one_layer(store: Store) -> None:
    first = add_layer(store, name="text")
    second = add_layer(store, name="text")
    other = add_layer(store, name="texts")

    assert first == second
    assert first != other


def test_a_layer_that_is_not_there_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        store.layer_path(MISSING)

    assert str(caught.value) == f"the store has no layer {MISSING}"


def test_what_is_left_in_a_scratch_folder_is_removed(store: Store) -> None:
    with store.scratch() as folder:
        (folder / "closed").mkdir(mode=0o000)
        (folder / "link").symlink_to("/")

    assert not folder.exists()
    assert Path("/").exists()


def test_a_node_is_found_by_key_content_and_package(store: Store) -> None:
    old = node("a", add_layer(store, name="1"))
    new = node("b", add_layer(store, name="2"), needs=("a",))

    store.put_node(old)
    store.put_node(new)

    assert store.node(old.key) == old
    assert store.node_by_content("content of a") == old
    assert store.latest("a/b") == new
    assert store.present([old.key, new.key, LayerKey("f" * 64)]) == {old.key, new.key}


def test_what_was_never_built_is_not_found(store: Store) -> None:
    assert store.node(LayerKey("a" * 64)) is None
    assert store.node_by_content("content") is None
    assert store.latest("a/b") is None
    assert store.artifact(ArtifactKey("a" * 64)) is None
    assert store.overlaps("stack") is None
    assert store.image("debian:trixie") is None
    assert list(store.images()) == []
    assert store.present([LayerKey("a" * 64)]) == set()


def test_a_node_without_its_layers_is_refused(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        store.put_node(node("a", MISSING))

    assert str(caught.value) == f"the store has no layer {MISSING}"
    assert store.node(LayerKey("a" * 64)) is None


def test_names_of_any_kind_are_kept_apart(store: Store) -> None:
    layer = add_layer(store, name="1")
    packages = ["a/b", "a%2Fb", "../b", ".", "..", "", "ä", "x" * 300, "x" * 301, "a/B"]
    for number, package in enumerate(packages):
        store.put_node(node(f"{number:x}", layer, package=package))

    found = {package: store.latest(package) for package in packages}

    assert {name: record and record.package for name, record in found.items()} == {
        package: package for package in packages
    }


def test_artifacts_and_overlaps_are_remembered(store: Store) -> None:
    record = ArtifactRecord(key=ArtifactKey("a" * 64), sha256="b" * 64, size=7)

    store.put_artifact(record)
    store.put_overlaps("stack", ("etc/passwd",))
    store.put_overlaps("other", ())

    assert store.artifact(record.key) == record
    assert store.overlaps("stack") == ("etc/passwd",)
    assert store.overlaps("other") == ()


def test_a_log_has_a_folder(store: Store) -> None:
    path = store.log_path(LayerKey("a" * 64))

    path.write_text("log")

    assert path.read_text() == "log"


def test_collecting_keeps_what_kept_nodes_need_and_removes_the_rest(store: Store) -> None:
    base, top, lost = (add_layer(store, name=text) for text in ("base", "top", "lost"))
    store.put_node(node("a", base))
    store.put_node(node("b", top, needs=("a",)))
    store.put_node(node("c", lost))
    store.keep("tree", [LayerKey("b" * 64)])

    told = [each.what for each in store.collect(dry_run=True)]
    still = store.present([LayerKey(key * 64) for key in "abc"])
    done = [each.what for each in store.collect(dry_run=False)]

    assert told == done
    assert still == {LayerKey(key * 64) for key in "abc"}
    assert store.present([LayerKey(key * 64) for key in "abc"]) == {
        LayerKey("a" * 64),
        LayerKey("b" * 64),
    }
    assert store.layer_path(base).is_dir()
    with pytest.raises(StoreError):
        store.layer_path(lost)
    assert list(store.collect(dry_run=False)) == []
