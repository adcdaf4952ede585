"""What a publication signs by tag at a Notary server, what it only warns of, what it takes back."""

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from compiler.content_trust import TrustServer, signed_tags, trust_server
from compiler.events import Event, Noted
from compiler.oci import Digest, Reference
from compiler.publish import PublishOptions, Source, Surroundings, publish_repository
from compiler.publish.endorse import ContentTrust, CosignEndorsement, Endorsement
from compiler.publish.state import read_state, tagged
from compiler.publish.trusted import TrustedTarget
from compiler.registry.memory import MemoryRegistry
from compiler.repository.oci import tag_of
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.places import RegistryPlace
from compiler.repository.trust.publisher import Contents, start
from compiler.repository.trust.root import first_root, make_policy, sign_root
from compiler.signing.keys import generate
from tests.publish.shop import AMD64, NOW, Shop
from tests.servers.notary import PASSPHRASES, NotaryServer

pytestmark = pytest.mark.registry

ROOT, ONLINE = generate(), generate()
BEGUN = datetime.now(UTC)
ROOT_FILE = sign_root(first_root(make_policy([ROOT.public], [ONLINE.public]), BEGUN), [ROOT])
A = {"a-t-1", "a-t-1.metadata.yaml"}
B = {"b-t-1", "b-t-1.metadata.yaml"}


class Desk:
    """A publisher with a shop, a repository that no other test has, and a Notary server."""

    def __init__(self, server: TrustServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.registry = MemoryRegistry()
        self.target = Reference("registry.test", f"team/{uuid4().hex}")
        self.shop = Shop(folder / "shop")
        self.shop.build("a")
        self.key = CosignEndorsement(self.registry, ONLINE)
        self.signed = ContentTrust(server)
        self.root = False

    def begin(self) -> None:
        """Sign the repository from now on."""
        files = start(ROOT_FILE, Contents(index={}), Signing((ONLINE,), BEGUN))
        RegistryPlace(self.registry, self.target, AMD64, self.folder).write(files)
        self.root = True

    def publish(
        self, *endorsements: Endorsement, options: PublishOptions | None = None, only: str = ""
    ) -> list[str]:
        """Publish all packages, or one; returns what is warned of."""
        told: list[Event] = []
        packages = self.shop.packages
        chosen = [packages[only]] if only else list(packages.values())
        around = Surroundings(
            registry=self.registry,
            folder=self.shop.scratch,
            report=told.append,
            endorsements=endorsements,
            trust=self._trust() if self.root else None,
            pause=lambda _seconds: None,
        )
        source = Source(packages=chosen, roots=(self.shop.tree,), artifacts=self.shop.artifacts)
        publish_repository(source, self.target, options or self.shop.options(), around)
        return [each.message for each in told if isinstance(each, Noted) and each.warning]

    def _trust(self) -> TrustedTarget:
        place = RegistryPlace(self.registry, self.target, AMD64, self.shop.scratch)
        return TrustedTarget(
            registry=self.registry,
            target=self.target,
            root=ROOT_FILE,
            signing=Signing((ONLINE,), BEGUN),
            place=place,
            folder=self.shop.scratch,
        )

    def files(self) -> set[str]:
        """Name the tags of the files that the index names, and its own."""
        place = self.folder / uuid4().hex
        place.mkdir()
        state = read_state(self.registry, tagged(self.target, "repository.yaml"), place)
        assert state is not None
        names = [each.filename for each in state.repository.info.repo_files.values()]
        return {"repository.yaml", *map(tag_of, names)}

    def named(self, *tags: str) -> dict[str, Digest]:
        """Ask what tags name."""
        found = {tag: self.registry.head(tagged(self.target, tag)) for tag in tags}
        return {tag: each.digest for tag, each in found.items() if each is not None}

    def listed(self) -> Mapping[str, Digest]:
        """Ask the server what is signed."""
        return signed_tags(self.server, self.target)


@pytest.fixture
def desk(notary_server: NotaryServer, tmp_path: Path) -> Desk:
    folder = notary_server.docker_folder(tmp_path)
    own = {"HOME": str(tmp_path), "DOCKER_CONFIG": str(folder)}
    environ = {"PATH": os.environ["PATH"], **own, **PASSPHRASES}
    return Desk(trust_server(notary_server.url, environ), tmp_path)


def test_all_that_luet_pulls_is_signed_by_its_tag(desk: Desk) -> None:
    assert desk.publish(desk.signed) == []

    files = desk.files()
    assert [name for name in files if name.endswith("-tree.tar.gz")]
    assert [name for name in files if "-repository.meta.yaml.tar" in name]
    assert desk.listed() == desk.named(*A, *files)


def test_what_is_listed_already_is_signed_where_the_signed_metadata_has_it(desk: Desk) -> None:
    desk.begin()
    desk.publish(desk.key)
    desk.shop.build("b")

    assert desk.publish(desk.key, desk.signed) == []

    assert desk.listed() == desk.named(*A, *B, *desk.files())


def test_a_tag_that_somebody_moved_is_not_signed_though_its_image_is(desk: Desk) -> None:
    desk.shop.build("b")
    desk.begin()
    desk.publish(desk.key)
    moved = desk.registry.manifest(tagged(desk.target, "b-t-1"))
    desk.registry.put_manifest(
        tagged(desk.target, "a-t-1"), moved.data, moved.descriptor.media_type
    )

    (warning,) = desk.publish(desk.key, desk.signed)

    assert warning.startswith(
        "1 listed images are not signed at the server of --content-trust: a-t-1; --force-push "
    )
    assert "a-t-1" not in desk.listed()
    assert {"a-t-1.metadata.yaml", *B} <= desk.listed().keys()


def test_without_signed_metadata_what_is_listed_is_named_and_signed_when_it_is_forced_up(
    desk: Desk,
) -> None:
    desk.publish(desk.key)
    desk.shop.build("b")

    (warning,) = desk.publish(desk.key, desk.signed)

    assert warning.startswith("2 listed images are not signed at the server of --content-trust: a-")
    assert desk.listed() == desk.named(*B, *desk.files())
    again = replace(desk.shop.options(now=NOW + 60), force=True)
    assert desk.publish(desk.key, desk.signed, options=again) == []
    assert desk.publish(desk.key, desk.signed, options=desk.shop.options(now=NOW + 60)) == []
    assert desk.named(*A, *B).items() <= desk.listed().items()


def test_the_signatures_of_dropped_packages_are_taken_back(desk: Desk) -> None:
    desk.shop.build("b")
    desk.publish(desk.signed)
    options = replace(desk.shop.options(now=NOW + 60), prune=True)

    assert desk.publish(desk.signed, options=options, only="b-1") == []

    assert not A & desk.listed().keys()
    assert desk.named(*B, *desk.files()).items() <= desk.listed().items()


def test_what_is_dropped_is_not_signed_just_before(desk: Desk) -> None:
    desk.shop.build("b")
    desk.publish()
    options = replace(desk.shop.options(now=NOW + 60), prune=True)

    (warning,) = desk.publish(desk.signed, options=options, only="b-1")

    assert "b-t-1" in warning
    assert "a-t-1" not in warning
