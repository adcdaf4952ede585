"""Transactions that are stopped anywhere: the old state, or the new one, and nothing between."""

import errno
import os
import random
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import count, takewhile
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from compiler.archive.safety import Devices
from compiler.errors import CompilerError, OutsideError
from compiler.events import Event, Noted
from compiler.spec.package import PackageId
from compiler.system.change import Change, Incoming, Options
from compiler.system.disk import RootDisk
from compiler.system.protect import Protection
from compiler.system.transaction import System, apply, recover
from tests.system.crash import (
    Choice,
    Effect,
    Full,
    HastyDisk,
    RecordingDisk,
    Stopped,
    after_power_failure,
    choices,
    without,
)
from tests.system.lab import DATABASE, Lab, id_of, snapshot

OPTIONS = Options(protection=Protection(("/etc",)))
State = tuple[dict[str, tuple[object, ...]], list[tuple[str, str]]]


def state_of(root: Path) -> State:
    """What is in a root, and what its database says of it."""
    with System(root, f"/{DATABASE}") as system:
        assert system.database.journal() is None
        packages = [
            (str(each.id), path.place)
            for each in system.database.installed()
            for path in system.database.paths(each.id)
        ]
    return snapshot(root), packages


class Case:
    """A system with packages, and a change that does everything which a change can do."""

    def __init__(self, place: Path) -> None:
        self.place = place
        lab = self.lab = Lab(place, options=OPTIONS)
        lab.write({"tmp/": "1777", "bin": "-> usr/bin", "usr/": "755"})
        old = {
            "usr/bin/": "755",
            "usr/bin/a": "old",
            "usr/lib/a/only-old": "old",
            "own/": "755",
            "own/f": "same",
            "own/stays": "as it is",
            "turns": "file",
            "gone/": "755",
            "gone/f": "folder",
            "etc/a.conf": "old",
        }
        lab.apply(lab.package("a-1", old), lab.package("c-1", {"opt/c/f": "c", "tmp/c": "c"}))
        (lab.root / "etc/a.conf").write_text("mine")
        new = {
            "usr/bin/a": "new",
            "bin/b": "= usr/bin/a",
            "own/": "700",
            "own/f": "same",
            "own/g": "= own/f",
            "own/stays": "as it is",
            "turns/": "755",
            "turns/into": "folder",
            "gone": "-> own",
            "etc/a.conf": "new",
            "usr/share/a/x": "x",
            "usr/share/a/y": "y",
        }
        install = (lab.package("a-2", new), lab.package("b", {"var/b": "b", "usr/bin/z": "z"}))
        self.change = Change(install=install, remove=(id_of("a-1"), id_of("c-1")))
        self.before = place / "before"
        shutil.copytree(lab.root, self.before, symlinks=True)
        self.old = state_of(self.before)
        self.count = 0

    def fresh(self) -> Path:
        """Copy the old system."""
        return self.named(lambda root: shutil.copytree(self.before, root, symlinks=True))

    def named(self, make: Callable[[Path], object]) -> Path:
        """Have one more root made."""
        self.count += 1
        root = self.place / f"root{self.count}"
        make(root)
        return root

    def failed(self, log: list[Effect], end: int, choice: Choice) -> Path:
        """Make a root that had a power failure."""
        before = self.before
        return self.named(
            lambda root: after_power_failure(log, end, choice, before=before, root=root)
        )

    def run(self, root: Path, stop: int | None = None, full: Full | None = None) -> RecordingDisk:
        """Make the change on a disk that may stop or be full."""
        disk = RecordingDisk(root, self.place / f"{root.name}-copies", stop=stop, full=full)
        with System(root, f"/{DATABASE}") as system, suppress(Stopped), closing(disk):
            apply(self.change, system, OPTIONS, disk=disk)
        return disk

    def recovered(self, root: Path) -> State:
        """Recover a root, and say what it is then."""
        disk = HastyDisk(root, Devices.MAKE)
        with System(root, f"/{DATABASE}") as system, closing(disk):
            recover(system, disk=disk)
            assert recover(system) is None
        found = state_of(root)
        shutil.rmtree(root)
        return found


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A change, and the system that it is for."""
    return Case(tmp_path)


@pytest.fixture
def new(case: Case) -> State:
    """The state after the change."""
    root = case.fresh()
    case.run(root)
    return state_of(root)


def test_the_change_of_these_tests_does_everything(case: Case, new: State) -> None:
    files, packages = new

    assert files != case.old[0]
    assert {name for name, _ in packages} == {"t/a-2", "t/b-1"}
    assert (files["etc/a.conf"][3], files["etc/._cfg0001_a.conf"][3]) == (b"mine", b"new")
    assert (files["usr/bin/a"][3], files["usr/bin/a"][4]) == (b"new", 2)
    assert files["gone"][3] == "own"
    assert [name for name in ("usr/lib", "opt", "tmp/c") if name in files] == []


def test_a_kill_at_any_effect_leaves_the_old_or_the_new_state(case: Case, new: State) -> None:
    total = case.run(case.fresh()).count
    found = []

    for stop in range(total):
        root = case.fresh()
        case.run(root, stop=stop)
        found.append(case.recovered(root))

    assert [state in (case.old, new) for state in found] == [True] * total
    kinds = [state == new for state in found]
    assert kinds == sorted(kinds)
    assert set(kinds) == {False, True}


def test_a_kill_at_any_effect_leaves_each_farewell_said_once_or_the_old_state(
    case: Case, new: State
) -> None:
    parting = (id_of("c-1"), id_of("a-1"))
    change = replace(case.change, parting=parting)
    found = []

    for stop in range(case.run(case.fresh()).count + len(parting)):
        root, said = case.fresh(), list[PackageId]()
        disk = RecordingDisk(root, case.place / f"{root.name}-copies", stop=stop)
        with System(root, f"/{DATABASE}") as system, closing(disk), suppress(Stopped):
            apply(change, system, OPTIONS, disk=disk, farewell=said.append)
        before = len(said)
        with System(root, f"/{DATABASE}") as system:
            recover(system, farewell=said.append)
        found.append((before, len(said), state_of(root) == new))
        assert tuple(dict.fromkeys(said)) == (parting if found[-1][2] else ())

    assert {(0, 0, False), (1, 3, True), (2, 3, True), (2, 2, True)} == set(found)


def test_a_kill_at_any_effect_leaves_what_comes_whole_although_a_farewell_removed_its_folders(
    tmp_path: Path,
) -> None:
    lab = Lab(tmp_path)
    same = {"opt/d/": "750", "opt/d/e/": "700", "opt/d/same": "same"}
    lab.apply(lab.package("f", {**same, "opt/d/f": "f"}))
    shutil.copytree(lab.root, tmp_path / "before", symlinks=True)
    install = (lab.package("g", {**same, "opt/d/g": "g"}),)
    change = Change(install=install, remove=(id_of("f"),), parting=(id_of("f"),))

    def killed(stop: int | None) -> State:
        root = tmp_path / f"root-{stop}"
        shutil.copytree(tmp_path / "before", root, symlinks=True)

        def farewell(_package: PackageId) -> None:
            shutil.rmtree(root / "opt", ignore_errors=True)

        disk = RecordingDisk(root, tmp_path / f"copies-{stop}", stop=stop)
        with System(root, f"/{DATABASE}") as system, closing(disk), suppress(Stopped):
            apply(change, system, OPTIONS, disk=disk, farewell=farewell)
        total.append(disk.count)
        with System(root, f"/{DATABASE}") as system:
            recover(system, farewell=farewell)
        return state_of(root)

    total: list[int] = []
    new = killed(None)
    found = [killed(stop) for stop in range(total[0])]

    assert sorted(new[0]) == ["opt", "opt/d", "opt/d/e", "opt/d/g", "opt/d/same"]
    kinds = [state == new for state in found]
    assert kinds == sorted(kinds)
    assert set(kinds) == {False, True}
    assert [state for state in found if state not in (new, state_of(tmp_path / "before"))] == []


def test_a_second_kill_while_recovering_changes_nothing_about_that(case: Case, new: State) -> None:
    total = case.run(case.fresh()).count

    for stop in range(0, total, 4):
        for again in range(0, 12, 3):
            root = case.fresh()
            case.run(root, stop=stop)
            disk = RecordingDisk(root, case.place / f"{root.name}-again", stop=again)
            with System(root, f"/{DATABASE}") as system, suppress(Stopped), closing(disk):
                recover(system, disk=disk)
            assert case.recovered(root) in (case.old, new)


@pytest.mark.parametrize("many", [1, 1_000_000])
def test_a_full_disk_at_any_effect_leaves_the_old_or_the_new_state(
    case: Case, new: State, many: int
) -> None:
    total = case.run(case.fresh()).count
    undone, said = 0, []

    for first in range(total):
        root = case.fresh()
        try:
            case.run(root, full=Full(first, many))
        except OutsideError as error:
            said.append(str(error).lower())
            with System(root, f"/{DATABASE}") as system:
                undone += system.database.journal() is None
        assert case.recovered(root) in (case.old, new)

    assert [text for text in said if "no space left" not in text] == []
    assert undone > 10


class Stuck(HastyDisk):
    """A disk on which one place may not be written, as in a folder that is immutable."""

    def __init__(self, root: Path, place: str) -> None:
        super().__init__(root, Devices.MAKE)
        self.place = place

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Refuse the one place."""
        if target == self.place:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), f"/{target}")
        super().rename(source, target, replace=replace)


