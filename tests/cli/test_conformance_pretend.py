"""What a build would need, compared with the answers of luet 0.32.5: `--pretend`, `tree images`."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compiler.cli import build, tree
from compiler.cli.settings import take_settings

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


def names(rows: object) -> list[str]:
    found = rows or []
    assert isinstance(found, list)
    return [f"{row['category']}/{row['name']}-{row['version']}" for row in found]


@pytest.mark.parametrize("check", list(checks()), ids=str)
def test_the_answer_is_luets_or_what_was_meant(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, answer = call(check, tmp_path, monkeypatch)

    target = check.argv[-1]
    meant = MEANT.get((check.case, target))
    if meant is not None:
        assert isinstance(answer, dict), answer
        assert names(answer["packages"])[0:1] == ([meant] if _lists(check, target) else [])
    elif check.exit != 0 and check.case != "10c-nil-walk":  # which renders with its values
        assert code == 1
    else:
        assert isinstance(answer, dict), answer
        assert names(answer["packages"]) in ([names(each) for each in check.answers] or [[]])


def _lists(check: Check, target: str) -> bool:
    """Tell whether an answer has the package at all: a target is not among its requirements."""
    return check.kind == "images" or target.startswith("u/")
