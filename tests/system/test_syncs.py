"""The real disk syncs what it must before the next step counts: what the kernel is asked for."""

import re
from collections.abc import Iterator
from itertools import groupby

from tests.calls import system_calls
from tests.system.lab import DATABASE, Lab

CALLS = "fsync,fdatasync,syncfs,openat,rename,renameat,renameat2,linkat,pwrite64,unlink,unlinkat"

INSTALL = """lab.apply(lab.package("a-1", {"usr/a": "one", "usr/b": "one"}))"""
UPGRADE = """lab.apply(lab.package("a-2", {"usr/a": "two"}), remove=["a-1"])"""
SCRIPT = """
import sys
from pathlib import Path
from tests.calls import system_calls
from tests.system.lab import Lab

lab = Lab(Path(sys.argv[1]))
"""


def trace(lab: Lab, script: str) -> list[tuple[str, str]]:
    """Run Python code in a process of its own; returns its system calls: names and arguments."""
    return system_calls(f"{SCRIPT}{script}", lab.place, CALLS)


def steps(lab: Lab, calls: list[tuple[str, str]]) -> list[str]:
    """Say what the calls do to the root and its database, each once in a row.

    What SQLite writes into its log and then syncs is a `commit`.
    """
    words = [word for word, _ in groupby(word for call in calls for word in _steps(lab, *call))]
    text = re.sub(r"(write synced ?)+", "commit ", " ".join(words))
    return text.split()


def _steps(lab: Lab, name: str, arguments: str) -> Iterator[str]:
    staged = "/.cos-staging" in arguments
    if name in {"pwrite64", "fdatasync"} and f"{DATABASE}/cos.db-wal>" in arguments:
        yield "write" if name == "pwrite64" else "synced"
    elif name == "syncfs":
        assert f"<{lab.root}>" in arguments
        yield "sync"
    elif name in {"renameat", "renameat2"} and staged:
        yield "move"
    elif name == "linkat" or (name == "openat" and staged and "O_CREAT" in arguments):
        yield "stage"
    elif name == "unlinkat" and str(lab.root) in arguments:
        yield "remove"


TRANSACTION = [
    "commit",  # that there will be a staging folder
    *("stage", "sync", "commit"),  # the journal, which names what is staged
    *("move", "sync", "commit"),  # that the new packages count
    *("remove", "sync", "commit"),  # that nothing is left to be done
]


def test_every_step_of_an_installation_is_on_the_disk_before_the_next_one(lab: Lab) -> None:
    assert steps(lab, trace(lab, INSTALL)) == TRANSACTION


def test_every_step_of_an_upgrade_is_on_the_disk_before_the_next_one(lab: Lab) -> None:
    lab.apply(lab.package("a-1", {"usr/a": "one", "usr/b": "one"}))

    assert steps(lab, trace(lab, UPGRADE)) == TRANSACTION
    assert (lab.root / "usr/a").read_text() == "two"
    assert not (lab.root / "usr/b").exists()


def test_a_new_database_is_synced_before_it_has_its_name_and_with_it(lab: Lab) -> None:
    folder = lab.root / DATABASE
    calls = trace(lab, INSTALL)

    shown = [(name, arguments) for name, arguments in calls if name in {"fsync", "rename"}]
    assert [(name, re.sub(r"^\d+", "", arguments)) for name, arguments in shown] == [
        ("fsync", f"<{folder}/.cos.db.part>"),
        ("rename", f'"{folder}/.cos.db.part", "{folder}/cos.db"'),
        ("fsync", f"<{folder}>"),
    ]
