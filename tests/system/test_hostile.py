"""Archives that want more than to be unpacked: refused, and nothing has changed."""

import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.archive.members import Limits
from compiler.archive.safety import Devices
from compiler.errors import ArchiveError, CompilerError
from tests.system.lab import Lab, member, snapshot

LINK, HARD, FOLDER = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


def outside(lab: Lab) -> dict[str, bytes | None]:
    """What is beside the root, but for the archives."""
    return {
        str(path.relative_to(lab.place)): path.read_bytes() if path.is_file() else None
        for path in sorted(lab.place.rglob("*"))
        if not path.is_relative_to(lab.root) and path.suffix != ".tar"
    }


def named(name: bytes) -> bytes:
    """A file with any name: in a pax record."""
    record = b" path=" + name + b"\n"
    length = next(each for each in range(99) if each == len(b"%d" % each) + len(record))
    return member("pax", tarfile.XHDTYPE, data=b"%d%b" % (length, record)) + member("x")


def nameless_folder() -> bytes:
    """A folder whose header has no name, not even the slash that the library writes."""
    header = bytearray(member("/", FOLDER))
    header[0] = 0
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member("../secret")], "../secret: the path leads out with '..'"),
        ([member("a/../../secret")], "a/../../secret: the path leads out with '..'"),
        ([member("a", LINK, ".."), member("a/x")], "a/x: 'a' on the way to it is not a folder"),
        ([member("a", LINK, "/etc"), member("a/x")], "a/x: 'a' on the way to it is not a folder"),
        (
            [member("a", LINK, "b"), member("b", LINK, "/"), member("b/x")],
            "b/x: 'b' on the way to it is not a folder",
        ),
        ([member("a", LINK, ".."), member("a", FOLDER)], "a: 'a' on the way to it is not a folder"),
        ([member("x", HARD, "../secret")], "x: the path leads out with '..'"),
        ([member("x", HARD, "/etc/passwd")], "x: a hard link to '/etc/passwd', which is not there"),
        ([member("x", HARD, "there")], "x: a hard link to 'there', which is not there"),
        (
            [member("a", LINK, "../.."), member("x", HARD, "a/secret")],
            "x: 'a' on the way to it is not a folder",
        ),
        ([member("x"), member("x")], "x: is there twice"),
        ([member("x"), member("./x")], "./x: is there twice"),
        ([member("x", FOLDER), member("x")], "x: is there twice"),
        ([member("x"), member("x", FOLDER)], "t/a-1 brings it, and so does another package"),
        ([member("x"), member("x/y")], "t/a-1 brings it, and so does another package"),
        ([member("x", tarfile.BLKTYPE)], "x: a device node is not allowed here"),
        ([member("n" * 300)], f"{'n' * 60}…: file name too long"),
        ([member("x", b"V")], "x: its type b'V' is unknown"),
        ([member("x"), member("")], "member 2: its name is empty or has a NUL byte"),
        ([nameless_folder()], "member 1: its name is empty or has a NUL byte"),
        ([member("", LINK, "x")], "member 1: its name is empty or has a NUL byte"),
        ([member("\0x")], "member 1: its name is empty or has a NUL byte"),
        ([named(b"a\0b")], "member 1: its name is empty or has a NUL byte"),
        ([named(b"")], "member 1: its name is empty or has a NUL byte"),
        ([member(".")], ".: the root can be nothing but a folder"),
        ([member("/")], "/: the root can be nothing but a folder"),
        ([member("a/..", LINK, "x")], "a/..: the path leads out with '..'"),
    ],
)
def test_a_hostile_member_is_refused(lab: Lab, members: list[bytes], message: str) -> None:
    (lab.place / "secret").write_text("secret")
    lab.write({"there": "theirs"})
    before, around = snapshot(lab.root), outside(lab)

    with pytest.raises(CompilerError) as caught:
        lab.apply(lab.package("good", {"good": "x"}), lab.package("a", members, listed=False))

    assert str(caught.value).endswith(message)
    assert snapshot(lab.root) == before
    assert outside(lab) == around
    assert lab.installed() == []


