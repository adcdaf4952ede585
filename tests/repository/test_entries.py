"""The index of a repository, read entry by entry."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import yaml

from compiler.repository.entries import artifacts_in, values_in
from compiler.repository.index import index_text, make_index
from compiler.spec.package import PackageId
from tests.repository.test_index import artifact

VALUES = {
    "flavor": "debian",
    "packages": ["one", {"name": "two", "options": {"with": "docs"}}],
    "text": "first\n\n    package:\n  - third: x\n",
    "empty": {},
    "number": 3,
    "truth": False,
    "none": None,
}


def test_values_are_read_for_each_package_that_has_any() -> None:
    built = replace(artifact("a"), values=(VALUES, {"flavor": "fedora"}))
    text = index_text(make_index([built, artifact("b")]))

    assert values_in(text, "i") == {PackageId("t", "a", "1"): {**VALUES, "flavor": "fedora"}}
    assert [each.id for each in artifacts_in(text, "i")] == [built.id, artifact("b").id]


@pytest.mark.parametrize("write", [yaml.safe_dump, json.dumps])
def test_values_are_read_in_any_layout(write: Callable[[object], str]) -> None:
    built = replace(artifact("a"), values=(VALUES,))
    written = write(yaml.safe_load(index_text(make_index([built]))))

    assert values_in(written, "i") == {built.id: VALUES}
