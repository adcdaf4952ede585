"""What a new key signs of what was published before it, and what it never signs."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from compiler.errors import TrustError
from compiler.events import Event, Noted
from compiler.oci import Reference
from compiler.publish import Source, Surroundings, publish_repository
from compiler.publish.endorse import CosignEndorsement
from compiler.publish.state import tagged
from compiler.registry.memory import MemoryRegistry
from compiler.signing.images import verify_image
from compiler.signing.keys import PrivateKey, PublicKey, generate
from tests.publish.registries import Stopping
from tests.publish.shop import TARGET, Shop

OLD, NEW = generate(), generate()
TAGS = ("a-t-1", "a-t-1.metadata.yaml", "b-t-1", "b-t-1.metadata.yaml", "repository.yaml")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.build("a")
    made.build("b", "other")
    return made


def publish(
    shop: Shop, registry: MemoryRegistry, key: PrivateKey, older: Sequence[PublicKey] = ()
) -> list[str]:
    """Publish everything, signed with a key; returns what is warned of."""
    told: list[Event] = []
    around = Surroundings(
        registry=registry,
        folder=shop.scratch,
        report=told.append,
        endorsements=(CosignEndorsement(registry, key),),
        older=older,
        pause=lambda _seconds: None,
    )
    source = Source(
        packages=tuple(shop.packages.values()), roots=(shop.tree,), artifacts=shop.artifacts
    )
    publish_repository(source, TARGET, shop.options(), around)
    return [each.message for each in told if isinstance(each, Noted) and each.warning]


def signed_by(registry: MemoryRegistry, key: PrivateKey) -> list[str]:
    """List the tags whose images a key has signed."""

    def is_signed(place: Reference) -> bool:
        try:
            verify_image(registry, place, (key.public,))
        except TrustError:
            return False
        return True

    return [tag for tag in TAGS if is_signed(tagged(TARGET, tag))]


def test_what_the_old_key_signed_is_signed_with_the_new_one(shop: Shop) -> None:
    registry = MemoryRegistry()
    publish(shop, registry, OLD)
    assert signed_by(registry, OLD) == list(TAGS)

    assert publish(shop, registry, NEW, (OLD.public,)) == []

    assert signed_by(registry, NEW) == list(TAGS)


def test_nothing_that_nobody_vouches_for_is_signed(shop: Shop) -> None:
    registry = MemoryRegistry()
    publish(shop, registry, OLD)
    stranger = generate().public

    told = publish(shop, registry, NEW, (stranger,))

    assert signed_by(registry, NEW) == ["repository.yaml"]
    (warning,) = told
    assert warning.startswith("4 listed images are not signed with a key of --sign, which is new: ")


def test_a_tag_that_was_moved_is_not_signed_with_it(shop: Shop) -> None:
    registry = MemoryRegistry()
    publish(shop, registry, OLD)
    other = Shop(shop.scratch / "other")
    other.build("c", "of somebody else")
    elsewhere = Reference("registry.test", "team/repo")
    other.publish(registry, names=["c-1"], target=elsewhere)
    found = registry.manifest(tagged(TARGET, "c-t-1"))
    registry.put_manifest(tagged(TARGET, "a-t-1"), found.data, found.descriptor.media_type)

    publish(shop, registry, NEW, (OLD.public,))

    assert "a-t-1" not in signed_by(registry, NEW)
    assert "b-t-1" in signed_by(registry, NEW)


def test_what_was_stopped_on_the_way_is_made_up_for(shop: Shop) -> None:
    registry = Stopping()
    publish(shop, registry, OLD)
    registry.left = 5
    with pytest.raises(Exception, match="the line is dead"):
        publish(shop, registry, NEW, (OLD.public,))
    assert len(signed_by(registry, NEW)) < len(TAGS)
    registry.left = 10**6

    publish(shop, registry, NEW, (OLD.public,))

    assert signed_by(registry, NEW) == list(TAGS)
