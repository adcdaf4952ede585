import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.errors import CompilerError, Faults, Location, ResolutionError, SpecError
from compiler.spec.folder import read_finalizer
from compiler.spec.package import PackageId, Requirement
from compiler.tree import load_tree

BUILD = "image: base\nsteps: [make]\n"


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files below a folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def definition(name: str, version: str = "1.0", more: str = "") -> str:
    """Give the text of a definition."""
    return f'name: {name}\ncategory: c\nversion: "{version}"\n{more}'


def messages(*roots: Path) -> list[str]:
    """Give what is wrong with trees."""
    with pytest.raises(Faults) as caught:
        load_tree(roots)
    return [str(each) for each in caught.value.exceptions]


def test_packages_are_found_at_any_depth_and_in_hidden_folders(tmp_path: Path) -> None:
    write(tmp_path, {
        "definition.yaml": definition("top"),
        "a/b/c/definition.yaml": definition("deep"),
        "a/b/definition.yaml": definition("middle"),
        ".hidden/definition.yaml": definition("hidden"),
        "x/build.yaml": BUILD,
        "y/Definition.yaml": definition("other"),
    })  # fmt: skip

    tree = load_tree([tmp_path])

    assert [str(each) for each in tree.packages] == [
        "c/deep-1.0", "c/hidden-1.0", "c/middle-1.0", "c/top-1.0",
    ]  # fmt: skip


def test_links_to_folders_are_not_followed_and_links_to_files_are(tmp_path: Path) -> None:
    write(tmp_path, {"tree/a/definition.yaml": definition("a"), "out/definition.yaml": "name: x"})
    (tmp_path / "tree" / "loop").symlink_to(tmp_path / "tree")
    (tmp_path / "tree" / "out").symlink_to(tmp_path / "out")
    (tmp_path / "tree" / "a" / "build.yaml").symlink_to(tmp_path / "build.yaml")
    (tmp_path / "build.yaml").write_text(BUILD)

    tree = load_tree([tmp_path / "tree"])

    assert [spec.build is not None for spec in tree.packages.values()] == [True]


def test_a_tree_must_be_a_folder_itself(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "tree")
    (tmp_path / "file").touch()

    assert messages(tmp_path / "link", tmp_path / "none", tmp_path / "file") == [
        f"{tmp_path}/file: the tree is not a folder",
        f"{tmp_path}/link: the tree is a symbolic link (name the folder itself: {tmp_path}/tree)",
        f"{tmp_path}/none: there is no such tree",
    ]


def test_a_folder_whose_name_is_no_text_is_told_readably(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)  # noqa: PTH102  (a Path has no bytes)
    Path(os.fsdecode(folder), "definition.yaml").write_text(definition("a"))

    assert messages(tmp_path) == [f"{tmp_path}/caf\\xe9: the folder's name is not UTF-8"]


def test_paths_stay_as_reached_from_the_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"tree/a/definition.yaml": definition("a"), "definition.yaml": "name: b"})
    monkeypatch.chdir(tmp_path)

    folders = {
        root: [str(spec.folder) for spec in load_tree([Path(root)]).packages.values()]
        for root in (".", "./tree", "tree/../tree")
    }

    assert folders == {".": [".", "tree/a"], "./tree": ["tree/a"], "tree/../tree": ["tree/a"]}


def test_later_trees_lie_over_earlier_ones_by_package(tmp_path: Path) -> None:
    write(tmp_path, {
        "one/a/definition.yaml": definition("a", more="description: first"),
        "one/b/definition.yaml": definition("b"),
        "two/x/definition.yaml": definition("a", more="description: second"),
        "two/y/definition.yaml": definition("a", version="2.0"),
    })  # fmt: skip

    tree = load_tree([tmp_path / "one", tmp_path / "two"])

    assert {str(id_): spec.definition.description for id_, spec in tree.packages.items()} == {
        "c/a-1.0": "second", "c/a-2.0": "", "c/b-1.0": "",
    }  # fmt: skip


