"""The rendered specs say what luet wrote into its Dockerfiles."""

import os
from pathlib import Path

import pytest

from compiler.spec.package import PackageSpec
from compiler.tree import load_tree
from tests.spec.conformance import Check, checks, options

EMPTY_VALUES_OVERRIDE = {
    "echo 'a=val-a b=def-b c=val-c x=val-x y=<no value> z=val-z list=[v1] empty=[def-empty] "
    "off=true name=renamed version=9.9'": "echo 'a=val-a b=def-b c=val-c x=val-x y=<no value> "
    "z=val-z list=[v1] empty=[] off=false name=renamed version=9.9'",
}
"""Case 06: in luet an empty value does not override; here it does."""


def body(spec: PackageSpec, *, builder: bool) -> str:
    """Give what luet writes for env, prelude and steps."""
    build = spec.build
    assert build is not None
    runs = build.prelude if builder else build.steps
    env = [f"ENV {each}" for each in build.env]
    return "\n".join([*env, *(f"RUN {EMPTY_VALUES_OVERRIDE.get(each, each)}" for each in runs)])


def written_body(text: str, category: str) -> str:
    """Cut the same out of a Dockerfile that luet wrote."""
    head = f"ENV PACKAGE_CATEGORY={category}"
    lines = text.partition(head)[2].split("\n")[1:]
    while lines and (not lines[0] or lines[0].startswith(("ADD ", "COPY "))):
        del lines[0]
    text = "\n".join(lines)
    for luet, ours in EMPTY_VALUES_OVERRIDE.items():
        text = text.replace(luet, ours)
    return text


@pytest.mark.parametrize(("case", "check"), checks("dockerfiles"))
def test_a_spec_has_the_image_environment_and_steps_that_luet_builds_with(
    case: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(case)
    argv = check["argv"]
    assert isinstance(argv, list)
    values = options(argv, "--values")
    if check["exit"] or len(values) > 1:
        # luet refuses these, or lets a random one of several values files win
        return

    tree = load_tree([Path(each) for each in options(argv, "--tree")],
                     values=[Path(each) for each in values],
                     dockerfiles="--dockerfiles" in argv)  # fmt: skip

    specs = {id_.fingerprint.replace("+", "-"): spec for id_, spec in tree.packages.items()}
    files = check["dockerfiles"]
    assert isinstance(files, list)
    for file in files:
        kind, _, fingerprint = file["as_"].strip("<>").partition(":")
        spec = specs[fingerprint]
        assert spec.build is not None
        text = file["normalised"]
        if spec.build.dockerfile and kind == "package":
            assert spec.build.dockerfile == text
            continue
        assert written_body(text, spec.id.category) == body(spec, builder=kind == "builder")
        if spec.build.image and kind == "builder":
            assert f"\nFROM {spec.build.image}\n" in text


def test_the_last_of_several_values_files_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1] / "data/conformance/07-values-many-files")
    files = [Path("values/1.yaml"), Path("values/2.yaml"), Path("values/3.yaml")]

    steps = {
        os.fspath(each): [
            spec.build.steps
            for spec in load_tree([Path("tree")], values=[*files, each]).packages.values()
            if spec.id.name == "p" and spec.build
        ]
        for each in files
    }

    assert steps == {
        "values/1.yaml": [("echo 'k=one only1=x1 only2=x2 only3=x3'",)],
        "values/2.yaml": [("echo 'k=two only1=x1 only2=x2 only3=x3'",)],
        "values/3.yaml": [("echo 'k=three only1=x1 only2=x2 only3=x3'",)],
    }
