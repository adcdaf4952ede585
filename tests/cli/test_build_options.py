"""The options of `cos build` and `cos plan`, as far as no container is needed."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer

from compiler.cli import build, main, plan
from compiler.store.importer import import_image
from compiler.store.local import LocalStore

TREE = {"base": "", "left": "base", "right": "base", "top": "left right", "alone": ""}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree whose base image no store has."""
    for name, requires in TREE.items():
        folder = tmp_path / "tree" / name
        folder.mkdir(parents=True)
        (folder / "definition.yaml").write_text(f'name: {name}\ncategory: t\nversion: "1"\n')
        needs = "".join(
            f'- {{name: {each}, category: t, version: ">=0"}}\n' for each in requires.split()
        )
        start = f"requires:\n{needs}" if needs else "image: nowhere\n"
        (folder / "build.yaml").write_text(f"{start}steps:\n- echo {{{{ .Values.name }}}}\n")
    return tmp_path / "tree"


class Cos:
    """Runs the command in this process; keeps what it wrote."""

    def __init__(self, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.tree = tree
        self.capsys = capsys

    def __call__(self, command: str, *arguments: str) -> int:
        place = self.tree.parent
        given = [command, "--tree", str(self.tree), "--store", str(place / "store"),
                 "--destination", str(place / "out"), *arguments]  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main(given)
        self.out, self.err = self.capsys.readouterr()
        return int(stop.value.code or 0)

    def planned(self, *arguments: str) -> dict[str, str]:
        assert self("plan", "-o", "json", *arguments) == 0, self.err
        return {each["name"]: each["action"] for each in json.loads(self.out)["nodes"]}


@pytest.fixture
def cos(tree: Path, capsys: pytest.CaptureFixture[str]) -> Cos:
    return Cos(tree, capsys)


def test_a_plan_has_all_that_programs_need(cos: Cos) -> None:
    assert cos("plan", "-o", "json", "t/left") == 0
    base, left = json.loads(cos.out)["nodes"]

    assert {name: left[name] for name in ("name", "category", "version", "action", "reason")} == {
        "name": "left", "category": "t", "version": "1", "action": "build",
        "reason": "not built before"}  # fmt: skip
    assert left["needs"] == [base["key"]]
    assert len({base["key"], left["key"], left["artifact_key"]}) == 3


def test_a_plan_for_people_is_a_line_for_each_package_in_build_order(cos: Cos) -> None:
    assert cos("plan", "t/left") == 0

    assert cos.out == ("build  t/base-1  (not built before)\nbuild  t/left-1  (not built before)\n")
    assert cos.err.startswith("warning: ")
    assert "the image 'nowhere', from which t/base-1 is built, is not in the store" in cos.err


def test_planning_makes_nothing(cos: Cos) -> None:
    cos("plan", "--all")

    assert sorted(path.name for path in cos.tree.parent.iterdir()) == ["tree"]


def test_targets_are_chosen_by_options(cos: Cos) -> None:
    assert sorted(cos.planned("--all")) == sorted(TREE)
    assert sorted(cos.planned("--full")) == sorted(TREE)
    assert sorted(cos.planned("t/left", "--revdeps")) == ["base", "left", "right", "top"]
    assert sorted(cos.planned("t/left", "--onlydeps")) == ["base"]
    assert cos.planned() == {}


def test_a_name_may_go_without_its_category(cos: Cos) -> None:
    assert sorted(cos.planned("alone")) == ["alone"]


def test_nodeps_without_what_is_needed_is_wrong_usage(cos: Cos) -> None:
    assert cos("plan", "t/left", "--nodeps") == 2
    assert cos.err == (
        "error: t/base-1 has not been built, and --nodeps forbids to build it"
        " (leave out --nodeps)\n"
    )


def test_a_missing_image_stops_a_build_before_it_starts(cos: Cos) -> None:
    assert cos("build", "--all") == 3
    assert cos.err.startswith(f"error: {cos.tree}/alone/build.yaml:1:")
    assert "from which t/alone-1 and 1 more are built" in cos.err
    assert not (cos.tree.parent / "out").exists()


def test_pretend_lists_what_targets_require(cos: Cos) -> None:
    assert cos("build", "--pretend", "t/top") == 0

    assert cos.out.splitlines() == [
        "t/base-1 required for t/top-1",
        "t/left-1 required for t/top-1",
        "t/right-1 required for t/top-1",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--push",), "--push needs a place (name it with --image-repository)"),
        (("--pull",), "--pull needs a place (name it with --image-repository)"),
        (("--wait",), "--wait waits for what --pull fetches (add --pull)"),
        (("--push-final-images",), "final images need a repository (name it with "
                                   "--push-final-images-repository)"),
        (("--generate-final-images",), "final images need a repository (name it with "
                                       "--push-final-images-repository)"),
    ],
)  # fmt: skip
def test_what_needs_a_repository_says_how_to_name_one(
    cos: Cos, options: tuple[str, ...], message: str
) -> None:
    assert cos("build", "--all", *options) == 2
    assert cos.err == f"error: {message}\n"


