"""What runs containers: cold builds, builds of nothing, the cost of a node, the rate of packing."""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

from bench.measure import COS, Cost, best, run
from bench.report import Result
from bench.trees import BASE_IMAGE, write_chain, write_payload, write_siblings

PACKING_TURNS = 7
"""How often packing and its peer are measured, by turns."""

_AS_JSON = ("--log-format", "json")

SIBLINGS = 20
"""How many more nodes the second of two builds has; their difference is the cost of that many."""

_seeds = (f"{os.getpid()}-{number}" for number in itertools.count())


class Bench:
    """A store with the base image, and a place for trees and artifacts."""

    def __init__(self, scratch: Path, store: Path) -> None:
        self.scratch = scratch
        self.env = {"COS_STORE": str(store)}
        run([COS, "image", "bootstrap", BASE_IMAGE], env=self.env)

    def build(self, tree: Path, *flags: str) -> Cost:
        """Build all of a tree into a folder of its own."""
        destination = str(tree.with_name(f"{tree.name}-out"))
        argv = [COS, "build", "--all", "--tree", str(tree), "--destination", destination, *flags]
        return run(argv, env=self.env)

    def cold_chain(self) -> Iterator[Result]:
        """Measure four trivial packages, first never built and then with nothing to do."""
        tree = self.scratch / "chain"

        def cold() -> Cost:
            write_chain(tree, 4, next(_seeds))
            return self.build(tree)

        seconds = best(5, cold).seconds
        yield Result(name="cold build of 4 packages", value=seconds, unit="s", limit=1.5)
        seconds = best(5, lambda: self.build(tree)).seconds
        yield Result(name="  and again, nothing changed", value=seconds, unit="s", limit=0.5)

    def node_cost(self, *, large: bool) -> Result:
        """Measure what one more node costs, one at a time, on a small or on a large root."""
        size = "large" if large else "small"
        tree = self.scratch / f"siblings-{size}"

        def cold(count: int) -> Cost:
            write_siblings(tree, count, next(_seeds), large=large)
            return self.build(tree, "--concurrency", "1")

        cold(1)
        few = best(3, lambda: cold(1)).seconds
        many = best(3, lambda: cold(1 + SIBLINGS)).seconds
        value = (many - few) / SIBLINGS
        return Result(name=f"one more node, {size} base", value=value, unit="s", limit=0.1)

    def packing(self) -> Iterator[Result]:
        """Measure packing beside `tar | zstd -T0` on the same files, by turns.

        Both read files that are in memory, write a new file and end when that is on the disk. Of
        the build it is the packing that counts, from the first look at the layers to the metadata.
        """
        tree = self.scratch / "payload"
        files = self.scratch / "payload-files"

        def pack() -> float:
            write_payload(tree, next(_seeds))
            for old in tree.with_name("payload-out").glob("*.package.tar.zst"):
                old.unlink()
            return _pack_seconds(self.build(tree, "--compression", "zstd", *_AS_JSON))

        pack()
        archive = next(tree.with_name("payload-out").glob("*.package.tar.zst"))
        files.mkdir(exist_ok=True)
        run(["tar", "-C", str(files), "--zstd", "-xpf", str(archive)])
        _tar_and_zstd(files)
        turns = [(pack(), _tar_and_zstd(files).seconds) for _ in range(PACKING_TURNS)]
        packed, peer = min(ours for ours, _ in turns), min(theirs for _, theirs in turns)
        size = sum(path.lstat().st_size for path in files.rglob("*") if path.is_file()) / 1e6
        yield Result(name="packing", value=size / packed, unit="MB/s")
        yield Result(name="  tar | zstd -T0", value=size / peer, unit="MB/s")
        ratio = 100 * peer / packed
        yield Result(name="  of its rate", value=ratio, unit="%", limit=90.0, at_least=True)


def own_tree_again(tree: Path, values: Path, destination: Path) -> Result:
    """Measure a build of our own tree in which nothing changed; builds it first where needed."""
    argv = [COS, "build", "--all", "--tree", str(tree), "--values", str(values)]
    argv += ["--destination", str(destination), "--compression", "zstd"]
    run([COS, "image", "bootstrap", BASE_IMAGE])
    run(argv)
    seconds = best(5, lambda: run(argv)).seconds
    return Result(name="own tree, nothing changed", value=seconds, unit="s", limit=0.5)


def _pack_seconds(cost: Cost) -> float:
    """Find in the events of a build how long its one node was being packed."""
    events = [json.loads(line) for line in cost.told.splitlines() if line.startswith("{")]
    done = [each for each in events if each["event"] == "NodeFinished" and each["action"] == "pack"]
    return float(done[0]["seconds"])


def _tar_and_zstd(files: Path) -> Cost:
    """Time the pipe into a file, which is brought to the disk as packing does."""
    target = files.with_name("peer.tar.zst")
    target.unlink(missing_ok=True)
    command = 'tar -C "$1" -c . | zstd -T0 -q -f -o "$2" && sync "$2"'
    argv = ["sh", "-c", command, "sh", str(files), str(target)]
    return run(argv)
