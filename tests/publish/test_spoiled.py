"""What somebody who may push, and has no key, spoils: it keeps no owner from publishing."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.errors import RegistryError, TrustError
from compiler.events import Event, Noted
from compiler.oci import INDEX, MANIFEST
from compiler.publish.state import tagged
from compiler.registry.memory import MemoryRegistry
from compiler.repository.trust import Target, role_of, tag, target_of_bytes
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.places import RegistryPlace
from compiler.repository.trust.published import Published, read_published
from compiler.repository.trust.publisher import Contents, refresh, rotate, sign_contents
from compiler.repository.trust.root import RolePolicy, next_root, sign_root
from compiler.repository.trust.writing import Make, Writer
from compiler.signing.keys import generate
from tests.publish.shop import AMD64, NOW, TARGET, Shop
from tests.publish.test_trusted import (
    BEGUN,
    ONLINE,
    ROOT,
    ROOT_FILE,
    Reader,
    publish,
)

SIGNING = Signing((ONLINE,), BEGUN, floor=2 * 10**15)


def place(registry: MemoryRegistry, folder: Path) -> RegistryPlace:
    """Open the place of the signed metadata."""
    return RegistryPlace(registry, TARGET, AMD64, folder)


def image(registry: MemoryRegistry, name: str) -> None:
    """Let a tag name an image that is something else."""
    data = registry.manifest(tagged(TARGET, "a-t-1.metadata.yaml")).data
    registry.put_manifest(tagged(TARGET, name), data, MANIFEST)


def nothing(registry: MemoryRegistry, name: str) -> None:
    """Let a tag name what is no image."""
    registry.put_manifest(tagged(TARGET, name), b'{"schemaVersion":2,"layers":[]}', MANIFEST)


def gone(registry: MemoryRegistry, name: str) -> None:
    """Delete what a tag names."""
    registry.delete(tagged(TARGET, name))


def empty(registry: MemoryRegistry, name: str) -> None:
    """Let a tag name an index of no images: whoever follows it finds nothing."""
    data = (
        b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    )
    registry.put_manifest(tagged(TARGET, name), data, INDEX)


def newest(registry: MemoryRegistry) -> str:
    """Name the tag of the newest snapshot."""
    return max(each for each in registry.tags(TARGET) if each.endswith(".snapshot.json"))


Spoil = Callable[[MemoryRegistry, str], None]


def read(there: RegistryPlace, root: bytes = ROOT_FILE) -> Published:
    """Read what is signed, which has to be the newest."""
    found = read_published(there.read, root, there.names())
    assert found is not None
    found.check_newest()
    return found


def writer(there: RegistryPlace) -> Writer:
    """Sign what is there, as commands do."""
    return Writer(
        place=there,
        read=lambda: read(there),
        signing=SIGNING,
        floor=lambda: time.time_ns() // 1000,
        name="repo",
    )


def said_by(shop: Shop, registry: MemoryRegistry, *names: str, older: bool = False) -> list[str]:
    """Publish; returns what is warned of."""
    said: list[Event] = []
    publish(
        shop, registry, shop.options(now=NOW + 60), names=names, older=older, report=said.append
    )
    return [each.message for each in said if isinstance(each, Noted) and each.warning]


@pytest.mark.parametrize("spoil", [image, nothing, gone])
def test_where_the_timestamp_is_spoiled_a_publication_goes_on_from_the_newest_state(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path, spoil: Spoil
) -> None:
    publish(shop, registry, names=["a-1"])
    client = Reader(registry, tmp_path / "client")
    client.packages()
    spoil(registry, tag("timestamp.json"))

    (warning,) = said_by(shop, registry, "b-1")

    assert client.packages() == ["t/a-1", "t/b-1"]
    assert "counts instead, the newest state that is whole and signed" in warning


@pytest.mark.parametrize("spoil", [image, nothing, gone])
def test_it_can_be_signed_again_with_the_key_of_the_timestamp_alone(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path, spoil: Spoil
) -> None:
    publish(shop, registry)
    spoil(registry, tag("timestamp.json"))
    there = place(registry, tmp_path)
    published = read_published(there.read, ROOT_FILE, there.names())
    assert published is not None

    there.write(refresh(published, SIGNING))

    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1", "t/b-1"]


ROLES = ("snapshot", "targets", "bin-")


def spoil_role(registry: MemoryRegistry, role: str, spoil: Spoil) -> None:
    """Spoil all tags of files of a role, whatever their version."""
    for name in registry.tags(TARGET):
        if role_of(name.removeprefix(tag(""))).startswith(role):
            spoil(registry, name)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("spoil", [image, nothing, empty])
def test_files_that_signed_files_name_are_read_out_of_their_images_whatever_their_tags_name(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path, spoil: Spoil, role: str
) -> None:
    publish(shop, registry, names=["a-1"])
    spoil_role(registry, role, spoil)

    assert Reader(registry, tmp_path / "before").packages() == ["t/a-1"]
    assert said_by(shop, registry, "b-1") == []
    assert Reader(registry, tmp_path / "after").packages() == ["t/a-1", "t/b-1"]


@pytest.mark.parametrize("role", ROLES)
def test_they_are_signed_again_and_under_another_root_as_well(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path, role: str
) -> None:
    publish(shop, registry)
    root = sign_root(next_root(ROOT_FILE, {}, BEGUN), [ROOT], ROOT_FILE)
    makes: list[Make] = [refresh, lambda published, signing: rotate(published, root, signing)]
    there = place(registry, tmp_path)
    for make in makes:
        spoil_role(registry, role, image)
        writer(there).write(make)

    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1", "t/b-1"]


def test_an_image_that_is_gone_leaves_the_one_of_the_tag(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry, names=["a-1"])
    names = [name for name in registry.tags(TARGET) if name.startswith(tag(""))]
    tags = {name: registry.manifest(tagged(TARGET, name)) for name in names}
    there = place(registry, tmp_path)
    published = read_published(there.read, ROOT_FILE)
    assert published is not None
    for each in published.images.values():
        registry.delete(replace(TARGET, tag="", digest=each))
    for name, known in tags.items():  # the same files, in images that are made in another way
        more = b'"annotations":{"a":"b"},"schemaVersion":2'
        data = known.data.replace(b'"schemaVersion":2', more)
        registry.put_manifest(tagged(TARGET, name), data, MANIFEST)

    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1"]


def test_what_was_signed_before_images_were_named_names_them_with_the_next_publication(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    there = place(registry, tmp_path)
    before = read_published(there.read, ROOT_FILE)
    publish(shop, registry, names=["a-1"])
    after = read_published(there.read, ROOT_FILE)

    assert before is not None
    assert after is not None
    assert before.images == {}
    assert after.images.keys() == {*after.snapshot.meta, "snapshot.json"} - {"root.json"}
    for file, digest in after.images.items():
        version = (
            after.timestamp.snapshot_meta if file == "snapshot.json" else after.snapshot.meta[file]
        ).version
        named = registry.head(tagged(TARGET, tag(f"{version}.{file}")))
        assert named is not None
        assert named.digest == digest


def test_the_key_of_the_timestamp_alone_names_no_images(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    alone, there = generate(), place(registry, tmp_path)
    root = sign_root(
        next_root(ROOT_FILE, {"timestamp": RolePolicy(keys=(alone.public,), days=7)}, BEGUN),
        [ROOT],
        ROOT_FILE,
    )
    published = read_published(there.read, ROOT_FILE)
    assert published is not None
    there.write(rotate(published, root, Signing((ONLINE, alone), BEGUN)))

    files = Writer(
        place=there,
        read=lambda: read(there, root),
        signing=Signing((alone,), BEGUN),
        floor=lambda: 2 * 10**15,
        name="repo",
    ).write(refresh)

    assert list(files) == ["timestamp.json"]


def test_a_state_older_than_one_that_was_spoiled_is_gone_on_from_only_if_that_is_said(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry, names=["a-1"])
    publish(shop, registry, shop.options(now=NOW + 30), names=["b-1"])
    client = Reader(registry, tmp_path / "client")
    client.packages()
    lost, kept = newest(registry), sorted(registry.tags(TARGET))
    image(registry, lost)
    image(registry, tag("timestamp.json"))
    there = place(registry, tmp_path)

    with pytest.raises(TrustError) as caught:
        publish(shop, registry, names=["b-1"])
    with pytest.raises(TrustError):
        writer(there).write(refresh)

    assert f"{lost.removeprefix('trust-')} was made after it" in caught.value.message
    assert "--older-state goes on from that state" in (caught.value.hint or "")
    assert sorted(registry.tags(TARGET)) == kept
    (warning,) = said_by(shop, registry, "b-1", older=True)
    assert "what is missing now is to be published again" in warning
    assert client.packages() == ["t/a-1", "t/b-1"]


@pytest.mark.parametrize("spoil", [image, nothing, empty, None])
def test_an_older_timestamp_that_is_put_back_does_not_make_owners_go_back(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path, spoil: Spoil | None
) -> None:
    publish(shop, registry, names=["a-1"])
    older = registry.manifest(tagged(TARGET, tag("timestamp.json")))
    publish(shop, registry, shop.options(now=NOW + 30), names=["b-1"])
    client, lost = Reader(registry, tmp_path / "client"), newest(registry)
    client.packages()
    if spoil is None:
        registry.delete(tagged(TARGET, lost))
        image(registry, tag("timestamp.json"))
    else:
        spoil(registry, lost)
        registry.put_manifest(tagged(TARGET, tag("timestamp.json")), older.data, MANIFEST)

    with pytest.raises(TrustError, match="was made after it, or made up"):
        writer(place(registry, tmp_path)).write(refresh)
    with pytest.raises(TrustError, match="was made after it, or made up"):
        publish(shop, registry, names=["b-1"])
    said_by(shop, registry, "b-1", older=True)

    assert client.packages() == ["t/a-1", "t/b-1"]
    assert Reader(registry, tmp_path / "new").packages() == ["t/a-1", "t/b-1"]


def test_a_publication_that_is_stopped_before_its_snapshot_needs_no_word(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry, names=["a-1"])
    there = place(registry, tmp_path)
    signing = replace(SIGNING, floor=time.time_ns() // 1000, image_of=there.image_of)
    found: dict[str, Target | None] = {"b-t-1": target_of_bytes(b"1")}
    files = sign_contents(read(there), Contents(index={}, artifacts=found), signing)
    there.write({name: data for name, data in files.items() if "bin" in name})

    assert said_by(shop, registry, "b-1") == []
    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1", "t/b-1"]


def test_a_number_of_a_time_to_come_is_no_state_that_was_lost(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry, names=["a-1"])
    image(registry, tag(f"{time.time_ns() // 1000 + 3600 * 10**6}.snapshot.json"))
    image(registry, tag("timestamp.json"))

    (warning,) = said_by(shop, registry, "b-1")

    assert "nothing is lost" in warning
    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1", "t/b-1"]


def test_a_state_without_its_timestamp_is_the_same_at_each_reading(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry, names=["a-1"])
    image(registry, tag("timestamp.json"))
    there = place(registry, tmp_path)

    first = read_published(there.read, ROOT_FILE, there.names())
    time.sleep(1.1)  # what is made up anew has times in seconds
    second = read_published(there.read, ROOT_FILE, there.names())

    assert first is not None
    assert second is not None
    assert first.timestamp == second.timestamp


def test_where_nothing_that_is_signed_is_left_that_is_said(
    registry: MemoryRegistry, shop: Shop
) -> None:
    publish(shop, registry, names=["a-1"])
    for name in registry.tags(TARGET):
        if name.endswith((".snapshot.json", tag("timestamp.json"))):
            image(registry, name)

    with pytest.raises(RegistryError, match=r"timestamp\.json: does not hold trust-timestamp"):
        publish(shop, registry, names=["b-1"])


@pytest.mark.parametrize("spoil", [image, nothing, empty])
def test_what_lies_in_place_of_the_next_root_is_warned_of_and_written_over(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path, spoil: Spoil
) -> None:
    publish(shop, registry, names=["a-1"])
    spoil(registry, tag("2.root.json"))

    (warning,) = said_by(shop, registry, "b-1")

    assert warning == (
        "registry.test/team/repo: 2.root.json does not follow the root that counts, and machines "
        "refuse the repository until `cos repo rotate` writes the next root in its place"
    )
    there = place(registry, tmp_path)
    published = read_published(there.read, ROOT_FILE, there.names())
    assert published is not None
    root = sign_root(next_root(ROOT_FILE, {}, BEGUN), [ROOT], ROOT_FILE)
    there.write(rotate(published, root, SIGNING))
    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1", "t/b-1"]


@pytest.mark.parametrize("spoil", [image, nothing, empty])
def test_a_root_that_is_hidden_makes_no_machine_believe_keys_that_were_replaced(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path, spoil: Spoil
) -> None:
    publish(shop, registry, names=["a-1"])
    there = place(registry, tmp_path)
    policy = RolePolicy(keys=(generate().public,), days=90)
    change = {"targets": policy, "snapshot": policy, "timestamp": policy}
    registry_root = sign_root(next_root(ROOT_FILE, change, BEGUN), [ROOT], ROOT_FILE)
    there.write({"2.root.json": registry_root})
    spoil(registry, tag("2.root.json"))

    with pytest.raises(RegistryError, match=r"trust-2\.root\.json"):
        Reader(registry, tmp_path / "new").packages()


def test_made_up_snapshots_are_looked_at_only_so_far(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry, names=["a-1"])
    for number in range(500):
        empty(registry, tag(f"{time.time_ns() // 1000 + number}.snapshot.json"))
    registry.forget_counts()

    said_by(shop, registry, "b-1", older=True)

    assert registry.requests["manifest"] < 1000
    assert Reader(registry, tmp_path / "client").packages() == ["t/a-1", "t/b-1"]


def test_an_old_root_is_not_signed_under_where_the_next_one_was_spoiled(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    publish(shop, registry, names=["a-1"])
    there = place(registry, tmp_path)
    published = read_published(there.read, ROOT_FILE, there.names())
    assert published is not None
    root = sign_root(next_root(ROOT_FILE, {}, BEGUN), [ROOT], ROOT_FILE)
    there.write(rotate(published, root, SIGNING))
    image(registry, tag("2.root.json"))

    with pytest.raises(TrustError) as caught:
        publish(shop, registry, names=["b-1"])

    assert str(caught.value) == (
        "registry.test/team/repo: root 2 is the newest, and 2.root.json is not it"
        " (give the newest root file, which `cos "
        "repo rotate` wrote)"
    )