def test_lists_may_be_repeated_or_comma_separated(cos: Cos, tmp_path: Path) -> None:
    other = tmp_path / "other" / "more"
    other.mkdir(parents=True)
    (other / "definition.yaml").write_text('name: more\ncategory: t\nversion: "1"\n')

    assert "more" in cos.planned("--all", "--tree", str(other.parent))
    assert "more" in cos.planned("--all", "--tree", f"{cos.tree},{other.parent}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--compression", "rar"), "--compression is one of none, gzip, zstd, not 'rar'"),
        (("--backend", "vm"), "there is no backend 'vm' (leave out --backend)"),
        (("--concurrency", "many"), "--concurrency is a whole number, not 'many'"),
    ],
)
def test_a_value_that_is_none_of_those_known_is_wrong_usage(
    cos: Cos, arguments: tuple[str, str], message: str
) -> None:
    assert cos("build", "--all", *arguments) == 2
    assert cos.err == f"error: {message}\n"


@pytest.mark.parametrize("arguments", [("--layering", "heap"), ("--network", "moon")])
def test_a_choice_that_is_not_offered_is_wrong_usage(cos: Cos, arguments: tuple[str, str]) -> None:
    assert cos("plan", "--all", *arguments) == 2
    assert arguments[1] in cos.err


@pytest.mark.parametrize("form", ["xml", ""])
@pytest.mark.parametrize("command", ["plan", "build"])
def test_a_form_of_output_that_is_not_known_is_wrong_usage(
    cos: Cos, form: str, command: str
) -> None:
    pretend = ("--pretend",) if command == "build" else ()

    assert cos(command, "t/top", *pretend, "-o", form) == 2
    assert "Traceback" not in cos.err


def test_a_tree_that_is_not_there_is_told(cos: Cos, tmp_path: Path) -> None:
    cos.tree = tmp_path / "none"

    assert cos("plan", "--all") == 1
    assert cos.err == f"error: {tmp_path}/none: there is no such tree\n"


def test_a_values_file_that_is_not_there_is_told(cos: Cos, tmp_path: Path) -> None:
    assert cos("plan", "--all", "--values", str(tmp_path / "none.yaml")) == 1
    assert cos.err.startswith(f"error: {tmp_path}/none.yaml")


def test_a_changed_value_changes_the_keys_of_what_it_reaches(cos: Cos, tmp_path: Path) -> None:
    def keys(*arguments: str) -> dict[str, str]:
        assert cos("plan", "--all", "-o", "json", *arguments) == 0
        return {each["name"]: each["key"] for each in json.loads(cos.out)["nodes"]}

    (tmp_path / "v.yaml").write_text("unused: 1\n")

    assert keys("--values", str(tmp_path / "v.yaml")) == keys()
    (tmp_path / "v.yaml").write_text("name: other\n")
    changed = keys("--values", str(tmp_path / "v.yaml"))
    assert all(changed[name] != key for name, key in keys().items())


def test_chains_are_planned_where_they_are_asked_for(cos: Cos) -> None:
    assert cos("plan", "t/top", "--layering", "chain", "-o", "json") == 0
    nodes = json.loads(cos.out)["nodes"]

    assert [(each["name"], "variant" in each) for each in nodes] == [
        ("base", False),
        ("left", False),
        ("right", True),
        ("top", False),
        ("right", False),
    ]


def test_an_image_whose_registry_cannot_be_reached_is_told_once_and_with_what_may_help(
    cos: Cos,
) -> None:
    image = "127.0.0.1:1/base:1"
    build = cos.tree / "base" / "build.yaml"
    for each in (build, cos.tree / "alone" / "build.yaml"):
        each.write_text(f"image: {image}\nsteps: ['true']\n")
    store = str(cos.tree.parent / "store")
    command = [sys.executable, "-P", "-m", "compiler", "--store", store]
    reason = f"{image}: cannot fetch the manifest: 127.0.0.1:1 refused the connection"
    hint = "check the port, and that the registry runs; or "
    hint += f"`cos image import {image} SOURCE` takes it from a file or folder"

    built = cos("build", "t/base"), cos.err
    done = subprocess.run(
        [*command, "lock", "--tree", str(cos.tree)],
        cwd=cos.tree.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert built == (
        3,
        f"error: {build}:1:8: the image '{image}', from which t/base-1 is built, is not in the"
        f" store, and cannot be pulled: {reason} (tried 3 times) ({hint})\n",
    )
    assert (done.returncode, done.stderr) == (3, f"error: {reason} (tried 3 times) ({hint})\n")


def test_a_lock_tells_how_many_images_it_has(cos: Cos) -> None:
    place = cos.tree.parent
    (place / "root").mkdir()
    with LocalStore(place / "store") as store:
        import_image(store, "nowhere", f"dir:{place / 'root'}")
    command = [sys.executable, "-P", "-m", "compiler", "--store", str(place / "store"), "lock"]

    done = subprocess.run(
        [*command, "--tree", str(cos.tree)], cwd=place, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("/cos.lock: 1 image\n")


def test_a_plan_is_asked_for_in_the_words_of_a_build() -> None:
    def told(module: ModuleType) -> dict[str, object]:
        found = typer.main.get_command(module.app).params
        return {str(each.name): (each.opts, vars(each)["help"], each.default) for each in found}

    planning, building = told(plan), told(build)

    assert planning.keys() - building.keys() == set()
    assert {name for name in planning if planning[name] != building[name]} <= {"output"}
    assert [*building][: len(planning) - 1] == [*planning][:-1]
