"""What was measured, as a table for people and as lines of JSON to compare over time."""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One number, its unit, and the most (or, for a rate, the least) that it may be."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the number keeps to its limit; one without a limit does."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def table(results: Sequence[Result]) -> Iterator[str]:
    """Lay the results out in columns, one line each."""
    width = max(len(result.name) for result in results)
    for result in results:
        limit = ""
        if result.limit is not None:
            sign = ">=" if result.at_least else "<="
            verdict = "ok" if result.holds else "MISSED"
            limit = f"{sign} {result.limit:g} {result.unit}  {verdict}"
        yield f"{result.name:<{width}}  {result.value:>9.3f} {result.unit:<5}  {limit}".rstrip()


def append(path: Path, results: Sequence[Result], when: str) -> None:
    """Add one line of JSON to `path`: the machine, the time and all results."""
    entry = {
        "when": when,
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "results": [asdict(result) for result in results],
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
