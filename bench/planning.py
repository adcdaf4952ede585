"""What needs no container: start-up, listing, planning."""

import sys
from collections.abc import Iterator
from pathlib import Path

from bench.measure import COS, best, run
from bench.report import Result
from bench.trees import write_planned

BARE = """
import sys
from pathlib import Path
import yaml
for path in sorted(Path(sys.argv[1]).rglob("*.yaml")):
    yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
"""
"""Parses every file of a tree with PyYAML's C loader, and does nothing else."""


def measure_start(tree: Path, values: Path) -> Iterator[Result]:
    """Measure what people wait for before anything happens, with our own tree."""
    listing = [COS, "tree", "pkglist", "--tree", str(tree)]
    planning = [COS, "plan", "--all", "--tree", str(tree), "--values", str(values)]
    seconds = best(5, lambda: run([COS, "--help"])).seconds
    yield Result(name="cos --help", value=seconds, unit="s", limit=0.25)
    seconds = best(5, lambda: run(listing)).seconds
    yield Result(name="cos tree pkglist, own tree", value=seconds, unit="s", limit=0.25)
    seconds = best(5, lambda: run(planning)).seconds
    yield Result(name="cos plan --all, own tree", value=seconds, unit="s")


def measure_plans(scratch: Path) -> Iterator[Result]:
    """Measure the plans of generated trees, beside the bare parsing of the same files."""
    yield from _measure_plan(scratch, 1_000, ratio_limit=4.0)
    yield from _measure_plan(scratch, 10_000, peak_limit=500.0)


def _measure_plan(
    scratch: Path,
    count: int,
    *,
    ratio_limit: float | None = None,
    peak_limit: float | None = None,
) -> Iterator[Result]:
    tree = scratch / f"plan-{count}"
    write_planned(tree, count)
    store = {"COS_STORE": str(scratch / "plan-store")}
    argv = [COS, "plan", "--all", "--tree", str(tree), "-o", "json"]
    bare = best(3, lambda: run([sys.executable, "-c", BARE, str(tree)]))
    cost = best(3, lambda: run(argv, env=store))
    ratio = cost.seconds / bare.seconds
    what = f"{count} packages"
    yield Result(name=f"PyYAML alone, {what}", value=bare.seconds, unit="s")
    yield Result(name=f"cos plan, {what}", value=cost.seconds, unit="s")
    yield Result(name=f"  times PyYAML, {what}", value=ratio, unit="x", limit=ratio_limit)
    yield Result(name=f"  peak memory, {what}", value=cost.peak_mb, unit="MB", limit=peak_limit)
