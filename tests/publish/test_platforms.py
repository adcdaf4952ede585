"""Images of other platforms in the index of a package: whose are signed along, and whose never."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from compiler.errors import TrustError
from compiler.events import Event, Noted
from compiler.oci import INDEX, Digest, Platform, platforms_of
from compiler.publish import Source, Surroundings, publish_repository
from compiler.publish.endorse import CosignEndorsement, Endorsement
from compiler.publish.state import tagged
from compiler.publish.trusted import TrustedTarget
from compiler.registry.manifests import read_links
from compiler.registry.memory import MemoryRegistry
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.places import RegistryPlace
from compiler.sbom import CYCLONEDX
from compiler.signing.attestations import verify_attestations, verify_described
from compiler.signing.images import verify_image
from compiler.signing.keys import PrivateKey, PublicKey, generate
from tests.publish.shop import AMD64, ARM64, TARGET, Shop
from tests.publish.test_trusted import BEGUN, ONLINE, ROOT_FILE, begin

OLD = generate()


@dataclass
class Publisher:
    """One who publishes for a platform: under a root, with a key of images alone, or with none."""

    shop: Shop
    registry: MemoryRegistry
    has_root: bool = False
    keys: Sequence[PrivateKey] = ()
    older: Sequence[PublicKey] = ()
    said: list[str] = field(default_factory=list)

    def publish(self, platform: Platform, *names: str) -> None:
        """Publish packages, again if they are there; `said` keeps what was warned of."""

        def note(event: Event) -> None:
            if isinstance(event, Noted) and event.warning:
                self.said.append(event.message)

        trust = TrustedTarget(
            registry=self.registry,
            target=TARGET,
            root=ROOT_FILE,
            signing=Signing((ONLINE,), BEGUN),
            place=RegistryPlace(self.registry, TARGET, AMD64, self.shop.scratch),
            folder=self.shop.scratch,
        )
        endorsements: list[Endorsement] = [
            CosignEndorsement(self.registry, each) for each in self.keys
        ]
        around = Surroundings(
            registry=self.registry,
            folder=self.shop.scratch,
            report=note,
            endorsements=endorsements,
            trust=trust if self.has_root else None,
            older=self.older,
            pause=lambda _seconds: None,
        )
        packages = tuple(self.shop.packages[name] for name in names)
        source = Source(packages=packages, roots=(self.shop.tree,), artifacts=self.shop.artifacts)
        options = replace(self.shop.options(platform=platform), force=True)
        publish_repository(source, TARGET, options, around)

    def platforms(self, tag: str) -> list[str]:
        """Name the architectures that a package has images for."""
        manifests = read_links(self.registry.manifest(tagged(TARGET, tag)).data).manifests
        images = [self.registry.manifest(replace(TARGET, digest=m.digest)) for m in manifests]
        configs = [read_links(each.data).blobs[0] for each in images]
        data = [self.registry.content(TARGET, each.digest) for each in configs]
        return ["arm64" if b'"arm64"' in each else "amd64" for each in data]

    def copy(self, source: str, tag: str) -> None:
        """Let a tag name what another does, as anybody can who may push."""
        data = self.registry.manifest(tagged(TARGET, source)).data
        self.registry.put_manifest(tagged(TARGET, tag), data, INDEX)


Make = Callable[..., Publisher]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(kind: str) -> Publisher:
        registry, shop = MemoryRegistry(), Shop(tmp_path / "shop")
        shop.build("a")
        shop.build("z")
        if kind == "root":
            begin(registry, tmp_path / "begin")
            return Publisher(shop, registry, has_root=True, keys=(ONLINE,))
        return Publisher(shop, registry, keys=(ONLINE,) if kind == "key" else ())

    return made


def squat(publisher: Publisher, folder: Path) -> None:
    """Put a stranger's index under the tag of `z`, which is not published yet."""
    stranger = Shop(folder / "stranger")
    stranger.build("z", "EVIL")
    stranger.publish(publisher.registry, target=replace(TARGET, repository="stranger"))
    elsewhere = replace(TARGET, repository="stranger", tag="z-t-1")
    index = publisher.registry.manifest(elsewhere)
    for part in read_links(index.data).manifests:
        image = publisher.registry.manifest(replace(elsewhere, tag="", digest=part.digest))
        for blob in read_links(image.data).blobs:
            data = publisher.registry.content(elsewhere, blob.digest)
            publisher.registry.put_blob(TARGET, data, blob)
        publisher.registry.put_manifest(
            replace(TARGET, digest=part.digest), image.data, image.descriptor.media_type
        )
    publisher.registry.put_manifest(tagged(TARGET, "z-t-1"), index.data, INDEX)


