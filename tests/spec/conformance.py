"""The recorded answers of luet, one folder each, for the tests that compare with them."""

import json
from pathlib import Path

import pytest

CASES = Path(__file__).parents[1] / "data" / "conformance"

Check = dict[str, object]


def checks(*kinds: str) -> list[object]:
    """List all checks of these kinds, each as a parameter named by its case and what was run."""
    found: list[object] = []
    for file in sorted(CASES.glob("*/expected.json")):
        for number, check in enumerate(json.loads(file.read_text())["checks"]):
            if check["kind"] in kinds:
                name = f"{file.parent.name}-{number}-{'_'.join(check['argv'][1:])}"
                found.append(pytest.param(file.parent, check, id=name[:120]))
    return found


def options(argv: list[str], *names: str) -> list[str]:
    """Give the values of an option in a command line, comma lists split up."""
    values = [argv[index + 1] for index, word in enumerate(argv) if word in names]
    return [each for value in values for each in value.split(",")]
