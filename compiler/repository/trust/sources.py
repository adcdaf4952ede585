"""Sources whose contents are compared with what was signed, before anybody sees them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import CompilerError, TrustError
from compiler.oci import Descriptor, Digest, Reference
from compiler.registry import Manifest, Progress, Registry
from compiler.repository.cache import Cache
from compiler.repository.configured import RepositoryConfig
from compiler.repository.sources import LARGEST_ARCHIVE, Source
from compiler.repository.sources.opening import Opening, open_source
from compiler.repository.trust import FOLDER, tag, target_of_image
from compiler.repository.trust.client import TrustedRepository
from compiler.repository.trust.kept import seal_of, state_folder
from compiler.repository.trust.places import fetch_from


def signed_source(
    config: RepositoryConfig, opening: Opening, folder: Path, root: bytes
) -> tuple[Source, TrustedRepository]:
    """Open a repository whose root is known: nothing comes out of it that was not signed.

    `folder` keeps what was seen of the signed metadata.
    """
    plain = open_source(config, opening)
    state = state_folder(folder)
    trusted = TrustedRepository(root, state, fetch_from(plain, state), name=config.name)
    if config.type != "docker":
        return SignedFiles(plain, trusted), trusted
    registry = opening.registry
    checking = replace(
        opening,
        registry=lambda each: SignedImages(registry(each), trusted),
        seal=seal_of(root),
    )
    return open_source(config, checking), trusted


class SignedFiles:
    """The files of a disk or http repository, each compared by its name."""

    def __init__(self, source: Source, trusted: TrustedRepository) -> None:
        self._source = source
        self._trusted = trusted

    @property
    def address(self) -> str:
        """The address, as it may be shown."""
        return self._source.address

    def bring(self, name: str, target: Path, limit: int) -> None:
        """Write a file to `target`, unless it is another than was signed."""
        self._source.bring(name, target, limit)
        if name.startswith(f"{FOLDER}/"):
            return
        try:
            self._trusted.check(name, target)
        except CompilerError:
            target.unlink(missing_ok=True)
            raise

    def fetch(
        self, artifact: ArtifactMetadata, cache: Cache, limit: int = LARGEST_ARCHIVE
    ) -> tuple[Path, ...]:
        """Return the archive of a package, unless it is another than was signed."""
        signed = self._trusted.require(artifact.archive)
        if signed.sha256 != artifact.sha256:
            raise TrustError(f"{self.address}: {artifact.archive} is not what was signed")
        found = self._source.fetch(artifact, cache, min(limit, signed.length))
        for path in found:
            self._trusted.check(artifact.archive, path)
        return found


class SignedImages:
    """A registry in which the tags of one repository name nothing but what was signed.

    Everything else is asked for by digest, and so comes from what was compared.
    """

    def __init__(self, registry: Registry, trusted: TrustedRepository) -> None:
        self._registry = registry
        self._trusted = trusted

    def manifest(self, reference: Reference) -> Manifest:
        """Fetch a manifest or index, unless its tag was signed for another one."""
        found = self._registry.manifest(reference)
        if not reference.digest and not reference.tag.startswith(tag("")):
            self._trusted.compare(reference.tag, target_of_image(found.descriptor))
        return found

    def head(self, reference: Reference) -> Descriptor | None:
        """Return the descriptor of a manifest."""
        return self._registry.head(reference)

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
        """Store a manifest."""
        return self._registry.put_manifest(reference, data, media_type)

    def has_blob(self, repository: Reference, digest: Digest) -> bool:
        """Tell whether a repository has a blob."""
        return self._registry.has_blob(repository, digest)

    def read_blob(self, repository: Reference, blob: Descriptor) -> bytes:
        """Fetch a small blob."""
        return self._registry.read_blob(repository, blob)

    def fetch_blob(
        self,
        repository: Reference,
        blob: Descriptor,
        target: Path,
        progress: Progress | None = None,
    ) -> None:
        """Fetch a blob into a file."""
        self._registry.fetch_blob(repository, blob, target, progress)

    def put_blob(
        self,
        repository: Reference,
        source: Path | bytes,
        blob: Descriptor,
        progress: Progress | None = None,
    ) -> bool:
        """Upload a blob."""
        return self._registry.put_blob(repository, source, blob, progress)

    def mount_blob(self, repository: Reference, digest: Digest, *, origin: Reference) -> bool:
        """Take a blob over from another repository."""
        return self._registry.mount_blob(repository, digest, origin=origin)

    def tags(self, repository: Reference, *, after: str = "") -> Sequence[str]:
        """List tags."""
        return self._registry.tags(repository, after=after)

    def referrers(self, subject: Reference, artifact_type: str = "") -> Sequence[Descriptor]:
        """List what refers to a manifest."""
        return self._registry.referrers(subject, artifact_type)

    def put_referrer(self, subject: Reference, data: bytes, media_type: str) -> Descriptor:
        """Store what refers to a manifest."""
        return self._registry.put_referrer(subject, data, media_type)

    def delete(self, reference: Reference) -> None:
        """Remove a manifest."""
        self._registry.delete(reference)
