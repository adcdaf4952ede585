"""Signs with a new key what was published before, where somebody vouches for it.

Images that did not change are not pushed again, so they would have the signatures of an old key
only. What a registry's tags name is signed only if an older key, or the signed metadata, says that
it is the owner's: else a hostile registry would get its own images signed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from compiler.errors import NotFoundError, TrustError
from compiler.oci import Descriptor, Digest, Reference
from compiler.publish.push import each_at_once
from compiler.publish.state import tagged
from compiler.registry import Registry
from compiler.repository.oci import tags_of
from compiler.signing.images import pinned, verify_image
from compiler.signing.keys import PublicKey
from compiler.spec.package import PackageId

_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """Images by tag, apart: those that somebody stands for, and the others' tags."""

    images: Mapping[str, Descriptor]
    unknown: Sequence[str]

    @property
    def words(self) -> str:
        """Say which images nobody vouches for, and what helps."""
        shown = ", ".join(self.unknown[:_SHOWN]) + (" …" if len(self.unknown) > _SHOWN else "")
        return (
            f"{len(self.unknown)} listed images are not signed with a key of --sign, which is new: "
            f"{shown}; --resign OLD.pub signs anew what that key signed, --force-push what is "
            "published here"
        )


def vouched(
    registry: Registry,
    target: Reference,
    packages: Iterable[PackageId],
    *,
    older: Sequence[PublicKey],
    signed: Mapping[str, Digest],
) -> Vouched:
    """Tell which images of packages may be signed anew, asking for all of them.

    Those are the ones that a key of `older` signed, or that are in `signed`, by their tags.
    """

    def ask(tag: str) -> Descriptor | None:
        image = registry.head(tagged(target, tag))
        if image is None or signed.get(tag) == image.digest:
            return image
        return image if is_signed(registry, pinned(target, image.digest), older) else None

    tags = [tag for each in sorted(packages) for tag in tags_of(each)]
    found = dict(zip(tags, each_at_once(ask, tags), strict=True))
    return Vouched(
        images={tag: image for tag, image in found.items() if image is not None},
        unknown=[tag for tag, image in found.items() if image is None],
    )


def is_signed(registry: Registry, image: Reference, keys: Sequence[PublicKey]) -> bool:
    """Tell whether one of some keys has signed an image."""
    try:
        verify_image(registry, image, keys)
    except (TrustError, NotFoundError):
        return False
    return True