@pytest.mark.parametrize("killed", [False, True])
def test_who_said_farewell_and_stays_since_a_move_fails_is_to_be_finalized_again(
    case: Case, *, killed: bool
) -> None:
    root, said, events = case.fresh(), list[PackageId](), list[Event]()
    change = replace(case.change, parting=(id_of("c-1"), id_of("a-1")))
    if killed:
        for stop in takewhile(lambda _: not said, count()):
            disk = RecordingDisk(root, case.place / f"copies{stop}", stop=stop)
            with System(root, f"/{DATABASE}") as system, closing(disk), suppress(Stopped):
                apply(change, system, OPTIONS, disk=disk, farewell=said.append)

    with System(root, f"/{DATABASE}") as system, closing(Stuck(root, "usr/bin/z")) as stuck:
        if killed:
            recover(system, events.append, disk=stuck, farewell=said.append)
        else:
            with pytest.raises(OutsideError, match=r"operation not permitted \(/usr/bin/z\)"):
                apply(change, system, OPTIONS, events.append, disk=stuck, farewell=said.append)
        finalized = {str(each.id): each.finalized for each in system.database.installed()}

    assert state_of(root) == case.old
    assert list(dict.fromkeys(said)) == list(change.parting)
    assert finalized == {"t/a-1": False, "t/c-1": False}
    assert [str(event.message) for event in events if isinstance(event, Noted) and event.warning][
        -2:
    ] == [
        f"t/{name}: stays, but did already what it does before it goes: its finalizer runs again"
        for name in ("c-1", "a-1")
    ]


