"""Building on packages whose trees are only in a repository."""

import shutil
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.e2e.lab import Lab, on, on_base, write_tree

pytestmark = pytest.mark.container


@pytest.mark.parametrize("kind", ["disk", pytest.param("docker", marks=pytest.mark.registry)])
def test_a_derivative_is_built_on_a_repository_alone(
    lab: Lab, kind: str, request: pytest.FixtureRequest
) -> None:
    (lab.place / "values.yaml").write_text("word: hello\n")
    lab.tree({"base": on_base("echo {{ .Values.word }} > /word", "cp data /data")})
    (lab.place / "tree/base/data").write_text("from the folder\n")
    published = lab.place / "published"
    url, push = str(published), list[str]()
    if kind == "docker":
        url, push = str(request.getfixturevalue("repository")), ["--push-images"]
    commands: list[tuple[str | Path, ...]] = [
        ("build", "--tree", "tree", "--destination", published, "--values", "values.yaml", "--all"),
        ("create-repo", "--tree", "tree", "--packages", published, "--type", kind,
         "--output", url, *push),
    ]  # fmt: skip
    for argv in commands:
        done = lab.cos(*argv)
        assert done.returncode == 0, done.stderr
    shutil.rmtree(lab.place / "tree")
    shutil.rmtree(lab.store)
    again = Lab(lab.place, lab.base)
    write_tree(lab.place / "mine", {"app": on("base", "cat /word /data > /app")})
    config = {
        "system": {"rootfs": str(lab.place)},
        "repositories": [{"name": "base", "type": kind, "urls": [url], "enable": True}],
    }
    (lab.place / "luet.yaml").write_text(yaml.safe_dump(config))

    done = again.cos("--config", "luet.yaml", "build", "--tree", "mine", "--from-repositories",
                     "--destination", lab.out, "--all")  # fmt: skip

    assert done.returncode == 0, done.stderr
    with tarfile.open(lab.out / "app-t-1.package.tar") as archive:
        app = archive.extractfile("app")
        assert app is not None
        assert app.read() == b"hello\nfrom the folder\n"
    for name in ("base-t-1.package.tar", "base-t-1.metadata.yaml"):
        assert (lab.out / name).read_bytes() == (published / name).read_bytes()
