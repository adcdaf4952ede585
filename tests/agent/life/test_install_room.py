"""Installing what a live system has no room for: it is fetched onto the new disk."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from compiler.agent.life.phases import LifeError
from compiler.oci import Reference
from compiler.signing.files import sign_bytes
from tests.agent.life.lab import Bench, do, partitions
from tests.agent.life.shelf import Channel, push, sign, tar_of
from tests.agent.life.test_install import contents, make_medium
from tests.agent.life.test_sources import tagged, trust
from tests.signing.lab import key

pytestmark = [pytest.mark.container, pytest.mark.registry]

BOTH = {"active": "kernel 2", "passive": "kernel 2"}


@pytest.fixture
def cramped(blank: Bench) -> Iterator[Bench]:
    """A live system that can write very little."""
    do("mount", "-t", "tmpfs", "-o", "size=2m", "memory", blank.root / "run")
    try:
        yield blank
    finally:
        blank.clear()


def refusal(bench: Bench, **given: str) -> LifeError:
    """Fail to install; the disk is what it was before."""
    before = contents(bench.device)
    with pytest.raises(LifeError) as caught:
        bench.install(Path("/"), **given)
    assert contents(bench.device) == before
    return caught.value


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder; yields its address."""
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def image(repository: Reference, new: Path) -> Reference:
    """Version 2 in a registry, signed."""
    place = tagged(repository, "2")
    push(place, [tar_of(new)])
    sign(place, key("ours"))
    return place


def test_an_image_is_fetched_onto_the_disk_and_kept_for_the_next_upgrade(
    cramped: Bench, image: Reference
) -> None:
    trust(cramped)

    cramped.install(Path("/"), SYSTEM=f"oci:{image}")

    assert cramped.systems() == BOTH
    told = "is fetched onto the new disk: nothing else has room for it"
    assert f"oci:{image} {told}" in cramped.said
    with cramped.partition("COS_PERSISTENT") as persistent:
        assert list((persistent / ".cos-upgrade/sha256").glob("*/*"))
    assert cramped.record()["state"]["active"]["digest"].startswith("sha256:")


def test_a_folder_that_has_room_is_used_if_it_is_named(
    cramped: Bench, image: Reference, tmp_path: Path
) -> None:
    trust(cramped)

    cramped.install(Path("/"), SYSTEM=f"oci:{image}", CACHE_DIR=str(tmp_path / "cache"))

    assert cramped.systems() == BOTH
    assert not any("onto the new disk" in line for line in cramped.said)


def test_an_image_that_is_not_signed_never_touches_the_disk(
    cramped: Bench, repository: Reference, new: Path
) -> None:
    place = tagged(repository, "3")
    push(place, [tar_of(new)])
    trust(cramped)

    error = refusal(cramped, SYSTEM=f"oci:{place}")

    assert error.exit_code == 14


def test_a_channel_is_asked_before_the_disk_is_touched(
    cramped: Bench, new: Path, tmp_path: Path
) -> None:
    channel = Channel(tmp_path / "channel")
    channel.publish("2", new)
    channel.configure(cramped.root)

    assert refusal(cramped, SYSTEM="channel:system/other").exit_code == 20


def test_a_medium_at_an_address_is_verified_on_the_disk(
    cramped: Bench, new: Path, tmp_path: Path
) -> None:
    iso = make_medium(new, tmp_path)
    trust(cramped)
    with served(tmp_path) as address:
        url = f"{address}/system.iso"
        given = {"SYSTEM": "", "COS_INSTALL_ISO_URL": url}
        assert refusal(cramped, **given).exit_code == 53

        iso.with_name("system.iso.sig").write_text(sign_bytes(b"another", key("ours")))
        with pytest.raises(LifeError) as caught:
            cramped.install(Path("/"), **given)
        assert caught.value.exit_code == 14
        with cramped.partition("COS_STATE") as state:
            assert not (state / "cOS").exists()

        iso.with_name("system.iso.sig").write_text(sign_bytes(iso.read_bytes(), key("ours")))
        cramped.install(Path("/"), FORCE="true", **given)

    assert cramped.systems() == BOTH
    with cramped.partition("COS_PERSISTENT") as persistent:
        assert not list((persistent / ".cos-upgrade").glob("system.iso*"))
    assert set(partitions(cramped.device)) >= {"COS_STATE", "COS_RECOVERY"}
