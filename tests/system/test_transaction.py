"""Installing, upgrading and removing packages."""

import os
import re
import stat
import tarfile
from contextlib import closing
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

import pytest

from compiler.archive.safety import Devices
from compiler.errors import ArchiveError, CompilerError, ConflictError, OutsideError
from compiler.spec.package import PackageId
from compiler.system.change import Change, Incoming
from compiler.system.disk import RootDisk
from compiler.system.transaction import System, apply, check, recover
from tests.system.lab import DATABASE, Content, Lab, id_of, member, snapshot, tar

A = {"usr/": "755", "usr/bin/": "755", "usr/bin/a": "one", "usr/share/a/": "700"}


def names(lab: Lab) -> list[str]:
    return sorted(snapshot(lab.root))


def conflicts(lab: Lab, *install: Incoming, remove: tuple[str, ...] = ()) -> list[str]:
    change = Change(install=install, remove=tuple(map(id_of, remove)))
    with lab.system() as system:
        return [str(each) for each in check(change, system)]


def test_what_a_package_holds_is_in_the_root_and_in_the_database(lab: Lab) -> None:
    content = {**A, "usr/bin/b": "-> a", "usr/bin/c": "= usr/bin/a"}

    lab.apply(lab.package("a", content, repository="main", requested=True, finalizer="x: y"))

    assert (lab.root / "usr/bin/b").read_text() == "one"
    assert (lab.root / "usr/bin/c").samefile(lab.root / "usr/bin/a")
    assert stat.S_IMODE((lab.root / "usr/share/a").stat().st_mode) == 0o700
    with lab.system() as system:
        (found,) = system.database.installed()
        assert (found.repository, found.requested, found.timestamp) == ("main", True, "built a")
        assert (found.finalizer, found.finalized) == ("x: y", False)
        assert system.database.find("a", "t") == found
        assert system.database.files(found.id) == ("usr/bin/a", "usr/bin/b", "usr/bin/c")
        assert system.database.owners(["usr/bin/a", "usr/bin/x"]) == {"usr/bin/a": (found.id,)}


def test_metadata_of_files_is_that_of_the_archive(lab: Lab) -> None:
    lab.apply(lab.package("a", {"etc/": "750", "etc/f": "text"}))

    status = (lab.root / "etc/f").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o644, 1577836800)
    assert (lab.root / "etc").stat().st_mtime == 1577836800


def test_parents_that_no_archive_has_are_open_to_all_whatever_the_umask(lab: Lab) -> None:
    before = os.umask(0o077)
    try:
        lab.apply(lab.package("a", {"opt/x/y/file": "text"}))
    finally:
        os.umask(before)

    assert stat.S_IMODE((lab.root / "opt/x").stat().st_mode) == 0o755
    lab.apply(remove=["a"])
    assert names(lab) == []


def test_an_upgrade_replaces_files_and_removes_what_the_new_one_lacks(lab: Lab) -> None:
    old = {"usr/bin/": "755", "usr/bin/a": "one", "usr/lib/a/old": "old", "usr/both": "both"}
    lab.apply(lab.package("a-1", old, requested=True))

    lab.apply(lab.package("a-2", {"usr/bin/a": "two", "usr/both": "both"}), remove=["a-1"])

    assert names(lab) == ["usr", "usr/bin", "usr/bin/a", "usr/both"]
    assert (lab.root / "usr/bin/a").read_text() == "two"
    assert lab.installed() == ["t/a-2"]
    with lab.system() as system:
        assert system.database.installed()[0].requested


def test_a_replaced_file_keeps_its_content_for_who_has_it_open(lab: Lab) -> None:
    lab.apply(lab.package("a-1", {"bin/a": "one"}))

    with (lab.root / "bin/a").open() as file:
        lab.apply(lab.package("a-2", {"bin/a": "two"}), remove=["a-1"])
        assert file.read() == "one"


def test_uninstalling_removes_own_folders_and_no_others(lab: Lab) -> None:
    lab.write({"opt/": "755", "tmp/": "1777"})
    before = snapshot(lab.root)
    lab.apply(lab.package("a", {"opt/": "700", "opt/a/f": "x", "tmp/": "755", "own/empty/": "755"}))

    lab.apply(remove=["a"])

    assert snapshot(lab.root) == before