def test_the_whole_place_of_what_cannot_be_moved_is_told(case: Case) -> None:
    root = case.fresh()

    with closing(RootDisk(root)) as disk:
        with pytest.raises(FileExistsError) as taken:
            disk.rename("own/f", "usr/bin/a", replace=False)
        with pytest.raises(FileNotFoundError) as missing:
            disk.rename("own/none", "usr/bin/.cos-staging/old/1", replace=True)

    assert (taken.value.filename, missing.value.filename) == ("/usr/bin/a", "/own/none")


def failures(case: Case, log: list[Effect], good: list[State]) -> Iterator[tuple[int, State]]:
    """Look at what power failures leave behind; gives what is neither old nor new."""
    chance = random.Random(5)  # noqa: S311  (choices, not secrets)
    for end in range(len(log) + 1):
        for choice in choices(log, end, chance):
            root = case.failed(log, end, choice)
            try:
                found = case.recovered(root)
            except (CompilerError, OSError):
                found = ({}, [])
            if found not in good:
                yield end, found


def test_a_power_failure_at_any_effect_leaves_the_old_or_the_new_state(
    case: Case, new: State
) -> None:
    log = case.run(case.fresh()).log

    assert list(failures(case, log, [case.old, new])) == []


def test_what_was_reported_as_done_survives_a_power_failure(case: Case, new: State) -> None:
    log = case.run(case.fresh()).log

    chance = random.Random(6)  # noqa: S311  (choices, not secrets)

    for choice in choices(log, len(log), chance):
        root = case.failed(log, len(log), choice)
        assert case.recovered(root) == new


