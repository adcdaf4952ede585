"""What is said of images when they are published: signatures of those who stand for them."""

from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Protocol

from compiler.artifact.metadata import ArtifactMetadata
from compiler.content_trust import TrustServer, sign_tags, signed_tags, unsign_tags
from compiler.errors import NotFoundError, TrustError
from compiler.oci import Descriptor, Digest, Reference, hex_of
from compiler.publish.packages import PushedPackage
from compiler.registry import Registry
from compiler.repository.index import REPOSITORY
from compiler.repository.oci import tags_of
from compiler.sbom import DocumentKind
from compiler.sbom.provenance import statement_about
from compiler.signing.attachments import ATTESTATION, SIGNATURE, attached_tag
from compiler.signing.attestations import attest_image
from compiler.signing.images import pinned, sign_image, verify_image
from compiler.signing.keys import PrivateKey
from compiler.spec.package import PackageId

_AT_ONCE = 8

Documents = Mapping[DocumentKind, Path]
"""SBOMs and provenance of one artifact, and where they are."""


class Endorsement(Protocol):
    """Says something of images; called when their contents are up and before clients see them."""

    @property
    def by_tag(self) -> bool:
        """Whether it says what tags name; else it speaks of images, whatever names them."""

    def images(self, target: Reference, images: Mapping[str, Descriptor], /) -> Sequence[str]:
        """Say it of images in the repository `target`, by the tags that they have or get.

        Returns the tags of the repository under which it is said.
        """

    def documents(
        self, target: Reference, documents: Mapping[Descriptor, Documents], /
    ) -> Sequence[str]:
        """Say what is in images and how they were made; returns tags as `images` does."""

    def front(
        self, target: Reference, index: Descriptor, files: Mapping[str, Descriptor], /
    ) -> None:
        """Say it of an index and, as far as that is needed, of the files that it names, by tag."""

    def drop(self, target: Reference, tags: Iterable[str], /) -> None:
        """Take back what was said of tags whose packages are no longer listed."""

    def unsaid(self, index: Reference, tags: Sequence[str], /) -> Sequence[str]:
        """Tell of which tags of packages, which an index lists, it has yet to speak."""

    def vouches(self, target: Reference, tag: str, image: Digest, /) -> bool:
        """Whether it has spoken of an image, which a tag of the repository `target` names."""


class Trust(Protocol):
    """The signed metadata of a repository that is published: `compiler.publish.trusted`."""

    def check(self) -> None:
        """Raise `TrustError` unless the keys can sign what is to be published."""

    def index(self) -> Reference | None:
        """Name the index that was signed last, by its digest; None if none was yet."""

    def signed(self) -> Mapping[str, Digest]:
        """Return what was signed of all tags."""

    def signed_of(self, tags: Iterable[str]) -> Mapping[str, Digest]:
        """Return what was signed of tags of packages."""

    def accepts(self, image: Reference) -> bool:
        """Tell whether an image was signed with a key that signs this repository."""

    def adopt(self, artifact: ArtifactMetadata) -> Mapping[str, Descriptor]:
        """Return a package's images where nothing is signed yet; raises `TrustError` elsewhere."""

    def compare(self, artifact: ArtifactMetadata, images: Mapping[str, Descriptor]) -> None:
        """Raise `TrustError` unless images hold the metadata that is listed."""

    def write(
        self, index: Mapping[str, Descriptor], artifacts: Mapping[str, Descriptor | None]
    ) -> None:
        """Sign the tags of an index, and of packages that changed or (None) went."""

    def left(self, needed: Set[str]) -> frozenset[Digest]:
        """Tell which images are signed after `forget`."""

    def forget(self, needed: Set[str]) -> None:
        """Sign no longer what neither the index lists nor `needed` names."""

    def is_settled(self) -> bool:
        """Whether the index that clients without keys find is the one that is signed."""


def endorse_packages(
    endorsements: Sequence[Endorsement], target: Reference, packages: Sequence[PushedPackage]
) -> frozenset[str]:
    """Have said of packages what there is to say; returns the tags under which it is said."""
    images = {tag: image for each in packages for tag, image in each.images.items()}
    documents = {
        image: each.documents for each in packages if each.documents for image in each.described
    }
    said: set[str] = set()
    for each in endorsements:
        said.update(each.images(target, images), each.documents(target, documents))
    return frozenset(said)


