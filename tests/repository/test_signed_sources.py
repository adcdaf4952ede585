"""Sources of signed repositories: nothing comes out of them that was not signed."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import ContentError, OutsideError, TooLongError, TrustError
from compiler.events import Event, Noted
from compiler.oci import Platform
from compiler.publish.state import tagged
from compiler.registry.memory import MemoryRegistry
from compiler.repository.cache import Cache
from compiler.repository.configured import RepositoryConfig
from compiler.repository.disk import RepositoryOptions, create_repository, read_repository
from compiler.repository.sources.disk import DiskSource
from compiler.repository.sources.opening import Opening
from compiler.repository.sync import SyncTools, sync
from compiler.repository.synced import Shelf
from compiler.repository.trust import target_of_image
from compiler.repository.trust.client import TrustedRepository
from compiler.repository.trust.contents import freeze, of_folder
from compiler.repository.trust.kept import state_folder
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.places import FolderPlace, RegistryPlace, fetch_from
from compiler.repository.trust.published import read_published
from compiler.repository.trust.publisher import (
    Contents,
    differences,
    sign_contents,
    start,
)
from compiler.repository.trust.root import first_root, make_policy, sign_root
from compiler.repository.trust.sources import SignedFiles, signed_source
from compiler.signing.keys import generate
from tests.publish.shop import AMD64, NOW, TARGET, Shop

ROOT, ONLINE = generate(), generate()
SIGNING = Signing((ONLINE,), datetime.now(UTC))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.build("a")
    return made


@pytest.fixture
def root() -> bytes:
    policy = make_policy([ROOT.public], [ONLINE.public])
    return sign_root(first_root(policy, SIGNING.now), [ROOT])


def opening(registry: MemoryRegistry) -> Opening:
    return Opening(registry=lambda _config: registry, platform=Platform("linux", "amd64"))


@pytest.fixture
def folder(shop: Shop, root: bytes) -> Path:
    """A repository in a folder, signed."""
    options = RepositoryOptions(now=NOW)
    place = shop.artifacts
    packages = shop.packages.values()
    create_repository(packages, [shop.tree], artifacts=place, output=place, options=options)
    FolderPlace(place).write(start(root, of_folder(place), SIGNING))
    return place


@pytest.fixture
def registry(shop: Shop, root: bytes, tmp_path: Path) -> MemoryRegistry:
    """A repository in a registry, signed."""
    registry = MemoryRegistry()
    shop.publish(registry)
    tags = {}
    for tag in registry.tags(TARGET):
        found = registry.head(tagged(TARGET, tag))
        assert found is not None
        tags[tag] = target_of_image(found)
    (tmp_path / "signing").mkdir()
    place = RegistryPlace(registry, TARGET, AMD64, tmp_path / "signing")
    place.write(start(root, Contents(index=tags), SIGNING))
    return registry


def test_what_a_folder_holds_as_it_was_signed_comes_out(
    folder: Path, root: bytes, tmp_path: Path
) -> None:
    config = RepositoryConfig(name="main", type="disk", urls=(str(folder),))
    source, _ = signed_source(config, opening(MemoryRegistry()), tmp_path / "state", root)
    (artifact,) = read_repository(folder).index.artifacts

    source.bring("repository.yaml", tmp_path / "page", 1 << 20)

    assert (tmp_path / "page").read_bytes() == (folder / "repository.yaml").read_bytes()
    (archive,) = source.fetch(artifact, Cache(tmp_path / "cache"))
    assert archive.read_bytes() == (folder / artifact.archive).read_bytes()


@pytest.fixture
def newer(folder: Path, shop: Shop, root: bytes, tmp_path: Path) -> tuple[Path, Path]:
    """A mirror that has stayed behind, and the repository with one more package."""
    stale = tmp_path / "stale"
    shutil.copytree(folder, stale)
    shop.build("b")
    options = RepositoryOptions(now=NOW)
    packages = shop.packages.values()
    create_repository(packages, [shop.tree], artifacts=folder, output=folder, options=options)
    published = read_published(FolderPlace(folder).read, root)
    assert published is not None
    contents = freeze(folder)
    changed = differences(published, contents.artifacts)
    signed = sign_contents(published, replace(contents, artifacts=changed), SIGNING)
    FolderPlace(folder).write(signed)
    return stale, folder


def test_a_mirror_that_stayed_behind_is_told_and_the_next_is_asked(
    newer: tuple[Path, Path], root: bytes, tmp_path: Path
) -> None:
    stale, fresh = newer
    told: list[Event] = []
    tools = SyncTools(shelf=Shelf(tmp_path / "shelf", lambda _: ""), report=told.append, force=True)
    artifacts = read_repository(fresh).index.artifacts

    def visit(*addresses: Path) -> set[str]:
        urls = tuple(str(each) for each in addresses)
        config = RepositoryConfig(name="main", type="disk", urls=urls)
        opened = replace(opening(MemoryRegistry()), report=told.append)
        source, trust = signed_source(config, opened, tmp_path / "state", root)
        known = sync(config, source, tools, trust)
        for each in artifacts:
            source.fetch(each, Cache(tmp_path / f"cache{len(told)}"))
        return {each.name for each in known.packages}

    visit(fresh)
    told.clear()

    assert visit(stale, fresh) == {"a", "b"}
    assert [each for each in told if isinstance(each, Noted) and each.warning] == [
        Noted(
            f"main: {stale}: timestamp.json is older than what was seen before, or names older"
            f" files (somebody may be showing an old state); {fresh} is asked instead",
            warning=True,
        )
    ]


def test_what_every_mirror_has_wrong_is_told(
    newer: tuple[Path, Path], root: bytes, tmp_path: Path
) -> None:
    stale, fresh = newer
    state = state_folder(tmp_path / "state")
    sources = [DiskSource(tmp_path / "nowhere"), DiskSource(stale)]
    fetches = [(each.address, fetch_from(each, state)) for each in sources]
    TrustedRepository(root, state, fetch_from(DiskSource(fresh), state), name="main").refresh()
    old = "is older than what was seen before, or names older files"

    with pytest.raises(TrustError) as caught:
        TrustedRepository(root, state, fetches, name="main").refresh()

    assert str(caught.value) == (
        f"main: {stale}: timestamp.json {old}; then: {tmp_path}/nowhere: there is no such folder"
        " (somebody may be showing an old state; is the disk that has it mounted?)"
    )


def test_what_was_seen_counts_where_no_mirror_answers(
    folder: Path, root: bytes, tmp_path: Path
) -> None:
    state = state_folder(tmp_path / "state")
    TrustedRepository(root, state, fetch_from(DiskSource(folder), state), name="main").refresh()
    nowhere = [DiskSource(tmp_path / name) for name in ("one", "two")]
    fetches = [(each.address, fetch_from(each, state)) for each in nowhere]
    trusted = TrustedRepository(root, state, fetches, name="main")

    with pytest.raises(OutsideError, match=r"/one: there is no such folder; then: .*/two: "):
        trusted.refresh()

    assert trusted.target("repository.yaml") is not None


def _change(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize("change", [_change, lambda path: path.write_bytes(b"")])
def test_a_page_that_was_changed_in_a_folder_does_not_come_out(
    folder: Path, root: bytes, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    config = RepositoryConfig(name="main", type="disk", urls=(str(folder),))
    source, _ = signed_source(config, opening(MemoryRegistry()), tmp_path / "state", root)
    change(folder / "repository.yaml")

    with pytest.raises(TrustError, match=r"repository\.yaml is not what was signed"):
        source.bring("repository.yaml", tmp_path / "page", 1 << 20)

    assert not (tmp_path / "page").exists()


class _Endless:
    """Answers with as many bytes as are taken, for all but what TUF signs by itself."""

    address = "endless"

    def __init__(self, folder: Path) -> None:
        self._honest = DiskSource(folder)
        self.sent: list[int] = []

    def bring(self, name: str, target: Path, limit: int) -> None:
        """Send a file."""
        if name.startswith("trust/"):
            self._honest.bring(name, target, limit)
            return
        self.sent.append(limit)
        raise TooLongError(f"{name}: the server sends more than {limit} bytes")

    def fetch(self, artifact: ArtifactMetadata, _cache: Cache, limit: int = 0) -> tuple[Path, ...]:
        """Send an archive."""
        self.bring(artifact.archive, Path(), limit)
        return ()


def test_of_a_file_without_end_no_more_is_read_than_was_signed(
    folder: Path, root: bytes, tmp_path: Path
) -> None:
    endless = _Endless(folder)
    state = state_folder(tmp_path / "state")
    trusted = TrustedRepository(root, state, fetch_from(endless, state), name="main")
    source = SignedFiles(endless, trusted)
    (artifact,) = read_repository(folder).index.artifacts
    names = ("tree.tar.gz", artifact.archive)
    lengths = [(folder / name).stat().st_size for name in names]

    with pytest.raises(ContentError) as page:
        source.bring("tree.tar.gz", tmp_path / "page", 1 << 30)
    with pytest.raises(ContentError) as archive:
        source.fetch(artifact, Cache(tmp_path / "cache"))
    with pytest.raises(TooLongError):
        source.bring("tree.tar.gz", tmp_path / "page", 3)

    assert endless.sent == [*lengths, 3]
    for caught, name, length in zip((page, archive), names, lengths, strict=True):
        assert str(caught.value).startswith(
            f"main: {name} is not what was signed: more than {length} bytes ("
        )


def test_an_archive_that_the_index_describes_otherwise_does_not_come_out(
    folder: Path, root: bytes, tmp_path: Path
) -> None:
    config = RepositoryConfig(name="main", type="disk", urls=(str(folder),))
    source, _ = signed_source(config, opening(MemoryRegistry()), tmp_path / "state", root)
    (artifact,) = read_repository(folder).index.artifacts

    with pytest.raises(TrustError) as caught:
        source.fetch(replace(artifact, sha256="0" * 64), Cache(tmp_path / "cache"))

    assert str(caught.value) == (
        f"{folder}: {artifact.archive} is not what was signed"
        " (`cos repo update` fetches the newest index)"
    )


def test_a_folder_that_is_published_anew_shows_what_was_signed_until_it_is_signed_again(
    shop: Shop, root: bytes, tmp_path: Path
) -> None:
    place, options = shop.artifacts, RepositoryOptions(now=NOW)
    create_repository(
        shop.packages.values(), [shop.tree], artifacts=place, output=place, options=options
    )
    FolderPlace(place).write(start(root, freeze(place), SIGNING))
    shop.build("b")
    create_repository(
        shop.packages.values(), [shop.tree], artifacts=place, output=place, options=options
    )
    config = RepositoryConfig(name="main", type="disk", urls=(str(place),))
    source, trusted = signed_source(config, opening(MemoryRegistry()), tmp_path / "state", root)
    tools = SyncTools(shelf=Shelf(tmp_path / "shelf"), pause=lambda _seconds: None)

    before = sync(config, source, tools, trusted).packages
    published = read_published(FolderPlace(place).read, root)
    assert published is not None
    contents = freeze(place)
    changed = differences(published, contents.artifacts)
    FolderPlace(place).write(
        sign_contents(published, replace(contents, artifacts=changed), SIGNING)
    )
    after = sync(config, source, tools, trusted).packages

    assert sorted(map(str, before)) == ["t/a-1"]
    assert sorted(map(str, after)) == ["t/a-1", "t/b-1"]


def test_what_a_registry_holds_as_it_was_signed_comes_out(
    registry: MemoryRegistry, shop: Shop, root: bytes, tmp_path: Path
) -> None:
    config = RepositoryConfig(name="main", type="docker", urls=(str(TARGET),))
    source, _ = signed_source(config, opening(registry), tmp_path / "state", root)

    source.bring("a-t-1.metadata.yaml", tmp_path / "page", 1 << 20)

    expected = (shop.artifacts / "a-t-1.metadata.yaml").read_bytes()
    assert (tmp_path / "page").read_bytes() == expected


def test_a_tag_that_was_moved_in_a_registry_leads_nobody_astray(
    registry: MemoryRegistry, shop: Shop, root: bytes, tmp_path: Path
) -> None:
    config = RepositoryConfig(name="main", type="docker", urls=(str(TARGET),))
    source, _ = signed_source(config, opening(registry), tmp_path / "state", root)
    other = registry.manifest(tagged(TARGET, "tree.tar.gz"))
    moved = tagged(TARGET, "a-t-1.metadata.yaml")
    registry.put_manifest(moved, other.data, other.descriptor.media_type)

    source.bring("a-t-1.metadata.yaml", tmp_path / "page", 1 << 20)

    expected = (shop.artifacts / "a-t-1.metadata.yaml").read_bytes()
    assert (tmp_path / "page").read_bytes() == expected


def test_a_tag_that_nobody_signed_gives_nothing(
    registry: MemoryRegistry, root: bytes, tmp_path: Path
) -> None:
    config = RepositoryConfig(name="main", type="docker", urls=(str(TARGET),))
    source, _ = signed_source(config, opening(registry), tmp_path / "state", root)
    other = registry.manifest(tagged(TARGET, "tree.tar.gz"))
    registry.put_manifest(tagged(TARGET, "new"), other.data, other.descriptor.media_type)

    with pytest.raises(TrustError, match="main: new is not signed"):
        source.bring("new", tmp_path / "page", 1 << 20)


def test_a_repository_that_is_not_signed_at_all_gives_nothing(
    shop: Shop, root: bytes, tmp_path: Path
) -> None:
    registry = MemoryRegistry()
    shop.publish(registry)
    config = RepositoryConfig(name="main", type="docker", urls=(str(TARGET),))
    source, trusted = signed_source(config, opening(registry), tmp_path / "state", root)

    with pytest.raises(TrustError):
        trusted.refresh()
    with pytest.raises(TrustError):
        source.bring("repository.yaml", tmp_path / "page", 1 << 20)
