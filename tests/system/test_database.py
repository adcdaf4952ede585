"""The database of what is installed."""

import sqlite3
from pathlib import Path

import pytest

from compiler.errors import CompilerError
from compiler.spec.package import Definition, Requirement
from compiler.system.database import Database, Installed
from compiler.system.root import make_folders
from compiler.system.tables import make_file
from tests.system.lab import Lab, id_of

DEFINITION = Definition(
    name="a",
    category="t",
    version="1",
    requires=(Requirement(name="b", category="t", version=">=1"),),
    labels={"x": "y"},
)


def test_a_registered_package_is_known_with_its_files(tmp_path: Path) -> None:
    package = Installed(definition=DEFINITION, repository="main", timestamp="then", sha256="abc")

    with Database(tmp_path) as database:
        database.register(package, ["usr/b", "usr/a"], ["usr"])

    with Database(tmp_path) as database:
        assert database.installed() == (package,)
        assert database.files(package.id) == ("usr/b", "usr/a")
        assert database.owners(["usr", "usr/a", "x"]) == {
            "usr": (package.id,),
            "usr/a": (package.id,),
        }


def test_registering_again_replaces(tmp_path: Path) -> None:
    with Database(tmp_path) as database:
        database.register(Installed(definition=DEFINITION), ["f"])
        newer = DEFINITION.model_copy(update={"version": "2"})

        database.register(Installed(definition=newer), ["g"])

        assert [each.id for each in database.installed()] == [id_of("a-2")]
        assert database.files(id_of("a-1")) == ()
        assert database.owners(["f", "g"]) == {"g": (id_of("a-2"),)}


def test_a_package_is_forgotten(tmp_path: Path) -> None:
    with Database(tmp_path) as database:
        database.register(Installed(definition=DEFINITION), ["f"])

        database.unregister(id_of("a"))

        assert database.installed() == ()
        assert database.find("a", "t") is None
        with pytest.raises(CompilerError, match="t/a-1 is not installed"):
            database.unregister(id_of("a"))


def test_registered_files_can_be_uninstalled_and_unknown_folders_stay(lab: Lab) -> None:
    lab.write({"opt/": "755", "opt/f": "x"})
    with lab.system() as system:
        system.database.register(Installed(definition=DEFINITION), ["opt/f"], ["opt"])

    lab.apply(remove=["a"])

    assert sorted(path.name for path in lab.root.iterdir()) == ["db", "opt"]
    assert list((lab.root / "opt").iterdir()) == []


def test_many_paths_are_looked_up_at_once(tmp_path: Path) -> None:
    paths = [f"f{number}" for number in range(1203)]
    with Database(tmp_path) as database:
        database.register(Installed(definition=DEFINITION), paths)

        assert len(database.owners([*paths, "x"])) == 1203


def test_finalizers_that_ran_are_marked(lab: Lab) -> None:
    lab.apply(lab.package("a", {"f": "x"}, finalizer="install: [x]"), lab.package("b", {"g": "x"}))
    with lab.system() as system:
        before = [(each.id.name, each.finalized) for each in system.database.installed()]

        system.database.mark_finalized([id_of("a")])

        assert before == [("a", False), ("b", True)]
        assert [each.finalized for each in system.database.installed()] == [True, True]


def test_every_commit_is_synced(tmp_path: Path) -> None:
    with Database(tmp_path) as database:
        database.register(Installed(definition=DEFINITION), [])
        connection = database._connection
        assert connection is not None

        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    with Database(tmp_path) as database:
        database.register(Installed(definition=DEFINITION), [])
    with sqlite3.connect(tmp_path / "cos.db") as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()

    with pytest.raises(CompilerError, match="has format 2, and this cos reads 1"):
        Database(tmp_path).installed()


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "cos.db").write_bytes(b"no database at all" * 100)

    with pytest.raises(CompilerError) as caught:
        Database(tmp_path).installed()

    assert str(caught.value) == f"{tmp_path}/cos.db: is damaged: file is not a database"


def test_one_that_reads_sees_what_another_one_commits(tmp_path: Path) -> None:
    with Database(tmp_path) as reader, Database(tmp_path) as writer:
        assert reader.installed() == ()

        writer.register(Installed(definition=DEFINITION), [])

        assert [each.id for each in reader.installed()] == [id_of("a")]


def test_a_new_database_has_its_name_only_once_its_content_is_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "cos.db"
    synced: list[tuple[Path, bool]] = []

    make_file(path, lambda each: synced.append((each, path.exists())))

    assert synced == [(tmp_path / ".cos.db.part", False), (tmp_path, True)]


def test_the_folders_of_a_new_database_are_on_the_disk_before_anything_is_in_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "var").mkdir()
    synced: list[tuple[Path, list[str]]] = []

    make_folders(
        tmp_path,
        "var/cache/luet",
        lambda each: synced.append((each, [path.name for path in each.iterdir()])),
    )

    assert synced == [(tmp_path / "var", ["cache"]), (tmp_path / "var/cache", ["luet"])]
