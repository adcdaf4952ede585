"""Decides where an archive is cut into layers, so that a small change changes few of them.

Nothing but the paths and sizes of the members decides, and each cut looks at little beside it
(content-defined chunking): a file that changes, comes or goes moves at most the cuts next to it. So
whoever publishes the next version needs to know nothing of this one.
"""

import hashlib
import os
from collections.abc import Sequence

LARGEST = 48 << 20
"""Bytes of an archive that stays whole, and about the largest layer of small files."""

MOST = 40
"""How many layers there are at most: each costs a request, and engines have limits (127)."""

_LEAST = 8 << 20
"""Bytes that a layer has before it may be cut; a file as large as that is a layer of its own."""

_TINY = 1 << 20
"""Fewer bytes are no layer of their own before such a file, but part of its."""

_NORMAL = 16 << 20
_SELDOM, _OFTEN = 32 << 20, 6 << 20
"""Bytes to one cut on average: of a layer below the normal size, and of one above it."""

_HASHES = 1 << 64


def layer_numbers(members: Sequence[tuple[str, int]]) -> tuple[int, ...]:
    """Give every member of an archive the number of its layer, by its path and size in bytes.

    Numbers begin with 0 and never fall. The sizes of layers double until there are few enough.
    """
    if sum(size for _, size in members) <= LARGEST:
        return (0,) * len(members)
    scale = 1
    while (numbers := _numbers(members, scale))[-1] >= MOST:
        scale *= 2
    return numbers


def _numbers(members: Sequence[tuple[str, int]], scale: int) -> tuple[int, ...]:
    numbers = []
    number, filled, alone = 0, 0, False
    for path, size in members:
        is_large = size >= _LEAST * scale
        apart = filled >= _TINY if is_large else _is_cut(path, size, filled, scale)
        if alone or apart:
            number += 1
            filled = 0
        numbers.append(number)
        filled += size
        alone = is_large
    return tuple(numbers)


def _is_cut(path: str, size: int, filled: int, scale: int) -> bool:
    """Whether a layer with `filled` bytes ends before a member: more likely before a larger one."""
    if filled < _LEAST * scale:
        return False
    if filled + size > LARGEST * scale:
        return True
    spread = (_SELDOM if filled < _NORMAL * scale else _OFTEN) * scale
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
    return int.from_bytes(digest) * spread < size * _HASHES
