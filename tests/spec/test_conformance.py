"""The rendered specs say what luet wrote into its Dockerfiles."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from compiler.errors import CompilerError, Faults, ImageError
from compiler.preflight import faults_of
from compiler.request import Request, plan_request
from compiler.spec.package import PackageSpec
from compiler.store.local import LocalStore
from compiler.tree import Tree, load_tree
from tests.spec.conformance import CASES, Check, checks, options

EMPTY_VALUES_OVERRIDE = {
    "echo 'a=val-a b=def-b c=val-c x=val-x y=<no value> z=val-z list=[v1] empty=[def-empty] "
    "off=true name=renamed version=9.9'": "echo 'a=val-a b=def-b c=val-c x=val-x y=<no value> "
    "z=val-z list=[v1] empty=[] off=false name=renamed version=9.9'",
}
"""Case 06: in luet an empty value does not override; here it does."""


REFUSED = {
    ("10c-nil-walk", "t/p"): [],
    ("18-virtual", "t/bad"): [
        "tree/bad/build.yaml:2:1: t/bad-1 has steps, but nothing to run them in "
        "(name an image, or require a package that starts from one)"
    ],
    ("21b-bad-steps-type", "t/b"): [
        "tree/a/build.yaml:2:8: 'steps' must be a list of strings, not a string "
        "(write it as a list: one line for each, starting with '- ')"
    ],
    ("22-missing-dep", "t/a"): [
        "tree/a/build.yaml:2:3: there is no package t/ghost\n"
        "  t/a-1 (tree/a/build.yaml:2:3) requires t/ghost@>=0"
    ],
    ("22-missing-dep", "t/b"): [
        "tree/b/build.yaml:2:3: there is no package t/ghost\n"
        "  t/b-1 (tree/b/build.yaml:2:3) requires t/ghost@1.0"
    ],
}
"""What is said here of that which luet cannot build; 10c has the value that it asks for."""


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


def with_last_value(text: str, values: Sequence[str]) -> str:
    """Put the value of the last file in the place of that of whichever file luet let win."""
    if len(values) <= 1:
        return text
    last = yaml.safe_load(Path(values[-1]).read_text())
    return re.sub(r"k=\w+", f"k={last['k']}", text)


def loaded(argv: list[str]) -> Tree:
    """Load the trees that a command line names, with its values."""
    return load_tree(
        [Path(each) for each in options(argv, "--tree")],
        values=[Path(each) for each in options(argv, "--values")],
        dockerfiles="--dockerfiles" in argv,
    )


def faults(argv: list[str]) -> list[str]:
    """Say what keeps the last word of a command line from being built here, images aside."""
    try:
        store = LocalStore(Path("there-is-no-store"))
        planned = plan_request(loaded(argv), Request(packages=(argv[-1],)), store)
    except CompilerError as error:
        return [str(error)]
    except Faults as group:
        return [str(each) for each in group.exceptions]
    return [str(each) for each in faults_of(planned) if not isinstance(each, ImageError)]


@pytest.mark.parametrize(("case", "check"), checks("dockerfiles"))
def test_a_spec_has_the_image_environment_and_steps_that_luet_builds_with(
    case: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(case)
    argv = check["argv"]
    assert isinstance(argv, list)
    values = options(argv, "--values")

    if check["exit"]:
        assert faults(argv) == REFUSED[case.name, argv[-1]]
        return
    tree = loaded(argv)

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
        written = with_last_value(written_body(text, spec.id.category), values)
        assert written == body(spec, builder=kind == "builder")
        if spec.build.image and kind == "builder":
            assert f"\nFROM {spec.build.image}\n" in text


def test_a_value_below_another_is_found_where_luet_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(CASES / "10c-nil-walk")

    tree = load_tree([Path("tree")], values=[Path("values/v.yaml")])

    (spec,) = tree.packages.values()
    assert spec.build is not None
    assert (spec.build.steps, spec.doubts) == (("echo '[ok]'",), ())


def test_the_last_of_several_values_files_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES / "07-values-many-files")
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