def test_an_absolute_name_is_one_below_the_root(lab: Lab) -> None:
    lab.apply(lab.package("a", [member("/etc/x", data=b"x")]))

    assert sorted(snapshot(lab.root)) == ["etc", "etc/x"]


def test_links_of_the_root_that_lead_out_lead_to_its_inside(lab: Lab) -> None:
    elsewhere = lab.place / "elsewhere"
    elsewhere.mkdir()
    lab.write({"up": "-> ../../../elsewhere", "abs": f"-> {elsewhere}"})

    lab.apply(lab.package("a", {"up/x": "x", "abs/y": "y"}))

    assert list(elsewhere.iterdir()) == []
    assert (lab.root / "elsewhere/x").read_text() == "x"
    assert (lab.root / str(elsewhere).lstrip("/") / "y").read_text() == "y"


def test_a_ring_of_links_is_refused(lab: Lab) -> None:
    lab.write({"one": "-> two", "two": "-> one"})

    with pytest.raises(ArchiveError, match="too many links on the way"):
        lab.apply(lab.package("a", {"one/x": "x"}))


def test_the_mode_and_owner_of_the_root_itself_stay(lab: Lab) -> None:
    lab.root.chmod(0o711)

    for name in (".", "/", "./"):
        members = [member(name, FOLDER, mode=0o777), member("f", data=b"x")]
        lab.apply(lab.package("a", members))
        lab.apply(remove=["a"])

    assert lab.root.stat().st_mode & 0o7777 == 0o711


def test_a_bomb_is_stopped(lab: Lab) -> None:
    limits = Limits(size=1 << 20)

    with pytest.raises(ArchiveError, match="unpacks to more than 1048576 bytes"):
        lab.apply(lab.package("a", {"f": "x" * (2 << 20)}), limits=limits)

    assert snapshot(lab.root) == {}


def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(lab: Lab) -> None:
    victim = lab.place / "victim"
    victim.mkdir()
    (victim / "f").write_text("theirs")
    lab.apply(lab.package("a", {"d/f": "ours"}))
    (lab.root / "d/f").unlink()
    (lab.root / "d").rmdir()
    (lab.root / "d").symlink_to(victim)

    lab.apply(remove=["a"])

    assert (victim / "f").read_text() == "theirs"


NAMES = st.sampled_from(
    ["a", "b", "a/b", "a/b/c", "b/a", "../x", "/etc", "a/..", "./a", "a//b", ""]
)
KINDS = st.sampled_from([tarfile.REGTYPE, LINK, HARD, FOLDER, tarfile.FIFOTYPE, tarfile.CHRTYPE])
MEMBERS = st.lists(st.builds(member, NAMES, KINDS, NAMES, st.just(b""), st.just(0o755)), max_size=8)


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(members=MEMBERS, start=st.sampled_from([{}, {"a": "-> /b"}, {"b": "-> ..", "a/": "755"}]))
def test_whatever_an_archive_says_nothing_outside_changes_and_nothing_stays(
    tmp_path_factory: pytest.TempPathFactory, members: list[bytes], start: dict[str, str]
) -> None:
    place: Path = tmp_path_factory.mktemp("hostile")
    lab = Lab(place)
    (place / "x").write_text("outside")
    lab.write(start)
    before, around = snapshot(lab.root), outside(lab)

    try:
        lab.apply(lab.package("a", members, listed=False), devices=Devices.SKIP)
    except CompilerError:
        assert snapshot(lab.root) == before
        assert lab.installed() == []
    else:
        lab.apply(remove=["a"])
        assert snapshot(lab.root).items() <= before.items()  # it may have replaced a link
    assert outside(lab) == around
    assert not os.path.lexists(lab.root / ".cos-staging")
