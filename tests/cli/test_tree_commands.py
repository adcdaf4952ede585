import json
import re
from pathlib import Path

import pytest

from compiler.cli import main
from compiler.tree import load_tree
from tests.spec.conformance import CASES, Check, checks

LUET_FAILS = {
    "10c-nil-walk": "a template that needs values can be listed without them here",
}
LUET_SUCCEEDS = {
    ("21b-bad-steps-type", "--buildtime"): "a wrong type is a fault whatever view is asked for",
    ("17-conflicts", "-s"): "luet does not wait for its solver, and calls the conflict good",
}

BROKEN = re.compile(r"ERROR     \[buildtime\] (\S+): Broken Dep (\S+?)-(>=0|[0-9.]+) - .*")
CHECKED = re.compile(
    r"INFO    \[ *(?P<view>\w+)\] Checking package (?P<id>\S+)  with  (?P<requires>\d+)  "
    r"dependencies and  (?P<conflicts>\d+)  conflicts\."
)
"""What luet writes into its log for a package that it looks at."""


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command; gives its exit code and what it wrote."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    written = capsys.readouterr()
    return int(stop.value.code or 0), written.out, written.err


def exit_code(case: Path, check: Check) -> int:
    """Tell how the command ends here, where luet ended as it was recorded."""
    argv = check["argv"]
    assert isinstance(argv, list)
    if case.name in LUET_FAILS:
        return 0
    if any(case.name == name and word in argv for name, word in LUET_SUCCEEDS):
        return 1
    return 1 if check["exit"] else 0


def plural(number: int) -> str:
    """End a word that is counted."""
    return "" if number == 1 else "s"


def compare_with_luets_words(case: Path, check: Check, out: str) -> None:
    """Compare what `validate` printed with the lines of luet's log.

    luet passes over some packages, so it may find less of what is wrong.
    """
    lines = check["lines"]
    assert isinstance(lines, list)
    tree = load_tree([Path("tree")])
    *found, summary = out.removesuffix("\n").split("\n")
    errors = sum(line.startswith("error: ") for line in found)
    assert summary == (
        f"{len(tree.packages)} package{plural(len(tree.packages))} checked: "
        f"{errors} error{plural(errors)}, 0 warnings"
    )
    assert (found == []) is (exit_code(case, check) == 0)
    for line in lines:
        broken = BROKEN.fullmatch(line)
        if broken is not None:
            title, wanted, version = broken.groups()
            what = f"{title} requires {wanted}@{version} to be built, which no package satisfies"
            assert any(what in each for each in found), line
        counted = CHECKED.fullmatch(line)
        if counted is not None:
            view = tree.buildtime if counted["view"] == "buildtime" else tree.runtime
            (id_,) = (each for each in view.packages if str(each) == counted["id"])
            assert len(view.requirements(id_)) == int(counted["requires"]), line
            assert len(view.conflicts(id_)) == int(counted["conflicts"]), line


@pytest.mark.parametrize(("case", "check"), checks("pkglist", "pkgterm", "validate"))
def test_a_tree_command_ends_and_prints_as_luet_does(
    case: Path,
    check: Check,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(case)
    argv = check["argv"]
    assert isinstance(argv, list)

    code, out, _ = run(capsys, *argv)

    assert code == exit_code(case, check)
    if check["kind"] == "validate":
        compare_with_luets_words(case, check, out)
        return
    if code or check["exit"]:
        return
    if check["kind"] == "pkglist":
        packages = json.loads(out)["packages"]
        order = ("category", "name", "version", "path")
        packages.sort(key=lambda row: tuple(row[key] for key in order))
        assert packages == check["result"]
    elif isinstance(check["result"], str):
        assert "\n".join(line.rstrip() for line in out.rstrip().split("\n")) == check["result"]
    else:
        assert sorted(out.splitlines()) == check["result"]


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files below a folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def package(name: str, **more: str) -> dict[str, str]:
    """Give the files of one package."""
    definition = f'name: {name}\ncategory: c\nversion: "1.0"\n{more.get("definition", "")}'
    build = more.get("build", "image: base\n")
    return {f"{name}/definition.yaml": definition, f"{name}/build.yaml": build}


def test_expressions_choose_among_the_printed_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, {**package("a"), **package("b"), **package("ab")})

    command = ("tree", "pkglist", "-t", str(tmp_path))
    with_a = run(capsys, *command, "-m", "a")
    without_version = run(capsys, *command, "-m", "1.0")
    with_version = run(capsys, *command, "-v", "-m", "1.0", "-e", "/a")

    assert with_a == (0, "c/a\nc/ab\n", "")
    assert without_version == (0, "", "")
    assert with_version == (0, "c/b-1.0\n", "")


def test_listing_warns_of_templates_without_their_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, package("a", build="image: {{ .Values.base }}\n"))

    code, out, err = run(capsys, "tree", "pkglist", "-t", str(tmp_path))

    assert (code, out) == (0, "c/a\n")
    assert err == (
        f"warning: {tmp_path}/a/build.yaml:1:8: 'image' holds '<no value>' "
        "(set base in a --values file or the definition)\n"
    )