@pytest.mark.parametrize("which", range(3))
def test_without_any_one_of_its_syncs_a_power_failure_would_be_noticed(
    case: Case, new: State, which: int
) -> None:
    log = case.run(case.fresh()).log
    syncs = [number for number, effect in enumerate(log) if effect.name == "sync"]
    assert len(syncs) == 3

    broken = without(log, syncs[which])

    assert next(failures(case, broken, [case.old, new]), None) is not None


@pytest.mark.parametrize("which", range(3))
def test_a_commit_that_does_not_reach_the_disk_would_be_noticed(
    case: Case, new: State, which: int
) -> None:
    log = case.run(case.fresh()).log
    commits = [number for number, effect in enumerate(log) if effect.name == "commit"]
    assert len(commits) == 4  # the last one only takes the journal away: it may happen again

    broken = without(log, commits[which])

    assert next(failures(case, broken, [case.old, new]), None) is not None


@pytest.fixture
def undone(case: Case) -> RecordingDisk:
    """A change whose last move fails, so that all is undone."""
    log = case.run(case.fresh()).log
    last = max(number for number, effect in enumerate(log) if effect.name == "rename")
    root = case.fresh()
    disk = RecordingDisk(root, case.place / "undone-copies", full=Full(last, 1))
    full = pytest.raises(OutsideError, match="no space left")
    with System(root, f"/{DATABASE}") as system, closing(disk), full:
        apply(case.change, system, OPTIONS, disk=disk)
    assert state_of(root) == case.old
    return disk


def test_a_kill_at_any_effect_of_undoing_leaves_the_old_or_the_new_state(
    case: Case, new: State, undone: RecordingDisk
) -> None:
    found = []
    assert undone.full is not None

    for stop in range(undone.count):
        root, full = case.fresh(), Full(undone.full.first, 1)
        disk = RecordingDisk(root, case.place / f"{root.name}-copies", stop=stop, full=full)
        with System(root, f"/{DATABASE}") as system, suppress(Stopped), closing(disk):
            apply(case.change, system, OPTIONS, disk=disk)
        found.append(case.recovered(root))

    assert [state in (case.old, new) for state in found] == [True] * undone.count
    assert found[-1] == case.old


def test_a_power_failure_at_any_effect_of_undoing_leaves_the_old_or_the_new_state(
    case: Case, new: State, undone: RecordingDisk
) -> None:
    assert list(failures(case, undone.log, [case.old, new])) == []


@pytest.mark.parametrize("which", range(3))
def test_without_any_one_of_the_syncs_of_undoing_a_power_failure_would_be_noticed(
    case: Case, new: State, undone: RecordingDisk, which: int
) -> None:
    syncs = [number for number, effect in enumerate(undone.log) if effect.name == "sync"]
    assert len(syncs) == 3

    broken = without(undone.log, syncs[which])

    assert next(failures(case, broken, [case.old, new]), None) is not None


