"""Files of signed repositories: nothing is left where they should come that was not compared."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import CompilerError, ContentError, OutsideError, TrustError
from compiler.oci import Platform
from compiler.registry.memory import MemoryRegistry
from compiler.repository.cache import Cache
from compiler.repository.configured import RepositoryConfig
from compiler.repository.sources import Source
from compiler.repository.sources.opening import Opening
from compiler.repository.trust import target_of_bytes
from compiler.repository.trust.sources import signed_source
from compiler.spec.package import Definition
from tests.repository.trust.lab import Attacker, Owner


@pytest.fixture
def repository(tmp_path: Path) -> Owner:
    """A repository that is signed now."""
    now = datetime.now(UTC)
    folder = tmp_path / "repository"
    folder.mkdir()
    owner = Owner(folder, now=now)
    owner.publish(now=now)
    for name in ("a.tar", "b.tar", "c.tar", "repository.yaml"):
        (folder / name).write_bytes(b"1")
    return owner


@pytest.fixture
def source(repository: Owner, tmp_path: Path) -> Source:
    """What a client reads from."""
    return opened(repository, tmp_path)


def opened(repository: Owner, tmp_path: Path) -> Source:
    """Open a repository, as a new process."""
    config = RepositoryConfig(name="main", type="disk", urls=(str(repository.folder),))
    opening = Opening(registry=lambda _: MemoryRegistry(), platform=Platform("linux", "amd64"))
    return signed_source(config, opening, tmp_path / "client", repository.first)[0]


def failure(source: Source, name: str, target: Path) -> CompilerError:
    with pytest.raises(CompilerError) as caught:
        source.bring(name, target, 100)
    assert not target.exists()
    return caught.value


def test_what_was_signed_comes(source: Source, tmp_path: Path) -> None:
    source.bring("a.tar", tmp_path / "file", 100)

    assert (tmp_path / "file").read_bytes() == b"1"


def test_what_is_in_the_cache_needs_no_answer(
    source: Source, repository: Owner, tmp_path: Path
) -> None:
    definition = Definition(name="a", category="t", version="1")
    sha256 = target_of_bytes(b"1").sha256
    artifact = ArtifactMetadata(
        runtime=definition, built=definition, archive="a.tar", sha256=sha256, compression="none"
    )
    cache = Cache(tmp_path / "cache")
    (before,) = source.fetch(artifact, cache)
    repository.folder.rename(tmp_path / "away")

    (after,) = opened(repository, tmp_path).fetch(artifact, cache)

    assert before == after
    assert after.read_bytes() == b"1"


def test_what_was_changed_does_not_stay(source: Source, repository: Owner, tmp_path: Path) -> None:
    (repository.folder / "a.tar").write_bytes(b"2")

    assert isinstance(failure(source, "a.tar", tmp_path / "file"), ContentError)


def test_what_was_not_signed_does_not_stay(source: Source, tmp_path: Path) -> None:
    found = failure(source, "c.tar", tmp_path / "file")

    assert isinstance(found, TrustError)
    assert str(found) == (
        "main: c.tar is not signed (only what its publishers have signed is used; `cos repo"
        " update` asks for the newest index)"
    )


def test_what_cannot_be_compared_does_not_stay(
    source: Source, repository: Owner, tmp_path: Path
) -> None:
    source.bring("repository.yaml", tmp_path / "page", 100)
    attacker = Attacker(repository.folder)
    attacker.newest("bin-00").write_bytes(bytes(6_000_000))

    found = failure(source, "a.tar", tmp_path / "file")

    assert isinstance(found, OutsideError)
    assert str(found).endswith("/trust/1.bin-00.json: is larger than 5000000 bytes")
