"""The README: what it tells people to type works, in a fresh copy of the checkout."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers.registry import RegistryServer

CHECKOUT = Path(__file__).resolve().parents[1]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
RUN_ELSEWHERE = ("make build-tree", "make test")
"""By tests/e2e/test_own_tree.py, and by whoever runs this test."""

LEFT_BEHIND = (".git", ".venv", ".cos", "build", ".hypothesis", ".mypy_cache", ".ruff_cache")
"""What a checkout does not have; at its top only, as there is a `compiler/build`."""


def not_in_a_checkout(folder: str, names: list[str]) -> list[str]:
    if Path(folder) == CHECKOUT:
        return [each for each in names if each in LEFT_BEHIND]
    return [each for each in names if each == "__pycache__"]


def commands() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_readme_begins_with_the_two_commands() -> None:
    assert tuple(commands()[0].splitlines()) == RUN_ELSEWHERE


def test_every_file_that_the_readme_points_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)

    assert [link for link in links if not (CHECKOUT / link).exists()] == []


@pytest.mark.container
@pytest.mark.registry
def test_the_other_commands_of_the_readme_work_in_a_fresh_copy(
    tmp_path: Path, registry_server: RegistryServer
) -> None:
    copy = tmp_path / "checkout"
    shutil.copytree(CHECKOUT, copy, ignore=not_in_a_checkout, symlinks=True)
    store = os.environ.get("COS_STORE", str(CHECKOUT / ".cos" / "store"))
    script = "\n".join(("set -eux", *commands()[1:]))

    done = subprocess.run(
        ["bash", "-c", script],
        cwd=copy,
        env={**os.environ, "COS_STORE": store, "REGISTRY": registry_server.host},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-4000:]
    assert "usr/local/bin/hello" in done.stdout
