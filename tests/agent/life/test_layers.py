"""Upgrades of large systems: only layers that changed are fetched, and memory stays small."""

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.archive import Compression
from compiler.archive.compress import compressed_file
from compiler.oci import (
    CONFIG,
    LAYER_GZIP,
    LAYER_ZSTD,
    MANIFEST,
    Descriptor,
    Digest,
    Reference,
    canonical_json,
    descriptor_json,
    digest_of,
)
from compiler.registry.client import RegistryClient
from tests.agent.life.lab import Bench, do, leftovers, loop_disk, make_system
from tests.agent.life.shelf import REGISTRY, RegistryChannel
from tests.large import MB, fetched_bytes, fill_large, listing
from tests.servers.proxy import FaultyProxy
from tests.servers.registry import RegistryServer

pytestmark = [pytest.mark.container, pytest.mark.registry]


def large_system(folder: Path, version: str) -> Path:
    """Make a system of 200 MB, of which only what tells the version changes."""
    return fill_large(make_system(folder, version))


def contents(folder: Path) -> dict[str, object]:
    """List files by their digests."""
    return {path: entry[-1] for path, entry in listing(folder).items()}


def contents_of_image(image: Path, place: Path) -> dict[str, object]:
    """List the files of a system in an image."""
    place.mkdir()
    do("mount", "-o", "loop,ro", image, place)
    try:
        return contents(place / "usr/lib")
    finally:
        do("umount", place)


@pytest.fixture
def large_machine(tmp_path: Path) -> Iterator[Bench]:
    """A machine with room for large systems, one of which is installed."""
    with loop_disk(tmp_path / "disk", 3000) as device:
        bench = Bench(tmp_path / "root", device)
        try:
            bench.install(large_system(tmp_path / "first", "1"))
            yield bench
        finally:
            bench.clear()
    (tmp_path / "disk").unlink()
    shutil.rmtree(tmp_path / "first")


def test_an_upgrade_from_a_channel_fetches_the_layers_that_changed(
    large_machine: Bench, registry_server: RegistryServer, proxy: FaultyProxy, tmp_path: Path
) -> None:
    place = registry_server.repository("channel")
    channel = RegistryChannel(tmp_path / "channel", place)
    fetched = []

    for version in "23":
        channel.publish(version, large_system(tmp_path / version, version))
        channel.configure_at(large_machine.root, Reference(proxy.host, place.repository))
        proxy.script()
        with large_machine.running():
            large_machine.upgrade("", SYSTEM="")
        fetched.append(fetched_bytes(proxy, registry_server))

    assert large_machine.systems()["active"] == "kernel 3"
    with large_machine.partition("COS_STATE") as state:
        files = contents_of_image(state / "cOS/active.img", tmp_path / "image")
    assert files == contents(tmp_path / "3/usr/lib")
    source = large_machine.record()["state"]["active"]["source"]
    assert (source, leftovers(large_machine)) == ("channel:system/cos-3", [])
    assert not any("is not kept" in line for line in large_machine.said)
    assert fetched[0] > 200 * MB
    assert fetched[1] < 0.15 * fetched[0]
    for name in ("channel", "2", "3"):
        shutil.rmtree(tmp_path / name)


UNPACK = """
import sys
from pathlib import Path
from compiler.agent.life.host import Host
from compiler.agent.life.settings import gather
from compiler.agent.life.source import Kind, Opening, Wanted, open_system
from compiler.agent.log import Level, Log
image, root, target = sys.argv[1:]
host = Host(log=Log(print, Level.INFO), root=Path(root), environ={})
settings = gather({}, {}, {"VERIFY": "false"})
opening = Opening(host=host, settings=settings, cache=Path(root) / "cache")
with open_system(Wanted(Kind.IMAGE, image), opening) as system:
    size = system.inventory().size
    system.fill(Path(target))
status = Path("/proc/self/status").read_text()
(peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
print(size, int(peak) // 1024)
"""
"""Prints the size of a system, and the peak of memory in MB of what an upgrade does with it. That
of getrusage(2) counts what the process had before it began to run another program."""

_FORMS = {Compression.GZIP: LAYER_GZIP, Compression.ZSTD: LAYER_ZSTD}


def push_large(place: Reference, compression: Compression, scratch: Path) -> None:
    """Push an image with one layer of 1 GB, a seventh of which cannot be compressed."""
    path = scratch / "layer"
    with compressed_file(path, compression, sync=False) as sink:
        info = tarfile.TarInfo("large")
        info.size = 1024 * MB
        sink.write(info.tobuf())
        head = subprocess.run(["head", "-c", str(MB // 7), "/dev/urandom"], capture_output=True,
                              check=True).stdout  # fmt: skip
        for number in range(1024):
            sink.write((head[number:] + head[:number]).ljust(MB, b"\0"))
        sink.write(bytes(1024))
    blob = Descriptor(_FORMS[compression], Digest(f"sha256:{sink.sha256}"), sink.size)
    config = canonical_json({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers"}})
    about = Descriptor(CONFIG, digest_of(config), len(config))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor_json(about),
        "layers": [descriptor_json(blob)],
    }
    with RegistryClient(REGISTRY) as registry:
        registry.put_blob(place, path, blob)
        registry.put_blob(place, config, about)
        registry.put_manifest(place, canonical_json(manifest), MANIFEST)
    path.unlink()


@pytest.mark.parametrize("compression", _FORMS)
def test_memory_stays_below_200_megabytes_however_large_a_layer_is(
    compression: Compression, repository: Reference, tmp_path: Path
) -> None:
    place = Reference(repository.registry, repository.repository, "large")
    push_large(place, compression, tmp_path)
    target = tmp_path / "target"
    target.mkdir()

    done = subprocess.run(
        [sys.executable, "-c", UNPACK, str(place), tmp_path, target],
        capture_output=True, check=False, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    size, megabytes = map(int, done.stdout.split()[-2:])
    assert size > 1024 * MB
    assert (target / "large").stat().st_size == 1024 * MB
    assert megabytes < 200
    shutil.rmtree(target)
    shutil.rmtree(tmp_path / "cache")
