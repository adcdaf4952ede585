"""Runs every measurement, prints each as it is known, and keeps them in `build/bench.json`."""

import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.building import Bench, own_tree_again
from bench.imaging import measure_images
from bench.peers import measure_peers
from bench.planning import measure_plans, measure_start
from bench.registries import measure_registries
from bench.report import Result, append, table
from bench.systems import measure_systems

CHECKOUT = Path(__file__).resolve().parent.parent
TREE = CHECKOUT / "tree"
VALUES = CHECKOUT / "specs" / "flavours" / "debian.yaml"


def measure(scratch: Path) -> Iterator[Result | str]:
    """Measure everything, cheapest first."""
    yield from measure_start(TREE, VALUES, scratch)
    yield from measure_plans(scratch)
    bench = Bench(scratch, CHECKOUT / "build" / "bench-store")
    yield from bench.cold_chain()
    yield bench.node_cost(large=False)
    yield bench.node_cost(large=True)
    yield from bench.packing()
    yield own_tree_again(TREE, VALUES, CHECKOUT / "build")
    yield from measure_images(scratch, CHECKOUT / "build")
    yield from measure_registries(scratch)
    yield from measure_systems(scratch)
    yield from measure_peers(scratch)


def main() -> None:
    """Print the numbers as they come, then the table, and keep them."""
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="cos-bench-") as scratch:
        for result in measure(Path(scratch)):
            if isinstance(result, str):
                print(f"left out: {result}", file=sys.stderr)  # noqa: T201  (a program of its own)
            else:
                results.append(result)
                print(next(table([result])), file=sys.stderr)  # noqa: T201  (as above)
    print("\n".join(table(results)))  # noqa: T201  (as above)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    append(CHECKOUT / "build" / "bench.json", results, when)


main()