@pytest.mark.parametrize("which", range(4))
def test_a_commit_of_undoing_that_does_not_reach_the_disk_would_be_noticed(
    case: Case, new: State, undone: RecordingDisk, which: int
) -> None:
    commits = [number for number, effect in enumerate(undone.log) if effect.name == "commit"]
    assert len(commits) == 5  # the last one only takes the journal away: it may happen again

    broken = without(undone.log, commits[which])

    assert next(failures(case, broken, [case.old, new]), None) is not None


def big(lab: Lab, title: str) -> Incoming:
    """A package of thirty files, some of which the next version has as well."""
    name, _, version = title.partition("-")
    same = {f"usr/lib/{name}/{number}": f"{title} {number}" for number in range(20)}
    own = {f"usr/share/{name}-{version}/{number}": "x" for number in range(10)}
    return lab.package(title, {**same, **own})


def start(root: Path, change: Change) -> ForkProcess:
    """Make a change in a process of its own."""

    def work() -> None:
        with System(root, f"/{DATABASE}") as system:
            apply(change, system)

    process = get_context("fork").Process(target=work)
    process.start()
    return process


def test_a_real_kill_at_random_moments_leaves_the_old_or_the_new_state(lab: Lab) -> None:
    names = [f"p{number}" for number in range(12)]
    lab.apply(*(big(lab, f"{name}-1") for name in names))
    install = tuple(big(lab, f"{name}-2") for name in names)
    change = Change(install=install, remove=tuple(id_of(f"{name}-1") for name in names))
    shutil.copytree(lab.root, lab.place / "kept", symlinks=True)
    before = state_of(lab.root)
    began = time.monotonic()
    start(lab.root, change).join()
    seconds = time.monotonic() - began
    after = state_of(lab.root)
    moments = random.Random(11)  # noqa: S311  (moments, not secrets)

    for _ in range(8):
        shutil.rmtree(lab.root)
        shutil.copytree(lab.place / "kept", lab.root, symlinks=True)
        process = start(lab.root, change)
        time.sleep(moments.uniform(0, 1) * seconds)
        process.kill()
        process.join()
        with lab.system() as system:
            recover(system)
        assert state_of(lab.root) in (before, after)


def test_a_limit_on_the_size_of_files_is_a_full_disk(lab: Lab) -> None:
    lab.apply(lab.package("a-1", {"f": "old"}))
    before = state_of(lab.root)
    large = lab.package("a-2", {"f": "new", "large": "x" * 3_000_000})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(OutsideError, match="no space left on the disk"):
            lab.apply(large, remove=["a-1"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert state_of(lab.root) == before


def test_a_stopped_change_is_ended_before_the_next_one(case: Case) -> None:
    root = case.fresh()
    total = case.run(case.fresh()).count
    case.run(root, stop=total - 1)
    events: list[object] = []

    with System(root, f"/{DATABASE}") as system:
        apply(Change(remove=(id_of("b"),)), system, OPTIONS, events.append)

        assert [str(each.id) for each in system.database.installed()] == ["t/a-2"]
    assert "finished what had been stopped: installing t/a-2" in str(events[0])


def test_a_stopped_change_waits_for_a_file_system_that_is_not_mounted(
    case: Case, new: State
) -> None:
    root = case.fresh()
    log = case.run(case.fresh()).log
    ready = [number for number, effect in enumerate(log) if effect.name == "commit"][1]
    case.run(root, stop=ready + 2)
    (root / ".cos-staging").rename(root / "elsewhere")

    missing = pytest.raises(OutsideError, match="is not there, but needed")
    with System(root, f"/{DATABASE}") as system, missing:
        recover(system)
    (root / "elsewhere").rename(root / ".cos-staging")

    assert case.recovered(root) == new


def test_a_reader_sees_the_old_packages_until_the_new_ones_count(case: Case) -> None:
    root = case.fresh()
    log = case.run(case.fresh()).log
    done = [number for number, effect in enumerate(log) if effect.name == "commit"][2]
    case.run(root, stop=done)

    with System(root, f"/{DATABASE}") as system:
        assert [str(each.id) for each in system.database.installed()] == ["t/a-1", "t/c-1"]
        assert (root / ".cos-staging").exists()
