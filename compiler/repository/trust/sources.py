"""Sources whose contents are compared with what was signed, before anybody sees them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import CompilerError, TooLongError, TrustError
from compiler.oci import Descriptor, Digest, Reference
from compiler.registry import Manifest, Progress
from compiler.repository.cache import Cache
from compiler.repository.configured import RepositoryConfig
from compiler.repository.sources import LARGEST_ARCHIVE, Mirrors, Source
from compiler.repository.sources.opening import Opening, open_addresses
from compiler.repository.sources.registry import Images
from compiler.repository.trust import FOLDER
from compiler.repository.trust.client import TrustedRepository
from compiler.repository.trust.kept import seal_of, state_folder
from compiler.repository.trust.places import fetch_from


def signed_source(
    config: RepositoryConfig, opening: Opening, folder: Path, root: bytes
) -> tuple[Source, TrustedRepository]:
    """Open a repository whose root is known: nothing comes out of it that was not signed.

    `folder` keeps what was seen of the signed metadata.
    """
    plain = open_addresses(config, opening)
    state = state_folder(folder)
    fetches = [(each.address, fetch_from(each, state)) for each in plain]
    trusted = TrustedRepository(root, state, fetches, name=config.name, report=opening.report)
    signed: Sequence[Source] = [SignedFiles(each, trusted) for each in plain]
    if config.type == "docker":
        signed = open_addresses(config, _checking(opening, trusted, root))
    return Mirrors(signed, opening.report, lambda: trusted.preferred), trusted


def _checking(opening: Opening, trusted: TrustedRepository, root: bytes) -> Opening:
    """Open registries so that nothing comes out of them that was not signed."""
    registry = opening.registry
    return replace(
        opening,
        registry=lambda each: SignedImages(
            registry(each), lambda name: trusted.require(name).digest
        ),
        seal=seal_of(root),
        vouch=trusted.require,
    )


class SignedFiles:
    """The files of an address of a disk or http repository, each compared by its name."""

    def __init__(self, source: Source, trusted: TrustedRepository) -> None:
        self._source = source
        self._trusted = trusted

    @property
    def address(self) -> str:
        """The address, as it may be shown."""
        return self._source.address

    def bring(self, name: str, target: Path, limit: int) -> None:
        """Write a file to `target`, unless it is another than was signed."""
        if name.startswith(f"{FOLDER}/"):
            self._source.bring(name, target, limit)
            return
        place = self._trusted.place_of(name)
        try:
            with self._within(place, limit) as length:
                self._source.bring(place, target, length)
            self._trusted.check(place, target)
        except CompilerError:
            target.unlink(missing_ok=True)
            raise

    def fetch(
        self, artifact: ArtifactMetadata, cache: Cache, limit: int = LARGEST_ARCHIVE
    ) -> tuple[Path, ...]:
        """Return the archive of a package, unless it is another than was signed."""
        signed = self._trusted.require(artifact.archive)
        if signed.sha256 != artifact.sha256:
            hint = "`cos repo update` fetches the newest index"
            message = f"{self.address}: {artifact.archive} is not what was signed"
            raise TrustError(message, hint=hint)
        with self._within(artifact.archive, limit) as length:
            found = self._source.fetch(artifact, cache, length)
        for path in found:
            self._trusted.check(artifact.archive, path)
        return found

    @contextmanager
    def _within(self, name: str, limit: int) -> Iterator[int]:
        """Say how many bytes of a file are read at most; more than were signed are not it."""
        signed = self._trusted.require(name)
        try:
            yield min(limit, signed.length)
        except TooLongError as error:
            if limit < signed.length:
                raise
            raise self._trusted.unlike(name, f"more than {signed.length} bytes") from error


class SignedImages:
    """The images of a docker repository, in which a tag stands for what was signed of it.

    Where the registry's own tags lead is not asked: they can be moved, and are while others
    publish. What is asked for by digest comes from what was signed.
    """

    def __init__(self, images: Images, signed: Callable[[str], Digest]) -> None:
        """Read from `images`; `signed` tells the digest of a tag, or raises `TrustError`."""
        self._images = images
        self._signed = signed

    def manifest(self, reference: Reference) -> Manifest:
        """Fetch a manifest or index, by the digest that was signed for its tag."""
        if reference.digest:
            return self._images.manifest(reference)
        signed = self._signed(reference.tag)
        return self._images.manifest(replace(reference, tag="", digest=signed))

    def fetch_blob(
        self,
        repository: Reference,
        blob: Descriptor,
        target: Path,
        progress: Progress | None = None,
    ) -> None:
        """Fetch a blob into a file."""
        self._images.fetch_blob(repository, blob, target, progress)