def test_a_shared_folder_goes_with_the_last_package_that_has_it(lab: Lab) -> None:
    lab.apply(lab.package("a", {"opt/": "755", "opt/a": "x"}))
    lab.apply(lab.package("b", {"opt/": "755", "opt/b": "x"}))

    lab.apply(remove=["a"])
    assert names(lab) == ["opt", "opt/b"]

    lab.apply(remove=["b"])
    assert names(lab) == []


def test_files_that_others_put_into_a_folder_keep_it(lab: Lab) -> None:
    lab.apply(lab.package("a", {"opt/": "755", "opt/a": "x"}))
    lab.write({"opt/mine": "mine"})

    lab.apply(remove=["a"])

    assert names(lab) == ["opt", "opt/mine"]


def test_the_mode_of_a_folder_that_is_not_ours_alone_stays(lab: Lab) -> None:
    lab.write({"tmp/": "1777"})
    lab.apply(lab.package("base", {"root/": "700"}))

    lab.apply(lab.package("a", {"tmp/": "755", "tmp/f": "x", "root/": "755", "root/f": "x"}))

    assert stat.S_IMODE((lab.root / "tmp").stat().st_mode) == 0o1777
    assert stat.S_IMODE((lab.root / "root").stat().st_mode) == 0o700


def test_the_mode_of_an_own_folder_follows_the_new_version(lab: Lab) -> None:
    lab.apply(lab.package("a-1", {"own/": "755", "own/f": "x"}))

    lab.apply(lab.package("a-2", {"own/": "2750", "own/f": "x"}), remove=["a-1"])

    assert stat.S_IMODE((lab.root / "own").stat().st_mode) == 0o2750


def test_of_packages_that_come_together_the_first_says_what_a_folder_is(lab: Lab) -> None:
    base = lab.package("base", {"root/": "700"})

    lab.apply(base, lab.package("a", {"root/": "755", "root/f": "x"}))

    assert stat.S_IMODE((lab.root / "root").stat().st_mode) == 0o700


def test_links_of_the_root_are_followed_inside_it(lab: Lab) -> None:
    lab.write({"usr/bin/": "755", "bin": "-> usr/bin", "lib": "-> /usr/lib"})

    lab.apply(lab.package("a", {"bin/": "755", "bin/a": "x", "lib/b": "y"}))

    assert (lab.root / "usr/bin/a").read_text() == "x"
    assert (lab.root / "usr/lib/b").read_text() == "y"
    assert (lab.root / "bin").is_symlink()
    with lab.system() as system:
        assert system.database.files(id_of("a")) == ("bin/a", "lib/b")
        assert set(system.database.owners(["usr/bin/a"])) == {"usr/bin/a"}
    lab.apply(remove=["a"])
    assert names(lab) == ["bin", "lib", "usr", "usr/bin"]


def test_a_link_of_a_package_before_is_followed_as_well(lab: Lab) -> None:
    base = lab.package("base", {"usr/": "755", "usr/bin/": "755", "bin": "-> usr/bin"})

    lab.apply(base, lab.package("a", {"bin/": "755", "bin/a": "x"}))

    assert (lab.root / "usr/bin/a").read_text() == "x"
    assert (lab.root / "bin").is_symlink()


def test_folders_on_the_way_behind_a_link_go_with_the_last_package_that_needs_them(
    lab: Lab,
) -> None:
    lab.write({"srv": "-> /data/pool/srv"})

    lab.apply(lab.package("a", {"srv/a": "x"}), lab.package("b", {"srv/b": "x"}))

    assert (lab.root / "data/pool/srv/b").exists()
    lab.apply(remove=["a"])
    assert names(lab) == ["data", "data/pool", "data/pool/srv", "data/pool/srv/b", "srv"]
    lab.apply(remove=["b"])
    assert names(lab) == ["srv"]


def test_folders_hundreds_of_levels_deep_come_and_go(lab: Lab) -> None:
    deep = "a/" * 600 + "f"

    lab.apply(lab.package("a", {deep: "x"}))

    assert (lab.root / deep).stat().st_size == 1
    lab.apply(remove=["a"])
    assert names(lab) == []


