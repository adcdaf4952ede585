"""File systems that take names for one which differ in case only; this machine may have none."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from compiler.archive import Entry
from compiler.archive.tar import Source
from compiler.errors import ArchiveError
from compiler.system.change import Change, Incoming, Options
from compiler.system.disk import STAGING, RootDisk
from compiler.system.lookup import Lookup
from compiler.system.plan import Planner
from compiler.system.staging import Stage
from compiler.system.transaction import apply
from tests.system.lab import Lab, snapshot


class Folding(Lookup):
    """Looks at a root as on a file system that folds case."""

    def status(self, place: str) -> os.stat_result | None:
        """Find a name in any case."""
        found = ""
        for part in place.split("/"):
            if not self.is_there(found):
                return None
            names = {name.casefold(): name for name in self.names(found)}
            found = f"{found}/{names.get(part.casefold(), part)}".lstrip("/")
        return super().status(found)

    def is_there(self, place: str) -> bool:
        """Whether a folder of just this name is there."""
        return super().status(place) is not None


def install(lab: Lab, *packages: Incoming) -> None:
    """Stage and plan packages there."""
    options, change = Options(), Change(install=packages)
    with (
        lab.system() as system,
        closing(Folding(lab.root)) as lookup,
        closing(RootDisk(lab.root)) as disk,
    ):
        stage = Stage(system, disk, lookup, options=options, mounts=frozenset())
        for package in packages:
            stage.add(package)
        planner = Planner(stage, lookup, system.database, options=options, change=change)
        planner.plan((), frozenset())


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (["Tool", "tool"], [], "t/a-1: tool: and 'Tool' are one name on this file system"),
        (["D/x", "d/y"], [], "t/a-1: d/y: and 'D' are one name on this file system"),
        (["Tool"], ["TOOL"], "t/b-1: TOOL: and 'Tool' are one name on this file system"),
        (
            ["caf\u00e9"],
            ["cafe\u0301"],
            "t/b-1: cafe\u0301: and 'caf\u00e9' are one name on this file system",
        ),
        (["STRASSE"], ["straße"], "t/b-1: straße: and 'STRASSE' are one name on this file system"),
        (["There"], [], "/There: another file has this name in another spelling"),
    ],
)
def test_two_names_for_one_file_are_refused(
    tmp_path: Path, first: list[str], second: list[str], message: str
) -> None:
    lab = Lab(tmp_path)
    lab.write({"there": "theirs"})

    packages = [
        lab.package(name, dict.fromkeys(paths, "x"))
        for name, paths in (("a", first), ("b", second))
    ]

    with pytest.raises(ArchiveError) as caught:
        install(lab, *packages)

    assert str(caught.value) == message


class _Alike(RootDisk):
    """A disk that takes the name `other` for `one`, by whatever rules."""

    def stage(self, top: str, entry: Entry, content: Source | None) -> None:
        super().stage(top, entry, content)
        if entry.path == "one":
            (self._root / STAGING / "new/other").write_text("the same file, by another name")


@pytest.mark.parametrize("other", [{"other": "x"}, {"other": "-> one"}, {"other/": "755"}])
def test_names_are_one_whenever_the_file_system_says_so(lab: Lab, other: dict[str, str]) -> None:
    package = lab.package("a", {"one": "x", **other})

    with lab.system() as system, closing(_Alike(lab.root)) as disk:
        with pytest.raises(ArchiveError) as caught:
            apply(Change(install=(package,)), system, disk=disk)

        assert system.database.installed() == ()
    name = next(iter(other)).rstrip("/")
    reason = "its name and another one are the same on this file system"
    assert str(caught.value) == f"t/a-1: {name}: {reason}"
    assert sorted(snapshot(lab.root)) == []


def test_where_case_counts_names_are_what_they_are(lab: Lab) -> None:
    lab.write({"there": "theirs"})

    lab.apply(lab.package("a", {"Tool": "1", "tool": "2", "There": "3"}))

    assert (lab.root / "there").read_text() == "theirs"
    assert (lab.root / "There").read_text() == "3"
