"""What needs no container: start-up, listing, planning."""

import sys
from collections.abc import Iterator
from pathlib import Path

from bench.measure import COS, best, run
from bench.report import Result
from bench.trees import write_planned, write_rendered, write_templated

BARE = """
import sys
from pathlib import Path
import yaml
for path in sorted(Path(sys.argv[1]).rglob("*.yaml")):
    yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
"""
"""Parses every file of a tree with PyYAML's C loader, and does nothing else."""

PLAN_TURNS = 5
"""How often a plan and the bare parsing are measured, by turns."""


def measure_start(tree: Path, values: Path, scratch: Path) -> Iterator[Result]:
    """Measure what people wait for before anything happens, with our own tree."""
    listing = [COS, "tree", "pkglist", "--tree", str(tree)]
    planning = [COS, "plan", "--all", "--tree", str(tree), "--values", str(values)]
    seconds = best(5, lambda: run([COS, "--help"])).seconds
    yield Result(name="cos --help", value=seconds, unit="s", limit=0.25)
    seconds = best(5, lambda: run(listing)).seconds
    yield Result(name="cos tree pkglist, own tree", value=seconds, unit="s", limit=0.25)
    seconds = best(5, lambda: run(planning)).seconds
    yield Result(name="cos plan --all, own tree", value=seconds, unit="s")
    agent = [sys.executable, "-m", "compiler.agent", "setup", "none", "--root", str(scratch)]
    seconds = best(5, lambda: run(agent)).seconds
    yield Result(name="cos-agent, a stage without work", value=seconds, unit="s", limit=0.3)


def measure_plans(scratch: Path) -> Iterator[Result]:
    """Measure the plans of generated trees, beside the bare parsing of the same files."""
    for count, ratio, peak in ((1_000, 4.0, None), (10_000, None, 500.0)):
        tree = scratch / f"plan-{count}"
        write_planned(tree, count)
        what = f"{count} packages"
        yield from _measure_plan(tree, tree, what, ratio_limit=ratio, peak_limit=peak)
    tree, rendered = scratch / "templated", scratch / "rendered"
    write_templated(tree, 1_000)
    write_rendered(tree, rendered)
    yield from _measure_plan(tree, rendered, "1000 with templates")


def _measure_plan(
    tree: Path,
    parsed: Path,
    what: str,
    *,
    ratio_limit: float | None = None,
    peak_limit: float | None = None,
) -> Iterator[Result]:
    """Measure the plan of `tree`, by turns with the bare parsing of the files of `parsed`."""
    store = {"COS_STORE": str(tree.with_name("plan-store"))}
    argv = [COS, "plan", "--all", "--tree", str(tree), "-o", "json"]
    turns = [
        (run([sys.executable, "-c", BARE, str(parsed)]), run(argv, env=store))
        for _ in range(PLAN_TURNS)
    ]
    bare = min(each.seconds for each, _ in turns)
    seconds = min(each.seconds for _, each in turns)
    peak = min(each.peak_mb for _, each in turns)
    yield Result(name=f"PyYAML alone, {what}", value=bare, unit="s")
    yield Result(name=f"cos plan, {what}", value=seconds, unit="s")
    yield Result(name=f"  times PyYAML, {what}", value=seconds / bare, unit="x", limit=ratio_limit)
    yield Result(name=f"  peak memory, {what}", value=peak, unit="MB", limit=peak_limit)