def test_one_file_by_two_names_is_a_conflict(lab: Lab) -> None:
    lab.write({"usr/bin/": "755", "bin": "-> usr/bin"})
    lab.apply(lab.package("a", {"bin/x": "x"}))
    b = lab.package("b", {"usr/bin/x": "x"})

    assert conflicts(lab, b) == ["/usr/bin/x: t/b-1 brings it, and so does t/a-1"]


def test_conflicts_are_named_before_anything_is_touched(lab: Lab) -> None:
    lab.apply(lab.package("a", {"f": "a", "g": "a"}))
    before = snapshot(lab.root)
    b, c = lab.package("b", {"f": "b", "h": "b"}), lab.package("c", {"g": "c", "h": "c"})

    with pytest.raises(ConflictError) as caught:
        lab.apply(b, c)

    assert str(caught.value).startswith("/h: t/c-1 brings it, and so does another package")
    assert conflicts(lab, b, c) == [
        "/f: t/b-1 brings it, and so does t/a-1",
        "/g: t/c-1 brings it, and so does t/a-1",
        "/h: t/c-1 brings it, and so does t/b-1",
    ]
    assert snapshot(lab.root) == before
    assert lab.installed() == ["t/a-1"]


def test_what_a_package_does_not_list_is_a_conflict_all_the_same(lab: Lab) -> None:
    lab.apply(lab.package("a", {"f": "a"}))
    hidden = lab.package("b", {"f": "b"}, listed=False)

    assert conflicts(lab, hidden) == ["/f: t/b-1 brings it, and so does t/a-1"]
    with pytest.raises(ConflictError) as caught:
        lab.apply(hidden)

    assert str(caught.value) == (
        "a file conflict:\n    /f: t/b-1 brings it, and so does t/a-1"
        " (--force lets the later package overwrite)"
    )
    assert (lab.root / "f").read_text() == "a"


def test_force_overwrites_and_remembers_both(lab: Lab) -> None:
    lab.apply(lab.package("a", {"f": "a"}))

    lab.apply(lab.package("b", {"f": "b"}), force=True)

    assert (lab.root / "f").read_text() == "b"
    assert lab.warnings() == ["/f: t/b-1 overwrites the file of t/a-1"]
    with lab.system() as system:
        assert system.database.owners(["f"]) == {"f": (id_of("a"), id_of("b"))}
    lab.apply(remove=["a"])
    assert (lab.root / "f").read_text() == "b"


def test_with_force_the_later_of_two_new_packages_wins(lab: Lab) -> None:
    lab.apply(lab.package("a", {"f": "a"}), lab.package("b", {"f": "b"}), force=True)

    assert (lab.root / "f").read_text() == "b"


def test_a_file_may_move_to_another_package_in_one_change(lab: Lab) -> None:
    lab.apply(lab.package("a-1", {"f": "one", "g": "g"}))
    new = lab.package("a-2", {"g": "g"}), lab.package("b", {"f": "two"})

    assert conflicts(lab, *new, remove=("a-1",)) == []
    lab.apply(*new, remove=["a-1"])

    assert (lab.root / "f").read_text() == "two"
    with lab.system() as system:
        assert system.database.owners(["f"]) == {"f": (id_of("b"),)}


def test_reinstalling_brings_back_what_was_changed(lab: Lab) -> None:
    lab.apply(lab.package("a", {"f": "a", "g": "g"}))
    (lab.root / "f").write_text("broken")
    (lab.root / "g").unlink()

    lab.apply(lab.package("a", {"f": "a", "g": "g"}), remove=["a"])

    assert ((lab.root / "f").read_text(), (lab.root / "g").read_text()) == ("a", "g")
    assert lab.installed() == ["t/a-1"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"x": "file"}, {"x/": "755", "x/f": "inside"}),
        ({"x/": "755", "x/f": "inside"}, {"x": "file"}),
        ({"x": "-> y", "y/": "755"}, {"x/": "755", "x/f": "f", "y/": "755"}),
        ({"x/": "755", "x/f": "inside"}, {"x": "-> y", "y/": "755"}),
        ({"x": "-> y"}, {"x": "file"}),
        ({"x": "file"}, {"x": "-> y"}),
    ],
)
def test_a_path_may_become_something_else(
    lab: Lab, old: dict[str, str], new: dict[str, str], tmp_path: Path
) -> None:
    lab.apply(lab.package("a-1", old))
    fresh = Lab(tmp_path / "fresh")
    fresh.apply(fresh.package("a-2", new))

    lab.apply(lab.package("a-2", new), remove=["a-1"])

    assert snapshot(lab.root) == snapshot(fresh.root)
    lab.apply(remove=["a-2"])
    assert names(lab) == []


