"""In which order signed packages go up: nobody sees an image under its tag that is not signed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.errors import NotFoundError, RegistryError, TrustError
from compiler.oci import Descriptor, Reference, hex_of, platforms_of
from compiler.publish import PublishOptions, Source, Surroundings, publish_repository
from compiler.publish.endorse import CosignEndorsement
from compiler.publish.state import CLAIM, tagged
from compiler.registry import Manifest
from compiler.registry.memory import MemoryRegistry
from compiler.sbom import CYCLONEDX
from compiler.signing.attestations import verify_attestations
from compiler.signing.images import verify_image
from compiler.signing.keys import generate
from tests.publish.shop import AMD64, ARM64, TARGET, Shop

KEY = generate()
TAGS = ("a-t-1", "a-t-1.metadata.yaml", "repository.yaml")


def publish(shop: Shop, registry: MemoryRegistry, options: PublishOptions | None = None) -> None:
    """Publish everything, signed with the key."""
    around = Surroundings(
        registry=registry,
        folder=shop.scratch,
        endorsements=(CosignEndorsement(registry, KEY),),
        pause=lambda _seconds: None,
    )
    source = Source(
        packages=tuple(shop.packages.values()), roots=(shop.tree,), artifacts=shop.artifacts
    )
    publish_repository(source, TARGET, options or shop.options(), around)


class Watching(MemoryRegistry):
    """A registry with a client that verifies all packages and the index at every change."""

    def __init__(self, wanted: Sequence[str] = TAGS) -> None:
        super().__init__()
        self.wanted = wanted
        self.unsigned: list[str] = []
        self.named: list[str] = []
        self._is_looking = False

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
        put = super().put_manifest(reference, data, media_type)
        if not self._is_looking:
            self._is_looking = True
            if reference.tag in self.wanted:
                self.named.append(reference.tag)
            self.unsigned += [tag for tag in self.wanted if self._is_unsigned(tag)]
            self._is_looking = False
        return put

    def _is_unsigned(self, tag: str) -> bool:
        """Tell whether a client would find an image that it cannot trust."""
        try:
            verify_image(self, tagged(TARGET, tag), (KEY.public,))
        except NotFoundError:
            return False
        except TrustError:
            return True
        return False


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.build("a")
    return made


def test_no_tag_names_an_image_that_is_not_signed_yet(shop: Shop) -> None:
    registry = Watching()

    publish(shop, registry)
    shop.build("a", "changed")
    publish(shop, registry)

    assert registry.unsigned == []
    assert registry.named == [*TAGS, *TAGS]


def test_what_is_attested_is_there_before_the_tag(shop: Shop) -> None:
    (shop.artifacts / "a-t-1.cdx.json").write_text('{"of": "a"}')

    class Asking(MemoryRegistry):
        attested = 0

        def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
            if reference.tag == "a-t-1":
                place = replace(
                    TARGET,
                    digest=super().put_manifest(replace(TARGET, tag=""), data, media_type).digest,
                )
                self.attested = len(
                    verify_attestations(
                        self, place, (KEY.public,), predicate_type=CYCLONEDX.predicate
                    )
                )
            return super().put_manifest(reference, data, media_type)

    registry = Asking()

    publish(shop, registry)

    assert registry.attested == 1


def test_a_stop_before_the_signature_leaves_no_name(shop: Shop) -> None:
    class Refusing(MemoryRegistry):
        def put_referrer(self, subject: Reference, data: bytes, media_type: str) -> Descriptor:
            super().put_referrer(subject, data, media_type)
            raise RegistryError(f"{subject}: the line is dead")

    registry = Refusing()

    with pytest.raises(RegistryError, match="the line is dead"):
        publish(shop, registry)

    assert registry.tags(TARGET) == []


def test_an_image_that_another_platform_got_meanwhile_is_kept_and_signed_with_ours(
    shop: Shop, tmp_path: Path
) -> None:
    other = Shop(tmp_path / "other")
    other.build("a")

    class Between(MemoryRegistry):
        """A registry in which somebody else publishes while the first index is signed."""

        is_first = True

        def put_referrer(self, subject: Reference, data: bytes, media_type: str) -> Descriptor:
            if self.is_first:
                self.is_first = False
                publish(other, self, other.options(platform=ARM64))
            return super().put_referrer(subject, data, media_type)

    registry = Between()

    publish(shop, registry)

    index: Manifest = registry.manifest(tagged(TARGET, "a-t-1"))
    assert set(platforms_of(index.data, "a")) == {AMD64, ARM64}
    verify_image(registry, tagged(TARGET, "a-t-1"), (KEY.public,))


def test_a_signature_that_was_removed_before_its_image_had_a_tag_is_made_again(shop: Shop) -> None:
    class Collecting(MemoryRegistry):
        """A registry in which garbage collection takes a signature for one of nothing."""

        is_first = True

        def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
            put = super().put_manifest(reference, data, media_type)
            if reference.tag.startswith(CLAIM) and self.is_first:
                self.is_first = False
                image = self.manifest(tagged(TARGET, "a-t-1")).descriptor.digest
                for each in self.referrers(replace(TARGET, tag="", digest=image)):
                    self.delete(replace(TARGET, tag="", digest=each.digest))
                self.delete(tagged(TARGET, f"sha256-{hex_of(image)}.sig"))
            return put

    registry = Collecting()

    publish(shop, registry)

    assert not registry.is_first
    verify_image(registry, tagged(TARGET, "a-t-1"), (KEY.public,))


def test_signing_asks_in_proportion_to_what_changed(tmp_path: Path) -> None:
    asked = []
    for count in (3, 30):
        shop = Shop(tmp_path / f"shop-{count}")
        for number in range(count):
            shop.build(f"p{number}")
        registry = MemoryRegistry()
        publish(shop, registry)
        shop.build("p1", "changed")
        registry.forget_counts()
        publish(shop, registry)
        asked.append(sum(registry.requests.values()))

    assert asked[0] == asked[1]
