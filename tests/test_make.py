"""The Makefile: what it lists, and which commands its variables lead to."""

import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


def make(*arguments: str) -> list[str]:
    """Run make without the variables of a make that runs the tests."""
    done = subprocess.run(
        ["env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.replace("\\\n", " ").splitlines()


def cos_commands(*arguments: str) -> list[str]:
    """The `cos` commands of a dry run, blanks squeezed."""
    lines = make("--dry-run", "-o", "setup", *arguments)
    return [" ".join(line.split()) for line in lines if line.startswith(".venv/bin/cos")]


def test_help_is_the_default_and_lists_every_target_that_people_call() -> None:
    said = make()

    listed = {line.split()[0] for line in said if line.startswith("  ") and line[2].islower()}
    assert {
        "setup",
        "build-tree",
        "publish-repo",
        "iso",
        "disk",
        "run-qemu",
        "test",
        "test-unit",
        "check",
        "bench",
        "clean",
        "distclean",
        "help",
    } <= listed


def test_help_lists_every_variable_with_its_value() -> None:
    said = make("help", "FLAVOR=fedora")

    values = {line.split()[0]: line.rpartition("[")[2] for line in said if line[2:4].isupper()}
    assert values["FLAVOR"] == "fedora]"
    assert values["VALUES"] == "specs/flavours/fedora.yaml]"
    assert set(values) == {
        "FLAVOR",
        "TREE",
        "VALUES",
        "PACKAGES",
        "DESTINATION",
        "COMPRESSION",
        "CONCURRENCY",
        "BACKEND",
        "FINAL_REPO",
        "REPO_CACHE",
        "BUILD_ARGS",
        "PYTEST_ARGS",
    }


def test_build_tree_builds_everything_for_debian_and_writes_the_repository() -> None:
    assert cos_commands("build-tree") == [
        ".venv/bin/cos build --tree tree --values specs/flavours/debian.yaml"
        " --destination build --compression zstd --sbom --all",
        ".venv/bin/cos create-repo --tree tree --packages build --output build --name cos"
        " --descr 'cos-toolkit for debian' --type http"
        " --tree-compression zstd --meta-compression zstd",
    ]


def test_every_variable_reaches_the_build() -> None:
    build, repository = cos_commands(
        "build-tree",
        "FLAVOR=ubuntu",
        "TREE=tree more",
        "VALUES=a.yaml b.yaml",
        "PACKAGES=system/cos utils/installer",
        "DESTINATION=out",
        "COMPRESSION=gzip",
        "CONCURRENCY=3",
        "BACKEND=overlay",
        "FINAL_REPO=registry.example.org/os",
        "REPO_CACHE=registry.example.org/cache",
        "BUILD_ARGS=--rebuild",
    )

    assert build == (
        ".venv/bin/cos build --tree tree --tree more --values a.yaml --values b.yaml"
        " --values out/channel.values.yaml --destination out --compression gzip --sbom"
        " --concurrency 3 --backend overlay --image-repository registry.example.org/cache --rebuild"
        " system/cos utils/installer"
    )
    assert repository.startswith(
        ".venv/bin/cos create-repo --tree tree --tree more --packages out --output out"
    )


def test_no_lock_file_names_an_index_or_a_path_of_one_machine() -> None:
    texts = [path.read_text(encoding="utf-8") for path in CHECKOUT.glob("requirements*.lock")]

    assert len(texts) == 2
    lines = "".join(texts).splitlines()
    assert [line for line in lines if "/" in line or "--" in line or "==" not in line] == []