def test_a_folder_with_files_of_others_does_not_give_way(lab: Lab) -> None:
    lab.apply(lab.package("a-1", {"x/": "755", "x/f": "f"}))
    lab.write({"x/mine": "mine"})

    with pytest.raises(ConflictError, match=re.escape("/x: is a folder that still holds /x/mine")):
        lab.apply(lab.package("a-2", {"x": "file"}), remove=["a-1"])

    assert names(lab) == ["x", "x/f", "x/mine"]


MERGED = {"usr/bin/": "755", "bin": "-> usr/bin"}
SPLIT = {"usr/bin/": "755", "bin/": "755"}


def test_a_folder_becomes_a_link_with_all_that_lies_in_it_in_one_step(lab: Lab) -> None:
    lab.apply(lab.package("base-1", SPLIT), lab.package("b-1", {"bin/b": "b", "usr/bin/c": "c"}))
    base, b = lab.package("base-2", MERGED), lab.package("b-2", {"bin/b": "b", "usr/bin/c": "c"})

    lab.apply(base, b, remove=["base-1", "b-1"])

    assert (lab.root / "bin").readlink() == Path("usr/bin")
    assert names(lab) == ["bin", "usr", "usr/bin", "usr/bin/b", "usr/bin/c"]
    lab.apply(remove=["base-2", "b-2"])
    assert names(lab) == []


def test_a_link_becomes_a_folder_with_all_that_lies_behind_it_in_one_step(lab: Lab) -> None:
    lab.apply(lab.package("base-1", MERGED), lab.package("b-1", {"bin/b": "b"}))
    base, b = lab.package("base-2", SPLIT), lab.package("b-2", {"bin/b": "b"})

    lab.apply(base, b, remove=["base-1", "b-1"])

    assert names(lab) == ["bin", "bin/b", "usr", "usr/bin"]


@pytest.mark.parametrize("new", [SPLIT, {"bin": "-> elsewhere"}, None])
def test_a_link_stays_while_others_have_files_behind_it(
    lab: Lab, new: dict[str, str] | None
) -> None:
    lab.apply(lab.package("base-1", MERGED), lab.package("b-1", {"bin/b": "b"}))
    before = snapshot(lab.root)
    install = [lab.package("base-2", new)] if new else []

    with pytest.raises(ConflictError) as caught:
        lab.apply(*install, remove=["base-1"])

    assert str(caught.value) == (
        "/bin/b of t/b-1 would be found as /usr/bin/b only: a link on the way to it goes"
        " (upgrade both in one step; --force does it nevertheless)"
    )
    assert snapshot(lab.root) == before
    lab.apply(*install, remove=["base-1"], force=True)
    assert lab.warnings() == ["/bin/b of t/b-1 would be found as /usr/bin/b only"]
    assert (lab.root / "usr/bin/b").read_text() == "b"


def test_a_link_may_be_written_otherwise_if_it_leads_to_the_same_place(lab: Lab) -> None:
    lab.apply(lab.package("base-1", MERGED), lab.package("b-1", {"bin/b": "b"}))

    lab.apply(lab.package("base-2", {**MERGED, "bin": "-> /usr/bin"}), remove=["base-1"])

    assert (lab.root / "bin").readlink() == Path("/usr/bin")


def test_a_file_of_others_on_the_way_is_a_conflict(lab: Lab) -> None:
    lab.write({"x": "file"})

    with pytest.raises(ConflictError, match="/x: is no folder in the system, and t/a-1 needs one"):
        lab.apply(lab.package("a", {"x/f": "f"}))

    assert names(lab) == ["x"]


def test_what_nobody_of_us_owns_is_replaced(lab: Lab) -> None:
    lab.write({"etc/f": "foreign"})

    lab.apply(lab.package("a", {"etc/f": "ours"}))

    assert (lab.root / "etc/f").read_text() == "ours"


