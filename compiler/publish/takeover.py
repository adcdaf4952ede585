"""Decides which images of packages are signed: those that publications say they pushed.

Whoever may push can move the tag of a package, and an owner's signature of an image says neither
what tag that was for nor that nothing newer is. So nothing is signed here because a tag names it.
Every index says in labels of its image, which are signed with it, what its publication pushed; of
claims of others just that is taken, platform by platform, and put together with what is signed.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from compiler.artifact.metadata import ArtifactMetadata, index_entry
from compiler.errors import NotFoundError, TrustError
from compiler.oci import (
    INDEX,
    INDEXES,
    Descriptor,
    Digest,
    Platform,
    Reference,
    digest_of,
    platforms_of,
)
from compiler.publish.endorse import Endorsement, Trust
from compiler.publish.push import each_at_once
from compiler.publish.state import WHOLE, Pushed, State, tagged
from compiler.publish.union import listed_in
from compiler.registry import Registry
from compiler.repository.index import RepositoryIndex
from compiler.repository.oci import index_of, tags_of
from compiler.signing.images import pinned
from compiler.spec.package import PackageId


@dataclass(frozen=True, slots=True)
class Offer:
    """Images of one package that somebody stands for; `is_as_listed` if built as it is listed."""

    images: Pushed
    is_as_listed: bool


def joined(tag: str, offers: Sequence[Offer]) -> Mapping[str, Digest]:
    """Choose the images for a tag by platform: those built as listed, of each kind the last one.

    What was built otherwise stays for platforms that have nothing else. Nothing is chosen of what
    nobody built as it is listed.
    """
    if not any(each.is_as_listed and each.images.get(tag) for each in offers):
        return {}
    found: dict[str, Digest] = {}
    for each in sorted(offers, key=lambda each: each.is_as_listed):
        found |= each.images.get(tag, {})
    by_platform = {platform: image for platform, image in found.items() if platform != WHOLE}
    return by_platform or found


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What a publication pushed itself; others signed something else of the packages `moved`."""

    pushed: Pushed = field(default_factory=dict)
    packages: Collection[PackageId] = ()
    moved: Collection[PackageId] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """What is to be signed besides what was pushed: images by tag, and what they are made of."""

    images: Mapping[str, Descriptor]
    pushed: Pushed


class Takes(Protocol):
    """Decides what is taken over from others, and tells whether something got lost of it."""

    def take(self, made: RepositoryIndex, claims: Sequence[State], own: Own, /) -> Taken:
        """Find the images of packages of others, joined with those that were pushed here.

        Raises `TrustError` for a package that no claim says it pushed, and for images that are gone
        or hold other metadata than is listed.
        """

    def holds(self, claim: State, own: Own, /) -> bool:
        """Tell whether all images that a claim stands for are signed.

        Where this publication pushed a package for the same platform itself, its own counts.
        """

    def moved(self, own: Own, images: Mapping[str, Descriptor], /) -> Mapping[PackageId, bool]:
        """Name the packages pushed here of which others signed something else than `images` since.

        Tells of each whether what was pushed here is in there.
        """

    def name(self, images: Mapping[str, Descriptor], /) -> None:
        """Give images their tags back that name something else; clients without keys follow them.

        What others signed for a tag since counts, if anybody did.
        """


def takes(
    registry: Registry,
    target: Reference,
    trust: Trust | None,
    signed: State | None,
    endorsements: Sequence[Endorsement],
) -> Takes:
    """Choose how packages of others are taken over: without signed metadata, as their tags say."""
    if trust is None:
        return _Tags()
    return Takeover(
        registry=registry, target=target, trust=trust, signed=signed, endorsements=endorsements
    )


