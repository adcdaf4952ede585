"""Whether a repository is signed already, whatever somebody left in place of signed metadata."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from compiler.cli.signed import is_signed
from compiler.oci import MANIFEST, Platform, Reference, canonical_json
from compiler.registry.memory import MemoryRegistry
from compiler.repository.trust import tag
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.places import RegistryPlace
from compiler.repository.trust.publisher import Contents, start
from compiler.repository.trust.root import first_root, make_policy, sign_root
from compiler.signing.keys import generate

TARGET = Reference("registry.test", "team/repo")
KEY = generate()
NOW = datetime.now(UTC)
ROOT = sign_root(first_root(make_policy([KEY.public], [KEY.public]), NOW), [KEY])


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def place(registry: MemoryRegistry, tmp_path: Path) -> RegistryPlace:
    return RegistryPlace(registry, TARGET, Platform("linux", "amd64"), tmp_path)


def spoil(registry: MemoryRegistry) -> None:
    """Leave something under the tag of the timestamp, as anybody can who may push."""
    at = Reference(TARGET.registry, TARGET.repository, tag("timestamp.json"))
    registry.put_manifest(at, canonical_json({"schemaVersion": 2, "layers": []}), MANIFEST)


def test_nothing_is_signed_where_nothing_is(place: RegistryPlace) -> None:
    assert not is_signed(place, ROOT)


def test_what_is_signed_under_any_root_is(place: RegistryPlace) -> None:
    place.write(start(ROOT, Contents(index={}), Signing((KEY,), NOW)))
    other = generate()
    another = first_root(make_policy([other.public], [other.public]), NOW)

    assert is_signed(place, ROOT)
    assert is_signed(place, sign_root(another, [other]))


def test_what_somebody_left_there_is_not_signed(
    registry: MemoryRegistry, place: RegistryPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(registry)

    assert not is_signed(place, ROOT)
    assert "warning: what lies there in place of signed metadata: " in capsys.readouterr().err


def test_what_is_signed_is_so_though_its_timestamp_is_spoiled(
    registry: MemoryRegistry, place: RegistryPlace
) -> None:
    place.write(start(ROOT, Contents(index={}), Signing((KEY,), NOW)))
    spoil(registry)

    assert is_signed(place, ROOT)