def test_layers_of_an_image_are_laid_over_each_other(lab: Lab) -> None:
    package = lab.package(
        "a", {"d/": "755", "d/old": "x", "d/keep": "k", "e/x": "x", "f": "one", "g/h": "h"}
    )
    assert isinstance(package.archive, Path)
    upper = tar(
        lab.place / "upper.tar",
        [
            *(member(marker) for marker in ("d/.wh.old", "e/.wh..wh..opq")),
            *(member(name, data=b"upper") for name in ("e/y", "f", "g")),
        ],
    )
    layered = Incoming(metadata=package.metadata, archive=(package.archive, upper))

    lab.apply(layered)

    assert names(lab) == ["d", "d/keep", "e", "e/y", "f", "g"]
    assert (lab.root / "f").read_text() == "upper"
    assert (lab.root / "g").read_text() == "upper"


def test_a_package_that_is_there_is_not_installed_beside_itself(lab: Lab) -> None:
    lab.apply(lab.package("a-1", {"f": "1"}))

    with pytest.raises(CompilerError, match="t/a-1 is installed, and t/a-2 cannot be beside it"):
        lab.apply(lab.package("a-2", {"f": "2"}))
    with pytest.raises(CompilerError, match="t/b-1 is not installed"):
        lab.apply(remove=["b"])


def test_names_that_are_not_utf_8_come_and_go(lab: Lab) -> None:
    name = os.fsdecode(b"caf\xe9")

    lab.apply(lab.package("a", {f"d/{name}": "x"}))

    with lab.system() as system:
        assert system.database.files(id_of("a")) == (f"d/{name}",)
    assert (lab.root / "d" / name).read_text() == "x"
    lab.apply(remove=["a"])
    assert names(lab) == []


def test_a_damaged_archive_changes_nothing(lab: Lab) -> None:
    good, bad = lab.package("a", {"f": "x"}), lab.package("b", {"g": "x" * 5000})
    assert isinstance(bad.archive, Path)
    bad.archive.write_bytes(bad.archive.read_bytes()[:2000])

    with pytest.raises(ArchiveError, match="the archive ends too early"):
        lab.apply(good, bad)

    assert names(lab) == []
    assert lab.installed() == []


def test_no_farewell_is_said_for_a_change_that_fails(lab: Lab) -> None:
    lab.apply(lab.package("a", {"f": "x"}))
    bad = lab.package("b", {"g": "x" * 5000})
    assert isinstance(bad.archive, Path)
    bad.archive.write_bytes(bad.archive.read_bytes()[:2000])
    said: list[PackageId] = []
    change = Change(install=(bad,), remove=(id_of("a"),), parting=(id_of("a"),))

    with lab.system() as system, pytest.raises(ArchiveError):
        apply(change, system, farewell=said.append)

    assert said == []
    assert lab.installed() == ["t/a-1"]


def going(lab: Lab) -> Change:
    """A package makes way for one that has files in the same folders; before, it removes them."""
    same = {"opt/d/": "1750", "opt/d/e/": "700", "opt/d/same": "same", "opt/d/both": "old"}
    lab.apply(lab.package("f", {**same, "opt/d/f": "f", "opt/d/link": "-> f"}))
    new = lab.package("g", {**same, "opt/d/both": "new", "opt/d/g": "g", "opt/d/link": "-> f"})
    return Change(install=(new,), remove=(id_of("f"),), parting=(id_of("f"),))


@pytest.mark.parametrize("left", ["nothing", "a folder"])
def test_what_comes_is_whole_although_a_farewell_removed_its_folders(lab: Lab, left: str) -> None:
    change = going(lab)

    def farewell(_package: PackageId) -> None:
        rmtree(lab.root / "opt")
        if left == "a folder":
            (lab.root / "opt").mkdir()

    with lab.system() as system:
        apply(change, system, farewell=farewell)

    found = snapshot(lab.root)
    assert lab.installed() == ["t/g-1"]
    assert {name: each[3] for name, each in found.items()} == {
        "opt": None,
        "opt/d": None,
        "opt/d/both": b"new",
        "opt/d/e": None,
        "opt/d/g": b"g",
        "opt/d/link": "f",
        "opt/d/same": b"same",
    }
    assert [found[name][1] for name in ("opt", "opt/d", "opt/d/e")] == [0o755, 0o1750, 0o700]