class _Tags:
    """Takes nothing over where nothing is signed: tags count as they are."""

    def take(self, _made: RepositoryIndex, _claims: Sequence[State], _own: Own) -> Taken:
        """Find nothing."""
        return Taken({}, {})

    def holds(self, _claim: State, _own: Own) -> bool:
        """Say yes: images are found by their tags."""
        return True

    def moved(self, _own: Own, _images: Mapping[str, Descriptor]) -> Mapping[PackageId, bool]:
        """Name none."""
        return {}

    def name(self, _images: Mapping[str, Descriptor]) -> None:
        """Leave tags alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """Takes over into a repository with signed metadata; `signed` is its state, None if none is."""

    registry: Registry
    target: Reference
    trust: Trust
    signed: State | None
    endorsements: Sequence[Endorsement] = ()

    def take(self, made: RepositoryIndex, claims: Sequence[State], own: Own) -> Taken:
        """Find the images of packages of others, joined with those that were pushed here."""
        artifacts = list(self._touched(made, claims, own))
        known = self._signed_of([each.id for each in artifacts])
        images: dict[str, Descriptor] = {}
        pushed: dict[str, Mapping[str, Digest]] = {}
        for artifact in artifacts:
            offers = [*self._offers(artifact, claims, known), *_own(artifact.id, own)]
            chosen = {tag: joined(tag, offers) for tag in tags_of(artifact.id)}
            if all(chosen.values()):
                found = {tag: self._image(tag, each) for tag, each in chosen.items()}
                self.trust.compare(artifact, found)
                pushed |= chosen
            else:
                found = dict(self.trust.adopt(artifact))
            images |= found
        self._endorse(images)
        self._name({tag: image.digest for tag, image in images.items()})
        return Taken(images, pushed)

    def holds(self, claim: State, own: Own) -> bool:
        """Tell whether all images that a claim stands for are signed."""
        tags = {tags_of(each.id)[0] for each in claim.repository.index.artifacts}
        named = {tag: each for tag, each in claim.images.items() if tag in tags}
        signed = self.trust.signed_of(named) if named else {}

        def is_held(tag: str) -> bool:
            inside = self._inside(signed.get(tag))
            return all(
                platform in own.pushed.get(tag, {}) or inside.get(platform) == image
                for platform, image in named[tag].items()
            )

        return all(each_at_once(is_held, named))

    def moved(self, own: Own, images: Mapping[str, Descriptor]) -> Mapping[PackageId, bool]:
        """Name the packages pushed here of which others signed something else since."""
        tags = {tags_of(each)[0]: each for each in own.packages}
        signed = self.trust.signed_of(tags) if tags else {}
        moved = [tag for tag in tags if tag in images and signed.get(tag) != images[tag].digest]
        inside = each_at_once(lambda tag: self._inside(signed.get(tag)), moved)
        return {
            tags[tag]: own.pushed.get(tag, {}).items() <= found.items()
            for tag, found in zip(moved, inside, strict=True)
        }

    def name(self, images: Mapping[str, Descriptor]) -> None:
        """Give images their tags back that name something else."""
        signed = self.trust.signed_of(images) if images else {}
        self._name({tag: signed.get(tag, image.digest) for tag, image in images.items()})

    def _name(self, wanted: Mapping[str, Digest]) -> None:
        """Let tags name images, unless they do."""

        def put(tag: str) -> None:
            place = tagged(self.target, tag)
            named = self.registry.head(place)
            if named is None or named.digest != wanted[tag]:
                found = self.registry.manifest(pinned(self.target, wanted[tag]))
                self.registry.put_manifest(place, found.data, found.descriptor.media_type)

        each_at_once(put, wanted)

    def _touched(
        self, made: RepositoryIndex, claims: Sequence[State], own: Own
    ) -> Iterator[ArtifactMetadata]:
        """Pick the packages that claims say something of, or that nobody else stands for."""
        before = listed_in(self.signed.repository.index) if self.signed else {}
        named = {tag for each in claims for tag in each.images}
        for artifact in made.artifacts:
            known = before.get(artifact.id)
            is_known = known is not None and index_entry(known) == index_entry(artifact)
            if (
                not named.isdisjoint(tags_of(artifact.id))
                or artifact.id in own.moved
                or not (is_known or artifact.id in own.packages)
            ):
                yield artifact

    def _offers(
        self, artifact: ArtifactMetadata, claims: Sequence[State], known: Mapping[str, Digest]
    ) -> Iterator[Offer]:
        """Give what is signed of a package that is listed, then what claims say of it, in order."""
        image, metadata = tags_of(artifact.id)
        states = [] if self.signed is None else [self.signed]
        for state in [*states, *claims]:
            listed = listed_in(state.repository.index).get(artifact.id)
            if listed is None:
                continue
            images = state.images
            if state is self.signed:
                of_tag = {WHOLE: known[metadata]} if metadata in known else {}
                images = {image: self._inside(known.get(image)), metadata: of_tag}
            yield Offer(images, index_entry(listed) == index_entry(artifact))

    def _signed_of(self, packages: Collection[PackageId]) -> Mapping[str, Digest]:
        """Ask what is signed of packages, unless there are none."""
        tags = [tag for each in packages for tag in tags_of(each)]
        return self.trust.signed_of(tags) if tags and self.signed else {}

    def _inside(self, image: Digest | None) -> Mapping[str, Digest]:
        """Read what an image has for which platform; nothing of what is gone."""
        if image is None:
            return {}
        try:
            found = self.registry.manifest(pinned(self.target, image))
        except NotFoundError:
            return {}
        if found.descriptor.media_type not in INDEXES:
            return {WHOLE: image}
        images = platforms_of(found.data, str(image))
        return {str(platform): each.digest for platform, each in images.items()}

    def _image(self, tag: str, chosen: Mapping[str, Digest]) -> Descriptor:
        """Return the image of a tag, which for platforms is an index that is brought up."""
        if WHOLE in chosen:
            return self._there(tag, chosen[WHOLE])
        parts = {
            Platform(*platform.split("/")): self._there(tag, image)
            for platform, image in chosen.items()
        }
        data = index_of(parts.items())
        return self.registry.put_manifest(pinned(self.target, digest_of(data)), data, INDEX)

    def _there(self, tag: str, image: Digest) -> Descriptor:
        """Name an image; raises `TrustError` for one that is gone."""
        found = self.registry.head(pinned(self.target, image))
        if found is None:
            message = f"{tagged(self.target, tag)}: {image} was published for it, and is gone"
            raise TrustError(message, hint="publish it again with --force-push")
        return found

    def _endorse(self, images: Mapping[str, Descriptor]) -> None:
        """Have said of images what was not said of them by those who pushed them."""
        for each in self.endorsements:
            new = {
                tag: image
                for tag, image in images.items()
                if not each.vouches(self.target, tag, image.digest)
            }
            each.images(self.target, new)


def _own(package: PackageId, own: Own) -> Iterator[Offer]:
    """Give what was pushed here of a package, which is listed just so."""
    images = {tag: own.pushed[tag] for tag in tags_of(package) if tag in own.pushed}
    if images:
        yield Offer(images, is_as_listed=True)
