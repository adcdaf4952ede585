"""Where archives are cut: into few layers of a sensible size, and alike for alike archives."""

import random
from collections.abc import Sequence
from itertools import groupby

import pytest

from compiler.archive.chunks import LARGEST, MOST, layer_numbers

Members = list[tuple[str, int]]
Layer = tuple[tuple[str, int], ...]

KB, MB = 1 << 10, 1 << 20


def chances(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  (not a secret)


def system(megabytes: int, seed: int = 1, name: str = "") -> Members:
    """List a system: most files are small, some have megabytes."""
    chance = chances(seed)
    members: Members = []
    left = megabytes * MB
    while left > 0:
        size = 512 + min(int(chance.lognormvariate(9, 2)), 6 * MB)
        members.append((f"usr/{chance.randrange(40):02}{name}/{chance.random()}", size))
        left -= size
    return sorted(members)


def layers(members: Members) -> list[Layer]:
    pairs = zip(layer_numbers(members), members, strict=True)
    return [tuple(member for _, member in group) for _, group in groupby(pairs, lambda p: p[0])]


def weight(layer: Sequence[tuple[str, int]]) -> int:
    return sum(size for _, size in layer)


def fetched(before: Members, after: Members, changed: str = "") -> float:
    """Return the share of bytes in layers that are new, or hold the path `changed`."""
    known = set(layers(before))
    new = [each for each in layers(after) if each not in known or changed in dict(each)]
    return sum(map(weight, new)) / weight(after)


@pytest.mark.parametrize("megabytes", [0, 1, 40])
def test_small_archives_are_one_layer(megabytes: int) -> None:
    members = system(megabytes)

    assert weight(members) <= LARGEST
    assert layer_numbers(members) == (0,) * len(members)


@pytest.mark.parametrize("seed", range(5))
def test_large_ones_are_cut_into_layers_of_about_16_to_32_megabytes(seed: int) -> None:
    members = system(500, seed)

    sizes = [weight(layer) / MB for layer in layers(members)]

    assert max(sizes) <= 48
    assert min(sizes[:-1]) >= 8
    assert 16 <= sum(sizes) / len(sizes) <= 32
    assert sum(16 <= size <= 32 for size in sizes) >= len(sizes) / 2


@pytest.mark.parametrize("megabytes", [60, 200, 900, 3000, 10_000])
def test_there_are_never_too_many_layers(megabytes: int) -> None:
    members = [(f"{path}", size * 8) for path, size in system(megabytes // 8)]

    count = len(layers(members))

    assert 1 < count <= MOST


def test_large_files_are_layers_of_their_own() -> None:
    small = system(60)
    initrd, kernel = ("boot/initrd", 50 * MB), ("boot/vmlinuz", 12 * MB)

    found = layers([("boot", 512), initrd, kernel, *small])

    assert found[0] == (("boot", 512), initrd)
    assert found[1] == (kernel,)


def test_many_large_files_are_not_too_many_layers() -> None:
    assert len(layers([(f"f{number}", 9 * MB) for number in range(200)])) <= MOST


@pytest.mark.parametrize("seed", range(5))
def test_a_small_file_that_changes_in_place_is_one_layer(seed: int) -> None:
    members = system(500, seed)
    path, _ = chances(seed).choice(members)

    assert fetched(members, members, path) < 0.1


@pytest.mark.parametrize("seed", range(8))
def test_a_file_that_grows_comes_or_goes_changes_few_layers(seed: int) -> None:
    members = system(500, seed)
    chance = chances(seed)
    at = chance.randrange(len(members))
    path, size = members[at]

    grown = [*members[:at], (path, size + 30 * KB), *members[at + 1 :]]
    gone = [*members[:at], *members[at + 1 :]]
    come = sorted([*members, (f"{path}-more", 20 * KB)])

    for after in (grown, gone, come):
        assert fetched(members, after) < 0.15


def test_a_folder_that_is_renamed_changes_the_layers_that_it_reaches_into() -> None:
    members = system(500)
    renamed = sorted((p.replace("usr/07/", "usr/07-new/"), size) for p, size in members)

    assert fetched(members, renamed) < 0.25
