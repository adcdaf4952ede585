"""A user without any rights makes the same images as root, to the byte, owners and all."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_without_root import python_for_all
from tests.image.trees import write_archive

FAST = ("-x", "-comp gzip -Xcompression-level 1")
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody reaches, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="cos-images-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_user_without_rights_makes_the_same_iso_and_disk_as_root(place: Path) -> None:
    archive = write_archive(place / "root.tar")
    python, env = python_for_all(place)
    made = {}
    for who, prefix in (("root", ()), ("nobody", NOBODY)):
        folder = place / who
        folder.mkdir()
        if prefix:
            shutil.chown(folder, 65534, 65534)
        for command in ("iso", "disk"):
            argv = (*prefix, python, "-m", "compiler", command, f"file:{archive}", *FAST)
            subprocess.run(
                argv, cwd=folder, env={**os.environ, **env, "HOME": str(folder)}, check=True
            )
        made[who] = [(folder / f"cOS.{kind}.sha256").read_text() for kind in ("iso", "raw")]
        assert (folder / "cOS.iso").stat().st_uid == (65534 if prefix else 0)

    assert made["nobody"] == made["root"]