def test_templates_of_all_trees_stand_before_every_build(tmp_path: Path) -> None:
    write(tmp_path, {
        "one/a/definition.yaml": definition("a"),
        "one/a/build.yaml": 'image: {{ include "image" . }}\n',
        "two/x/templates/deep/h.YAML": '{{ define "image" }}from-two{{ end }}',
        "two/x/templates/ignored.txt": "{{ bad",
    })  # fmt: skip

    tree = load_tree([tmp_path / "one", tmp_path / "two"])

    (spec,) = tree.packages.values()
    assert spec.build is not None
    assert spec.build.image == "from-two"


def test_a_broken_template_folder_is_told_once(tmp_path: Path) -> None:
    write(tmp_path, {
        "templates/h.yaml": "{{ bad }}",
        "a/definition.yaml": definition("a"), "a/build.yaml": "image: {{ upper .Values.name }}",
        "b/definition.yaml": definition("b"), "b/build.yaml": "image: {{ upper .Values.name }}",
    })  # fmt: skip

    assert messages(tmp_path) == [f"{tmp_path}/templates/h.yaml:1:4: function 'bad' not defined"]


def test_values_of_a_definition_are_yaml_and_of_a_collection_json(tmp_path: Path) -> None:
    write(tmp_path, {
        "a/definition.yaml": definition("a", more="num: 100000000\nm: {y: 1}\n"),
        "a/build.yaml": "steps:\n- '{{ .Values.num }} {{ .Values.m }} {{ .Values.m.y }}'",
        "b/collection.yaml": "packages:\n- name: b\n  num: 100000000\n",
        "b/build.yaml": "steps:\n- '{{ .Values.num }}'",
    })  # fmt: skip

    specs = load_tree([tmp_path]).packages.values()

    assert [spec.build.steps for spec in specs if spec.build] == [
        ("1e+08",),
        ("100000000 map[true:1] <no value>",),
    ]


def test_values_files_override_in_full(tmp_path: Path) -> None:
    write(tmp_path, {
        "t/a/definition.yaml": definition("a", more="x: set\nm: {k: 1, l: 2}\nname2: n\n"),
        "t/a/build.yaml": "image: '{{ .Values.x }}|{{ .Values.m }}|{{ .Values.name }}'",
        "1.yaml": "x: one\nname: renamed\n", "2.yaml": "x: ''\nm: {k: 3}\n",
    })  # fmt: skip

    tree = load_tree([tmp_path / "t"], values=[tmp_path / "1.yaml", tmp_path / "2.yaml"])

    spec = tree.packages[PackageId("c", "a", "1.0")]
    assert spec.build is not None
    assert spec.build.image == "|map[k:3]|renamed"


def test_a_values_file_must_be_a_map(tmp_path: Path) -> None:
    write(tmp_path, {"v.yaml": "- a", "w.yaml": "a: ["})

    with pytest.raises(Faults) as caught:
        load_tree([tmp_path], values=[tmp_path / "v.yaml", tmp_path / "w.yaml"])

    assert [str(each).partition(" (")[0] for each in caught.value.exceptions] == [
        f"{tmp_path}/v.yaml: needs to be a map of values",
        f"{tmp_path}/w.yaml:1:5: is not YAML: did not find expected node content "
        "while parsing a flow node",
    ]


def test_a_definition_and_a_collection_of_one_folder_are_both_read(tmp_path: Path) -> None:
    write(tmp_path, {
        "definition.yaml": definition("a", more="w: one"),
        "collection.yaml": "packages:\n- name: b\n  w: two\n",
        "build.yaml": "image: '{{ .Values.w }}'",
    })  # fmt: skip

    tree = load_tree([tmp_path])

    assert {spec.id.name: spec.build.image for spec in tree.packages.values() if spec.build} == {
        "a": "one", "b": "two",
    }  # fmt: skip


