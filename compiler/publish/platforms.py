"""Decides which images of other platforms stay in the index of a package that is published.

What is joined is signed as a whole, and whoever may push can put an index under the tag of a
package, also before it is first published. So where a repository is signed, only those images stay
whose index an owner of its keys signed for just that tag.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compiler.errors import ImageError, NotFoundError
from compiler.events import Noted, Reporter
from compiler.oci import (
    Descriptor,
    Digest,
    Platform,
    Reference,
    json_object,
    parse_descriptor,
    parse_object,
)
from compiler.publish.endorse import Endorsement, Trust
from compiler.publish.packages import labels_of
from compiler.publish.resign import is_signed
from compiler.registry import Registry
from compiler.signing.images import pinned
from compiler.signing.keys import PublicKey
from compiler.spec.package import PackageId


@dataclass(frozen=True, slots=True)
class OtherPlatforms:
    """Who stands for what a repository holds: its signed metadata, or else the keys of images.

    `older` are keys that signed before. Where there is none of all that, everything stays.
    """

    registry: Registry
    target: Reference
    trust: Trust | None
    endorsements: Sequence[Endorsement]
    older: Sequence[PublicKey]
    report: Reporter

    def kept(
        self, package: PackageId, tag: str, index: Digest, images: Mapping[Platform, Descriptor]
    ) -> Mapping[Platform, Descriptor]:
        """Return those of `images`, which are in an index under `tag`, that may stay there.

        Warns of what is left out.
        """
        if not images or self._is_vouched_for(package, tag, index, images):
            return images
        names = ", ".join(sorted(map(str, images)))
        then = "publish it again from where it was built for them (--force-push)"
        if self.trust is not None:
            then += ", unless that is going on right now"
        message = (
            f"{tag}: what it named for {names} is not signed by an owner, and left out; {then}"
        )
        self.report(Noted(message, warning=True))
        return {}

    def _is_vouched_for(
        self, package: PackageId, tag: str, index: Digest, images: Mapping[Platform, Descriptor]
    ) -> bool:
        """Tell whether an index was signed for this tag."""
        if self.trust is not None:
            return self.trust.signed_of([tag]).get(tag) == index
        if not self.endorsements:
            return True
        place = pinned(self.target, index)
        if any(each.vouches(self.target, tag, index) for each in self.endorsements) or (
            is_signed(self.registry, place, self.older)
        ):
            return all(self._is_of(package, image) for image in images.values())
        return False

    def _is_of(self, package: PackageId, image: Descriptor) -> bool:
        """Tell whether an image says that it is of a package: signatures of images name no tag."""
        place = pinned(self.target, image.digest)
        try:
            manifest = parse_object(self.registry.manifest(place).data, str(place))
            blob = parse_descriptor(manifest.get("config"))
            config = parse_object(self.registry.read_blob(place, blob), str(place))
        except (ImageError, NotFoundError):
            return False
        labels = json_object(json_object(config.get("config")).get("Labels"))
        return labels_of(package).items() <= labels.items()
