"""Signs what was published before and is not signed yet, where somebody vouches for it.

Images that did not change are not pushed again, so they would have the signatures of an old key
only, or be unknown to a Notary server. What a registry's tags name is signed only if an older key,
or the signed metadata, says that it is the owner's: else a hostile registry would get its own
images signed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from compiler.errors import NotFoundError, TrustError
from compiler.events import Noted, Reporter
from compiler.oci import Descriptor, Digest, Reference
from compiler.publish.endorse import Endorsement
from compiler.publish.push import each_at_once
from compiler.publish.state import tagged
from compiler.registry import Registry
from compiler.repository.oci import tags_of
from compiler.signing.images import pinned, verify_image
from compiler.signing.keys import PublicKey
from compiler.spec.package import PackageId

_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """Where images are looked up, who may vouch for them, and who is told.

    `older` are keys that signed images before, `signed` gives what the signed metadata has of tags.
    """

    registry: Registry
    older: Sequence[PublicKey]
    signed: Callable[[], Mapping[str, Digest]]
    report: Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """Images by tag, apart: those that somebody stands for, and the others' tags."""

    images: Mapping[str, Descriptor]
    unknown: Sequence[str]

    @property
    def shown(self) -> str:
        """Name some of the images that nobody vouches for."""
        return ", ".join(self.unknown[:_SHOWN]) + (" …" if len(self.unknown) > _SHOWN else "")

    @property
    def words(self) -> str:
        """Say which images a new key has not signed, and what helps."""
        return (
            f"{len(self.unknown)} listed images are not signed with a key of --sign, which is new: "
            f"{self.shown}; --resign OLD.pub signs anew what that key signed, --force-push what is "
            "published here"
        )

    @property
    def words_of_tags(self) -> str:
        """Say which tags a Notary server does not list, and what helps."""
        return (
            f"{len(self.unknown)} listed images are not signed at the server of --content-trust: "
            f"{self.shown}; --force-push signs what is published here, --root what its signed "
            "metadata has"
        )


def sign_anew(
    endorsement: Endorsement, index: Reference, packages: Iterable[PackageId], asked: Asked
) -> None:
    """Have an endorsement speak of those packages of an index that it has not spoken of.

    A signature of an image says nothing of the tag that names it, so older keys do not count where
    tags are signed: whoever may push could have moved them.
    """
    tags = [tag for each in sorted(packages) for tag in tags_of(each)]
    unsaid = endorsement.unsaid(index, tags)
    if not unsaid:
        return
    older = () if endorsement.by_tag else asked.older
    found = vouched(asked.registry, index, unsaid, older=older, signed=asked.signed())
    endorsement.images(index, found.images)
    if found.images:
        asked.report(Noted(f"{len(found.images)} images are signed anew"))
    if found.unknown:
        words = found.words_of_tags if endorsement.by_tag else found.words
        asked.report(Noted(words, warning=True))


def vouched(
    registry: Registry,
    target: Reference,
    tags: Sequence[str],
    *,
    older: Sequence[PublicKey],
    signed: Mapping[str, Digest],
) -> Vouched:
    """Tell which images that tags of packages name may be signed anew, asking for all of them.

    Those are the ones that a key of `older` signed, or that are in `signed`, by their tags.
    """

    def ask(tag: str) -> Descriptor | None:
        image = registry.head(tagged(target, tag))
        if image is None or signed.get(tag) == image.digest:
            return image
        return image if is_signed(registry, pinned(target, image.digest), older) else None

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
