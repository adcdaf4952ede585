"""What a folder holds, as it is going to be signed."""

from pathlib import Path

import pytest

from compiler.errors import CompilerError
from compiler.repository.disk import RepositoryOptions, create_repository
from compiler.repository.trust import target_of_file
from compiler.repository.trust.contents import of_folder
from compiler.repository.trust.publisher import HISTORY
from tests.publish.shop import NOW, Shop


def create(shop: Shop, now: int = NOW) -> Path:
    """Write the repository of a shop."""
    place = shop.artifacts
    create_repository(
        shop.packages.values(), [shop.tree], artifacts=place, output=place,
        options=RepositoryOptions(now=now),
    )  # fmt: skip
    return place


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.build("a")
    made.build("b")
    return made


def test_a_folder_is_described_with_its_index_its_snapshot_and_its_artifacts(shop: Shop) -> None:
    folder = create(shop)

    found = of_folder(folder)

    index = ["repository.yaml", "tree.tar.gz", "compilertree.tar.gz", "repository.meta.yaml.tar"]
    snapshot = "20261122232209"
    assert set(found.index) == {*index, *(f"{snapshot}-{name}" for name in index)}
    assert set(found.artifacts) == {
        "a-t-1.package.tar", "a-t-1.metadata.yaml", "b-t-1.package.tar",
        "b-t-1.metadata.yaml",
    }  # fmt: skip
    for name, target in (*found.index.items(), *found.artifacts.items()):
        assert target == target_of_file(folder / name)


def test_hashes_that_are_known_follow_what_changes(shop: Shop) -> None:
    folder = create(shop)
    before = of_folder(folder)
    shop.build("a", "another text")
    create(shop)

    after = of_folder(folder)

    changed = {n for n in after.artifacts if after.artifacts[n] != before.artifacts[n]}
    assert changed == {"a-t-1.package.tar", "a-t-1.metadata.yaml"}
    assert all(target == target_of_file(folder / n) for n, target in after.artifacts.items())


def test_only_the_last_snapshots_are_signed(shop: Shop) -> None:
    for number in range(HISTORY + 3):
        folder = create(shop, NOW + number * 60)

    pages = [name for name in of_folder(folder).index if name.endswith("-repository.yaml")]

    assert len(pages) == HISTORY
    assert min(pages) == "20261122232509-repository.yaml"


def test_metadata_that_is_not_there_is_not_signed(shop: Shop) -> None:
    folder = create(shop)
    (folder / "b-t-1.metadata.yaml").unlink()

    assert "b-t-1.metadata.yaml" not in of_folder(folder).artifacts


@pytest.mark.parametrize("name", ["b-t-1.package.tar", "20261122232209-tree.tar.gz"])
def test_what_is_listed_and_missing_is_not_signed(shop: Shop, name: str) -> None:
    folder = create(shop)
    (folder / name).unlink()

    with pytest.raises(CompilerError) as caught:
        of_folder(folder)

    assert str(caught.value) == (
        f"{folder / name}: is listed, and is not there (`cos create-repo` lists what there is)"
    )


def test_an_archive_that_is_another_than_the_index_says_is_not_signed(shop: Shop) -> None:
    folder = create(shop)
    (folder / "b-t-1.package.tar").write_bytes(b"something else")

    with pytest.raises(CompilerError) as caught:
        of_folder(folder)

    assert str(caught.value) == (
        f"{folder}/b-t-1.package.tar: has another checksum than the index says"
        " (make the repository anew before it is signed)"
    )


def test_a_folder_without_a_repository_is_not_signed(tmp_path: Path) -> None:
    with pytest.raises(CompilerError, match=r"repository\.yaml"):
        of_folder(tmp_path)
