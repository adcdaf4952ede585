"""Signs with a new key what was published before, where somebody vouches for it.

Images that did not change are not pushed again, so they would have the signatures of an old key
only. What a registry's tags name is signed only if an older key, or the signed metadata, says that
it is the owner's: else a hostile registry would get its own images signed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from compiler.errors import NotFoundError, TrustError
from compiler.events import Noted, Reporter
from compiler.oci import Descriptor, Digest, Reference
from compiler.publish.endorse import Endorsement, Trust
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Anew:
    """Who signs anew in a repository: `endorsements`, what `older` keys or `trust` stand for."""

    registry: Registry
    target: Reference
    trust: Trust | None
    endorsements: Sequence[Endorsement]
    older: Sequence[PublicKey]
    report: Reporter


def sign_anew(index: Descriptor, packages: Iterable[PackageId], anew: Anew) -> None:
    """Have images of packages signed with keys that are new here; the index shows which those are.

    It is signed last, so what was stopped on the way is made up for the next time.
    """
    new = [each for each in anew.endorsements if each.is_new_to(pinned(anew.target, index.digest))]
    if not new:
        return
    signed = anew.trust.signed() if anew.trust else {}
    found = vouched(anew.registry, anew.target, packages, older=anew.older, signed=signed)
    for each in new:
        each.images(anew.target, found.images)
    if found.images:
        anew.report(Noted(f"{len(found.images)} images are signed anew"))
    if found.unknown:
        anew.report(Noted(found.words, warning=True))


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
