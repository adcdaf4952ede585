"""Brings base images from registries into the store, pinned by digest where `cos.lock` says so."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from compiler.archive import Clamp
from compiler.archive.safety import Devices
from compiler.archive.unpack import unpack_layer
from compiler.errors import (
    ArchiveError,
    CompilerError,
    ImageError,
    NotFoundError,
    RegistryError,
    StoreError,
)
from compiler.events import Noted, Reporter, silent
from compiler.oci import (
    INDEXES,
    SOURCE,
    Descriptor,
    Digest,
    Image,
    Platform,
    Reference,
    image_for,
    parse_descriptor,
    parse_object,
    parse_reference,
    platforms_of,
)
from compiler.registry import Manifest, Registry
from compiler.registry.failure import SPOILED
from compiler.store.images import ImageConfig, parse_config
from compiler.store.loose import ImageStore

_AS_THEY_ARE = Clamp(epoch=0, after=2**62)
_NESTED = 4
_AT_ONCE = 4
_NOT_ONE = "check its name: something else than an image has it, or it has to be pushed again"

Known = Callable[[Digest, str], Image | None]
"""Knows the image of a manifest, although its layers may not be here; the name is for the value."""


@dataclass(frozen=True, slots=True)
class _Resolved:
    """A manifest for one platform, and the digest under which its name was found."""

    named: Digest
    manifest: Manifest


class ImagePuller:
    """Looks images up in the store first, and then in the registry that their name begins with.

    `pins` gives names the digests that they stand for. What a registry does not give is None, and
    the reason is kept in `refusals`.
    """

    def __init__(
        self,
        registry: Registry,
        store: ImageStore,
        platform: Platform,
        *,
        pins: Mapping[str, Digest] | None = None,
        report: Reporter = silent,
    ) -> None:
        self._registry = registry
        self._store = store
        self._platform = platform
        self._pins = pins or {}
        self._report = report
        self.known: Known = lambda _digest, _name: None
        self.refusals: dict[str, CompilerError] = {}

    def lookup(self, name: str) -> Image | None:
        """Return the image of a name; its layers are in the store unless somebody else knows it.

        Raises `ImageError` for what is no name.
        """
        found = self._store.image(name)
        return self._asked(name, self._known_or_pulled) if found is None else found

    def bring(self, name: str) -> Image | None:
        """Pull an image although the store may have another one of that name."""
        return self._asked(name, self._pull)

    def _asked(self, name: str, bring: Callable[[str, _Resolved], Image]) -> Image | None:
        """Ask the registry for an image; keeps the reason for which it does not give it."""
        try:
            return bring(name, self._resolve(self._reference(name)))
        except CompilerError as error:
            self.refusals[name] = error
            return None

    def _known_or_pulled(self, name: str, resolved: _Resolved) -> Image:
        """Return what somebody else knows of an image, or else pull it."""
        known = self.known(resolved.manifest.descriptor.digest, name)
        return self._pull(name, resolved) if known is None else known

    def ensure(self, name: str, image: Image) -> None:
        """Bring an image here that is not; raises `ImageError` if its registry has another.

        That its layers are here is not enough: what a cache says of an image may be false, and name
        layers that came from the same place.
        """
        here = self._store.image(name)
        if here is not None and here.content == image.content and self._has_layers(here):
            return
        pulled = self._pull(name, self._resolve(self._reference(name)))
        if pulled.content != image.content:
            raise ImageError(
                f"the image {name!r} has changed in its registry meanwhile",
                hint="run the same command again; `cos lock` pins images",
            )

    def _has_layers(self, image: Image) -> bool:
        return all(self._store.has_layer(layer) for layer in image.layers)

    def _reference(self, name: str) -> Reference:
        """Say where the image of a name is, with the digest that it is pinned to."""
        reference = parse_reference(name)
        pinned = self._pins.get(str(reference))
        return replace(reference, digest=pinned) if pinned and not reference.digest else reference

    def _resolve(self, reference: Reference) -> _Resolved:
        """Fetch the manifest for this platform, through indexes if need be."""
        manifest = self._registry.manifest(reference)
        named = manifest.descriptor.digest
        for _ in range(_NESTED):
            if manifest.descriptor.media_type not in INDEXES:
                return _Resolved(named, manifest)
            with _damage(reference):
                platforms = platforms_of(manifest.data, str(reference))
            chosen = image_for(platforms, self._platform)
            if chosen is None:
                names = ", ".join(map(str, sorted(platforms, key=str)))
                hint = f"it has {names}" if names else "it has no image at all"
                message = f"{reference}: has no image for {self._platform}"
                raise NotFoundError(message, hint=hint)
            manifest = self._registry.manifest(replace(reference, tag="", digest=chosen.digest))
        raise RegistryError(f"{reference}: its indexes are nested too deeply", hint=_NOT_ONE)

    def _pull(self, name: str, resolved: _Resolved) -> Image:
        """Bring an image here and name it."""
        reference = self._reference(name)
        with _damage(reference):
            value = parse_object(resolved.manifest.data, str(reference))
            stored = parse_descriptor(value.get("config"))
            config, diff_ids = parse_config(self._registry.read_blob(reference, stored))
            entries = value.get("layers")
            blobs = list(map(parse_descriptor, entries if isinstance(entries, list) else ()))
            if len(blobs) != len(diff_ids):
                raise ImageError("its config has another number of layers")
        self._report(Noted(f"pulling {reference}"))
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="pull") as pool:
            layers = list(pool.map(lambda blob: self._layer(reference, blob), blobs))
        labels = {**dict(config.labels), SOURCE: resolved.named}
        return self._store.put_image(name, layers, _labelled(config, labels))

    def _layer(self, reference: Reference, blob: Descriptor) -> Digest:
        """Fetch one layer and unpack it."""
        with self._store.scratch() as scratch:
            packed, folder = scratch / "blob", scratch / "layer"
            folder.mkdir()
            self._registry.fetch_blob(reference, blob, packed)
            try:
                with self._store.guarded():
                    unpack_layer(packed, folder, devices=Devices.allowed())
                return self._store.add_layer(folder, _AS_THEY_ARE)
            except ArchiveError as error:
                hint = error.hint or SPOILED
                raise RegistryError(f"{reference}: {error.message}", hint=hint) from error
            except StoreError as error:
                raise StoreError(f"{reference}: {error.message}", hint=error.hint) from error


@contextmanager
def _damage(reference: Reference) -> Iterator[None]:
    """Say of what a registry has under a name that it is no image."""
    try:
        yield
    except ImageError as error:
        text = error.message.removeprefix(f"{reference}: ")
        raise RegistryError(f"{reference}: {text}", hint=error.hint or _NOT_ONE) from error


def _labelled(config: ImageConfig, labels: Mapping[str, str]) -> ImageConfig:
    """Return a config with these labels."""
    return replace(config, labels=tuple(sorted(labels.items())))
