"""Container images as sources: verified by their signature, fetched layer by layer into a cache."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.life.source import Archives, Opening, System, Wanted
from compiler.errors import ImageError, TrustError
from compiler.oci import (
    INDEXES,
    Descriptor,
    Platform,
    Reference,
    hex_of,
    image_for,
    parse_descriptor,
    parse_object,
    parse_reference,
    platforms_of,
)
from compiler.registry import Manifest, Registry
from compiler.registry.client import RegistryClient
from compiler.registry.settings import settings_from
from compiler.repository.cache import Cache
from compiler.signing.images import verify_image
from compiler.store.images import host_platform, parse_config

_NESTED = 4
_MOST_LAYERS = 500
_UNVERIFIED = "--no-verify takes it all the same"
_COPIED = "COSIGN_REPOSITORY names where a copied image was signed"


def fetch(wanted: Wanted, opening: Opening) -> System:
    """Fetch what is not in the cache of an image, once its signature was found to be right.

    Raises `LifeError`.
    """
    with during(Phase.SOURCE):
        reference = parse_reference(wanted.name.replace("+", "-"))
    with open_registry(opening) as registry, during(Phase.DOWNLOAD):
        trusted = _trusted(registry, reference, opening)
        manifest = _manifest(registry, trusted)
        layers = _layers(registry, trusted, manifest)
        cache = opening.larder()
        cache.expect([(hex_of(each.digest), each.size) for each in layers])
        paths = [_blob(registry, trusted, layer, cache) for layer in layers]
    digest = trusted.digest or manifest.descriptor.digest
    return Archives(
        paths=paths,
        origin=str(wanted),
        digest=digest,
        layers=True,
        contents=[hex_of(each.digest) for each in layers],
    )


def look(wanted: Wanted, opening: Opening) -> int:
    """Return how many bytes an image has, once its signature and configuration were looked at.

    Raises `LifeError`.
    """
    with during(Phase.SOURCE):
        reference = parse_reference(wanted.name.replace("+", "-"))
    with open_registry(opening) as registry, during(Phase.DOWNLOAD):
        trusted = _trusted(registry, reference, opening)
        layers = _layers(registry, trusted, _manifest(registry, trusted))
    return sum(each.size for each in layers)


def open_registry(opening: Opening) -> RegistryClient:
    """Return a client of all registries, told by the environment and the settings."""
    insecure = opening.settings.words("INSECURE_REGISTRIES")
    return RegistryClient(settings_from(opening.host.environ, insecure=insecure))


def _trusted(registry: Registry, reference: Reference, opening: Opening) -> Reference:
    """Return the image by the digest that is signed; as it is named where nothing is checked."""
    if not opening.verify:
        return reference
    with during(Phase.TRUST):
        keys = opening.keys()
    if not keys:
        path = opening.settings.text("COSIGN_PUBLIC_KEY_LOCATION")
        message = f"{reference}: there is no key to verify it with ({path})"
        raise LifeError(message, Phase.TRUST, hint=_UNVERIFIED)
    named = opening.settings.text("COSIGN_REPOSITORY")
    signed_as = parse_reference(named) if named else None
    with during(Phase.DOWNLOAD):
        try:
            return verify_image(registry, reference, keys, signed_as=signed_as).image
        except TrustError as error:
            hint = "; ".join(each for each in (error.hint, _COPIED, _UNVERIFIED) if each)
            raise LifeError(error.message, Phase.TRUST, hint=hint) from error


def _manifest(registry: Registry, reference: Reference) -> Manifest:
    """Fetch the manifest for this machine; raises `LifeError` if there is none for it."""
    manifest = registry.manifest(reference)
    for _ in range(_NESTED):
        if manifest.descriptor.media_type not in INDEXES:
            return manifest
        offered = platforms_of(manifest.data, str(reference))
        chosen = image_for(offered, host_platform())
        if chosen is None:
            raise _foreign(reference, ", ".join(map(str, offered)))
        manifest = registry.manifest(replace(reference, tag="", digest=chosen.digest))
    raise ImageError(f"{reference}: its indexes are nested too deeply")


def _layers(registry: Registry, reference: Reference, manifest: Manifest) -> Sequence[Descriptor]:
    """List the layers, once the config says that they are for this machine."""
    value = parse_object(manifest.data, str(reference))
    config, _ = parse_config(registry.read_blob(reference, parse_descriptor(value.get("config"))))
    if config.platform.architecture not in {"", host_platform().architecture}:
        raise _foreign(reference, str(config.platform))
    entries = value.get("layers")
    found = [parse_descriptor(each) for each in (entries if isinstance(entries, list) else ())]
    if not 0 < len(found) <= _MOST_LAYERS:
        raise LifeError(f"{reference}: has no layers, or too many", Phase.UNPACK)
    return found


def _foreign(reference: Reference, offered: str) -> LifeError:
    ours: Platform = host_platform()
    message = f"{reference} is for {offered}, and this machine is {ours}"
    return LifeError(message, Phase.ARCHITECTURE, hint="choose the image for this machine")


def _blob(registry: Registry, image: Reference, layer: Descriptor, cache: Cache) -> Path:
    """Return a layer out of the cache; what is not there, or was damaged there, is fetched."""
    name = hex_of(layer.digest)
    found = cache.find(name)
    if found is not None:
        return found
    with cache.adding(name) as part:
        registry.fetch_blob(image, layer, part)
        return cache.keep(part, name)
