"""Every call times every fault, at every request that the call makes, once and for good.

Once: the call succeeds by trying again. For good: it says which reference, and what is wrong.
Either way nothing is half-visible on any side.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest

from compiler.errors import DeniedError, ExitCode, RegistryError
from compiler.oci import MANIFEST, Descriptor, Reference, digest_of
from compiler.registry.client import RegistryClient
from compiler.registry.settings import RegistrySettings
from tests.registry.shelf import (
    Waits,
    described,
    manifest_of,
    pinned,
    put_image,
    tagged,
)
from tests.servers.modern import run_modern_registry
from tests.servers.proxy import (
    ALWAYS,
    Cut,
    CutUpload,
    Deed,
    Endless,
    Fault,
    FaultyProxy,
    Lose,
    Packed,
    Silent,
    Slow,
    SlowHead,
    Status,
    WrongBytes,
    WrongLength,
    run_proxy,
)
from tests.servers.registry import RegistryServer

CHUNK = 4096
SMALL = b"small " * 100
LARGE = bytes(range(256)) * 40
WAITED_FOR = ("silence", "slow body", "slow head")
"""The faults that only time tells."""

MANY = 40
"""Attempts where little time is given: on a busy machine, what is well may take longer, too."""


@dataclass(frozen=True, slots=True)
class Case:
    """A registry with an image and one referrer in it, seen by a new client through a proxy."""

    client: RegistryClient
    direct: RegistryClient
    """Goes past the proxy."""
    upstream: str
    here: Reference
    elsewhere: Reference
    folder: Path

    @property
    def behind(self) -> Reference:
        """The same repository, past the proxy."""
        return Reference(self.upstream, self.here.repository)

    @property
    def image(self) -> Descriptor:
        """The image that is there."""
        data = manifest_of(described(SMALL))
        return Descriptor(MANIFEST, digest_of(data), len(data))

    @property
    def signature(self) -> bytes:
        """A manifest about the image, that is not there yet."""
        return manifest_of(artifact_type="example/signature", subject=self.image)

    @property
    def parts(self) -> bytes:
        """A manifest about the image, that is there."""
        return manifest_of(artifact_type="example/parts", subject=self.image)


def fetch(case: Case) -> object:
    case.client.fetch_blob(case.here, described(LARGE), case.folder / "fetched")
    return (case.folder / "fetched").read_bytes()


def put_large(case: Case) -> object:
    data = LARGE + b"x"
    (case.folder / "source").write_bytes(data)
    return case.client.put_blob(case.here, case.folder / "source", described(data))


def put_manifest(case: Case) -> object:
    data = manifest_of(described(LARGE))
    return case.client.put_manifest(tagged(case.here, "new"), data, MANIFEST)


def put_referrer(case: Case) -> object:
    about = pinned(case.here, case.image.digest)
    case.client.put_referrer(about, case.signature, MANIFEST)
    return set(case.client.referrers(about))


CALLS: Mapping[str, Callable[[Case], object]] = {
    "head": lambda case: case.client.head(tagged(case.here, "v1")),
    "manifest": lambda case: case.client.manifest(tagged(case.here, "v1")),
    "put_manifest": put_manifest,
    "has_blob": lambda case: case.client.has_blob(case.here, described(LARGE).digest),
    "read_blob": lambda case: case.client.read_blob(case.here, described(LARGE)),
    "fetch_blob": fetch,
    "put_blob": lambda case: case.client.put_blob(case.here, SMALL + b"x", described(SMALL + b"x")),
    "put_blob in chunks": put_large,
    "mount_blob": lambda case: case.client.mount_blob(
        case.elsewhere, described(LARGE).digest, origin=case.here
    ),
    "tags": lambda case: sorted(case.client.tags(case.here)),
    "referrers": lambda case: case.client.referrers(pinned(case.here, case.image.digest)),
    "put_referrer": put_referrer,
    "delete": lambda case: case.client.delete(tagged(case.here, "v1")),
}
RESULTS: Mapping[str, Callable[[Case], object]] = {
    "head": lambda case: case.image,
    "manifest": lambda case: case.direct.manifest(pinned(case.behind, case.image.digest)),
    "put_manifest": lambda _: described(manifest_of(described(LARGE)), MANIFEST),
    "has_blob": lambda _: True,
    "read_blob": lambda _: LARGE,
    "fetch_blob": lambda _: LARGE,
    "put_blob": lambda _: True,
    "put_blob in chunks": lambda _: True,
    "mount_blob": lambda _: True,
    "tags": lambda case: sorted(case.direct.tags(case.behind)),
    "referrers": lambda case: [described(case.parts, MANIFEST)],
    "put_referrer": lambda case: {
        described(case.parts, MANIFEST),
        described(case.signature, MANIFEST),
    },
    "delete": lambda _: None,
}
FAULTS: Mapping[str, Deed] = {
    "429": Status(429, {"Retry-After": "7"}),
    "500": Status(500),
    "503": Status(503, {}, b"<html>busy</html>"),
    "cut before the answer": Cut(),
    "cut within the answer": Cut(0.5),
    "cut within the upload": CutUpload(),
    "lost answer": Lose(),
    "silence": Silent(),
    "slow body": Slow(),
    "slow head": SlowHead(),
    "wrong bytes": WrongBytes(),
    "longer than sent": WrongLength(+10),
    "shorter than sent": WrongLength(-1),
    "endless body": Endless(),
    "packed body": Packed(),
}
READS = ("head", "manifest", "has_blob", "read_blob", "fetch_blob", "tags", "referrers")
"""The calls that change nothing."""

DIFFERENT = ("put_blob in chunks", "tags", "put_referrer")
"""Where a registry of OCI 1.1 is asked other things than Debian's, or answers in another way."""

