"""What a build would need, compared with the answers of luet 0.32.5: `--pretend`, `tree images`."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compiler.cli import build, tree
from compiler.cli.settings import take_settings

Row = dict[str, object]

HASH = re.compile("[0-9a-f]{64}")

CASES = Path(__file__).parent.parent / "data" / "conformance"

MEANT = {
    ("11-selectors", "u/use-lt"): "lib/z-1.1",
    ("11-selectors", "u/use-ops"): "lib/z-2.0-beta",
    ("11-selectors", "u/use-pess"): "lib/z-1.10",
    ("11-selectors", "u/use-comma"): "lib/z-1.10",
    ("11-selectors", "u/use-space"): "lib/z-1.10",
    ("11-selectors", "u/use-star"): "lib/z-2.0-beta",
    ("11-selectors", "u/use-empty"): "lib/z-2.0-beta",
    ("11-selectors", "u/use-not"): "lib/z-2.0-beta",
    ("12-odd-versions", "u/use-p2"): "lib/p-1.0+10",
    ("12-odd-versions", "u/use-p3"): "lib/p-1.0+1",
    ("12-odd-versions", "u/use-r1"): "lib/r-0.2.rc1-1+8",
    ("12-odd-versions", "u/use-r2"): "lib/r-0.2.rc1-1+8",
    ("12-odd-versions", "lib/r"): "lib/r-0.2.rc1-1+8",
    ("12-odd-versions", "u/use-e1"): "lib/e-1:1.0",
    ("12-odd-versions", "lib/e"): "lib/e-1:1.0",
    ("12-odd-versions", "u/use-m2"): "lib/m-1.0~rc1",
    ("12-odd-versions", "u/use-v1"): "lib/v-v1.0",
    ("12-odd-versions", "u/use-v2"): "lib/v-v1.0",
    ("12-odd-versions", "lib/v"): "lib/v-v1.0",
}
"""Where luet crashes or picks at random, and what was meant: the newest that satisfies."""


@dataclass(frozen=True)
class Check:
    """One call of luet, and what it answered."""

    case: str
    kind: str
    argv: tuple[str, ...]
    exit: int
    stable: bool
    answers: tuple[list[dict[str, str]], ...] = ()
    env: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.case} {' '.join(self.argv[1:])}"


def checks() -> Iterator[Check]:
    for path in sorted(CASES.glob("*/expected.json")):
        case = json.loads(path.read_text())
        for check in case["checks"]:
            if check["kind"] in {"pretend", "images"}:
                result = check.get("result")
                answers = [result] if isinstance(result, list) else []
                yield Check(
                    case["case"],
                    check["kind"],
                    tuple(check["argv"]),
                    check["exit"],
                    check.get("stable", True),
                    (*answers, *check.get("also", ())),
                    check.get("env") or {},
                )


def call(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, object]:
    monkeypatch.chdir(CASES / check.case)
    argv = [each.replace("<OUT>", str(tmp_path / "out")) for each in check.argv]
    environ = {**os.environ, **check.env, "COS_STORE": str(tmp_path / "store")}
    settings, rest = take_settings(argv, environ)
    app = build.app if check.kind == "pretend" else tree.app
    done = CliRunner().invoke(app, rest[1:], obj=settings)
    return done.exit_code, json.loads(done.stdout) if done.exit_code == 0 else done.exception


def shape(check: Check, row: Mapping[str, object]) -> Row:
    """Complete a recorded row with what luet always writes, and leave out its hash."""
    if check.kind == "pretend":
        return {**row, "repository": "", "files": None, "installed": False}
    repository, _, key = str(row["image"]).rpartition(":")
    assert HASH.fullmatch(key), row
    return {**row, "path": "", "image": repository}


def without_hashes(check: Check, rows: Iterable[Row]) -> list[Row]:
    """Leave the hashes out of an answer; each package has its own."""
    found = list(rows)
    if check.kind == "pretend":
        return found
    assert len({str(row["image"]) for row in found}) == len(found)
    return [shape(check, row) for row in found]


def meant_rows(check: Check, target: str, meant: str) -> list[Row]:
    """Make the whole answer that has the package that was meant."""
    category, _, rest = meant.partition("/")
    name, _, version = rest.partition("-")
    chosen: Row = {"category": category, "name": name, "version": version}
    asking = target.startswith("u/")
    if check.kind == "pretend":
        more = {"repository": "", "target": f"{target}-1", "hidden": False}
        return [{**chosen, **more, "files": None, "installed": False}] if asking else []
    named: Row = {"category": "u", "name": target.removeprefix("u/"), "version": "1"}
    rows = [chosen, named] if asking else [chosen]
    return [{**row, "path": "", "image": "luet/cache"} for row in rows]


@pytest.mark.parametrize("check", list(checks()), ids=str)
def test_the_answer_is_luets_or_what_was_meant(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, answer = call(check, tmp_path, monkeypatch)

    target = check.argv[-1]
    meant = MEANT.get((check.case, target))
    if meant is None and check.exit != 0 and check.case != "10c-nil-walk":
        assert code == 1  # 10c renders here: it is called with its values
        return
    assert isinstance(answer, dict), answer
    if meant is not None:
        expected = [meant_rows(check, target, meant)]
    else:
        expected = [[shape(check, row) for row in rows] for rows in check.answers] or [[]]
    assert set(answer) == {"packages"}
    assert answer["packages"] != []  # nothing is null, as luet writes it
    assert without_hashes(check, answer["packages"] or []) in expected
