"""A registry in memory, for tests: it counts what is asked of it and how much is transferred."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compiler.errors import ImageError, NotFoundError, RegistryError
from compiler.oci import Descriptor, Digest, Reference, digest_of
from compiler.registry import LARGEST_MANIFEST, LARGEST_TEXT, Manifest, Progress
from compiler.registry.manifests import Referrer, read_links, referrer_of


@dataclass(slots=True)
class _Repository:
    """What one repository holds."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)
    referrers: dict[Digest, dict[Digest, Referrer]] = field(default_factory=dict)


class MemoryRegistry:
    """A `Registry` that holds everything in memory, for every host, with the referrers API.

    `requests` counts the calls of each method by name, one for each call, as far as an HTTP
    registry would be asked; `sent` and `received` count the bytes of blobs and manifests.
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.sent = 0
        self.received = 0
        self._lock = threading.RLock()
        self._repositories: dict[tuple[str, str], _Repository] = {}

    def forget_counts(self) -> None:
        """Count from zero again."""
        with self._lock:
            self.requests.clear()
            self.sent = self.received = 0

    def head(self, reference: Reference) -> Descriptor | None:
        """Return the descriptor of a manifest; None if it is not there."""
        with self._lock:
            self.requests["head"] += 1
            found = self._find(reference)
            return None if found is None else found.descriptor

    def manifest(self, reference: Reference) -> Manifest:
        """Return a manifest or index."""
        with self._lock:
            self.requests["manifest"] += 1
            found = self._find(reference)
            if found is None:
                raise NotFoundError(f"{reference}: the registry has no such manifest")
            self.received += len(found.data)
            return found

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
        """Keep `data`, and give it the tag of `reference` if it has one."""
        descriptor = Descriptor(media_type, digest_of(data), len(data))
        if len(data) > LARGEST_MANIFEST:
            raise RegistryError(f"{reference}: a manifest of {len(data)} bytes is too large")
        if reference.digest and reference.digest != descriptor.digest:
            raise RegistryError(f"{reference}: the manifest has the digest {descriptor.digest}")
        with self._lock:
            self.requests["put_manifest"] += 1
            repository = self._repository(reference)
            self._check_links(reference, repository, data)
            self.sent += len(data)
            repository.manifests[descriptor.digest] = Manifest(descriptor, data)
            if reference.tag:
                repository.tags[reference.tag] = descriptor.digest
            subject = read_links(data).subject
            if subject:
                listed = repository.referrers.setdefault(subject, {})
                listed[descriptor.digest] = referrer_of(descriptor, data)
        return descriptor

    def has_blob(self, repository: Reference, digest: Digest) -> bool:
        """Tell whether a repository has a blob."""
        with self._lock:
            self.requests["has_blob"] += 1
            return digest in self._repository(repository).blobs

    def read_blob(self, repository: Reference, blob: Descriptor) -> bytes:
        """Return a blob."""
        if blob.size > LARGEST_TEXT:
            raise RegistryError(f"{repository}: the blob {blob.digest} is too large for memory")
        return self._blob(repository, blob, "read_blob")

    def fetch_blob(
        self,
        repository: Reference,
        blob: Descriptor,
        target: Path,
        progress: Progress | None = None,
    ) -> None:
        """Write a blob into the file `target`."""
        data = self._blob(repository, blob, "fetch_blob")
        part = target.with_name(f"{target.name}.part")
        part.write_bytes(data)
        part.rename(target)
        _tell(progress, len(data))

    def put_blob(
        self,
        repository: Reference,
        source: Path | bytes,
        blob: Descriptor,
        progress: Progress | None = None,
    ) -> bool:
        """Keep a blob; False if it was there already."""
        with self._lock:
            self.requests["put_blob"] += 1
            if blob.digest in self._repository(repository).blobs:
                return False
        data = source if isinstance(source, bytes) else source.read_bytes()
        if len(data) != blob.size or digest_of(data) != blob.digest:
            raise RegistryError(f"{repository}: the content is not {blob.digest}, nothing was kept")
        with self._lock:
            self.sent += len(data)
            self._repository(repository).blobs[blob.digest] = data
        _tell(progress, len(data))
        return True

    def mount_blob(self, repository: Reference, digest: Digest, *, origin: Reference) -> bool:
        """Take a blob over from another repository of the same registry; False if it cannot be."""
        if origin.registry != repository.registry:
            return False
        with self._lock:
            self.requests["mount_blob"] += 1
            data = self._repository(origin).blobs.get(digest)
            if data is None:
                return False
            self._repository(repository).blobs[digest] = data
            return True

    def tags(self, repository: Reference, *, after: str = "") -> Sequence[str]:
        """List the tags that sort after `after`."""
        with self._lock:
            self.requests["tags"] += 1
            return sorted(tag for tag in self._repository(repository).tags if tag > after)

    def referrers(self, subject: Reference, artifact_type: str = "") -> Sequence[Descriptor]:
        """List what refers to the manifest with the digest of `subject`, of one type if given."""
        with self._lock:
            self.requests["referrers"] += 1
            listed = self._repository(subject).referrers.get(Digest(subject.digest), {})
            return [
                each.descriptor
                for each in listed.values()
                if artifact_type in ("", each.artifact_type)
            ]

    def put_referrer(self, subject: Reference, data: bytes, media_type: str) -> Descriptor:
        """Store a manifest that names `subject` as its own, and list it among the referrers."""
        if read_links(data).subject != subject.digest:
            raise RegistryError(f"{subject}: the manifest names another subject")
        return self.put_manifest(Reference(subject.registry, subject.repository), data, media_type)

    def delete(self, reference: Reference) -> None:
        """Remove a manifest by its digest, with all its tags; nothing if it is not there."""
        with self._lock:
            self.requests["delete"] += 1
            found = self._find(reference)
            if found is None:
                return
            repository = self._repository(reference)
            digest = found.descriptor.digest
            del repository.manifests[digest]
            for tag in [tag for tag, named in repository.tags.items() if named == digest]:
                del repository.tags[tag]
            for listed in repository.referrers.values():
                listed.pop(digest, None)

    def content(self, repository: Reference, digest: Digest) -> bytes:
        """Return a blob whatever its length, without counting; for tests that look inside."""
        with self._lock:
            data = self._repository(repository).blobs.get(digest)
        if data is None:
            raise NotFoundError(f"{repository}: the registry has no blob {digest}")
        return data

    def _repository(self, reference: Reference) -> _Repository:
        """Return the repository of a reference, which is made when it is first named."""
        key = (reference.registry, reference.repository)
        return self._repositories.setdefault(key, _Repository())

    def _find(self, reference: Reference) -> Manifest | None:
        """Look a manifest up by digest, else by tag."""
        repository = self._repository(reference)
        digest = reference.digest or repository.tags.get(reference.tag, "")
        return repository.manifests.get(Digest(digest))

    def _blob(self, repository: Reference, blob: Descriptor, method: str) -> bytes:
        """Return a blob whose length is the one that is expected."""
        with self._lock:
            self.requests[method] += 1
            data = self._repository(repository).blobs.get(blob.digest)
            if data is None:
                raise NotFoundError(f"{repository}: the registry has no blob {blob.digest}")
            if len(data) != blob.size:
                raise RegistryError(f"{repository}: {blob.digest} is not {blob.size} bytes long")
            self.received += len(data)
            return data

    def _check_links(self, reference: Reference, repository: _Repository, data: bytes) -> None:
        """Refuse a manifest that refers to something that is not there."""
        try:
            links = read_links(data)
        except ImageError as error:
            raise RegistryError(f"{reference}: {error.message}") from error
        missing = [each.digest for each in links.blobs if each.digest not in repository.blobs]
        missing += [e.digest for e in links.manifests if e.digest not in repository.manifests]
        if missing:
            raise RegistryError(f"{reference}: refers to {missing[0]}, which is not there")


def _tell(progress: Progress | None, count: int) -> None:
    """Report transferred bytes to whoever wants to hear of them."""
    if progress is not None and count:
        progress(count)