def test_the_views_differ_in_requirements_and_subpackages(tmp_path: Path) -> None:
    runtime = (
        "requires: [{name: r, category: c, version: '>=0'}]\nprovides: [{name: v, category: c}]\n"
    )
    build = (
        "requires: [{name: b, category: c}]\nconflicts: [{name: x, category: c}]\nsteps: [a]\n"
        "subpackages:\n- {name: part, category: c, version: '1', includes: [^/a]}\n"
    )
    write(tmp_path, {
        "a/definition.yaml": definition("a", more=runtime), "a/build.yaml": build,
        "o/definition.yaml": definition("other", more=runtime),
    })  # fmt: skip

    tree = load_tree([tmp_path])

    a, n = PackageId("c", "a", "1.0"), PackageId("c", "other", "1.0")
    part = PackageId("c", "part", "1")
    wanted = Requirement(name="r", category="c", version=">=0")
    built = Requirement(name="b", category="c")
    assert tree.runtime.requirements(a) == (wanted,) == tree.runtime.requirements(n)
    assert tree.buildtime.requirements(a) == (built,)
    assert tree.buildtime.requirements(n) == (wanted,)
    assert part in tree.runtime.packages
    assert part not in tree.buildtime.packages
    assert tree.packages[part].parent == a
    assert [id_ for id_, _ in tree.buildtime.providers("c", "v")] == [a, n]
    assert tree.runtime.location(a, wanted) == Location(f"{tmp_path}/a/definition.yaml", 4, 12)
    assert tree.buildtime.location(a, built) == Location(f"{tmp_path}/a/build.yaml", 1, 12)
    assert tree.buildtime.location(n, wanted) == Location(f"{tmp_path}/o/definition.yaml", 4, 12)


def test_a_package_is_found_as_people_name_it(tmp_path: Path) -> None:
    write(tmp_path, {
        "1/definition.yaml": definition("a", "1.9"), "2/definition.yaml": definition("a", "1.10"),
        "3/definition.yaml": definition("a", "2.0~rc1"),
        "4/definition.yaml": "name: b\ncategory: d",
        "5/definition.yaml": "name: a\ncategory: d\nversion: '1'",
    })  # fmt: skip
    tree = load_tree([tmp_path])

    found = {
        text: tree.find(text).version
        for text in ("c/a", "c/a@1.9", "c/a@<2", "c/a@>=1.0,<1.10", "=c/a-1.10", "c/a-1.10", "d/a")
    }

    assert found == {
        "c/a": "2.0~rc1", "c/a@1.9": "1.9", "c/a@<2": "1.10", "c/a@>=1.0,<1.10": "1.9",
        "=c/a-1.10": "1.10", "c/a-1.10": "1.10", "d/a": "1",
    }  # fmt: skip
    assert tree.find("b") == PackageId("d", "b", "")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("a", "'a' could be c/a or d/a (name one)"),
        ("c/aa", "there is no package 'c/aa' in the tree (did you mean 'c/a'?)"),
        ("x/a", "there is no package 'x/a' in the tree (did you mean 'c/a' or 'd/a'?)"),
        ("c/a@>3", "no version of c/a matches '>3' (the tree has 1.0)"),
    ],
)
def test_a_package_that_is_not_there_is_told_so(
    argument: str, message: str, tmp_path: Path
) -> None:
    write(tmp_path, {"1/definition.yaml": definition("a"),
                     "2/definition.yaml": "name: a\ncategory: d"})  # fmt: skip

    with pytest.raises(ResolutionError) as caught:
        load_tree([tmp_path]).find(argument)

    assert str(caught.value) == message


