"""What is said of images when they are published: signatures of those who stand for them."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from compiler.oci import Descriptor, Reference
from compiler.registry import Registry
from compiler.signing.images import pinned, sign_image
from compiler.signing.keys import PrivateKey

_AT_ONCE = 8


class Endorsement(Protocol):
    """Says something of images; called when their contents are up and before clients see them."""

    def images(self, target: Reference, images: Iterable[Descriptor]) -> None:
        """Say it of these images in the repository `target`."""


class CosignEndorsement:
    """Signs images as `cosign` does, with one key."""

    def __init__(self, registry: Registry, key: PrivateKey) -> None:
        self._registry = registry
        self._key = key

    def images(self, target: Reference, images: Iterable[Descriptor]) -> None:
        """Sign images, several at a time."""

        def sign(image: Descriptor) -> None:
            sign_image(self._registry, pinned(target, image.digest), self._key)

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sign") as pool:
            list(pool.map(sign, images))
