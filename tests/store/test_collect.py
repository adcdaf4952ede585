import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.archive import Clamp
from compiler.keys import ArtifactKey, LayerKey
from compiler.oci import Digest, Platform
from compiler.store import ArtifactRecord, NodeRecord
from compiler.store.files import file_name
from compiler.store.images import ImageConfig
from compiler.store.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore(tmp_path / "store") as opened:
        yield opened


def add_layer(store: LocalStore, text: str) -> Digest:
    with store.scratch() as scratch:
        (scratch / "changes").mkdir()
        (scratch / "changes" / "file").write_text(text)
        return store.add_layer(scratch / "changes", Clamp())


def key_of(number: int) -> LayerKey:
    return LayerKey(f"{number:064x}")


def put_node(
    store: LocalStore,
    number: int,
    layer: Digest,
    *,
    needs: set[int] = frozenset(),  # type: ignore[assignment]  # an empty set
    root: tuple[Digest, ...] = (),
) -> None:
    store.put_node(
        NodeRecord(
            key=key_of(number),
            content=f"content {number}",
            package=f"a/{number}",
            layers=(layer,),
            builder=0,
            root=root,
            needs=tuple(key_of(each) for each in sorted(needs)),
        )
    )
    store.log_path(key_of(number)).write_text("log")


GRAPHS = st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=6).map(
    lambda needs: [{each for each in found if each < place} for place, found in enumerate(needs)]
)


def closure(graph: list[set[int]], kept: set[int]) -> set[int]:
    found: set[int] = set()
    pending = [each for each in kept if each < len(graph)]
    while pending:
        number = pending.pop()
        if number not in found:
            found.add(number)
            pending.extend(graph[number])
    return found


@settings(max_examples=25, deadline=None)
@given(graph=GRAPHS, kept=st.sets(st.integers(0, 6)), texts=st.lists(st.integers(0, 3), min_size=6))
def test_exactly_the_closure_of_what_is_kept_stays(
    graph: list[set[int]], kept: set[int], texts: list[int]
) -> None:
    with TemporaryDirectory() as folder, LocalStore(Path(folder)) as store:
        layers = [add_layer(store, str(text)) for text in texts]
        for number, needs in enumerate(graph):
            put_node(store, number, layers[number], needs=needs)
        store.keep("run", map(key_of, kept))

        store.collect(dry_run=False)

        stay = closure(graph, kept)
        numbers = range(len(graph))
        assert {number for number in numbers if store.node(key_of(number))} == stay
        assert {number for number in numbers if store.latest(f"a/{number}")} == stay
        names = {each.name for each in (store.root / "layers").iterdir()}
        assert names == {layers[number][7:] for number in stay}
        logs = {each.stem for each in (store.root / "logs").iterdir()}
        assert logs == {file_name(key_of(number)) for number in stay}
        assert store.verify() == []


def test_the_root_of_a_kept_node_stays_although_nothing_else_names_it(store: LocalStore) -> None:
    base, own = add_layer(store, "base"), add_layer(store, "own")
    put_node(store, 1, own, root=(base,))
    store.keep("run", [key_of(1)])

    removed = store.collect(dry_run=False)

    assert removed == []
    assert store.layer_path(base).is_dir()


def test_every_run_keeps_its_own_nodes(store: LocalStore) -> None:
    for number in (1, 2, 3):
        put_node(store, number, add_layer(store, str(number)))
    store.keep("one", [key_of(1)])
    store.keep("two", [key_of(2)])
    store.keep("two", [key_of(3)])

    store.collect(dry_run=False)

    assert store.present(map(key_of, (1, 2, 3))) == {key_of(1), key_of(3)}


def test_layers_of_images_stay(store: LocalStore) -> None:
    layer = add_layer(store, "1")
    image = store.put_image("a", [layer], ImageConfig(platform=Platform("linux", "amd64")))

    removed = store.collect(dry_run=False)

    assert removed == []
    assert store.image("a") == image


def test_old_records_that_name_no_node_go_after_ninety_days(store: LocalStore) -> None:
    store.put_overlaps("old", ())
    store.put_overlaps("new", ())
    store.put_artifact(ArtifactRecord(key=ArtifactKey("a" * 64), sha256="", size=1))
    store.put_overlaps("used", ())
    long_ago = time.time() - 91 * 86400
    for name in ("old", "used"):
        os.utime(store.root / "overlaps" / f"{name}.json", (long_ago, long_ago))
    store.overlaps("used")

    removed = store.collect(dry_run=False)

    assert [(each.what, each.reason) for each in removed] == [
        ("overlaps of old", "unused for 90 days")
    ]


def test_what_is_removed_is_told_with_size_and_reason(store: LocalStore) -> None:
    layer = add_layer(store, "x" * 1000)
    put_node(store, 1, layer)
    store.flush()

    removed = store.collect(dry_run=True)

    told = {each.what: each.reason for each in removed}
    assert told[f"layer {layer[7:19]}"] == "nothing needs it"
    assert told["node a/1 000000000000"] == "no kept node needs it"
    assert {each.what: each.size for each in removed}[f"layer {layer[7:19]}"] == 1000


def test_scratch_folders_of_processes_that_are_gone_are_removed(store: LocalStore) -> None:
    add_layer(store, "1")
    (store.root / "scratch" / "gone" / "inner").mkdir(parents=True)
    (store.root / "scratch" / "gone" / "inner" / "file").write_text("text")
    (store.root / "scratch" / "gone.lock").touch()
    put_node(store, 1, add_layer(store, "1"))
    store.keep("run", [key_of(1)])

    removed = store.collect(dry_run=False)

    assert [(each.what, each.size) for each in removed] == [("scratch gone", 4)]
    assert len(list((store.root / "scratch").iterdir())) == 2


@pytest.mark.container
def test_a_scratch_folder_with_a_mount_in_it_is_never_emptied(
    store: LocalStore, tmp_path: Path
) -> None:
    add_layer(store, "1")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("text")
    mounted = store.root / "scratch" / "gone" / "mounted"
    mounted.mkdir(parents=True)
    os.system(f"mount --bind {precious} {mounted}")  # noqa: S605  (a test's own path)
    try:
        store.collect(dry_run=False)
        with LocalStore(store.root) as other:
            add_layer(other, "2")

        assert (mounted / "file").read_text() == "text"
    finally:
        os.system(f"umount {mounted}")  # noqa: S605  (a test's own path)

    assert [each.what for each in store.collect(dry_run=False)][-1] == "scratch gone"
