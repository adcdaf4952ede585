"""Images to sign in any registry, and keys to sign them with."""

import json
from functools import cache

from compiler.oci import CONFIG, MANIFEST, Descriptor, Digest, Reference, digest_of, hex_of
from compiler.registry import Registry
from compiler.signing.keys import PrivateKey, generate

PLACE = Reference("registry.example", "os/cos", "1")


@cache
def key(name: str = "ours") -> PrivateKey:
    """Give the key of somebody, the same for all tests of a process."""
    del name  # what the cache tells keys apart by
    return generate()


def image(registry: Registry, place: Reference = PLACE, text: str = "an image") -> Digest:
    """Put a small image in a registry; images of the same text are the same."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "author": text}).encode()
    descriptor = Descriptor(CONFIG, digest_of(config), len(config))
    registry.put_blob(place, config, descriptor)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": descriptor.digest, "size": descriptor.size},
        "layers": [],
    }
    return registry.put_manifest(place, json.dumps(manifest).encode(), MANIFEST).digest


def by_digest(digest: Digest, place: Reference = PLACE) -> Reference:
    """Name an image by its digest alone."""
    return Reference(place.registry, place.repository, digest=digest)


def signature_tag(digest: Digest, place: Reference = PLACE, suffix: str = "sig") -> Reference:
    """Name the tag under which the signatures of an image are."""
    return Reference(place.registry, place.repository, f"sha256-{hex_of(digest)}.{suffix}")


def statement(digest: Digest, predicate_type: str = "https://example.org/made/v1") -> bytes:
    """Write an in-toto statement about an image."""
    value = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": predicate_type,
        "subject": [{"name": "os/cos", "digest": {"sha256": hex_of(digest)}}],
        "predicate": {"by": "a test"},
    }
    return json.dumps(value).encode()
