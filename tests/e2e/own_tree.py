"""Our own tree, built once for all tests that look at it, into the checkout's own store."""

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard

CHECKOUT = Path(__file__).resolve().parents[2]


def cos(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("cos")
    return subprocess.run(
        [program, *arguments],
        cwd=CHECKOUT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def values(flavour: str) -> str:
    return f"specs/flavours/{flavour}.yaml"


@dataclass(frozen=True)
class BuiltTree:
    """The folder of artifacts, and what the second build said."""

    folder: Path
    second: str

    def archive(self, name: str) -> Path:
        return self.folder / f"{name}.package.tar.zst"

    def members(self, name: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        with (
            self.archive(name).open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as content,
            tarfile.open(fileobj=content, mode="r|") as archive,
        ):
            for member in archive:
                yield archive, member


def make_build_tree(folder: Path) -> str:
    argv = ["make", "-o", "setup", "build-tree", f"DESTINATION={folder}"]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout + done.stderr