def test_values_come_from_the_environment_and_the_last_file_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, {"v1.yaml": "base: one\nmore: x", "v2.yaml": "base: two"})
    tree = write(tmp_path / "tree", package("a", build="image: {{ .Values.base }}{{.Values.more}}"))
    monkeypatch.setenv("LUET_VALUES", str(tmp_path / "v1.yaml"))

    _, out, _ = run(capsys, "tree", "render", "c/a", "-t", str(tree),
                    "--values", str(tmp_path / "v2.yaml"), "-o", "json")  # fmt: skip

    assert json.loads(out)["specs"][0]["image"] == "twox"


def test_render_prints_all_fields_with_their_final_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = (
        "requires:\n- name: b\n  category: c\n  version: '>=0'\n"
        "steps:\n- echo {{ .Values.name }}\nenv: [A=b]\nexcludes: [^/x]\nunpack: true\n"
    )
    write(tmp_path, {**package("a", build=build), **package("b")})

    _, out, _ = run(capsys, "tree", "render", "a", "-t", str(tmp_path), "-o", "json")

    (spec,) = json.loads(out)["specs"]
    assert {key: spec[key] for key in ("name", "image", "steps", "env", "excludes", "unpack")} == {
        "name": "a",
        "image": "",
        "steps": ["echo a"],
        "env": ["A=b"],
        "excludes": ["^/x"],
        "unpack": True,
    }
    assert spec["requires"] == [{"name": "b", "category": "c", "version": ">=0"}]


def test_validate_names_slips_requirements_and_selectors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = "image: base\nstep: [x]\nrequires:\n- name: zz\n  category: c\n  version: '>=2'\n"
    write(tmp_path, {**package("a", build=build), **package("b", definition="licence: MIT\n")})

    code, out, _ = run(capsys, "tree", "validate", "-t", str(tmp_path))

    assert code == 1
    assert out == (
        f"warning: {tmp_path}/a/build.yaml:2:1: unknown key 'step' is ignored "
        "(did you mean 'steps'?)\n"
        f"warning: {tmp_path}/b/definition.yaml:4:1: unknown key 'licence' is for templates only "
        "(did you mean 'license'?)\n"
        f"error: {tmp_path}/a/build.yaml:4:3: c/a-1.0 requires c/zz@>=2 to be built, "
        "which no package satisfies (there is no package of that name)\n"
        "2 packages checked: 1 error, 2 warnings\n"
    )


def test_validate_warns_of_a_package_in_two_folders_of_one_tree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "tree" / "one", tmp_path / "tree" / "two"
    write(first, package("a"))
    write(second, package("a"))

    code, out, _ = run(capsys, "tree", "validate", "-t", str(tmp_path / "tree"))

    assert code == 0
    assert out == (
        f"warning: {second}/a/definition.yaml:1:7: c/a-1.0 is in {first}/a too, which is not used: "
        "the last folder wins (take one of the two out, or give it another name or version)\n"
        "1 package checked: 0 errors, 1 warning\n"
    )


def test_validate_says_nothing_of_a_package_that_a_later_tree_lies_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    below = write(tmp_path / "below", package("a"))
    above = write(tmp_path / "above", package("a"))

    done = run(capsys, "tree", "validate", "-t", str(below), "-t", str(above))

    assert done == (0, "1 package checked: 0 errors, 0 warnings\n", "")


def test_validate_warns_of_files_that_belong_to_no_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stray = {"lost/build.yaml": "image: base\n", "lost/finalize.yaml": "install: []\n"}
    own = {"a/files/build.yaml": "is a file of the package", "templates/build.yaml": ""}
    write(tmp_path, {**package("a"), **stray, **own})

    code, out, _ = run(capsys, "tree", "validate", "-t", str(tmp_path))

    why = "belongs to no package: its folder has no definition.yaml (add one, or remove this file)"
    assert code == 0
    assert out == (
        f"warning: {tmp_path}/lost/build.yaml: {why}\n"
        f"warning: {tmp_path}/lost/finalize.yaml: {why}\n"
        "1 package checked: 0 errors, 2 warnings\n"
    )


def test_bump_changes_nothing_but_the_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "definition.yaml"
    file.write_text("# keep\nname: a\nversion: '1.0'  # this\nfree: [1, 2]\n")
    file.chmod(0o640)

    result = run(capsys, "tree", "bump", "-f", str(file))

    assert result == (0, "1.0 -> 1.0+1\n", "")
    assert file.read_text() == "# keep\nname: a\nversion: '1.0+1'  # this\nfree: [1, 2]\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["definition.yaml"]


def test_wrong_use_is_told_from_wrong_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none"

    assert run(capsys, "tree", "pkglist", "-t", str(missing)) == (
        1,
        "",
        f"error: {missing}: there is no such tree\n",
    )
    assert run(capsys, "tree", "pkglist", "-m", "(")[0] == 2
    assert run(capsys, "tree", "pkglist", "--deps", "--revdeps")[0] == 2
    assert run(capsys, "tree", "pkglist", "-o", "xml")[0] == 2


def test_no_recorded_case_is_left_out() -> None:
    assert len(list(CASES.glob("*/expected.json"))) == 37
