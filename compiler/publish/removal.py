"""Removes from a docker repository what garbage collection said."""

from collections.abc import Iterable
from dataclasses import replace

from compiler.errors import RegistryError
from compiler.oci import Digest, Reference
from compiler.publish.gc import Holdings, Line
from compiler.publish.state import tagged
from compiler.registry import Registry
from compiler.repository import index as texts


def remove(registry: Registry, target: Reference, holdings: Holdings, lines: Iterable[Line]) -> int:
    """Remove what `decide` said from the repository `target`; returns how many manifests went.

    Raises `RegistryError` if something was published meanwhile, and for a registry that forbids
    removal.
    """
    now = registry.head(tagged(target, texts.REPOSITORY))
    if now is None or now.digest != holdings.current.index.digest:
        raise RegistryError(f"{target}: was published to meanwhile", hint="run the command again")
    doomed = _doomed(lines, holdings)
    for digest in doomed:
        place = replace(target, tag="", digest=digest)
        for referrer in registry.referrers(place):
            registry.delete(replace(place, digest=referrer.digest))
        registry.delete(place)
    return len(doomed)


def _doomed(lines: Iterable[Line], holdings: Holdings) -> tuple[Digest, ...]:
    """List the manifests that go: those that no tag which stays names, directly or in an index."""
    stays = {line.digest for line in lines if not line.removed}
    stays |= {part for digest in stays for part in holdings.parts.get(digest, ())}
    goes: dict[Digest, None] = {}
    for line in lines:
        if line.removed:
            for digest in (line.digest, *holdings.parts.get(line.digest, ())):
                if digest not in stays:
                    goes[digest] = None
    return tuple(goes)