def test_what_a_farewell_took_comes_back_where_the_change_is_undone(lab: Lab) -> None:
    change = going(lab)
    before = snapshot(lab.root)

    def farewell(_package: PackageId) -> None:
        rmtree(lab.root / "opt")
        (lab.root / "opt/d").mkdir(parents=True)
        (lab.root / "opt/d/g").write_text("in the way")

    with lab.system() as system, pytest.raises(OutsideError, match=r"file exists \(/opt/d/g\)"):
        apply(change, system, farewell=farewell)

    found = snapshot(lab.root)
    assert lab.installed() == ["t/f-1"]
    assert found["opt/d/both"] == before["opt/d/both"]
    assert found["opt/d/e"] == before["opt/d/e"]


def test_a_damaged_archive_is_named_by_its_repository_and_not_by_its_place(lab: Lab) -> None:
    for cut, reason in (
        (2000, "g: the archive ends too early"),
        (100, "the archive ends too early"),
    ):
        bad = lab.package("b", {"g": "x" * 5000}, repository="main")
        assert isinstance(bad.archive, Path)
        bad.archive.write_bytes(bad.archive.read_bytes()[:cut])

        with pytest.raises(ArchiveError) as caught:
            lab.apply(bad)

        assert str(caught.value) == f"t/b-1 ({bad.metadata.archive} of main): {reason}"


def test_a_missing_archive_is_named(lab: Lab) -> None:
    package = lab.package("a", {"f": "x"})
    assert isinstance(package.archive, Path)
    package.archive.unlink()

    with pytest.raises(OutsideError, match=re.escape(str(package.archive))):
        lab.apply(package)


def test_only_one_process_changes_a_system(lab: Lab) -> None:
    package = lab.package("a", {"f": "x"})

    with lab.system() as one, one.lock(), lab.system() as two:
        with pytest.raises(OutsideError, match="another cos is changing this system"):
            apply(Change(install=(package,)), two)
        assert two.database.installed() == ()


def test_who_may_not_write_a_system_is_told_at_once() -> None:
    with TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o755)
        root = Path(place, "root")
        root.mkdir()
        with System(root) as system, system.lock():
            pass

        os.seteuid(65534)
        try:
            with (
                System(root) as system,
                pytest.raises(OutsideError, match="this system cannot be written here"),
                system.lock(),
            ):
                pass
        finally:
            os.seteuid(0)


def test_looking_at_an_empty_system_makes_nothing(tmp_path: Path) -> None:
    with System(tmp_path) as system:
        assert system.database.installed() == ()
        assert recover(system) is None

    assert list(tmp_path.iterdir()) == []


def test_the_database_lies_inside_the_root_whatever_links_say(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "var").symlink_to("/outside")

    with System(root) as system, system.lock():
        assert system.folder == root / "outside/cache/luet"


def test_device_nodes_are_refused_or_left_out(lab: Lab) -> None:
    package = lab.package("a", [member("dev/x", tarfile.CHRTYPE), member("f", data=b"x")])

    with pytest.raises(ArchiveError, match="t/a-1: dev/x: a device node is not allowed here"):
        lab.apply(package)
    lab.apply(package, devices=Devices.SKIP)

    assert names(lab) == ["dev", "f"]


def test_no_package_may_bring_the_database(lab: Lab) -> None:
    for path in (
        f"{DATABASE}/cos.db",
        f"{DATABASE}/cos.db-wal",
        ".cos-staging/x",
        "a/.cos-staging",
    ):
        with pytest.raises(ArchiveError, match="this path is the package manager's own"):
            lab.apply(lab.package("a", {path: "x"}))

    assert names(lab) == []


