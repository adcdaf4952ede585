"""Protected configuration: people's changes are never overwritten, nor are earlier copies."""

from pathlib import Path

import pytest

from compiler.errors import CompilerError, ConflictError
from compiler.system.protect import (
    Protection,
    copy_name,
    parse_protection,
    read_protection,
)
from tests.system.lab import Lab, snapshot

ETC = Protection(("/etc",))


def texts(lab: Lab) -> dict[str, object]:
    """The files of the root: path to content."""
    return {path: row[3] for path, row in snapshot(lab.root).items() if row[3] is not None}


def test_a_changed_file_stays_and_the_new_one_comes_beside_it(lab: Lab) -> None:
    lab.write({"etc/f": "mine"})

    lab.apply(lab.package("a", {"etc/f": "new", "usr/f": "x"}), protection=ETC)

    assert texts(lab) == {"etc/f": b"mine", "etc/._cfg0001_f": b"new", "usr/f": b"x"}
    assert lab.warnings() == ["/etc/f: was kept, the new one is /etc/._cfg0001_f"]


def test_each_new_copy_gets_the_next_number_and_earlier_ones_stay(lab: Lab) -> None:
    lab.apply(lab.package("a-1", {"etc/f": "one"}))
    (lab.root / "etc/f").write_text("mine")

    for version in (2, 3):
        new = lab.package(f"a-{version}", {"etc/f": f"version {version}"})
        lab.apply(new, remove=[f"a-{version - 1}"], protection=ETC)

    assert texts(lab) == {
        "etc/f": b"mine",
        "etc/._cfg0001_f": b"version 2",
        "etc/._cfg0002_f": b"version 3",
    }


def test_the_same_content_is_written_nowhere(lab: Lab) -> None:
    lab.write({"etc/f": "same", "etc/g": "mine", "etc/._cfg0004_g": "new"})
    before = (lab.root / "etc/f").stat().st_ino

    lab.apply(lab.package("a", {"etc/f": "same", "etc/g": "new"}), protection=ETC)

    assert texts(lab) == {"etc/f": b"same", "etc/g": b"mine", "etc/._cfg0004_g": b"new"}
    assert (lab.root / "etc/f").stat().st_ino == before


def test_a_copy_is_not_repeated_also_if_it_is_not_the_newest(lab: Lab) -> None:
    lab.write({"etc/f": "mine", "etc/._cfg0001_f": "first", "etc/._cfg0002_f": "second"})
    before = texts(lab)

    lab.apply(lab.package("a", {"etc/f": "first"}), protection=ETC)

    assert texts(lab) == before


def test_a_package_may_protect_files_of_its_own(lab: Lab) -> None:
    lab.write({"opt/a/conf": "mine"})

    lab.apply(lab.package("a", {"opt/a/conf": "new"}, annotations={"config_protect": "/opt/a"}))

    assert texts(lab) == {"opt/a/conf": b"mine", "opt/a/._cfg0001_conf": b"new"}


def test_links_are_not_protected(lab: Lab) -> None:
    lab.write({"etc/f": "-> elsewhere"})

    lab.apply(lab.package("a", {"etc/f": "new"}), protection=ETC)

    assert texts(lab) == {"etc/f": b"new"}


def test_uninstalling_keeps_modified_files_only_if_asked(lab: Lab) -> None:
    package = lab.package("a", {"etc/f": "one", "etc/g": "one"})
    lab.apply(package, protection=ETC)
    (lab.root / "etc/f").write_text("mine")

    lab.apply(remove=["a"], protection=ETC, keep_protected=True)
    assert texts(lab) == {"etc/f": b"mine"}
    assert lab.warnings() == ["/etc/f: was kept, since it was modified"]

    lab.apply(package, protection=ETC)
    lab.apply(remove=["a"], protection=ETC)
    assert texts(lab) == {"etc/._cfg0001_f": b"one"}


def with_two_owners(lab: Lab) -> None:
    """Install a file that one package protects, and another one has as well."""
    conf = lab.package("conf", {"etc/x/c": "one"}, annotations={"config_protect": "/etc/x"})
    lab.apply(conf)
    lab.apply(lab.package("clash", {"etc/x/c": "two"}), force=True)


@pytest.mark.parametrize("order", [("conf", "clash"), ("clash", "conf")])
def test_a_file_is_kept_if_one_of_its_owners_protects_it(lab: Lab, order: tuple[str, str]) -> None:
    with_two_owners(lab)
    (lab.root / "etc/x/c").write_text("mine")
    lab.events.clear()

    lab.apply(remove=order, keep_protected=True)

    assert texts(lab)["etc/x/c"] == b"mine"
    assert lab.warnings() == ["/etc/x/c: was kept, since it was modified"]


def test_a_file_that_one_of_its_owners_brought_is_not_modified(lab: Lab) -> None:
    with_two_owners(lab)
    (lab.root / "etc/x/c").write_text("two")
    lab.events.clear()

    lab.apply(remove=["conf", "clash"], keep_protected=True)

    assert list(texts(lab)) == ["etc/x/._cfg0001_c"]
    assert lab.warnings() == []


def test_force_takes_no_file_that_its_owner_protects(lab: Lab) -> None:
    with_two_owners(lab)

    assert texts(lab) == {"etc/x/c": b"one", "etc/x/._cfg0001_c": b"two"}
    assert lab.warnings() == ["/etc/x/c: was kept, the new one is /etc/x/._cfg0001_c"]


def test_no_folder_with_a_kept_file_gives_way(lab: Lab) -> None:
    lab.apply(lab.package("a", {"etc/x/c": "one"}, annotations={"config_protect": "/etc/x"}))
    (lab.root / "etc/x/c").write_text("mine")

    with pytest.raises(ConflictError) as caught:
        lab.apply(lab.package("b", {"etc/x": "file"}), remove=["a"], keep_protected=True)

    assert str(caught.value) == "/etc/x: is a folder that still holds /etc/x/c"
    assert texts(lab) == {"etc/x/c": b"mine"}


def test_files_say_which_folders_are_protected(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text("name: b\ndirs:\n- /etc/\n- opt\n")
    (tmp_path / "a.yml").write_text("name: a\ndirs: [/var/lib]\n")
    (tmp_path / "c.yaml").write_text("name: c\ndirs: [/never]\n")

    found = read_protection([tmp_path, tmp_path / "missing"])

    assert found == Protection(("/var/lib", "/etc/", "/opt"))
    assert found.covers("etc/f")
    assert found.covers("optional")  # plain prefixes, as luet has them
    assert not found.covers("usr/etc/f")
    assert not Protection().covers("etc/f")


@pytest.mark.parametrize("text", ["dirs: x", "dirs: [1]", "- a", "a: [", "&a [*a]"])
def test_a_damaged_file_is_named(text: str) -> None:
    with pytest.raises(CompilerError) as caught:
        parse_protection(text, "conf/x.yml")

    assert str(caught.value) == (
        "conf/x.yml: is no list of protected folders: it needs 'name' and 'dirs'"
    )


def test_an_empty_file_protects_nothing() -> None:
    assert parse_protection("", "x.yml") == ()


def test_numbers_have_no_end() -> None:
    present = ["._cfg9999_f", "._cfg0003_f", "._cfg0050_other", "f", "._cfg12_f"]

    assert copy_name("f", present) == ("._cfg10000_f", ("._cfg9999_f", "._cfg0003_f"))
    assert copy_name("f", ["._cfg10000_f"]) == ("._cfg10001_f", ("._cfg10000_f",))
    assert copy_name("g", present) == ("._cfg0001_g", ())
