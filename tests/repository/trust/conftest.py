"""What tests of signed repositories share."""

from pathlib import Path

import pytest

from tests.repository.trust.lab import Attacker, Client, Owner


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    """Somebody who has published once."""
    (tmp_path / "repository").mkdir()
    made = Owner(tmp_path / "repository")
    made.publish()
    return made


@pytest.fixture
def client(tmp_path: Path, owner: Owner) -> Client:
    """A machine that has not asked yet."""
    return Client(tmp_path / "client", owner)


@pytest.fixture
def attacker(owner: Owner) -> Attacker:
    """Somebody who can write to the repository."""
    return Attacker(owner.folder)
