"""Small archives are decompressed before they are read; all others as they are read."""

import gzip
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import zstandard

from compiler.archive.ahead import unpacked_ahead
from compiler.archive.members import members_of

ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress
LARGE = 8 << 20


@pytest.mark.parametrize("compress", [bytes, gzip.compress, ZSTD])
def test_archives_come_out_in_their_order(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    texts = [bytes([number]) * 100_000 for number in range(10)]
    files = [tmp_path / str(number) for number in range(10)]
    for file, text in zip(files, texts, strict=True):
        file.write_bytes(compress(text))

    assert list(unpacked_ahead(files)) == texts


def test_large_and_damaged_ones_are_left_to_who_reads_them_piece_by_piece(tmp_path: Path) -> None:
    contents = {
        "fits": ZSTD(bytes(LARGE)),
        "large": ZSTD(bytes(LARGE + 1)),
        "large-packed": bytes(LARGE + 1),
        "cut": ZSTD(bytes(1000))[:-1],
        "damaged": gzip.compress(b"x" * 1000, mtime=0)[:-3],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)

    given = [*(tmp_path / name for name in contents), tmp_path / "missing", None]

    assert [each is not None for each in unpacked_ahead(given)] == [True, *[False] * 6]


def test_no_more_are_begun_once_nobody_takes_them(tmp_path: Path) -> None:
    asked = []

    def archives(number: int) -> Path:
        asked.append(number)
        return tmp_path / str(number)

    with closing(unpacked_ahead(map(archives, range(1000)))) as unpacked:
        next(unpacked)

    assert len(asked) < 10


def test_what_is_unpacked_already_is_read_and_named_like_the_archive(tmp_path: Path) -> None:
    file = tmp_path / "never-opened"

    with (
        pytest.raises(Exception, match=f"^{file}: the archive ends too early"),
        members_of(file, unpacked=b"x" * 100) as members,
    ):
        next(members)
