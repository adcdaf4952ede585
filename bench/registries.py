"""What goes through a registry on this machine: publishing, and fetching beside `skopeo`."""

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.measure import COS, Cost, ProgramFailed, best, run
from bench.report import Result
from compiler.oci import (
    CONFIG,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    Digest,
    Reference,
    canonical_json,
    descriptor_json,
    digest_of,
)
from compiler.registry.client import RegistryClient
from compiler.registry.settings import RegistrySettings
from tests.large import fetched_bytes, fill_large
from tests.publish.shop import Shop
from tests.servers.proxy import run_proxy
from tests.servers.registry import RegistryServer, run_registry

SMALL, LARGE = 50, 500
"""Packages of the repositories in which one package changes."""

LAYER_MB = 1000
"""Megabytes of the layer that is fetched."""

SYSTEM_MB = 400
"""Megabytes of the package of which one small file changes."""

MOST_FETCHED = 0.15
"""The share of such a package that an upgrade may fetch."""

MOST_MEMORY = 300.0

_ANSWERED = re.compile(rb"response completed.*http\.response\.written=([0-9]+)")
_SENT = re.compile(r"([0-9]+) bytes sent")

FETCH = """
import sys
from pathlib import Path
from compiler.oci import Descriptor, parse_reference
from compiler.registry.client import RegistryClient
from compiler.registry.settings import RegistrySettings
name, digest, size, target = sys.argv[1:]
with RegistryClient(RegistrySettings()) as registry:
    blob = Descriptor("application/octet-stream", digest, int(size))
    registry.fetch_blob(parse_reference(name), blob, Path(target))
"""
"""Fetches one blob into a file, and does nothing else."""


def measure_registries(scratch: Path) -> Iterator[Result]:
    """Measure publishing and fetching, each with a registry of its own."""
    place = scratch / "registries"
    with run_registry(place / "server") as server:
        yield from _publishing(place, server)
        yield from _upgrading(place / "upgrade", server)
        yield from _fetching(place, server)


def _publishing(place: Path, server: RegistryServer) -> Iterator[Result]:
    """Measure a publication after one package changed, of few and of many."""
    for suffix in ("", ", signed"):
        asked = {}
        for count in (SMALL, LARGE):
            folder = place / f"{count}{suffix[2:]}"
            cost, answers = _publication(folder, server, count, signed=bool(suffix))
            asked[count] = len(answers)
            what = f"publishing 1 of {count} packages{suffix}"
            yield Result(name=what, value=cost.seconds, unit="s")
            yield Result(name=f"{what}, requests", value=asked[count], unit="")
            yield Result(name=f"{what}, sent", value=_sent(cost) / 1000, unit="kB")
            yield Result(name=f"{what}, received", value=sum(answers) / 1000, unit="kB")
            name = f"{what}, peak memory"
            yield Result(name=name, value=cost.peak_mb, unit="MB", limit=MOST_MEMORY)
        ratio, name = asked[LARGE] / asked[SMALL], f"requests, many by few packages{suffix}"
        yield Result(name=name, value=ratio, unit="times", limit=1.0)


def _sent(cost: Cost) -> int:
    """Read how many bytes a publication sent, as it tells programs."""
    found = _SENT.search(cost.told)
    if found is None:
        raise ProgramFailed(f"a publication did not say what it sent: {cost.told[-500:]}")
    return int(found[1])


def _publication(
    place: Path, server: RegistryServer, count: int, *, signed: bool = False
) -> tuple[Cost, list[int]]:
    """Publish a repository, change a package; the cost and answers of publishing again."""
    shop = Shop(place)
    for number in range(count):
        shop.build(f"package-{number}", f"content of {number}\n" * 100)
    for package in (shop.tree / each.definition.name for each in shop.packages.values()):
        (package / "build.yaml").write_text("unpack: true\n")
    target = server.repository("bench")
    argv = [COS, "create-repo", "--tree", str(shop.tree), "--packages", str(shop.artifacts),
            "--type", "docker", "--output", str(target), "--push-images"]  # fmt: skip
    if signed:
        argv += _signed(place, str(target))
    run(argv)
    shop.build("package-7", "changed\n" * 100, time=60)
    before = len(_answers(server))
    cost = run(argv)
    return cost, _answers(server)[before:]


def _signed(place: Path, target: str) -> list[str]:
    """Begin to sign a repository; returns the options that sign publications."""
    os.environ.setdefault("COSIGN_PASSWORD", "")
    key, root = place / "key", place / "root.json"
    run([COS, "key", "generate", "--output", str(key)])
    keys = ["--root-key", f"{key}.key", "--key", f"{key}.key"]
    run([COS, "repo", "init-trust", target, *keys, "--root", str(root)])
    return ["--sign", f"{key}.key", "--root", str(root)]