def endorse_front(
    endorsements: Sequence[Endorsement],
    target: Reference,
    front: tuple[Descriptor, Mapping[str, Descriptor]],
    dropped: Iterable[PackageId],
) -> None:
    """Have said of an index and its files what there is to say, and taken back of what it drops."""
    tags = [tag for each in sorted(dropped) for tag in tags_of(each)]
    for each in endorsements:
        each.drop(target, tags)
        each.front(target, *front)


class CosignEndorsement:
    """Signs images as `cosign` does, with one key."""

    by_tag = False

    def __init__(self, registry: Registry, key: PrivateKey) -> None:
        self._registry = registry
        self._key = key

    def images(self, target: Reference, images: Mapping[str, Descriptor]) -> Sequence[str]:
        """Sign images, several at a time."""

        def sign(image: Descriptor) -> str:
            signed = sign_image(self._registry, pinned(target, image.digest), self._key)
            return attached_tag(signed.image, SIGNATURE)

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sign") as pool:
            return list(pool.map(sign, images.values()))

    def documents(
        self, target: Reference, documents: Mapping[Descriptor, Documents]
    ) -> Sequence[str]:
        """Sign what SBOMs and provenance of artifacts say of their images, too (DSSE, in-toto)."""
        name = f"{target.registry}/{target.repository}"

        def attest(image: Descriptor) -> str:
            for kind, path in documents[image].items():  # one by one: all are under one tag
                text, sha256 = path.read_bytes(), hex_of(image.digest)
                said = statement_about(kind, text, name=name, sha256=sha256)
                attest_image(self._registry, pinned(target, image.digest), said, self._key)
            return attached_tag(pinned(target, image.digest), ATTESTATION)

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="attest") as pool:
            return list(pool.map(attest, documents))

    def front(self, target: Reference, index: Descriptor, _files: Mapping[str, Descriptor]) -> None:
        """Sign the index alone: that says which contents its files have."""
        self.images(target, {REPOSITORY: index})

    def drop(self, _target: Reference, _tags: Iterable[str]) -> None:
        """Do nothing: signatures of images say nothing of what is listed."""

    def unsaid(self, index: Reference, tags: Sequence[str]) -> Sequence[str]:
        """Tell by the index, which is signed last: a new key has signed nothing, an old one all."""
        return () if self._has_signed(index) else tags

    def vouches(self, target: Reference, _tag: str, image: Digest) -> bool:
        """Look for a signature of the key; it is of an image, whatever its tag."""
        return self._has_signed(pinned(target, image))

    def _has_signed(self, image: Reference) -> bool:
        """Look for a signature of the key."""
        try:
            verify_image(self._registry, image, (self._key.public,))
        except (TrustError, NotFoundError):
            return False
        return True


class ContentTrust:
    """Signs tags with Docker Content Trust, through a Notary server."""

    by_tag = True

    def __init__(self, server: TrustServer) -> None:
        self._server = server
        self._asking = Lock()

    def images(self, target: Reference, images: Mapping[str, Descriptor]) -> Sequence[str]:
        """Sign what tags name, all at once: each call writes the server's metadata anew."""
        if images:
            sign_tags(self._server, target, images)
        return ()

    def documents(
        self, _target: Reference, _documents: Mapping[Descriptor, Documents]
    ) -> Sequence[str]:
        """Say nothing: a Notary server knows tags only."""
        return ()

    def front(self, target: Reference, index: Descriptor, files: Mapping[str, Descriptor]) -> None:
        """Sign the tags of the index and of its files: luet pulls each of them by its tag."""
        self.images(target, {**files, REPOSITORY: index})

    def drop(self, target: Reference, tags: Iterable[str]) -> None:
        """Have the server list tags no longer."""
        dropped = tuple(tags)
        if dropped:
            unsign_tags(self._server, target, dropped)

    def unsaid(self, index: Reference, tags: Sequence[str]) -> Sequence[str]:
        """Ask the server which tags it does not list."""
        if not tags:
            return ()
        known = signed_tags(self._server, index)
        return [tag for tag in tags if tag not in known]

    def vouches(self, target: Reference, tag: str, image: Digest) -> bool:
        """Ask the server what is signed for the tag, one question at a time."""
        with self._asking:
            return signed_tags(self._server, target).get(tag) == image