EVERYWHERE = [
    *(("modern_upstream", call) for call in DIFFERENT),
    *(pytest.param("debian_upstream", call, marks=pytest.mark.registry) for call in CALLS),
]


@pytest.fixture(scope="module")
def modern_upstream() -> Iterator[str]:
    with run_modern_registry() as server:
        yield server.host


@pytest.fixture
def debian_upstream(registry_server: RegistryServer) -> str:
    return registry_server.host


@pytest.fixture(scope="module")
def direct() -> Iterator[RegistryClient]:
    with RegistryClient(RegistrySettings(certificate_folders=())) as client:
        yield client


@pytest.fixture
def faulty(request: pytest.FixtureRequest, upstream: str) -> Iterator[FaultyProxy]:
    """A proxy in front of a registry of each kind."""
    with run_proxy(request.getfixturevalue(upstream)) as proxy:
        yield proxy


def settings(fault: str, attempts: int) -> RegistrySettings:
    """Make the settings of the client that sees a fault."""
    return RegistrySettings(
        attempts=attempts,
        timeout=0.25 if fault in WAITED_FOR else 20.0,
        slowest=100_000 if fault in WAITED_FOR else 1,
        longest_wait=20.0,
        chunk=CHUNK,
        certificate_folders=(),
    )


@pytest.fixture(scope="module")
def shelves() -> dict[str, str]:
    """The repository of each registry that the calls which change nothing share."""
    return {}


@pytest.fixture
def prepare(
    faulty: FaultyProxy, direct: RegistryClient, call: str, shelves: dict[str, str], tmp_path: Path
) -> Callable[[RegistrySettings], Case]:
    """Fills a repository, past the proxy, and makes a new client."""

    def make(settings: RegistrySettings) -> Case:
        shared = shelves.get(faulty.upstream) if call in READS else None
        name = shared or uuid4().hex
        case = Case(
            client=RegistryClient(settings, pause=Waits([])),
            direct=direct,
            upstream=faulty.upstream,
            here=Reference(faulty.host, f"one/{name}"),
            elsewhere=Reference(faulty.host, f"two/{name}"),
            folder=tmp_path / uuid4().hex,
        )
        case.folder.mkdir()
        if shared is None:
            image = put_image(direct, case.behind, "v1", SMALL)
            direct.put_blob(case.behind, LARGE, described(LARGE))
            direct.put_referrer(pinned(case.behind, image.digest), case.parts, MANIFEST)
        if call in READS:
            shelves[faulty.upstream] = name
        return case

    return make


def check_nothing_is_half_visible(case: Case, call: str) -> None:
    """Whatever happened: what can be seen is whole, and what was there still is."""
    visible = {path.name for path in case.folder.iterdir()} - {"source", "fetched.part"}
    assert visible <= {"fetched"}
    if visible:
        assert (case.folder / "fetched").read_bytes() == LARGE
    if call in READS:
        return
    for tag in case.direct.tags(case.behind):
        if case.direct.head(tagged(case.behind, tag)) is None:
            assert (
                call == "delete"
            )  # Debian's registry removes the manifest first, and its tags after it
    for blob in (SMALL, LARGE):
        assert case.direct.read_blob(case.behind, described(blob)) == blob
    for blob in (SMALL + b"x", LARGE + b"x"):
        if case.direct.has_blob(case.behind, described(blob).digest):
            assert case.direct.read_blob(case.behind, described(blob)) == blob
    listed = case.direct.referrers(pinned(case.behind, case.image.digest))
    assert described(case.parts, MANIFEST) in listed


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("upstream", "call"), EVERYWHERE)
def test_a_call_outlives_a_fault_that_passes(
    faulty: FaultyProxy, prepare: Callable[[RegistrySettings], Case], call: str, fault: str
) -> None:
    for skip in count():
        case = prepare(settings(fault, MANY if fault in WAITED_FOR else 4))
        faulty.script(scripted := Fault(FAULTS[fault], skip=skip))
        with case.client:
            result = CALLS[call](case)
            faulty.script()
            assert result == RESULTS[call](case)

        check_nothing_is_half_visible(case, call)
        if scripted.done <= skip:
            break
    assert skip > 0


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("upstream", "call"), EVERYWHERE)
def test_a_call_ends_with_an_error_when_a_fault_stays(
    faulty: FaultyProxy, prepare: Callable[[RegistrySettings], Case], call: str, fault: str
) -> None:
    for skip in count():
        case = prepare(settings(fault, 2))
        faulty.script(scripted := Fault(FAULTS[fault], skip=skip, times=ALWAYS))
        with case.client:
            error = None
            try:
                result = CALLS[call](case)
            except RegistryError as raised:
                error = raised
            faulty.script()
            if error is None:
                assert result == RESULTS[call](case)
            else:
                assert error.exit_code == ExitCode.OUTSIDE
                assert error.hint, error
                assert not isinstance(error, DeniedError)
                assert str(error).startswith((str(case.here), str(case.elsewhere)))

        check_nothing_is_half_visible(case, call)
        if scripted.done <= skip:
            break
    assert skip > 0
