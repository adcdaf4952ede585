"""Registries: contents by digest and manifests by name (OCI Distribution Specification 1.1)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from compiler.oci import Descriptor, Digest, Reference

LARGEST_MANIFEST = 4 << 20
"""How many bytes of a manifest are read (OCI Distribution Specification, Pushing Manifests)."""

LARGEST_TEXT = 64 << 20
"""How many bytes of a blob are read into memory; what is larger goes to a file."""

Progress = Callable[[int], None]
"""Hears how many further bytes were transferred, possibly from several threads; never raises."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or index as it is stored: its bytes, and the descriptor that names them."""

    descriptor: Descriptor
    data: bytes


class Registry(Protocol):
    """What `cos` asks of registries; one client speaks to all of them, and all threads share it.

    A `Reference` names the registry and repository, and for manifests the tag or digest; a digest
    wins over a tag. Every method raises `RegistryError`, with the reference, what was tried and
    what to do; `NotFoundError` where only a name or content is missing, `DeniedError` where
    credentials are missing or refused. Whatever comes back has been checked: its digest, its
    length, and that it is no larger than the caller allows.
    """

    def head(self, reference: Reference) -> Descriptor | None:
        """Return the descriptor of a manifest, without its content; None if it is not there."""

    def manifest(self, reference: Reference) -> Manifest:
        """Fetch a manifest or index of at most `LARGEST_MANIFEST` bytes."""

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
        """Give `data` the tag of `reference`, or store it by its digest where that has no tag.

        Everything that it refers to must be there already.
        """

    def has_blob(self, repository: Reference, digest: Digest) -> bool:
        """Tell whether a repository has a blob."""

    def read_blob(self, repository: Reference, blob: Descriptor) -> bytes:
        """Fetch a blob of at most `LARGEST_TEXT` bytes into memory."""

    def fetch_blob(
        self,
        repository: Reference,
        blob: Descriptor,
        target: Path,
        progress: Progress | None = None,
    ) -> None:
        """Fetch a blob into the file `target`, which appears only once it is whole and checked.

        A transfer that breaks goes on where it stopped.
        """

    def put_blob(
        self,
        repository: Reference,
        source: Path | bytes,
        blob: Descriptor,
        progress: Progress | None = None,
    ) -> bool:
        """Upload a blob, in resumable chunks where it is large; False if it was there already."""

    def mount_blob(self, repository: Reference, digest: Digest, *, origin: Reference) -> bool:
        """Take a blob over from another repository of the same registry; False if it cannot be."""

    def tags(self, repository: Reference, *, after: str = "") -> Sequence[str]:
        """List the tags of a repository that sort after `after`; none if there is no repository."""

    def referrers(self, subject: Reference, artifact_type: str = "") -> Sequence[Descriptor]:
        """List what refers to the manifest with the digest of `subject`, of one type if given.

        Where a registry has no referrers API, the index under the tag `sha256-HEX` is read
        (OCI Distribution Specification, Referrers Tag Schema).
        """

    def put_referrer(self, subject: Reference, data: bytes, media_type: str) -> Descriptor:
        """Store a manifest that names `subject` as its own, and list it among the referrers."""

    def delete(self, reference: Reference) -> None:
        """Remove a manifest by its digest, with all its tags; nothing if it is not there."""
