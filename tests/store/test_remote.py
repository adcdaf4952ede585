"""The cache of layers in a registry: what is trusted, what is refused, what is transferred."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.archive import Clamp
from compiler.errors import RegistryError, TrustError
from compiler.events import Event, Noted
from compiler.keys import ArtifactKey, LayerKey
from compiler.marks import marked_source
from compiler.oci import MANIFEST, Descriptor, Digest, Image, Platform, Reference, canonical_json
from compiler.registry import Manifest
from compiler.registry.memory import MemoryRegistry
from compiler.store import ArtifactFile, ArtifactRecord, NodeRecord
from compiler.store.local import LocalStore
from compiler.store.records import artifact_from_json, artifact_to_json
from compiler.store.remote import SIGNATURE, Places, RemoteCache, Sealing
from compiler.store.remote_records import ARTIFACT, NODE

PLACE = Reference("registry.test", "cache")
KEY = LayerKey("1" * 64)
PACKED = ArtifactKey("2" * 64)
CLAMP = Clamp()

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def stores(tmp_path: Path) -> tuple[LocalStore, LocalStore]:
    return LocalStore(tmp_path / "one"), LocalStore(tmp_path / "two")


def layer(store: LocalStore, text: str) -> Digest:
    with store.scratch() as scratch:
        folder = scratch / "changes"
        folder.mkdir(mode=0o755)
        (folder / "file").write_text(text)
        return store.add_layer(folder, CLAMP)


def node(store: LocalStore, text: str = "content") -> NodeRecord:
    """Keep a node of one layer."""
    record = NodeRecord(
        key=KEY, content="c", package="t/a", layers=(layer(store, text),), builder=0, root=(),
        inputs={"steps": "x"}, log="/somewhere/here",
    )  # fmt: skip
    store.put_node(record)
    return record


class Lying(LocalStore):
    """A store that gives the same content whatever layer it is asked for."""

    def __init__(self, root: Path, layer: Digest) -> None:
        super().__init__(root)
        self._always = layer

    def blob(self, layer: Digest) -> Descriptor:
        return super().blob(self._always if layer else layer)


def seal(data: bytes) -> str:
    return f"sealed {len(data)}"


def check(data: bytes, signature: str) -> None:
    if signature != seal(data):
        raise TrustError("not signed")


def pushing(
    registry: MemoryRegistry, store: LocalStore, sealing: Sealing | None = None
) -> RemoteCache:
    return RemoteCache(registry, store, Places(target=PLACE), sealing=sealing)


def pulling(
    registry: MemoryRegistry, store: LocalStore, sealing: Sealing | None = None
) -> RemoteCache:
    return RemoteCache(registry, store, Places(sources=(PLACE,)), sealing=sealing)


def change(registry: MemoryRegistry, edit: Edit) -> None:
    """Put another manifest under the key."""
    place = replace(PLACE, tag=KEY)
    value = json.loads(registry.manifest(place).data)
    edit(value)
    registry.put_manifest(place, canonical_json(value), MANIFEST)


def test_a_node_that_was_pushed_can_be_fetched_by_its_key(
    stores: tuple[LocalStore, LocalStore],
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    record = node(one)

    pushing(registry, one).push_node(record)
    cache = pulling(registry, two)

    assert cache.nodes([KEY, LayerKey("3" * 64)]) == {KEY}
    assert cache.fetch_node(KEY) == replace(record, log="", unverified="registry.test/cache")
    assert (two.layer_path(record.layers[0]) / "file").read_text() == "content"


def test_looking_costs_one_request_and_transfers_no_layer(
    stores: tuple[LocalStore, LocalStore],
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    pushing(registry, one).push_node(node(one))
    registry.forget_counts()

    pulling(registry, two).nodes([KEY])

    assert dict(registry.requests) == {"manifest": 1}


def test_a_layer_that_another_repository_there_has_is_not_sent(
    stores: tuple[LocalStore, LocalStore],
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    pushing(registry, one).push_node(node(one))
    ours = replace(PLACE, repository="team/cache")
    cache = RemoteCache(registry, two, Places(sources=(ours, PLACE), target=ours))
    cache.nodes([KEY])
    record = cache.fetch_node(KEY)
    registry.forget_counts()

    cache.push_node(record)

    assert dict(registry.requests) == {"mount_blob": 1, "put_blob": 1, "put_manifest": 1}
    assert RemoteCache(registry, one, Places(sources=(ours,))).nodes([KEY]) == {KEY}


def test_a_layer_that_is_here_already_is_not_fetched(stores: tuple[LocalStore, LocalStore]) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    pushing(registry, one).push_node(node(one))
    layer(two, "content")
    cache = pulling(registry, two)
    cache.nodes([KEY])
    registry.forget_counts()

    cache.fetch_node(KEY)

    assert dict(registry.requests) == {}


def test_a_record_that_is_not_trusted_is_named_once(
    stores: tuple[LocalStore, LocalStore],
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    pushing(registry, one).push_node(node(one))
    told: list[Event] = []
    cache = RemoteCache(
        registry, two, Places(sources=(PLACE,)), sealing=Sealing(check=check), report=told.append
    )

    cache.nodes([KEY])
    cache.forget()
    cache.nodes([KEY])

    place = replace(PLACE, tag=KEY)
    assert told == [Noted(f"{place}: is not taken: not signed", warning=True)]


@pytest.mark.parametrize("sealing", [None, Sealing(seal=lambda _data: "sealed by somebody else")])
def test_with_a_key_only_what_it_signed_is_found(
    stores: tuple[LocalStore, LocalStore], sealing: Sealing | None
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    pushing(registry, one, sealing).push_node(node(one))

    assert pulling(registry, two, Sealing(check=check)).nodes([KEY]) == frozenset()

    pushing(registry, one, Sealing(seal=seal)).push_node(node(one))
    assert pulling(registry, two, Sealing(check=check)).nodes([KEY]) == {KEY}


def test_what_is_signed_is_pushed_in_place_of_a_record_that_nobody_trusts(
    stores: tuple[LocalStore, LocalStore],
) -> None:
    registry, (one, _) = MemoryRegistry(), stores
    record = node(one)
    foreign = Sealing(seal=lambda _data: "sealed by somebody else")
    pushing(registry, one, foreign).push_node(record)
    told: list[Event] = []
    sealing = Sealing(seal=seal, ours=check)
    cache = RemoteCache(
        registry, one, Places(target=PLACE), sealing=sealing, report=told.append
    )  # fmt: skip

    assert pushing(registry, one).lacking([KEY], NODE) == []
    assert cache.lacking([KEY], NODE) == [KEY]
    cache.push_node(record)

    assert told == [
        Noted(f"{replace(PLACE, tag=KEY)}: counts as not there: not signed", warning=True)
    ]  # fmt: skip
    registry.forget_counts()
    assert cache.lacking([KEY], NODE) == []
    assert dict(registry.requests) == {"manifest": 1}


def test_a_signed_record_with_other_layers_or_under_another_key_is_lacking(
    stores: tuple[LocalStore, LocalStore],
) -> None:
    registry, (one, _) = MemoryRegistry(), stores
    cache = pushing(registry, one, Sealing(seal=seal, ours=check))
    cache.push_node(node(one))
    moved = LayerKey("5" * 64)
    data = registry.manifest(replace(PLACE, tag=KEY)).data
    registry.put_manifest(replace(PLACE, tag=moved), data, MANIFEST)
    assert cache.lacking([KEY, moved, LayerKey("6" * 64)], NODE) == [moved, LayerKey("6" * 64)]

    change(registry, lambda value: value.update(layers=[]))

    assert cache.lacking([KEY], NODE) == [KEY]
    assert cache.lacking([KEY], ARTIFACT) == [KEY]


def test_what_was_fetched_unverified_is_not_signed_later(
    stores: tuple[LocalStore, LocalStore], tmp_path: Path
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    pushing(registry, one).push_node(node(one))
    names = artifact(one, tmp_path / "out", a_package_tar="archive", a_metadata_yaml="text")
    pushing(registry, one).push_artifact(PACKED, names, tmp_path / "out")
    fetching = pulling(registry, two)
    fetching.nodes([KEY])
    fetching.artifacts([PACKED])
    record = fetching.fetch_node(KEY)
    fetching.fetch_artifact(PACKED, files_of(names), tmp_path / "in")
    ours = replace(PLACE, repository="ours")
    sealing = Sealing(seal=seal, check=check, ours=check)
    cache = RemoteCache(registry, two, Places(target=ours), sealing=sealing)

    cache.push_node(record)
    cache.push_artifact(PACKED, names, tmp_path / "in")

    assert cache.lacking([KEY], NODE) == [KEY]
    assert cache.lacking([PACKED], ARTIFACT) == [PACKED]
    assert (cache.pushed, cache.withheld) == (set(), {KEY, PACKED})


def test_what_was_verified_when_it_was_fetched_is_signed_and_known_as_such(
    stores: tuple[LocalStore, LocalStore],
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    sealing = Sealing(seal=seal, check=check, ours=check)
    pushing(registry, one, sealing).push_node(node(one))
    ours = replace(PLACE, repository="ours")
    places = Places(sources=(PLACE,), target=ours)
    cache = RemoteCache(registry, two, places, sealing=sealing)
    cache.nodes([KEY])

    cache.push_node(cache.fetch_node(KEY))

    assert cache.pushed == {KEY}
    assert cache.lacking([KEY], NODE) == []


def test_a_signature_does_not_help_layers_that_were_exchanged(
    stores: tuple[LocalStore, LocalStore],
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    sealing = Sealing(seal=seal, check=check)
    pushing(registry, one, sealing).push_node(node(one))
    evil = replace(node(one, "evil"), key=LayerKey("4" * 64))
    one.put_node(evil)
    pushing(registry, one).push_node(evil)
    other = json.loads(registry.manifest(replace(PLACE, tag=evil.key)).data)
    change(registry, lambda value: value.update(layers=other["layers"]))
    cache = pulling(registry, two, sealing)
    assert cache.nodes([KEY]) == {KEY}

    with pytest.raises(RegistryError, match="its layers are not those of its record"):
        cache.fetch_node(KEY)

    assert two.node(KEY) is None


def test_a_record_that_was_moved_to_another_key_is_refused(
    stores: tuple[LocalStore, LocalStore],
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    pushing(registry, one).push_node(node(one))
    elsewhere = LayerKey("5" * 64)
    data = registry.manifest(replace(PLACE, tag=KEY)).data
    registry.put_manifest(replace(PLACE, tag=elsewhere), data, MANIFEST)
    cache = pulling(registry, two)
    cache.nodes([elsewhere])

    with pytest.raises(RegistryError, match=f"the record of {elsewhere} is that of {KEY}"):
        cache.fetch_node(elsewhere)


def test_a_layer_whose_content_is_another_than_its_digest_says_is_refused(
    stores: tuple[LocalStore, LocalStore],
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    record = node(one)
    lying = replace(record, layers=(Digest("sha256:" + "7" * 64),))
    liar = Lying(one.root, record.layers[0])
    pushing(registry, liar).push_node(lying)
    fetching = pulling(registry, two)
    fetching.nodes([KEY])

    with pytest.raises(RegistryError, match="a layer of it is not what its record says"):
        fetching.fetch_node(KEY)

    assert two.node(KEY) is None


@pytest.mark.parametrize(
    "edit",
    [
        lambda value: value["config"].update(mediaType="application/json"),
        lambda value: value.pop("config"),
        lambda value: value["config"].update(data="bm90IGl0"),
        lambda value: value["config"].update(data="%%%"),
    ],
)
def test_what_is_no_record_is_as_good_as_nothing(
    stores: tuple[LocalStore, LocalStore], edit: Edit
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    pushing(registry, one).push_node(node(one))
    change(registry, edit)

    assert pulling(registry, two).nodes([KEY]) == frozenset()


def test_what_was_refused_is_not_found_again_and_what_was_missing_may_be(
    stores: tuple[LocalStore, LocalStore],
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    cache = pulling(registry, two)
    assert cache.nodes([KEY]) == frozenset()
    pushing(registry, one).push_node(node(one))
    assert cache.nodes([KEY]) == frozenset()

    cache.forget()
    assert cache.nodes([KEY]) == {KEY}

    cache.refuse(KEY)
    cache.forget()
    assert cache.nodes([KEY]) == frozenset()


def artifact(store: LocalStore, folder: Path, **texts: str) -> dict[str, ArtifactKey]:
    """Write files into a destination and keep their records."""
    folder.mkdir(exist_ok=True)
    names = {}
    for number, (name, text) in enumerate(texts.items()):
        file = folder / name.replace("_", ".")
        file.write_text(text)
        key = ArtifactKey(f"{number}" * 64)
        digest = hash_of(text)
        store.put_artifact(ArtifactRecord(key=key, sha256=digest, size=len(text)))
        names[file.name] = key
    return names


def files_of(names: Mapping[str, ArtifactKey]) -> dict[str, ArtifactFile]:
    """Say that files are of one package each, by what their names begin with."""
    return {
        name: ArtifactFile(key=key, package=name.partition(".")[0]) for name, key in names.items()
    }


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_an_artifact_travels_with_its_metadata_and_records(
    stores: tuple[LocalStore, LocalStore], tmp_path: Path
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    names = artifact(one, tmp_path / "out", a_package_tar="archive", a_metadata_yaml="text")

    pushing(registry, one).push_artifact(PACKED, names, tmp_path / "out")
    cache = pulling(registry, two)
    assert cache.artifacts([PACKED]) == {PACKED}
    cache.fetch_artifact(PACKED, files_of(names), tmp_path / "in")

    assert (tmp_path / "in/a.package.tar").read_text() == "archive"
    assert (tmp_path / "in/a.metadata.yaml").read_text() == "text"
    known = one.artifact(names["a.metadata.yaml"])
    assert known is not None
    assert two.artifact(names["a.metadata.yaml"]) == replace(
        known, unverified="registry.test/cache"
    )


def forged(
    registry: MemoryRegistry, names: Mapping[str, ArtifactKey], rows: Sequence[Mapping[str, object]]
) -> None:
    """Put a record of the files `rows` in place of the one that was pushed, all one content."""
    cache = RemoteCache(registry, LocalStore(Path("/nowhere")), Places(target=PLACE))
    blob = json.loads(registry.manifest(replace(PLACE, tag=PACKED)).data)["layers"][0]
    shared = [
        {"key": names["a.package.tar"], "sha256": hash_of("archive"), "size": 7, **row}
        for row in rows
    ]
    cache._put(PACKED, ARTIFACT, {"key": PACKED, "files": shared}, [])
    place = replace(PLACE, tag=PACKED)
    value = {**json.loads(registry.manifest(place).data), "layers": [blob] * len(rows)}
    registry.put_manifest(place, canonical_json(value), MANIFEST)


OWN = {"name": "a.package.tar"}
ELSEWHERE = ArtifactKey("8" * 64)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([OWN, {"name": "b.package.tar"}], "names b.package.tar, which is no file of it"),
        ([OWN, {"name": "repository.yaml"}], "names repository.yaml, which is no file of it"),
        ([OWN, {"name": "a.package.tar.gz"}], "names a.package.tar.gz, which is no file of it"),
        ([OWN, {"name": "a.unverified"}], "names a.unverified, which is no file of it"),
        ([{**OWN, "key": ELSEWHERE}], "names a.package.tar, which is no file of it"),
        ([OWN, OWN], "names a.package.tar, which is no file of it"),
        ([], "lacks a.package.tar"),
    ],
)
def test_a_record_that_names_files_of_others_touches_nothing(
    stores: tuple[LocalStore, LocalStore],
    tmp_path: Path,
    rows: list[Mapping[str, object]],
    message: str,
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    names = artifact(one, tmp_path / "out", a_package_tar="archive")
    pushing(registry, one).push_artifact(PACKED, names, tmp_path / "out")
    forged(registry, names, rows)
    ours = tmp_path / "in"
    artifact(two, ours, a_package_tar="ours", b_package_tar="ours", repository_yaml="ours")
    known = two.artifact(names["a.package.tar"])
    before = {path.name: path.read_text() for path in ours.iterdir()}
    fetching = pulling(registry, two)
    fetching.artifacts([PACKED])

    with pytest.raises(RegistryError, match=f"the record of an artifact {message}"):
        fetching.fetch_artifact(PACKED, files_of(names), ours)

    assert {path.name: path.read_text() for path in ours.iterdir()} == before
    assert two.artifact(names["a.package.tar"]) == known
    assert two.artifact(ELSEWHERE) is None


def test_records_of_a_store_that_say_no_place_count_all_the_same() -> None:
    record = ArtifactRecord(key=PACKED, sha256="0" * 64, size=1, unverified="x")
    value = artifact_to_json(record)

    assert artifact_from_json(value) == record
    assert artifact_from_json({**value, "unverified": True}).unverified == "another machine"
    assert "unverified" not in artifact_to_json(replace(record, unverified=""))


def test_documents_of_an_artifact_may_be_lacking(
    stores: tuple[LocalStore, LocalStore], tmp_path: Path
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    names = artifact(one, tmp_path / "out", a_package_tar="archive")
    pushing(registry, one).push_artifact(PACKED, names, tmp_path / "out")
    document = ArtifactFile(key=ELSEWHERE, package="a", optional=True)
    fetching = pulling(registry, two)
    fetching.artifacts([PACKED])

    fetching.fetch_artifact(PACKED, {**files_of(names), "a.cdx.json": document}, tmp_path / "in")

    assert (tmp_path / "in" / "a.package.tar").read_text() == "archive"


def test_documents_of_another_archive_do_not_stay_beside_one_that_has_none(
    stores: tuple[LocalStore, LocalStore], tmp_path: Path
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    names = artifact(one, tmp_path / "out", a_package_tar="archive")
    sealing = Sealing(seal=seal, check=check)
    pushing(registry, one, sealing).push_artifact(PACKED, names, tmp_path / "out")
    document = ArtifactFile(key=ELSEWHERE, package="a", optional=True)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.cdx.json").write_text("what a stranger says")
    fetching = pulling(registry, two, sealing)
    fetching.artifacts([PACKED])

    fetching.fetch_artifact(PACKED, {**files_of(names), "a.cdx.json": document}, tmp_path / "in")

    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a.package.tar"]


def test_what_was_fetched_unverified_is_marked_until_it_is_fetched_verified(
    stores: tuple[LocalStore, LocalStore], tmp_path: Path
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    names = artifact(one, tmp_path / "out", a_package_tar="x", a_metadata_yaml="y", b_x="z")
    sealing = Sealing(seal=seal, check=check)
    pushing(registry, one, sealing).push_artifact(PACKED, names, tmp_path / "out")
    doubting, trusting = pulling(registry, two), pulling(registry, two, sealing)
    for fetching in (doubting, trusting):
        fetching.artifacts([PACKED])

    doubting.fetch_artifact(PACKED, files_of(names), tmp_path / "in")

    assert json.loads((tmp_path / "in" / "a.unverified").read_text()) == {
        "from": "registry.test/cache",
        "files": {"a.package.tar": hash_of("x"), "a.metadata.yaml": hash_of("y")},
    }
    assert [marked_source(tmp_path / "in", name) for name in "ab"] == ["registry.test/cache"] * 2
    trusting.fetch_artifact(PACKED, files_of(names), tmp_path / "in")
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == sorted(names)


def test_a_mark_is_there_before_what_it_is_about(
    stores: tuple[LocalStore, LocalStore], tmp_path: Path
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    names = artifact(one, tmp_path / "out", a_package_tar="archive")
    pushing(registry, one).push_artifact(PACKED, names, tmp_path / "out")
    seen: list[str] = []

    class Watched(MemoryRegistry):
        def fetch_blob(
            self,
            repository: Reference,
            blob: Descriptor,
            target: Path,
            progress: Callable[[int], None] | None = None,
        ) -> None:
            seen.extend(path.name for path in target.parent.iterdir())
            registry.fetch_blob(repository, blob, target, progress)

        def manifest(self, reference: Reference) -> Manifest:
            return registry.manifest(reference)

    fetching = pulling(Watched(), two)
    fetching.artifacts([PACKED])

    fetching.fetch_artifact(PACKED, files_of(names), tmp_path / "in")

    assert seen == ["a.unverified"]


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/b", "..", ""])
def test_an_artifact_cannot_name_a_file_outside_of_the_destination(
    stores: tuple[LocalStore, LocalStore], tmp_path: Path, name: str
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    names = artifact(one, tmp_path / "out", a_package_tar="archive")
    (key,) = names.values()
    cache = pushing(registry, one)
    rows = [{"name": name, "key": key, "sha256": hash_of("archive"), "size": 7}]
    cache.push_artifact(PACKED, names, tmp_path / "out")
    blobs = json.loads(registry.manifest(replace(PLACE, tag=PACKED)).data)["layers"]
    media = "application/vnd.cos-toolkit.artifact.v1+json"
    cache._put(PACKED, media, {"key": PACKED, "files": rows}, [])
    place = replace(PLACE, tag=PACKED)
    value = {**json.loads(registry.manifest(place).data), "layers": blobs}
    registry.put_manifest(place, canonical_json(value), MANIFEST)
    fetching = pulling(registry, two)
    fetching.artifacts([PACKED])

    with pytest.raises(RegistryError, match="cannot be the name of an artifact's file"):
        fetching.fetch_artifact(PACKED, files_of(names), tmp_path / "in")


def test_a_base_image_is_known_by_its_digest_in_the_registry(
    stores: tuple[LocalStore, LocalStore],
) -> None:
    registry, (one, two) = MemoryRegistry(), stores
    source = Digest("sha256:" + "9" * 64)
    image = Image(
        name="docker.io/library/debian:trixie", digest=Digest("sha256:" + "8" * 64),
        layers=(layer(one, "base"),), env=(("PATH", "/bin"),), platform=Platform("linux", "amd64"),
        source=source,
    )  # fmt: skip

    pushing(registry, one).push_image(image)
    found = pulling(registry, two).image(source, "debian:trixie")

    assert found is not None
    assert found.content == image.content
    assert pulling(registry, two).image(Digest("sha256:" + "6" * 64), "debian:trixie") is None


def test_signatures_stand_in_an_annotation(stores: tuple[LocalStore, LocalStore]) -> None:
    registry, (one, _) = MemoryRegistry(), stores

    pushing(registry, one, Sealing(seal=seal)).push_node(node(one))

    value = json.loads(registry.manifest(replace(PLACE, tag=KEY)).data)
    assert value["annotations"][SIGNATURE].startswith("sealed ")


class Dead(MemoryRegistry):
    """A registry that does not answer."""

    def manifest(self, reference: Reference) -> Manifest:
        self.requests["manifest"] += 1
        raise RegistryError(f"{reference}: no route to host")


def test_a_repository_that_does_not_answer_is_done_without_and_told_once(
    stores: tuple[LocalStore, LocalStore],
) -> None:
    told: list[Event] = []
    cache = RemoteCache(Dead(), stores[0], Places(sources=(PLACE,)), report=told.append)

    assert cache.nodes([KEY]) == frozenset()
    assert cache.nodes([LayerKey("3" * 64)]) == frozenset()

    assert told == [
        Noted(
            f"layers are not taken from registry.test/cache: registry.test/cache:{KEY}: "
            "no route to host",
            warning=True,
        )
    ]
