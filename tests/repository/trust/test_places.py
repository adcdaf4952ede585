"""Where TUF files lie: what is read back, and in which order it becomes visible."""

from pathlib import Path

import pytest

from compiler.errors import OutsideError
from compiler.oci import Descriptor, Platform, Reference
from compiler.registry.memory import MemoryRegistry
from compiler.repository.sources.disk import DiskSource
from compiler.repository.trust import Files, limit_of, place, tag
from compiler.repository.trust.places import FolderPlace, Place, RegistryPlace, fetch_from
from tests.registry.shelf import put_image

TARGET = Reference("registry.test", "team/repo")
FILES: Files = {
    "1.bin-00.json": b"bin",
    "1.targets.json": b"targets",
    "1.snapshot.json": b"snapshot",
    "1.root.json": b"root",
    "timestamp.json": b"timestamp",
}


class Listening(MemoryRegistry):
    """A registry that remembers in which order tags came."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[str] = []

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
        self.came.append(reference.tag)
        return super().put_manifest(reference, data, media_type)


def in_registry(registry: MemoryRegistry, folder: Path) -> RegistryPlace:
    folder.mkdir(exist_ok=True)
    return RegistryPlace(registry, TARGET, Platform("linux", "amd64"), folder)


@pytest.fixture(params=["folder", "registry"])
def somewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place that holds nothing yet."""
    if request.param == "folder":
        return FolderPlace(tmp_path / "repository")
    return in_registry(MemoryRegistry(), tmp_path / "scratch")


def test_what_is_written_is_read_back(somewhere: Place) -> None:
    before = {name: somewhere.read(name) for name in FILES}

    somewhere.write(FILES)

    assert before == dict.fromkeys(FILES)
    assert {name: somewhere.read(name) for name in FILES} == FILES
    assert somewhere.read("2.root.json") is None


def test_a_file_is_replaced_by_the_next_of_its_name(somewhere: Place) -> None:
    somewhere.write(FILES)

    somewhere.write({"timestamp.json": b"later"})

    assert somewhere.read("timestamp.json") == b"later"
    assert somewhere.read("1.root.json") == b"root"


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.root.json"])
def test_a_file_as_large_as_it_may_be_is_read(somewhere: Place, name: str) -> None:
    somewhere.write({name: bytes(limit_of(name))})

    assert somewhere.read(name) == bytes(limit_of(name))


def test_a_file_that_is_too_large_is_not_read_from_a_folder(tmp_path: Path) -> None:
    somewhere = FolderPlace(tmp_path)
    somewhere.write({"timestamp.json": bytes(16_385)})

    with pytest.raises(OutsideError) as caught:
        somewhere.read("timestamp.json")

    assert str(caught.value) == f"{tmp_path}/trust/timestamp.json: is too large"


@pytest.mark.parametrize("number", range(len(FILES)))
def test_a_folder_shows_files_in_their_order_and_none_behind_one_that_fails(
    tmp_path: Path, number: int
) -> None:
    names = list(FILES)
    in_the_way = tmp_path / "trust" / names[number]
    in_the_way.mkdir(parents=True)

    with pytest.raises(OutsideError) as caught:
        FolderPlace(tmp_path).write(FILES)

    assert "cannot be written: Is a directory" in caught.value.message
    shown = {path.name for path in in_the_way.parent.iterdir() if path.is_file()}
    assert shown == set(names[:number])


def test_a_registry_shows_the_root_and_then_the_timestamp_last(tmp_path: Path) -> None:
    registry = Listening()

    in_registry(registry, tmp_path / "scratch").write(FILES)

    assert registry.came[-2:] == [tag("1.root.json"), tag("timestamp.json")]
    assert sorted(registry.came) == sorted(tag(name) for name in FILES)


def test_a_registry_is_sent_the_same_images_for_the_same_files(tmp_path: Path) -> None:
    one, two = MemoryRegistry(), MemoryRegistry()
    for registry, name in ((one, "a"), (two, "b")):
        in_registry(registry, tmp_path / name).write(FILES)

    for name in FILES:
        where = Reference(TARGET.registry, TARGET.repository, tag(name))
        assert one.head(where) == two.head(where) is not None


def test_nothing_is_left_in_the_folder_for_what_is_being_made(tmp_path: Path) -> None:
    somewhere = in_registry(MemoryRegistry(), tmp_path / "scratch")

    somewhere.write(FILES)
    somewhere.read("timestamp.json")

    assert list((tmp_path / "scratch").iterdir()) == []