STATE = "var/cache/luet/repos/good/trust/state/root.json"


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({STATE: "forged"}, STATE),
        ({f"./{STATE}": "forged"}, f"./{STATE}"),
        ({"var/cache/luet/repos/good": "-> /srv"}, "var/cache/luet/repos/good"),
        ({"var/cache/luet/repos": "-> /srv"}, "var/cache/luet/repos"),
        ({"var/cache/luet/repos/good/": "755"}, "var/cache/luet/repos/good"),
        ({"shelf/good/repository.yaml": "forged"}, "shelf/good/repository.yaml"),
    ],
)
def test_no_package_may_bring_what_is_known_of_a_repository(
    lab: Lab, content: Content, path: str
) -> None:
    lab.write({STATE: "seen", "shelf": "-> var/cache/luet/repos"})
    before = snapshot(lab.root)
    package = lab.package("a", content, listed=False)

    with System(lab.root) as system, pytest.raises(ArchiveError) as caught:
        apply(Change(install=(package,)), system)

    assert str(caught.value) == (
        f"t/a-1: {path}: this path is the package manager's own"
        f" (no package may bring anything below {lab.root}/var/cache/luet)"
    )
    assert set(before.items()) <= set(snapshot(lab.root).items())


def test_the_folders_above_what_is_ours_may_be_brought_and_so_may_repositories(lab: Lab) -> None:
    repository = "etc/luet/repos.conf.d/more.yml"
    package = lab.package("a", {"var/cache/luet/": "755", "var/cache/x": "", repository: "x"})

    with System(lab.root) as system:
        apply(Change(install=(package,)), system)

    assert (lab.root / repository).read_text() == "x"


@pytest.mark.parametrize("path", ["var", "usr/var", "usr/var/cache"])
def test_no_package_may_lead_us_to_another_folder(lab: Lab, path: str) -> None:
    lab.write({"usr/var/": "755", "var": "-> usr/var"})
    package = lab.package("a", {path: "-> /srv"})

    with System(lab.root) as system, pytest.raises(ArchiveError) as caught:
        apply(Change(install=(package,)), system)

    words = "the package manager's own folder could not be found behind it"
    assert str(caught.value) == f"t/a-1: {path}: {words}"


def test_no_folder_comes_in_place_of_a_link_to_ours(lab: Lab) -> None:
    lab.write({"usr/var/": "755", "var": "-> usr/var"})
    old = lab.package("a", {"var": "-> usr/var"})
    new = lab.package("a-2", {"var/cache/luet/repos/good/root.json": "forged"})
    with System(lab.root) as system:
        apply(Change(install=(old,)), system)

        with pytest.raises(ArchiveError, match="own folder could not be found behind it"):
            apply(Change(install=(new,), remove=(old.id,)), system)


def test_a_link_on_the_way_to_our_folder_may_come_as_it_is(lab: Lab) -> None:
    lab.write({"usr/var/": "755", "var": "-> usr/var"})
    package = lab.package("a", {"var": "-> usr/var"})

    with System(lab.root) as system:
        apply(Change(install=(package,)), system)

        assert [each.id for each in system.database.installed()] == [package.id]


def test_where_the_database_is_at_the_top_all_else_may_be_brought(lab: Lab) -> None:
    with System(lab.root, "/") as system:
        apply(Change(install=(lab.package("a", {"x/y": ""}),)), system)

        for path in ("cos.db", "repos", "repos/good/index"):
            with pytest.raises(ArchiveError, match="this path is the package manager's own"):
                apply(Change(install=(lab.package("b", {path: ""}),)), system)


def test_a_staging_folder_that_no_journal_names_is_removed(lab: Lab) -> None:
    lab.write({".cos-staging/new/f": "stale", ".cos-staging/closed/": "000"})

    lab.apply(lab.package("a", {"g": "x"}))

    assert names(lab) == ["g"]


class _Stubborn(RootDisk):
    """A disk with a file that may not be removed."""

    def remove(self, path: str) -> None:
        raise PermissionError(13, "Permission denied", path)


def test_a_file_that_may_not_be_removed_stays_and_is_told(lab: Lab) -> None:
    lab.apply(lab.package("a", {"f": "x"}))
    disk = _Stubborn(lab.root)

    with lab.system() as system, closing(disk):
        change = Change(remove=(id_of("a"),))
        apply(change, system, reporter=lab.events.append, disk=disk)

    assert lab.warnings() == ["/f: may not be removed, and stays"]
    assert lab.installed() == []
    assert names(lab) == ["f"]
