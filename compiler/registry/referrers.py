"""What refers to a manifest: by the API of registries that have it, else by a list under a tag."""

import threading
from collections.abc import Callable, Mapping, Sequence

from compiler.errors import ImageError, NotFoundError, RegistryError
from compiler.oci import INDEX, Descriptor, Digest, Reference
from compiler.registry import Manifest
from compiler.registry.listing import chosen, list_referrers
from compiler.registry.manifests import (
    Referrer,
    read_links,
    read_referrers,
    referrer_of,
    referrers_tag,
    write_referrers,
)
from compiler.registry.named import by_digest, load, remove, store
from compiler.registry.site import Site

_ATTEMPTS = 10
_KEPT_BY_REGISTRY = "OCI-Subject"


class Referrers:
    """The lists of one registry; every thread may use it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._without_api = False

    def list(self, subject: Reference, artifact_type: str = "") -> Sequence[Referrer]:
        """List what refers to a manifest, of one type if given."""
        found = self._ask(subject, artifact_type)
        return chosen(self._read(subject)[0], artifact_type) if found is None else found

    def add(
        self, subject: Reference, stored: Descriptor, data: bytes, said: Mapping[str, str]
    ) -> None:
        """List the manifest `data`; `said` are the headers with which the registry took it."""
        if _KEPT_BY_REGISTRY not in said:
            line = referrer_of(stored, data)
            self._change(subject, lambda lines: (*_others(lines, stored), line))

    def drop(self, reference: Reference, gone: Manifest) -> None:
        """Take a manifest that was deleted off the list that it was on."""
        subject = read_links(gone.data).subject
        if subject is None:
            return
        about = by_digest(reference, subject)
        if self._ask(about, "") is None:
            self._change(about, lambda lines: _others(lines, gone.descriptor))

    def _ask(self, subject: Reference, artifact_type: str) -> Sequence[Referrer] | None:
        """Ask the API, None where there is none; that is found out once."""
        if self._without_api:
            return None
        found = list_referrers(self._site, subject, artifact_type)
        self._without_api = found is None
        return found

    def _read(self, subject: Reference) -> tuple[Sequence[Referrer], Digest | None]:
        """Read the list under the tag that stands for a subject, and its digest."""
        name = _list_name(subject)
        try:
            found = load(self._site, name)
            return read_referrers(found.data), found.descriptor.digest
        except NotFoundError:
            return (), None
        except ImageError as error:
            hint = "something else has this tag: delete it, and sign again"
            raise RegistryError(f"{name}: {error.message}", hint=hint) from error

    def _change(
        self, subject: Reference, change: Callable[[Sequence[Referrer]], Sequence[Referrer]]
    ) -> None:
        """Change the list until it is as it should be, whoever else changes it."""
        name = _list_name(subject)
        with self._lock:
            for _ in range(_ATTEMPTS):
                lines, digest = self._read(subject)
                wanted = tuple(change(lines))
                if set(wanted) == set(lines):
                    return
                if wanted:
                    store(self._site, name, write_referrers(wanted), INDEX)
                elif digest is not None:
                    remove(self._site, by_digest(name, digest))
        hint = "run the same command again"
        raise RegistryError(f"{name}: others keep changing the list of referrers", hint=hint)


def _others(lines: Sequence[Referrer], descriptor: Descriptor) -> tuple[Referrer, ...]:
    """Leave one manifest out of a list."""
    return tuple(line for line in lines if line.descriptor.digest != descriptor.digest)


def _list_name(subject: Reference) -> Reference:
    """Name the list of what refers to a subject."""
    tag = referrers_tag(Digest(subject.digest))
    return Reference(subject.registry, subject.repository, tag)
