"""Signing while others sign: whoever was first is not undone, and no client goes back."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.errors import RegistryError
from compiler.oci import MANIFEST, Platform, Reference
from compiler.publish.state import tagged
from compiler.repository.sources.registry import RegistrySource
from compiler.repository.trust import Files, Target, tag, target_of_bytes
from compiler.repository.trust.client import TrustedRepository
from compiler.repository.trust.kept import state_folder
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.places import RegistryPlace, fetch_from
from compiler.repository.trust.published import Published, read_published
from compiler.repository.trust.publisher import (
    Contents,
    refresh,
    remaining,
    rotate,
    sign_contents,
    sign_remaining,
    start,
)
from compiler.repository.trust.root import first_root, next_root, sign_root
from compiler.repository.trust.writing import Make, Writer
from tests.publish.registries import Interrupting
from tests.repository.trust.lab import HELD, NOW, keys, policy

TARGET = Reference("registry.test", "team/repo")
HOST = Platform("linux", "amd64")
POLICY = {role: policy(role, role) for role in ("root", "targets", "snapshot", "timestamp")}
ROOT = sign_root(first_root(POLICY, NOW), keys("root"))
NEXT = sign_root(
    next_root(ROOT, {"targets": policy("targets", "targets-2")}, NOW), keys("root"), ROOT
)
SIGNING = Signing(keys(*HELD), NOW)
NAMES = [f"{letter}.tar" for letter in "abcdefgh"]


def signs(*names: str) -> Make:
    """Sign a publication that has other contents under some names."""
    found: dict[str, Target | None] = {name: target_of_bytes(b"changed") for name in names}
    own = target_of_bytes("".join(names).encode())
    index = {"repository.yaml": own, f"{own.sha256}-tree.tar": own}
    contents = Contents(index=index, artifacts=found, retires=True)
    return lambda published, signing: sign_contents(published, contents, signing)


def forgets(published: Published, signing: Signing) -> Files:
    """Sign no longer what older publications had."""
    return sign_remaining(published, remaining(published, frozenset()), signing)


def rotates(published: Published, signing: Signing) -> Files:
    """Publish a root with another key."""
    return rotate(published, NEXT, signing)


class Market:
    """A repository in a registry, several who sign it, and a client."""

    def __init__(self, folder: Path) -> None:
        self.registry = Interrupting()
        self.place = RegistryPlace(self.registry, TARGET, HOST, folder)
        artifacts: dict[str, Target | None] = {name: target_of_bytes(b"1") for name in NAMES}
        contents = Contents(index={"repository.yaml": target_of_bytes(b"1")}, artifacts=artifacts)
        signing = replace(SIGNING, image_of=self.place.image_of)
        self.place.write(start(ROOT, contents, signing, bins=2))
        self.state = state_folder(folder)

    def write(self, make: Make) -> Files:
        """Sign something."""
        return Writer(
            place=self.place,
            read=self.read,
            signing=SIGNING,
            floor=_now,
            name="repo",
        ).write(make)

    def read(self) -> Published:
        """Read what is signed."""
        found = read_published(self.place.read, ROOT, self.place.names())
        assert found is not None
        return found

    def visit(self) -> TrustedRepository:
        """Let the client look; raises what it refuses."""
        fetch = fetch_from(RegistrySource(self.registry, TARGET, HOST), self.state)
        client = TrustedRepository(ROOT, self.state, fetch, name="main")
        client.refresh(NOW)
        for name in NAMES:
            client.require(name)
        return client


@pytest.fixture
def market(tmp_path: Path) -> Market:
    return Market(tmp_path)


@pytest.mark.parametrize("point", ["trust-", "trust-timestamp"])
@pytest.mark.parametrize("make", [refresh, rotates, forgets, signs("b.tar", "c.tar")])
def test_what_another_signs_while_something_is_written_stays_signed(
    market: Market, make: Make, point: str
) -> None:
    market.write(signs("d.tar"))
    market.write(signs("e.tar"))
    market.visit()

    def meanwhile() -> None:
        market.write(signs("a.tar"))
        market.visit()

    market.registry.before(tag("") if point == "trust-" else point, meanwhile)
    market.write(make)

    client = market.visit()
    assert client.require("a.tar") == target_of_bytes(b"changed")
    assert client.require("d.tar") == target_of_bytes(b"changed")
    assert market.registry.is_done
    assert market.read().resumed == ""


@pytest.mark.parametrize("point", ["trust-", "trust-timestamp"])
def test_of_two_publications_at_once_both_are_signed(market: Market, point: str) -> None:
    market.registry.before(point, lambda: _ignore(market.write(signs("a.tar"))))

    market.write(signs("b.tar"))

    client = market.visit()
    assert {client.require(name) for name in ("a.tar", "b.tar")} == {target_of_bytes(b"changed")}
    assert client.require("repository.yaml") == target_of_bytes(b"b.tar")


def test_what_another_begins_to_write_while_something_is_written_stays_signed(
    market: Market,
) -> None:
    held: list[Files] = []

    def meanwhile() -> None:
        base = market.read()
        signing = Signing(SIGNING.keys, NOW, floor=time.time_ns() // 1000)
        held.append(signs("a.tar")(base, signing))
        market.place.write(held[0])

    market.registry.before(tag("timestamp"), meanwhile)
    market.write(signs("b.tar"))

    client = market.visit()
    assert {client.require(name) for name in ("a.tar", "b.tar")} == {target_of_bytes(b"changed")}


def test_a_snapshot_of_a_time_to_come_is_no_reason_to_sign_again(market: Market) -> None:
    data = market.registry.manifest(tagged(TARGET, tag("timestamp.json"))).data
    version = time.time_ns() // 1000 + 3600 * 10**6
    place = tagged(TARGET, tag(f"{version}.snapshot.json"))
    market.registry.put_manifest(place, data, MANIFEST)
    market.registry.forget_counts()

    market.write(refresh)

    assert market.registry.requests["put_manifest"] == 1


def test_where_others_never_stop_signing_that_is_said(market: Market) -> None:
    class Busy(RegistryPlace):
        def write(self, files: Files) -> None:
            market.write(signs(f"{time.time_ns()}.tar"))
            super().write(files)

    place = Busy(market.registry, TARGET, HOST, market.state)
    writer = Writer(place=place, read=market.read, signing=SIGNING, floor=_now, name="repo")

    with pytest.raises(RegistryError) as caught:
        writer.write(refresh)

    assert str(caught.value) == "repo: others keep signing (run the command again)"


def _now() -> int:
    return time.time_ns() // 1000


def _ignore(_value: object) -> None:
    """Turn what returns something into what does not."""
