"""The programs that do the same work, side by side, where they are installed and can run."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.measure import Cost, ProgramFailed, run
from bench.report import Result
from bench.trees import BASE_IMAGE, write_chain


def measure_peers(scratch: Path) -> Iterator[Result | str]:
    """Measure the peers; a text instead of a result says why one is left out."""
    chain = scratch / "peer-chain"
    write_chain(chain, 4, f"peer-{os.getpid()}")
    yield from _measure("luet", "luet plan, 1000 packages", lambda: _luet_plan(scratch))
    yield from _measure("luet", "luet build of 4 packages", lambda: _luet_build(chain))
    yield from _measure("luet", "  and again, nothing changed", lambda: _luet_build(chain))
    yield from _measure("docker", "BuildKit, 4 steps", lambda: _buildkit(scratch))
    yield from _measure("docker", "  and again, nothing changed", lambda: _buildkit(scratch))


def _measure(program: str, name: str, measured: Callable[[], Cost]) -> Iterator[Result | str]:
    if not shutil.which(program):
        yield f"{name}: {program} is not installed"
        return
    try:
        yield Result(name=name, value=measured().seconds, unit="s")
    except ProgramFailed as error:
        lines = str(error).strip().splitlines()
        yield f"{name}: {next((line for line in lines if 'rror' in line), lines[0])[:100]}"


def _luet_plan(scratch: Path) -> Cost:
    tree = scratch / "plan-1000"
    argv = ["luet", "build", "--all", "--pretend", "--tree", str(tree), "-o", "json"]
    return run([*argv, "--destination", str(scratch / "luet-out")])


def _luet_build(chain: Path) -> Cost:
    out = str(chain.with_name("luet-chain-out"))
    return run(["luet", "build", "--all", "--tree", str(chain), "--destination", out])


def _buildkit(scratch: Path) -> Cost:
    context = scratch / "buildkit"
    context.mkdir(exist_ok=True)
    steps = [f"RUN echo {os.getpid()} > /link-{number}" for number in range(4)]
    lines = "\n".join([f"FROM {BASE_IMAGE}", *steps, ""])
    (context / "Dockerfile").write_text(lines, encoding="utf-8")
    return run(["docker", "build", "-q", str(context)], env={"DOCKER_BUILDKIT": "1"})
