"""The signed metadata of a docker repository while it is published: what is believed, and written.

The registry may be hostile, and others may publish at the same time. So nothing that it holds gets
into an index which is signed here, unless the metadata or a signature of one of the keys that sign
the repository says so. Versions of files are times: two publishers never write the same file.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from compiler.artifact.metadata import SUFFIX, ArtifactMetadata, index_entry, parse_metadata
from compiler.errors import ImageError, NotFoundError, TrustError
from compiler.events import Noted, Reporter, silent
from compiler.oci import Descriptor, Digest, Reference
from compiler.publish.check import compare_labels
from compiler.publish.state import tagged
from compiler.registry import Registry
from compiler.repository.index import REPOSITORY
from compiler.repository.oci import tags_of
from compiler.repository.sources.registry import RegistrySource
from compiler.repository.trust import TARGETS, TIMESTAMP, Files, Target, tag, target_of_image
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.places import RegistryPlace
from compiler.repository.trust.published import Published, read_published
from compiler.repository.trust.publisher import (
    Contents,
    check_signing,
    remaining,
    sign_contents,
    sign_remaining,
)
from compiler.repository.trust.root import policy_of
from compiler.repository.trust.sources import SignedImages
from compiler.repository.trust.writing import Writer
from compiler.signing.images import pinned, verify_image
from compiler.signing.keys import PrivateKey, PublicKey
from compiler.store.images import host_platform

_LARGEST = 64 << 20
"""How many bytes the metadata of a package may have."""


def open_target(  # noqa: PLR0913  (what is signed, with what, and where that is told)
    registry: Registry,
    target: Reference,
    root: bytes,
    keys: tuple[PrivateKey, ...],
    *,
    folder: Path,
    older: bool = False,
    report: Reporter = silent,
    given: str = "",
) -> "TrustedTarget":
    """Open the signed metadata of the repository `target`; `folder` is for files on their way.

    `root` is the file that its clients were given, or a later one; with `older` a publication goes
    on from a state that may not be the newest (see `Published.check_newest`).
    """
    return TrustedTarget(
        registry=registry,
        target=target,
        root=root,
        signing=Signing(keys, datetime.now(UTC)),
        place=RegistryPlace(registry, target, host_platform(), folder),
        folder=folder,
        older=older,
        report=report,
        given=given,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedTarget:
    """The signed metadata of one repository in a registry."""

    registry: Registry
    target: Reference
    root: bytes
    signing: Signing
    place: RegistryPlace
    folder: Path
    older: bool = False
    """Whether to go on from a state that may not be the newest."""
    clock: Callable[[], int] = time.time_ns
    report: Reporter = silent
    given: str = ""
    """Where the root and the keys come from, for errors."""
    _seen: dict[Digest, Published] = field(default_factory=dict, repr=False, compare=False)
    """The state that was read last, by the image of its timestamp."""

    def check(self) -> None:
        """Raise `TrustError` unless the keys can sign what is to be published.

        Warns if that does not follow on what is named as the newest.
        """
        try:
            published = self._published()
            check_signing(published, self.signing)
        except TrustError as error:
            said = error.message.removeprefix(f"{self.target}: ")
            message = f"{self.target}: {said}{self.given}"
            raise TrustError(message, hint=error.hint) from error
        for words in published.warnings():
            self.report(Noted(f"{self.target}: {words}", warning=True))

    def index(self) -> Reference | None:
        """Name the index that was signed last, by its digest; None if none was yet."""
        signed = self._published().targets.targets.get(REPOSITORY)
        if signed is None:
            return None
        return pinned(self.target, Target(signed.length, signed.hashes["sha256"]).digest)

    def signed(self) -> Mapping[str, Digest]:
        """Return what was signed of all tags."""
        return {name: target.digest for name, target in self._published().all_targets()}

    def signed_of(self, tags: Iterable[str]) -> Mapping[str, Digest]:
        """Return what was signed of tags of packages; reads their bins alone."""
        published = self._published()
        found = {tag: published.role(published.bin_of(tag)).targets.get(tag) for tag in tags}
        return {
            tag: Target(each.length, each.hashes["sha256"]).digest
            for tag, each in found.items()
            if each is not None
        }

    def accepts(self, image: Reference) -> bool:
        """Tell whether an image was signed with a key that signs this repository."""
        try:
            verify_image(self.registry, image, self._keys)
        except (TrustError, NotFoundError):
            return False
        return True

    def adopt(self, artifact: ArtifactMetadata) -> dict[str, Descriptor]:
        """Return the images that a package has, by tag, where nothing at all is signed so far.

        Then the signature of an image is all that an owner can say of it. Raises `TrustError` for
        images without one, or that say they hold another package, and where something is signed.
        """
        if self.index() is not None:
            raise self._unclaimed(artifact)
        found = {tag: self._signed_image(artifact, tag) for tag in tags_of(artifact.id)}
        image = pinned(self.target, found[tags_of(artifact.id)[0]].digest)
        try:
            compare_labels(self.registry, image, artifact.id)
        except ImageError as error:
            raise TrustError(f"{self.target}: {artifact.id}: {error}") from error
        self.compare(artifact, found)
        return found

    def compare(self, artifact: ArtifactMetadata, images: Mapping[str, Descriptor]) -> None:
        """Raise `TrustError` unless the images of a package hold the metadata that is listed."""
        if index_entry(self._metadata(artifact, images)) != index_entry(artifact):
            message = f"{self.target}: {artifact.id} is listed with other metadata than was signed"
            raise TrustError(message, hint="publish it again with --force-push")

    def write(
        self, index: Mapping[str, Descriptor], artifacts: Mapping[str, Descriptor | None]
    ) -> None:
        """Sign what a publication brings: the tags of its index, and of packages that changed.

        Raises `RegistryError` if others keep writing meanwhile.
        """
        contents = Contents(
            index={tag: target_of_image(image) for tag, image in index.items()},
            artifacts={
                tag: None if image is None else target_of_image(image)
                for tag, image in artifacts.items()
            },
            retires=True,
        )
        self._write(lambda published, signing: sign_contents(published, contents, signing))

    def left(self, needed: Set[str]) -> frozenset[Digest]:
        """Tell what images are signed once `forget` was called; nothing is written."""
        left = remaining(self._published(), needed)
        targets = (target for role in left.values() for target in role.targets.values())
        return frozenset(Target(each.length, each.hashes["sha256"]).digest for each in targets)

    def forget(self, needed: Set[str]) -> None:
        """Sign no longer what neither the index lists nor `needed` names; raises as `write`."""
        self._write(
            lambda published, signing: sign_remaining(
                published, remaining(published, needed), signing
            )
        )

    def _write(self, make: Callable[[Published, Signing], Files]) -> None:
        """Write what is made of what is signed, together with what others write meanwhile."""
        Writer(
            place=self.place,
            read=self._published,
            signing=self.signing,
            floor=lambda: self.clock() // 1000,
            name=str(self.target),
        ).write(make)

    def is_settled(self) -> bool:
        """Whether the index that clients without keys find is the one that is signed."""
        signed = self.index()
        named = self.registry.head(tagged(self.target, REPOSITORY))
        return signed is not None and named is not None and named.digest == signed.digest

    def _published(self) -> Published:
        """Read what is signed now; raises `TrustError` if nothing is.

        Where the timestamp is the one that was read before, what it names is the same.
        """
        stamp = self.registry.head(tagged(self.target, tag(f"{TIMESTAMP}.json")))
        if stamp is not None and stamp.digest in self._seen:
            return self._seen[stamp.digest]
        names = self.place.names()
        found = read_published(self.place.read, self.root, names, now=self.clock())
        if found is None:
            raise self.place.unsigned()
        if not self.older:
            found.check_newest()
        self._seen.clear()
        if stamp is not None:
            self._seen[stamp.digest] = found
        return found

    @property
    def _keys(self) -> tuple[PublicKey, ...]:
        return policy_of(self._published().root_data, TARGETS).keys

    def _unclaimed(self, artifact: ArtifactMetadata) -> TrustError:
        """Say of a package that nobody who published it says what its images are."""
        place = tagged(self.target, tags_of(artifact.id)[0])
        message = f"{place}: is listed, and no publication says that it pushed it"
        return TrustError(message, hint=f"publish {artifact.id} again with --force-push")

    def _signed_image(self, artifact: ArtifactMetadata, tag: str) -> Descriptor:
        """Return what a tag of a package names, which somebody with a key has signed."""
        place = tagged(self.target, tag)
        image = self.registry.head(place)
        if image is None or not self.accepts(pinned(self.target, image.digest)):
            message = f"{place}: is listed, and not signed with a key of this repository"
            hint = f"publish {artifact.id} again with --force-push, or `cos sign` it"
            raise TrustError(message, hint=hint)
        return image

    def _metadata(
        self, artifact: ArtifactMetadata, found: Mapping[str, Descriptor]
    ) -> ArtifactMetadata:
        """Fetch the metadata of a package, from the images that were found to be signed."""
        images = SignedImages(self.registry, lambda tag: found[tag].digest)
        source = RegistrySource(images, self.target, host_platform())
        name = artifact.id.fingerprint + SUFFIX
        with TemporaryDirectory(dir=self.folder, prefix=".vouch-") as scratch:
            path = Path(scratch) / "metadata"
            source.bring(name, path, _LARGEST)
            return parse_metadata(path.read_text(encoding="utf-8"), f"{self.target}:{name}")