def test_versions_that_nobody_needs_are_removed_from_a_folder(tmp_path: Path) -> None:
    somewhere = FolderPlace(tmp_path)
    for version in range(1, 7):
        somewhere.write(
            {f"{version}.{role}.json": b"{}" for role in ("bin-00", "targets", "snapshot", "root")}
        )

    left = sorted(path.name for path in (tmp_path / "trust").iterdir())

    roots = [f"{version}.root.json" for version in range(1, 7)]
    others = [f"{n}.{role}.json" for n in (4, 5, 6) for role in ("bin-00", "targets", "snapshot")]
    assert left == sorted(roots + others)


def test_numbers_that_somebody_made_up_remove_nothing_good(tmp_path: Path) -> None:
    somewhere = FolderPlace(tmp_path)
    somewhere.write({f"{number}.snapshot.json": b"{}" for number in (7, 8, 9, 10)})

    somewhere.write({"1.snapshot.json": b"good", "1.bin-00.json": b"good"})
    somewhere.write({"2.snapshot.json": b"good"})

    assert somewhere.read("1.snapshot.json") == somewhere.read("2.snapshot.json") == b"good"
    assert somewhere.read("1.bin-00.json") == b"good"


def test_what_killed_publishers_left_is_removed_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust/.timestamp.json.0.part").write_bytes(b"{")

    FolderPlace(tmp_path).write(FILES)

    assert {path.name for path in (tmp_path / "trust").iterdir()} == set(FILES)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "trust").write_bytes(b"")

    with pytest.raises(OutsideError) as caught:
        FolderPlace(tmp_path).write(FILES)
    with pytest.raises(OutsideError) as caught_reading:
        FolderPlace(tmp_path).read("timestamp.json")

    assert str(caught.value) == f"{tmp_path}/trust: cannot be written: File exists"
    assert str(caught_reading.value) == (
        f"{tmp_path}/trust/timestamp.json: cannot be read: Not a directory"
    )


def test_a_source_gives_files_up_to_a_limit(tmp_path: Path) -> None:
    FolderPlace(tmp_path).write(FILES)
    fetch = fetch_from(DiskSource(tmp_path), tmp_path)

    assert b"".join(fetch("timestamp.json", 9)) == b"timestamp"
    with pytest.raises(OutsideError) as caught:
        fetch("timestamp.json", 8)

    assert str(caught.value) == f"{tmp_path}/{place('timestamp.json')}: is larger than 8 bytes"
    assert {path.name for path in tmp_path.iterdir()} == {"trust"}


def test_a_folder_without_signatures_is_told_with_what_was_looked_for(tmp_path: Path) -> None:
    told = FolderPlace(tmp_path).unsigned()

    assert str(told) == (
        f"{tmp_path}: is not signed: there is no {tmp_path}/trust/timestamp.json"
        " (`cos repo init-trust` begins to sign it)"
    )


def test_a_folder_that_lost_its_timestamp_is_told_so(tmp_path: Path) -> None:
    FolderPlace(tmp_path).write({"1.root.json": b"root"})

    assert str(FolderPlace(tmp_path).unsigned()) == (
        f"{tmp_path}: its signed metadata has lost its timestamp, {tmp_path}/trust/timestamp.json"
        " (bring it back from a copy; else `cos repo rotate --restart` begins anew with other keys)"
    )


def test_a_registry_that_does_not_know_a_repository_is_told_apart_from_an_unsigned_one(
    tmp_path: Path,
) -> None:
    registry = MemoryRegistry()
    somewhere = in_registry(registry, tmp_path / "scratch")

    mistyped = somewhere.unsigned()
    put_image(registry, Reference("registry.test", "team/repo"), "repository.yaml", b"page")
    unsigned = somewhere.unsigned()
    somewhere.write({"1.root.json": b"root"})
    lost = somewhere.unsigned()

    assert str(mistyped) == (
        "registry.test/team/repo: is not signed: the registry has nothing of this name"
        " (is the name right? `cos repo init-trust` begins to sign it)"
    )
    assert str(unsigned) == (
        "registry.test/team/repo: is not signed: it has no tag trust-timestamp.json"
        " (`cos repo init-trust` begins to sign it)"
    )
    assert str(lost) == (
        "registry.test/team/repo: its signed metadata has lost its timestamp, the tag"
        " trust-timestamp.json (bring it back from a copy; else `cos repo rotate --restart`"
        " begins anew with other keys)"
    )
