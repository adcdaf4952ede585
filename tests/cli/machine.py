"""A system that `cos` is called on, as its owner does, with a shop that packages come from."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from compiler.process import Command, run
from compiler.repository.http import make_server
from tests.cli.test_main import cos
from tests.publish.shop import Shop

Done = subprocess.CompletedProcess[str]

_LINES = {
    "app": "requires: [{category: t, name: lib, version: '>=1'}]\ndescription: An app",
    "lib": "labels: {kind: library}",
    "secret": "hidden: true",
}


@dataclass
class Machine:
    """A root directory below `place`, its configuration, and the repositories it knows."""

    place: Path
    repositories: list[dict[str, object]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.place / "root"
        self.shop = Shop(self.place / "shop")
        self.settings: dict[str, object] = {
            "system": {"rootfs": str(self.root), "database_path": "/db"},
            "repos_confdir": [str(self.place / "repos.conf.d")],
            "config_protect_confdir": [str(self.place / "protect.d")],
        }
        (self.root / "db").mkdir(parents=True)

    def stock(self, *names: str, **given: str) -> None:
        """Put packages into the shop, `name-version` each, and write its repository again."""
        for each in names:
            name, _, version = each.partition("-")
            self.shop.build(
                name,
                version=version or "1",
                files={f"usr/{name}": given.get(name, version or "1")},
                more=_LINES.get(name, ""),
            )
        self.shop.repository()

    def use(self, kind: str, url: str | Path, name: str = "main", **more: object) -> None:
        """Configure a repository."""
        self.repositories.append(
            {"name": name, "type": kind, "urls": [str(url)], "enable": True, **more}
        )

    def cos(self, *arguments: str | Path) -> Done:
        """Call the command on this system."""
        config = self.place / "luet.yaml"
        config.write_text(yaml.safe_dump({**self.settings, "repositories": self.repositories}))
        return cos("--config", config, *arguments, cwd=self.place, **self.env)

    def do(self, *arguments: str | Path) -> Done:
        """Call the command, which has to succeed."""
        done = self.cos(*arguments)
        assert done.returncode == 0, done.stderr
        return done

    def refused(self, *arguments: str | Path, code: int = 1) -> str:
        """Call the command, which has to fail; returns what it says at last."""
        done = self.cos(*arguments)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stderr[done.stderr.index("error: ") + len("error: ") :].rstrip("\n")

    def installed(self) -> list[str]:
        """Name what is installed."""
        return self.do("-q", "search", "--installed", "--hidden").stdout.split()

    def found(self, *arguments: str) -> list[dict[str, object]]:
        """Search, as programs do."""
        found = json.loads(self.do("search", "-o", "json", *arguments).stdout)["packages"]
        return list(found or [])

    def read(self, path: str) -> str:
        """Read a file of the system."""
        return (self.root / path).read_text()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder on the web; gives its address."""
    with make_server(folder, address="127.0.0.1", port=0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def add_shell(root: Path) -> None:
    """Put a shell into a root: the one of this machine, with what it is linked to."""
    (root / "bin").mkdir(parents=True, exist_ok=True)
    shell = Path(os.path.realpath("/bin/sh"))
    shutil.copy(shell, root / "bin/sh")
    listed: list[str] = []
    run(Command(argv=("ldd", str(shell))), on_line=listed.append).check()
    for word in " ".join(listed).split():
        if word.startswith("/"):
            target = root / word.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, target)
