"""Headers that are parsed without the library say what the library says, or are left to it."""

import tarfile
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from compiler.archive.header import plain_header

NAMES = st.text(st.sampled_from("ab/é.\udce9"), min_size=1, max_size=200)
KINDS = st.sampled_from(
    [
        tarfile.REGTYPE,
        tarfile.AREGTYPE,
        tarfile.LNKTYPE,
        tarfile.SYMTYPE,
        tarfile.DIRTYPE,
        tarfile.CHRTYPE,
        tarfile.XHDTYPE,
    ]
)
NUMBERS = st.integers(0, 2**40)
FORMATS: st.SearchStrategy[Literal[0, 1, 2]] = st.sampled_from([0, 1, 2])
"""tarfile.USTAR_FORMAT, GNU_FORMAT and PAX_FORMAT."""

FIELDS = ("name", "type", "mode", "uid", "gid", "size", "mtime")


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """Draw the last block of a header, perhaps with a byte of it changed."""
    info = tarfile.TarInfo(draw(NAMES))
    info.type, info.linkname = draw(KINDS), draw(NAMES)
    info.mode = draw(st.integers(0, 0o7777))
    info.uid, info.gid, info.size, info.mtime = draw(st.tuples(*[NUMBERS] * 4))
    form: Literal[0, 1, 2] = draw(FORMATS)
    try:
        block = bytearray(info.tobuf(form, "utf-8", "surrogateescape")[-512:])
    except ValueError:  # too large for this format
        block = bytearray(512)
    if draw(st.booleans()):
        block[draw(st.integers(0, 511))] = draw(st.integers(0, 255))
    return bytes(block)


@given(block=blocks())
def test_what_is_parsed_is_what_the_library_finds(block: bytes) -> None:
    found = plain_header(block)

    if found is not None:
        expected = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if expected.isdir() and block[:1] == b"/":
            expected.name = expected.name or "."  # the library cuts off the name of the root
        assert [getattr(found, name) for name in FIELDS] == [
            getattr(expected, name) for name in FIELDS
        ]
        if found.type in {tarfile.SYMTYPE, tarfile.LNKTYPE}:
            assert found.linkname == expected.linkname


def test_plain_headers_are_parsed() -> None:
    for kind in (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE):
        info = tarfile.TarInfo("usr/bin/tool")
        info.type, info.linkname = kind, "x" if kind in (b"1", b"2") else ""
        for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT):
            found = plain_header(info.tobuf(form))
            assert found is not None
            assert (found.name, found.type, found.linkname) == ("usr/bin/tool", kind, info.linkname)


def test_damage_and_the_end_are_left_to_the_library() -> None:
    block = bytearray(tarfile.TarInfo("name").tobuf(tarfile.USTAR_FORMAT))
    block[0] += 1

    assert plain_header(bytes(block)) is None
    assert plain_header(bytes(512)) is None
    assert plain_header(b"") is None
