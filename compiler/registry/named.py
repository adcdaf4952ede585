"""Manifests by name: what is asked for, and how what comes back is checked."""

from collections.abc import Mapping

from compiler.errors import ImageError, RegistryError
from compiler.oci import INDEX, MANIFEST, Descriptor, Digest, Reference, digest_of, parse_digest
from compiler.registry import LARGEST_MANIFEST, Manifest
from compiler.registry.failure import SPOILED, Doubtful
from compiler.registry.manifests import read_links
from compiler.registry.site import Answer, Call, Site, tag_path
from compiler.registry.transport import Slice

ACCEPTED = (
    INDEX,
    MANIFEST,
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
"""The types of manifests that are asked for; registries convert what is not among them."""

_FOUND = frozenset({200})
_NOT_THERE = 404
_NOT_ALLOWED = 405


def head(site: Site, reference: Reference) -> Descriptor | None:
    """Ask for the descriptor of a manifest; None if it is not there."""
    call = _manifest_call(reference, "HEAD", _FOUND | {_NOT_THERE})
    answer = site.ask(call)
    if answer.status == _NOT_THERE:
        return None
    found = _descriptor(call, answer)
    return found if found is not None else load(site, reference).descriptor


def load(site: Site, reference: Reference) -> Manifest:
    """Fetch a manifest, and compare it with the digest that it has to have."""
    call = _manifest_call(reference, "GET", _FOUND)
    return site.read(call, lambda answer: _checked(reference, answer))


def store(
    site: Site, reference: Reference, data: bytes, media_type: str
) -> tuple[Descriptor, Mapping[str, str]]:
    """Store a manifest; returns also what the registry says of it."""
    descriptor = Descriptor(media_type, digest_of(data), len(data))
    if len(data) > LARGEST_MANIFEST:
        message = f"{reference}: a manifest of {len(data)} bytes is too large"
        hint = f"registries take {LARGEST_MANIFEST} bytes: give it fewer annotations or platforms"
        raise RegistryError(message, hint=hint)
    if reference.digest and reference.digest != descriptor.digest:
        message = f"{reference}: the manifest has the digest {descriptor.digest}"
        raise RegistryError(message, hint="name it by that digest, or by a tag")
    name = reference if reference.tag else by_digest(reference, descriptor.digest)
    call = Call(
        repository=name,
        what="store the manifest",
        path=f"manifests/{name.tag or name.digest}",
        method="PUT",
        headers={"Content-Type": media_type},
        body=lambda: Slice(data, 0, len(data)),
        actions="pull,push",
        wanted=frozenset({201}),
    )
    answer = site.ask(call)
    said = answer.headers.get("Docker-Content-Digest", descriptor.digest)
    if said != descriptor.digest:
        message = f"{call.subject}: the registry stored it as {said[:80]}"
        raise RegistryError(message, hint=SPOILED)
    return descriptor, answer.headers


def remove(site: Site, reference: Reference) -> None:
    """Delete a manifest by its digest."""
    call = Call(
        repository=reference,
        what="delete the manifest",
        path=tag_path(reference),
        method="DELETE",
        actions="delete,pull,push",
        wanted=frozenset({200, 202, _NOT_THERE, _NOT_ALLOWED}),
    )
    if site.ask(call).status == _NOT_ALLOWED:
        hint = "its administrator has to allow it (`storage.delete.enabled` of docker-registry)"
        raise RegistryError(f"{call.subject}: the registry does not allow it", hint=hint)


def by_digest(reference: Reference, digest: Digest) -> Reference:
    """Name a manifest of the same repository by its digest alone."""
    return Reference(reference.registry, reference.repository, digest=digest)


def _manifest_call(reference: Reference, method: str, wanted: frozenset[int]) -> Call:
    """Make the request for a manifest."""
    return Call(
        repository=reference,
        what="fetch the manifest",
        path=tag_path(reference),
        method=method,
        headers={"Accept": ", ".join(ACCEPTED)},
        wanted=wanted,
        limit=LARGEST_MANIFEST,
    )


def _checked(reference: Reference, answer: Answer) -> Manifest:
    """Make a manifest of an answer; raises `Doubtful` if it is not what was asked for."""
    digest = digest_of(answer.data)
    said = answer.headers.get("Docker-Content-Digest", digest)
    if digest != (reference.digest or said) or digest != said:
        raise Doubtful("what came has another digest")
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
    try:
        own = read_links(answer.data).media_type
    except ImageError as error:
        raise Doubtful(f"what came is {error.message}") from error
    if own and kind in ACCEPTED and own != kind:
        raise Doubtful(f"what came is called {kind}, and calls itself {own}")
    return Manifest(Descriptor(own or kind, digest, len(answer.data)), answer.data)


def _descriptor(call: Call, answer: Answer) -> Descriptor | None:
    """Read the descriptor in the headers of a manifest; None if they do not tell all."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
    length = answer.headers.get("Content-Length", "")
    digest = answer.headers.get("Docker-Content-Digest", "") or call.repository.digest
    if not (kind and length.isdecimal() and digest):
        return None
    try:
        return Descriptor(kind, _parsed(call.repository, digest), _bounded(int(length)))
    except ImageError as error:
        raise RegistryError(f"{call.subject}: {error.message}", hint=SPOILED) from error


def _parsed(reference: Reference, text: str) -> Digest:
    """Check a digest that a registry names."""
    digest = parse_digest(text)
    if reference.digest and digest != reference.digest:
        raise ImageError(f"the registry names another digest, {digest}")
    return digest


def _bounded(size: int) -> int:
    """Check the size that a registry claims a manifest to have."""
    if size > LARGEST_MANIFEST:
        raise ImageError(f"the registry claims {size} bytes, {LARGEST_MANIFEST} are allowed")
    return size
