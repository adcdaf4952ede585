"""A scratch root directory with a shell, and what changed in it since it was made."""

import os
import re
import shutil
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compiler.agent.cloudconfig.machine import Machine, Outside
from compiler.agent.cloudconfig.source import Inputs
from compiler.agent.cloudconfig.stage import Runner
from compiler.agent.log import Level, Log
from compiler.agent.root import Root

Entry = dict[str, Any]

APPLETS = ("sh", "cat", "cp", "echo", "grep", "ls", "mkdir", "sed", "sleep", "touch", "true")
FOLDERS = ("bin", "etc", "home", "proc", "root", "run", "tmp", "var/tmp")
STUBS = ("systemctl", "systemd-firstboot", "modprobe", "apt-get", "dnf", "zypper", "apk", "pacman")
CALLS = "/.calls"
ACCOUNTS = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "/etc/group": "root:x:0:\n",
    "/etc/shadow": "root:*:17000:0:99999:7:::\n",
}
PATTERNS = {
    "<SHA512-CRYPT>": r"\$6\$[./0-9A-Za-z]{8}\$[./0-9A-Za-z]{86}",
    "<TODAY>": str(int(time.time()) // 86400),
}


def make_root(folder: Path) -> Path:
    """Make a root with a shell, accounts, and programs that only note how they are called."""
    for each in FOLDERS:
        (folder / each).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox
    shutil.copy(busybox, folder / "bin/busybox")
    for each in APPLETS:
        (folder / "bin" / each).symlink_to("busybox")
    for name in STUBS:
        add_program(folder, name, f'echo "{name} $*" >> {CALLS}')
    for path, text in ACCOUNTS.items():
        put(folder, path, {"content": text})
    return folder


def add_program(folder: Path, name: str, body: str) -> None:
    """Add a program of the root that is a script."""
    path = folder / "usr/local/bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def put(folder: Path, path: str, entry: Entry) -> None:
    """Make a file, folder or link of the root."""
    target = folder / path.lstrip("/")
    for each in reversed(target.relative_to(folder).parents):
        (folder / each).mkdir(exist_ok=True)
    if entry.get("directory"):
        target.mkdir(exist_ok=True)
    elif "symlink" in entry:
        target.symlink_to(entry["symlink"])
        return
    else:
        target.write_text(entry["content"])
    target.chmod(int(entry.get("mode", "0755" if entry.get("directory") else "0644"), 8))


def snapshot(folder: Path) -> dict[str, Entry]:
    """Describe everything below a root, but for the calls that were noted."""
    found: dict[str, Entry] = {}
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(top) / name
            shown = f"/{path.relative_to(folder)}"
            if shown != CALLS:
                found[shown] = _described(path)
    return found


def _described(path: Path) -> Entry:
    status = path.lstat()
    entry: Entry = {"uid": status.st_uid, "gid": status.st_gid}
    if stat.S_ISLNK(status.st_mode):
        return {"symlink": str(path.readlink())}
    entry["mode"] = f"{stat.S_IMODE(status.st_mode):04o}"
    if stat.S_ISDIR(status.st_mode):
        return {**entry, "directory": True}
    large = status.st_size > 1 << 24
    content = "" if large else path.read_bytes().decode("utf-8", "surrogateescape")
    return {**entry, "content": content}


def changes(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> dict[str, Entry]:
    """List what is new or other."""
    return {path: entry for path, entry in after.items() if before.get(path) != entry}


def calls(folder: Path) -> list[str]:
    """List how the programs were called that note it."""
    noted = folder / CALLS.lstrip("/")
    return noted.read_text().splitlines() if noted.exists() else []


def matches(wanted: str, got: str) -> bool:
    """Compare texts, with what is different each time."""
    pattern = re.escape(wanted)
    for word, expression in PATTERNS.items():
        pattern = pattern.replace(re.escape(word), expression)
    return re.fullmatch(pattern, got, re.DOTALL) is not None


@dataclass
class Scratch:
    """A root, and an executor that works on it."""

    folder: Path
    said: list[str] = field(default_factory=list)
    outside: Outside = field(
        default_factory=lambda: Outside(host_name=lambda: "testnode", pause=lambda _: None)
    )
    stdin: bytes = b""

    def __post_init__(self) -> None:
        self.log = Log(self.said.append, Level.DEBUG)
        self.root = Root(self.folder)
        self.machine = Machine(self.root, self.log, self.outside)
        self.inputs = Inputs(self.root, self.machine.fetch, lambda _limit: self.stdin)

    def run(self, stage: str, *arguments: str, dots: bool = False) -> bool:
        """Run a stage; tells whether nothing failed."""
        before = self.log.errors
        Runner(self.machine, self.inputs, dots).run(stage, arguments)
        return self.log.errors == before

    def put(self, path: str, text: str) -> None:
        """Write a file of the root."""
        put(self.folder, path, {"content": text})

    def text(self, path: str) -> str:
        """Read a file of the root."""
        return (self.folder / path.lstrip("/")).read_text()

    def errors(self) -> list[str]:
        """List the errors that were told."""
        return [each for each in self.said if each.startswith("error: ")]