@pytest.mark.parametrize(
    ("kind", "more"), [("root", ", unless that is going on right now"), ("key", "")]
)
def test_a_strangers_image_for_another_platform_is_not_signed_along(
    make: Make, tmp_path: Path, kind: str, more: str
) -> None:
    publisher = make(kind)
    squat(publisher, tmp_path)

    publisher.publish(ARM64, "z-1")

    assert publisher.platforms("z-t-1") == ["arm64"]
    assert publisher.said == [
        "z-t-1: what it named for linux/amd64 is not signed by an owner, and left out; "
        f"publish it again from where it was built for them (--force-push){more}"
    ]


@pytest.mark.parametrize("kind", ["root", "key", "nothing"])
def test_what_an_owner_published_for_another_platform_stays(make: Make, kind: str) -> None:
    publisher = make(kind)
    publisher.publish(AMD64, "z-1")

    publisher.publish(ARM64, "z-1")

    assert publisher.platforms("z-t-1") == ["amd64", "arm64"]
    assert publisher.said == []


def test_an_unsigned_repository_joins_what_is_there(make: Make, tmp_path: Path) -> None:
    publisher = make("nothing")
    squat(publisher, tmp_path)

    publisher.publish(ARM64, "z-1")

    assert publisher.platforms("z-t-1") == ["amd64", "arm64"]


@pytest.mark.parametrize("kind", ["root", "key"])
def test_the_signed_index_of_another_package_does_not_count(make: Make, kind: str) -> None:
    publisher = make(kind)
    publisher.publish(AMD64, "a-1")
    publisher.copy("a-t-1", "z-t-1")

    publisher.publish(ARM64, "z-1")

    assert publisher.platforms("z-t-1") == ["arm64"]
    assert len(publisher.said) == 1


def test_under_a_root_an_older_index_of_the_same_package_does_not_count(make: Make) -> None:
    publisher = make("root")
    publisher.publish(AMD64, "z-1")
    publisher.copy("z-t-1", "kept")
    publisher.shop.build("z", "mended", time=9)
    publisher.publish(AMD64, "z-1")
    publisher.copy("kept", "z-t-1")

    publisher.publish(ARM64, "z-1")

    assert publisher.platforms("z-t-1") == ["arm64"]


def test_what_a_key_signed_that_is_named_as_an_older_one_stays(make: Make) -> None:
    publisher = make("key")
    replace(publisher, keys=(OLD,)).publish(AMD64, "z-1")

    replace(publisher, older=(OLD.public,)).publish(ARM64, "z-1")

    assert publisher.platforms("z-t-1") == ["amd64", "arm64"]
    assert verify_image(publisher.registry, tagged(TARGET, "z-t-1"), (ONLINE.public,))


def test_documents_are_about_the_image_of_their_platform_alone(make: Make) -> None:
    publisher = make("key")
    shop, registry = publisher.shop, publisher.registry

    def described(digest: Digest) -> list[str]:
        try:
            said = verify_attestations(
                registry,
                replace(TARGET, digest=digest),
                (ONLINE.public,),
                predicate_type=CYCLONEDX.predicate,
            )
        except TrustError:
            return []
        assert len(registry.referrers(replace(TARGET, digest=digest))) >= 2
        return [json.loads(each.statement)["predicate"]["of"] for each in said]

    (shop.artifacts / "a-t-1.cdx.json").write_text('{"of": "amd64"}')
    publisher.publish(AMD64, "a-1")
    alone = registry.manifest(tagged(TARGET, "a-t-1"))
    assert described(alone.descriptor.digest) == ["amd64"]

    (shop.artifacts / "a-t-1.cdx.json").write_text('{"of": "arm64"}')
    publisher.publish(ARM64, "a-1")
    both = registry.manifest(tagged(TARGET, "a-t-1"))
    images = platforms_of(both.data, "both")
    assert described(both.descriptor.digest) == []
    assert {each.architecture: described(image.digest) for each, image in images.items()} == {
        "amd64": ["amd64"],
        "arm64": ["arm64"],
    }


def test_all_images_of_an_index_have_to_be_described(make: Make) -> None:
    publisher = make("key")
    place = tagged(TARGET, "a-t-1")

    def described() -> int:
        return len(
            verify_described(
                publisher.registry, place, (ONLINE.public,), predicate_type=CYCLONEDX.predicate
            )
        )

    document = publisher.shop.artifacts / "a-t-1.cdx.json"
    document.write_text("{}")
    publisher.publish(AMD64, "a-1")
    assert described() == 1
    document.unlink()
    publisher.publish(ARM64, "a-1")
    with pytest.raises(TrustError, match="no attestation"):
        described()
    document.write_text("{}")
    publisher.publish(ARM64, "a-1")
    assert described() == 2
