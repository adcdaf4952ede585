"""The texts of a repository."""

import pytest
import yaml

from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import CompilerError
from compiler.repository.index import (
    RepositoryFile,
    RepositoryInfo,
    TreePackage,
    definition_text,
    index_text,
    make_index,
    parse_index,
    parse_repository,
    repository_text,
    runtime_tree,
)
from compiler.spec.package import Definition, Requirement


def artifact(name: str, version: str = "1", *, hidden: bool = False) -> ArtifactMetadata:
    package = Definition(name=name, category="t", version=version, hidden=hidden)
    return ArtifactMetadata(
        runtime=package,
        built=package,
        archive=f"{name}-t-{version}.package.tar",
        sha256="0" * 64,
        compression="none",
        files=(f"usr/bin/{name}",),
    )


INFO = RepositoryInfo(
    name="myrepo",
    description="My repo",
    urls=("http://host/x",),
    priority=2,
    revision=3,
    last_update="1795389729",
    repo_files={
        "tree": RepositoryFile(
            filename="tree.tar.gz", compressiontype="gzip", checksums={"sha256": "ab"}
        )
    },
)


def test_the_front_page_is_written_as_luet_writes_it() -> None:
    assert repository_text(INFO) == (
        "name: myrepo\n"
        "description: My repo\n"
        "urls:\n"
        '- "http://host/x"\n'
        "type: disk\n"
        "enable: true\n"
        "priority: 2\n"
        "revision: 3\n"
        'last_update: "1795389729"\n'
        "index: []\n"
        "repo_files:\n"
        "  tree:\n"
        "    filename: tree.tar.gz\n"
        "    compressiontype: gzip\n"
        "    checksums:\n"
        "      sha256: ab\n"
    )


def test_a_front_page_is_read_again() -> None:
    assert parse_repository(repository_text(INFO), "r") == INFO


def test_a_priority_of_zero_is_not_written() -> None:
    assert "priority" not in yaml.safe_load(repository_text(RepositoryInfo()))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("revision: x\n", "r: revision: Input should be a valid integer, unable to parse string "
                          "as an integer"),
        ("repo_files: {tree: {filename: ../../etc/passwd}}\n",
         "r: repo_files.tree.filename: String should match pattern "
         "'^[A-Za-z0-9_][A-Za-z0-9_.+~@-]*$'"),
        ("- a", "r: does not hold a mapping of names to values"),
    ],
)  # fmt: skip
def test_a_front_page_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(CompilerError) as caught:
        parse_repository(text, "r")

    assert str(caught.value) == message


def test_an_index_is_sorted_and_read_again() -> None:
    index = make_index([artifact("b"), artifact("a", "2"), artifact("a", "1", hidden=True)])

    text = index_text(index)

    assert parse_index(text, "i") == index
    assert [item.id.fingerprint for item in index.artifacts] == ["a-t-1", "a-t-2", "b-t-1"]
    assert index.artifacts[0].files == ("usr/bin/a",)
    assert [entry["path"] for entry in yaml.safe_load(text)["index"]] == [
        "a-t-1.package.tar",
        "a-t-2.package.tar",
        "b-t-1.package.tar",
    ]


def test_packages_are_found_by_their_identity() -> None:
    index = make_index([artifact("a"), artifact("b")])

    assert index.find(artifact("b").id) == artifact("b")
    assert index.find(artifact("c").id) is None


def test_an_index_has_each_package_once() -> None:
    with pytest.raises(CompilerError) as caught:
        make_index([artifact("a"), artifact("a")])

    assert str(caught.value) == "t/a-1 is there twice: a-t-1.package.tar and a-t-1.package.tar"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index: x\n", "i: index: is not a list of artifacts"),
        ("index: [x]\n", "i: index: is not a list of artifacts"),
        ("index: [{runtime: {name: a, version: ../b}}]\n",
         "i: '../b' cannot be part of a package's name"),
    ],
)  # fmt: skip
def test_an_index_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(CompilerError) as caught:
        parse_index(text, "i")

    assert str(caught.value) == message


def test_a_definition_has_known_keys_only_sorted_and_without_empty_ones() -> None:
    package = Definition(
        name="p",
        category="t",
        version="1.0",
        requires=(Requirement(name="q", category="t", version=">=1"),),
        labels={"b": "1", "a": "2"},
        description="A package",
    )

    assert definition_text(package) == (
        "category: t\n"
        "conflicts: []\n"
        "description: A package\n"
        "id: 0\n"
        "labels:\n"
        '  a: "2"\n'
        '  b: "1"\n'
        "name: p\n"
        "requires:\n"
        "- name: q\n"
        "  category: t\n"
        '  version: ">=1"\n'
        'version: "1.0"\n'
    )


def test_the_runtime_tree_has_a_folder_for_each_version() -> None:
    files = runtime_tree(
        [
            TreePackage(definition=artifact("b").runtime, finalizer="install: []\n"),
            TreePackage(definition=artifact("a", "2").runtime),
            TreePackage(definition=Definition(name="curl")),
        ]
    )

    assert list(files) == [
        "curl/definition.yaml",
        "t/a/2/definition.yaml",
        "t/b/1/definition.yaml",
        "t/b/1/finalize.yaml",
    ]
    assert files["t/b/1/finalize.yaml"] == "install: []\n"
