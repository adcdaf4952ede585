"""File conflicts, decided from lists."""

from compiler.system.conflicts import Conflict, conflict_error, find_conflicts
from tests.system.lab import id_of

A, B, C = id_of("a"), id_of("b"), id_of("c")


def test_packages_that_share_nothing_have_no_conflict() -> None:
    assert find_conflicts([(A, ["x"]), (B, ["y"])], {"z": (C,)}, frozenset()) == ()


def test_each_pair_is_named_once_and_sorted() -> None:
    found = find_conflicts([(B, ["y", "x", "x"]), (C, ["x"])], {"x": (A,), "y": (A,)}, frozenset())

    assert found == (
        Conflict("x", B, A),
        Conflict("x", C, A),
        Conflict("x", C, B),
        Conflict("y", B, A),
    )


def test_what_leaves_is_in_nobodys_way() -> None:
    assert find_conflicts([(B, ["x"])], {"x": (A,)}, frozenset([A])) == ()
    assert find_conflicts([(B, ["x"])], {"x": (A, C)}, frozenset([A])) == (Conflict("x", B, C),)


def test_an_error_shows_the_first_of_many() -> None:
    conflicts = [Conflict(f"f{number:02}", B, A) for number in range(25)]

    lines = str(conflict_error(conflicts)).splitlines()

    assert lines[0] == "25 file conflicts:"
    assert lines[1] == "    /f00: t/b-1 brings it, and so does t/a-1"
    assert lines[-1] == "    … and 5 more (--force lets the later package overwrite)"