def _upgrading(place: Path, server: RegistryServer) -> Iterator[Result]:
    """Install a large package through a proxy that counts, change one file of it, and upgrade."""
    root, build, machine = place / "root", place / "build", place / "machine"
    machine.mkdir(parents=True)
    fill_large(root, SYSTEM_MB)
    target = server.repository("upgrade")
    name = f"what an upgrade of {SYSTEM_MB} MB fetches after one file changed"
    costs, fetched = [], []
    with run_proxy(server.host) as proxy:
        there = f"{proxy.host}/{target.repository}"
        client = [COS, "--system-target", str(machine)]
        run([*client, "repo", "add", "main", "--type", "docker", "--url", there, "-y"])
        for version, change in (("1", ["install", "system/large"]), ("2", ["upgrade"])):
            (root / "etc").mkdir(exist_ok=True)
            (root / "etc/version").write_text(version)
            _define(place / "tree", version)
            run([COS, "pack", f"system/large@{version}", "--source", str(root), "--destination",
                 str(build), "--compression", "zstd"])  # fmt: skip
            costs.append(run([COS, "create-repo", "--tree", str(place / "tree"), "--packages",
                              str(build), "--type", "docker", "--output", str(target),
                              "--push-images"]))  # fmt: skip
            proxy.script()
            cost = run([*client, *change, "-y"])
            fetched.append(fetched_bytes(proxy, server))
    yield Result(name=name, value=fetched[1] / fetched[0], unit="", limit=MOST_FETCHED)
    yield Result(name=f"{name}, peak memory", value=cost.peak_mb, unit="MB", limit=MOST_MEMORY)
    what = f"publishing a package of {SYSTEM_MB} MB"
    yield Result(name=what, value=costs[0].seconds, unit="s")
    yield Result(name=f"{what}, peak memory", value=costs[0].peak_mb, unit="MB", limit=MOST_MEMORY)
    share = _sent(costs[1]) / _sent(costs[0])
    yield Result(name=f"{what} again, sent", value=share, unit="", limit=MOST_FETCHED)


def _define(tree: Path, version: str) -> None:
    """Write the definition of the large package."""
    folder = tree / version
    folder.mkdir(parents=True)
    (folder / "definition.yaml").write_text(
        f'name: large\ncategory: system\nversion: "{version}"\n'
    )
    (folder / "build.yaml").write_text("image: scratch\n")


def _answers(server: RegistryServer) -> list[int]:
    """Tell how many bytes each answer of a registry had."""
    log = (server.folder / "log").read_bytes()
    return [int(length) for length in _ANSWERED.findall(log)]


def _fetching(place: Path, server: RegistryServer) -> Iterator[Result]:
    """Fetch a large layer, by turns with `skopeo copy` of the image that it belongs to."""
    reference = server.repository("large")
    layer = place / "layer"
    with layer.open("wb") as file:
        for _ in range(LAYER_MB):
            file.write(os.urandom(1_000_000))
    blob = _push(reference, layer)
    name = str(reference)
    ours = [sys.executable, "-c", FETCH, name, blob.digest, str(blob.size), str(place / "fetched")]
    theirs = ["skopeo", "copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{place}/dir"]
    mine, peer = [], []
    for _ in range(3):
        (place / "fetched").unlink(missing_ok=True)
        mine.append(run(ours))
        peer.append(run(theirs))
    cost, other = best(3, iter(mine).__next__), best(3, iter(peer).__next__)
    yield Result(name="fetching a layer of 1 GB", value=cost.seconds, unit="s")
    yield Result(name="skopeo copy of the same", value=other.seconds, unit="s")
    ratio = cost.seconds / other.seconds
    yield Result(name="fetching, by skopeo", value=ratio, unit="times", limit=1.0)
    name = "fetching, peak memory"
    yield Result(name=name, value=cost.peak_mb, unit="MB", limit=MOST_MEMORY)


def _push(reference: Reference, layer: Path) -> Descriptor:
    """Push an image with one large layer."""
    with layer.open("rb") as file:
        digest = Digest(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")
    blob = Descriptor(LAYER_GZIP, digest, layer.stat().st_size)
    config = canonical_json({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers"}})
    described = Descriptor(CONFIG, digest_of(config), len(config))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor_json(described),
        "layers": [descriptor_json(blob)],
    }
    with RegistryClient(RegistrySettings()) as registry:
        registry.put_blob(reference, layer, blob)
        registry.put_blob(reference, config, described)
        place = replace(reference, tag="latest")
        registry.put_manifest(place, canonical_json(manifest), MANIFEST)
    return blob
