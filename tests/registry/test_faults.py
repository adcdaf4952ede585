"""Every call times every fault, at every request that the call makes, once and for good.

Once: the call succeeds by trying again. For good: it says which reference, and what is wrong. Either
way nothing is half-visible on any side.
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
from tests.servers.modern import ModernRegistry, run_modern_registry
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
    Status,
    WrongBytes,
    WrongLength,
    run_proxy,
)
from tests.servers.registry import RegistryServer

CHUNK = 4096
SMALL = b"small " * 100
LARGE = bytes(range(256)) * 40
SETTINGS = RegistrySettings(
    attempts=4,
    timeout=0.25,
    slowest=100_000,
    longest_wait=20.0,
    chunk=CHUNK,
    certificate_folders=(),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A registry with an image and one referrer in it, seen by a new client through a proxy."""

    client: RegistryClient
    here: Reference
    elsewhere: Reference
    folder: Path

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
    "manifest": lambda case: case.client.manifest(pinned(case.here, case.image.digest)),
    "put_manifest": lambda _: described(manifest_of(described(LARGE)), MANIFEST),
    "has_blob": lambda _: True,
    "read_blob": lambda _: LARGE,
    "fetch_blob": lambda _: LARGE,
    "put_blob": lambda _: True,
    "put_blob in chunks": lambda _: True,
    "mount_blob": lambda _: True,
    "tags": lambda case: sorted(case.client.tags(case.here)),
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
    "wrong bytes": WrongBytes(),
    "longer than sent": WrongLength(+10),
    "shorter than sent": WrongLength(-1),
    "endless body": Endless(),
    "packed body": Packed(),
}
PLACES = ["modern", pytest.param("debian", marks=pytest.mark.registry)]


@pytest.fixture(scope="module")
def modern() -> Iterator[ModernRegistry]:
    with run_modern_registry() as server:
        yield server


@pytest.fixture(params=PLACES)
def faulty(request: pytest.FixtureRequest) -> Iterator[FaultyProxy]:
    """A proxy in front of a registry of each kind."""
    if request.param == "modern":
        modern: ModernRegistry = request.getfixturevalue("modern")
        upstream = modern.host
    else:
        server: RegistryServer = request.getfixturevalue("registry_server")
        upstream = server.host
    with run_proxy(upstream) as proxy:
        yield proxy


def prepare(proxy: FaultyProxy, folder: Path) -> Case:
    """Fill a new repository, while nothing goes wrong."""
    proxy.script()
    name = uuid4().hex
    here, elsewhere = (Reference(proxy.host, f"{kind}/{name}") for kind in ("one", "two"))
    folder.mkdir()
    with RegistryClient(RegistrySettings(certificate_folders=())) as client:
        image = put_image(client, here, "v1", SMALL)
        client.put_blob(here, LARGE, described(LARGE))
        parts = manifest_of(artifact_type="example/parts", subject=image)
        client.put_referrer(pinned(here, image.digest), parts, MANIFEST)
    return Case(RegistryClient(SETTINGS, pause=Waits([])), here, elsewhere, folder)


def check_nothing_is_half_visible(case: Case) -> None:
    """Whatever happened: what can be seen is whole, and what was there still is."""
    with RegistryClient(RegistrySettings(certificate_folders=())) as client:
        for tag in client.tags(case.here):
            client.manifest(tagged(case.here, tag))
        for blob in (SMALL, LARGE):
            assert client.read_blob(case.here, described(blob)) == blob
        for blob in (SMALL + b"x", LARGE + b"x"):
            if client.has_blob(case.here, described(blob).digest):
                assert client.read_blob(case.here, described(blob)) == blob
        listed = client.referrers(pinned(case.here, case.image.digest))
        assert described(case.parts, MANIFEST) in listed
    visible = {path.name for path in case.folder.iterdir()} - {"source", "fetched.part"}
    assert visible <= {"fetched"}
    if visible:
        assert (case.folder / "fetched").read_bytes() == LARGE


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_outlives_a_fault_that_passes(
    faulty: FaultyProxy, call: str, fault: str, tmp_path: Path
) -> None:
    for skip in count():
        case = prepare(faulty, tmp_path / str(skip))
        faulty.script(scripted := Fault(FAULTS[fault], skip=skip))
        with case.client:
            result = CALLS[call](case)
            faulty.script()
            assert result == RESULTS[call](case)

        check_nothing_is_half_visible(case)
        if scripted.done <= skip:
            break
    assert skip > 0


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_ends_with_an_error_when_a_fault_stays(
    faulty: FaultyProxy, call: str, fault: str, tmp_path: Path
) -> None:
    for skip in count():
        case = prepare(faulty, tmp_path / str(skip))
        faulty.script(scripted := Fault(FAULTS[fault], skip=skip, times=ALWAYS))
        with case.client:
            try:
                result = CALLS[call](case)
                faulty.script()
                assert result == RESULTS[call](case)
            except RegistryError as error:
                assert error.exit_code == ExitCode.OUTSIDE
                assert str(error).startswith(str(case.here)) or call == "mount_blob"
                assert not isinstance(error, DeniedError)
                faulty.script()

        check_nothing_is_half_visible(case)
        if scripted.done <= skip:
            break
    assert skip > 0
