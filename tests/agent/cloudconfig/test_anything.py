"""Steps of any values that a file can hold: nothing is raised, and nothing leaves the root."""

import random
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml

from compiler.agent.cloudconfig.model import Step
from compiler.agent.cloudconfig.reader import inner_model, keys_of
from tests.agent.scratch import Scratch, make_root

pytestmark = pytest.mark.container

WORDS = (
    "", "a", "/", "..", "../../x", "/etc/passwd", "a:b", "a\nb", "-x", "{{ x", "{{ upper `a` }}",
    "\x85", "é" * 50, "x" * 5000, "file:///x", "http://127.0.0.1:1/x", "github:../", "b64",
    "gz+b64", "a\0b", "/a\0b", "root",
    "script://", "script://'", "script:///bin/sh -c 'echo /tmp'", "0", "-1",
    "9" * 20, "9" * 5000,
    "kind: user\nusername: a", "kind: group\ngroup_name: g\ngid: x", "kind: [", "%s", "/tmp/ring",
    "/tmp/out/x", "('", "*", "(?P<", "\u0661", "0x10", "true",
)  # fmt: skip
KEYS = sorted(set(keys_of(Step)) - {"datasource", "git"})  # those ask the network


@pytest.mark.parametrize("seed", range(40))
def test_a_step_of_anything_raises_nothing_and_stays_below_the_root(
    seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)  # noqa: S311  (no secret)
    scratch = Scratch(make_root(tmp_path / "root"))
    (scratch.folder / "tmp/ring").symlink_to("ring")
    (scratch.folder / "tmp/out").symlink_to("../../../../..")

    for _ in range(5):
        chosen = chance.sample(KEYS, chance.randrange(1, 6))
        step = {key: some(chance, keys_of(Step)[key][1]) for key in chosen}
        scratch.put("/c.yaml", yaml.safe_dump({"stages": {"t": [step]}}, allow_unicode=True))
        scratch.run("t", "/c.yaml")

    assert [each.name for each in tmp_path.iterdir()] == ["root"]


def some(chance: random.Random, kind: Any) -> object:  # noqa: ANN401  (a type)
    """Make a value of a kind that a model has."""
    if kind is str:
        return chance.choice(WORDS)
    if kind is int:
        return chance.choice([0, 1, 0o644, 100, 2**32 - 1])
    if kind is bool:
        return chance.choice([True, False])
    if get_origin(kind) is tuple:
        return [some(chance, get_args(kind)[0]) for _ in range(chance.randrange(3))]
    if get_origin(kind) is dict:
        count = chance.randrange(3)
        return {chance.choice(WORDS): some(chance, get_args(kind)[1]) for _ in range(count)}
    known = keys_of(inner_model(kind)).items()
    return {key: some(chance, each) for key, (_, each) in known if chance.random() < 0.7}