def test_dockerfiles_are_packages_named_as_their_folder(tmp_path: Path) -> None:
    write(tmp_path, {"curl/Dockerfile": "FROM a AS b\nFROM b\nRUN x\n", "d/Dockerfile.x": "RUN y"})

    assert not load_tree([tmp_path]).packages
    with pytest.raises(Faults) as caught:
        load_tree([tmp_path], dockerfiles=True)
    assert str(caught.value.exceptions[0]) == (
        f"{tmp_path}/d/Dockerfile.x:1:1: stands before the first FROM"
    )
    (tmp_path / "d" / "Dockerfile.x").unlink()
    (spec,) = load_tree([tmp_path], dockerfiles=True).packages.values()
    assert spec.build is not None
    assert (spec.id, spec.build.image) == (PackageId("", "curl", ""), "a")


def test_a_missing_value_is_a_doubt_with_its_written_place(tmp_path: Path) -> None:
    build = (
        "{{ if true }}\nimage: base\n{{ end }}\nsteps:\n- a {{ .Values.x }}\n- {{ .Values.y.z }}\n"
    )
    write(tmp_path, {"definition.yaml": definition("a"), "build.yaml": build})

    (spec,) = load_tree([tmp_path]).packages.values()

    assert [str(each) for each in spec.doubts] == [
        f"{tmp_path}/build.yaml:5:3: 'steps' holds '<no value>' "
        "(set x in a --values file or the definition)",
        f"{tmp_path}/build.yaml:6:3: 'steps' holds '<no value>' "
        "(set y.z in a --values file or the definition)",
    ]


def test_a_finalizer_is_rendered_with_the_known_fields_only(tmp_path: Path) -> None:
    finalizer = "install:\n- echo {{ .Values.name }} {{ .Values.free }}\nshell: [bash, -c]\n"
    write(
        tmp_path, {"definition.yaml": definition("a", more="free: x"), "finalize.yaml": finalizer}
    )
    (spec,) = load_tree([tmp_path]).packages.values()

    found = read_finalizer(spec)

    assert (found.install, found.shell) == (("echo a <no value>",), ("bash", "-c"))
    (tmp_path / "finalize.yaml").write_text("install: x")
    with pytest.raises(SpecError) as caught:
        read_finalizer(spec)
    assert str(caught.value) == (
        f"{tmp_path}/finalize.yaml:1:10: 'install' must be a list of strings, not a string "
        "(write it as a list: one line for each, starting with '- ')"
    )


def test_a_tree_travels_to_another_process(tmp_path: Path) -> None:
    write(tmp_path, {"definition.yaml": definition("a"), "build.yaml": "image: {{ upper 'x' }}"})
    (tmp_path / "build.yaml").write_text('image: {{ upper "x" }}')
    tree = load_tree([tmp_path])

    copy = pickle.loads(pickle.dumps(tree))  # noqa: S301  (made two words ago)

    (spec,) = copy.packages.values()
    assert spec == next(iter(tree.packages.values()))
    assert spec.places["image"] == Location(f"{tmp_path}/build.yaml", 1, 8)


SPEC_TEXT = st.text(
    alphabet=st.sampled_from(list("name:version\n- []{}\"'.&*!|0123 stepsrequi{{.Values}}\t#")),
    max_size=80,
)


@settings(max_examples=60, deadline=None)
@given(SPEC_TEXT, SPEC_TEXT)
def test_any_two_files_are_a_package_or_have_faults_with_places(first: str, second: str) -> None:
    folder = Path(os.environ["PYTEST_FUZZ_FOLDER"])
    write(folder, {"definition.yaml": first, "build.yaml": second})
    faults: tuple[Exception, ...] = ()
    try:
        for spec in load_tree([folder]).packages.values():
            assert all(place.path for place in spec.places.values())
    except Faults as group:
        faults = group.exceptions

    assert all(isinstance(each, CompilerError) and each.location for each in faults)


@pytest.fixture(autouse=True)
def fuzz_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name a folder that the examples of one property may share."""
    monkeypatch.setenv("PYTEST_FUZZ_FOLDER", str(tmp_path_factory.mktemp("fuzz")))
