"""The `cosign` program of Debian trixie, which knows nothing of this project."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "cosign.sh"

LOCAL = ("--insecure-ignore-tlog", "--allow-http-registry")
"""What tells `verify` that there is no transparency log, and no TLS on loopback."""
OFFLINE = ("--tlog-upload=false", "--yes")
"""What tells `sign` to ask nothing, and to keep the signature out of the world's log."""


@dataclass(frozen=True, slots=True)
class Cosign:
    """Runs the program in a folder of its own, which has all keys, under one password."""

    program: Path
    folder: Path
    password: str = "correct horse"  # noqa: S105  (of keys that live as long as a test)

    def run(self, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run the program, whatever comes of it."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "COSIGN_PASSWORD": self.password,
            "COSIGN_EXPERIMENTAL": "1",
        }
        return subprocess.run(
            [self.program, *map(str, arguments)],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def do(self, *arguments: str | Path) -> str:
        """Run the program to a good end; returns what it printed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def cosign_program(test_cache: Path) -> Path:
    """The program, fetched once; test processes wait for each other."""
    done = subprocess.run([_SCRIPT, test_cache], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def cosign(cosign_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Cosign:
    """The program, ready to run, and the key pair that it made: `theirs.key` and `theirs.pub`."""
    program = Cosign(cosign_program, tmp_path_factory.mktemp("cosign"))
    program.do("generate-key-pair", "--output-key-prefix", "theirs")
    return program
