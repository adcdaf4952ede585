"""The client of all registries: OCI Distribution Specification 1.1, over HTTP."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

from compiler.errors import NotFoundError, RegistryError, SilentError
from compiler.events import Noted, Reporter, silent
from compiler.oci import Descriptor, Digest, Reference, digest_of
from compiler.registry import LARGEST_TEXT, Manifest, Progress
from compiler.registry.auth import CredentialFiles
from compiler.registry.download import blob_call, fetch
from compiler.registry.failure import Doubtful, Pause
from compiler.registry.listing import list_tags
from compiler.registry.manifests import read_links
from compiler.registry.named import by_digest, head, load, remove, store
from compiler.registry.progress import told
from compiler.registry.referrers import Referrers
from compiler.registry.settings import RegistrySettings
from compiler.registry.site import Answer, Call, Site, Tools
from compiler.registry.transport import Clock, Transport
from compiler.registry.upload import Upload, has_blob, mount

_T = TypeVar("_T")

_SHORT = len("sha256:") + 12
"""How much of a digest people are shown."""


class RegistryClient:
    """A `Registry` that speaks to every host, with one set of settings; all threads may share it.

    Close it, or use it as a context. `pause` waits between attempts, `clock` counts seconds,
    `report` hears of transfers that take long.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        *,
        pause: Pause = time.sleep,
        clock: Clock = time.monotonic,
        environ: Mapping[str, str] | None = None,
        report: Reporter = silent,
    ) -> None:
        self._settings = settings
        self._report = report
        credentials = CredentialFiles(settings.auth_files, environ)
        transport = Transport(settings, clock)
        self._tools = Tools(settings, transport, credentials, pause, clock)
        self._lock = threading.Lock()
        self._sites: dict[tuple[str, bool], Site] = {}
        self._silent: set[str] = set()
        self._lists: dict[str, Referrers] = {}
        self._uploads: dict[tuple[str, str, Digest], threading.Lock] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._tools.transport.close()

    def check_login(self, host: str) -> None:
        """Raise `DeniedError` unless a registry takes the credentials that there are for it.

        One that wants none takes all (OCI Distribution Specification, end-1).
        """
        anywhere = Reference(host, "")
        site = self._site(anywhere)
        site.confirm(Call(repository=anywhere, what="log in", path="/v2/", actions=""))

    def check_there(self, repository: Reference) -> None:
        """Raise `RegistryError` unless a registry answers at the host; nobody logs in for that."""
        call = Call(repository=repository, what="push to it", path="/v2/", actions="")
        self._site(repository).greet(call)

    def head(self, reference: Reference) -> Descriptor | None:
        """Return the descriptor of a manifest, without its content; None if it is not there."""
        return head(self._site(reference), reference)

    def manifest(self, reference: Reference) -> Manifest:
        """Fetch a manifest or index of at most `LARGEST_MANIFEST` bytes."""
        return self._read(reference, load)

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
        """Give `data` the tag of `reference`, or store it by its digest where that has no tag."""
        return store(self._site(reference), reference, data, media_type)[0]

    def has_blob(self, repository: Reference, digest: Digest) -> bool:
        """Tell whether a repository has a blob; mirrors are not asked."""
        return has_blob(self._site(repository), repository, digest)

    def read_blob(self, repository: Reference, blob: Descriptor) -> bytes:
        """Fetch a blob of at most `LARGEST_TEXT` bytes into memory."""
        if blob.size > LARGEST_TEXT:
            message = f"{repository}: {blob.digest} has {blob.size} bytes, too many for memory"
            raise RegistryError(message, hint="check the name: is it an image?")
        return self._read(repository, lambda site, there: _read_blob(site, there, blob))

    def fetch_blob(
        self,
        repository: Reference,
        blob: Descriptor,
        target: Path,
        progress: Progress | None = None,
    ) -> None:
        """Fetch a blob into the file `target`, which appears only once it is whole and checked."""
        what = f"fetching {repository.registry}/{repository.repository} {blob.digest[:_SHORT]}"
        with told(what, blob.size, self._report, self._tools.clock, progress) as telling:
            self._read(repository, lambda site, there: fetch(site, there, blob, target, telling))

    def put_blob(
        self,
        repository: Reference,
        source: Path | bytes,
        blob: Descriptor,
        progress: Progress | None = None,
    ) -> bool:
        """Upload a blob, in resumable chunks where it is large; False if it was there already."""
        site = self._site(repository)
        with self._uploading(repository, blob.digest):
            if has_blob(site, repository, blob.digest):
                return False
            chunk = self._settings.chunk
            what = f"sending {repository.registry}/{repository.repository} {blob.digest[:_SHORT]}"
            with told(what, blob.size, self._report, self._tools.clock, progress) as telling:
                Upload(site, repository, blob, chunk=chunk, progress=telling).run(source)
        return True

    def mount_blob(self, repository: Reference, digest: Digest, *, origin: Reference) -> bool:
        """Take a blob over from another repository of the same registry; False if it cannot be."""
        if origin.registry != repository.registry:
            return False
        return mount(self._site(repository), repository, digest, origin=origin)

    def tags(self, repository: Reference, *, after: str = "") -> Sequence[str]:
        """List the tags that sort after `after`; none if there is no repository."""
        return list_tags(self._site(repository), repository, after=after)

    def referrers(self, subject: Reference, artifact_type: str = "") -> Sequence[Descriptor]:
        """List what refers to the manifest with the digest of `subject`, of one type if given."""
        found = self._referrers(subject).list(subject, artifact_type)
        return [each.descriptor for each in found]

    def put_referrer(self, subject: Reference, data: bytes, media_type: str) -> Descriptor:
        """Store a manifest that names `subject` as its own, and list it among the referrers."""
        if read_links(data).subject != subject.digest:
            hint = "it is to be made anew, for this image"
            raise RegistryError(f"{subject}: the manifest is about something else", hint=hint)
        target = by_digest(subject, digest_of(data))
        stored, said = store(self._site(subject), target, data, media_type)
        self._referrers(subject).add(subject, stored, data, said)
        return stored

    def delete(self, reference: Reference) -> None:
        """Remove a manifest by its digest, with all its tags; nothing if it is not there."""
        site = self._site(reference)
        try:
            found = load(site, reference)
        except NotFoundError:
            return
        remove(site, by_digest(reference, found.descriptor.digest))
        self._referrers(reference).drop(reference, found)

    def _uploading(self, repository: Reference, digest: Digest) -> threading.Lock:
        """Return the lock of one blob: a content goes up once, whoever wants it at the time."""
        key = (repository.registry, repository.repository, digest)
        with self._lock:
            return self._uploads.setdefault(key, threading.Lock())

    def _referrers(self, reference: Reference) -> Referrers:
        """Return the lists of the registry of a reference."""
        site = self._site(reference)
        with self._lock:
            return self._lists.setdefault(reference.registry, Referrers(site))

    def _site(self, reference: Reference, *, mirror: bool = False) -> Site:
        """Return the host of a reference."""
        host = reference.registry
        key = (host, mirror or host in self._settings.replaceable)
        with self._lock:
            if key not in self._sites:
                self._sites[key] = Site(host, self._tools, replaceable=key[1])
            return self._sites[key]

    def _tell_silence(self, mirror: str, error: RegistryError) -> None:
        """Warn of a mirror that is silent, once."""
        with self._lock:
            is_known = mirror in self._silent
            self._silent.add(mirror)
        if not is_known:
            message = f"{error}; the mirror {mirror} is asked no more"
            self._report(Noted(message, warning=True))

    def _read(self, reference: Reference, read: Callable[[Site, Reference], _T]) -> _T:
        """Read from the mirrors in their order, and then from the registry itself."""
        tried: list[str] = []
        for mirror in self._settings.mirrors_of(reference.registry):
            host, _, prefix = mirror.partition("/")
            name = f"{prefix}/{reference.repository}" if prefix else reference.repository
            there = Reference(host, name, reference.tag, reference.digest)
            try:
                return read(self._site(there, mirror=True), there)
            except RegistryError as error:
                if isinstance(error, SilentError):
                    self._tell_silence(host, error)
                tried.append(str(error))
        try:
            return read(self._site(reference), reference)
        except RegistryError as error:
            for each in tried:
                error.add_note(f"mirror: {each}")
            raise


def _read_blob(site: Site, repository: Reference, blob: Descriptor) -> bytes:
    """Fetch a blob into memory, and check it."""

    def check(answer: Answer) -> bytes:
        if len(answer.data) != blob.size or digest_of(answer.data) != blob.digest:
            raise Doubtful("what came has another digest or length")
        return answer.data

    return site.read(blob_call(repository, blob), check)
