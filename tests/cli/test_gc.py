from pathlib import Path

import pytest

from compiler.archive import Clamp
from compiler.cli import main
from compiler.cli.gc import size_text
from compiler.errors import ExitCode
from compiler.keys import LayerKey
from compiler.store import NodeRecord
from compiler.store.local import LocalStore


def fill(root: Path) -> None:
    with LocalStore(root) as store, store.scratch() as scratch:
        (scratch / "changes").mkdir()
        (scratch / "changes" / "file").write_text("x" * 2345)
        layer = store.add_layer(scratch / "changes", Clamp())
        store.put_node(
            NodeRecord(
                key=LayerKey("a" * 64), content="b" * 64, package="system/tools",
                layers=(layer,), builder=0, root=(),
            )
        )  # fmt: skip


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    with pytest.raises(SystemExit) as stopped:
        main(["gc", *arguments])
    assert stopped.value.code == ExitCode.DONE
    return capsys.readouterr().out.splitlines()


def test_everything_that_goes_is_a_line_and_the_sum_is_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "store")

    planned = output(capsys, "--dry-run", "--store", str(tmp_path / "store"))
    done = output(capsys, "--store", str(tmp_path / "store"))
    again = output(capsys, "--store", str(tmp_path / "store"))

    assert planned[:-1] == done[:-1]
    assert any(
        line.endswith(" node system/tools aaaaaaaaaaaa: no kept node needs it") for line in done
    )
    assert any(
        line.startswith("   2.3 kB  layer ") and line.endswith(": nothing needs it")
        for line in done
    )
    assert planned[-1].split("  ")[-1] == "would be removed in all (4 things)"
    assert again == ["      0 B  removed in all (0 things)"]


def test_a_store_that_is_not_there_has_nothing_to_remove(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = output(capsys, "--store", str(tmp_path / "store"))

    assert found == ["      0 B  removed in all (0 things)"]


def test_sizes_are_printed_as_people_read_them() -> None:
    assert [size_text(size) for size in (0, 999, 1000, 1_500_000, 2 * 10**15)] == [
        "0 B", "999 B", "1.0 kB", "1.5 MB", "2000.0 TB",
    ]  # fmt: skip
