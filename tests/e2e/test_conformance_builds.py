"""Real builds of trees for which it is known what luet 0.32.5 packs, member by member."""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard

from tests.e2e.conftest import Cos

CASES = Path(__file__).parent.parent / "data" / "conformance"

pytestmark = pytest.mark.container

TYPES = {b"0": "file", b"1": "hardlink", b"2": "symlink", b"3": "chr", b"4": "blk", b"5": "dir",
         b"6": "fifo"}  # fmt: skip

BETTER = {
    # Folders that the base has are packed as they are, not as 0755 root.
    ("50-build-delta", "root", "mode"),
    ("50-build-delta", "tmp", "mode"),
    # luet loses an addition and takes an existing long path for new, once there are many paths.
    ("50b-build-delta-many", "a_b", "member"),
    # The workspace is never part of a layer, so not of an unpacked join either.
    ("56-build-join", "luetbuild", "member"),
    # Both requirements start from one image, so the package sees both.
    ("62-build-two-bases", "seen", "content"),
}
"""Where we do what was meant instead: case, path and what of it."""

OF_THE_BASE = {("51-build-kinds", "k/cap"), ("54-build-unpack", "etc/debian_version")}
"""Files whose content is the distribution's."""


@dataclass(frozen=True)
class Check:
    """One build of a case, with the answer that luet gave."""

    case: str
    argv: tuple[str, ...]
    exit: int
    artifacts: dict[str, dict[str, object]]
    written: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.case} {self.argv[-1]} {self.argv[-2]}"


def checks() -> Iterator[Check]:
    for path in sorted(CASES.glob("*/expected.json")):
        case = json.loads(path.read_text())
        for check in case["checks"]:
            if check["kind"] == "build":
                yield Check(
                    case["case"],
                    tuple(check["argv"]),
                    check["exit"],
                    check.get("artifacts", {}),
                    tuple(check.get("written", ())),
                )


def members(path: Path) -> dict[str, dict[str, object]]:
    found = {}
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file) if ".zst" in path.name else file
        with tarfile.open(fileobj=stream, mode="r|*" if stream is file else "r|") as archive:
            for each in archive:
                data = archive.extractfile(each).read() if each.isreg() else b""  # type: ignore[union-attr]
                found[each.name.rstrip("/")] = {
                    "type": TYPES[each.type],
                    "mode": f"{each.mode:04o}",
                    "uid": each.uid,
                    "gid": each.gid,
                    "content": hashlib.sha256(data).hexdigest() if each.isreg() else "",
                    "link": each.linkname,
                }
    return found


def expected(artifact: dict[str, object]) -> dict[str, dict[str, object]]:
    listed = artifact["tar"]
    assert isinstance(listed, list)
    return {
        each["path"]: {
            "type": each["type"],
            "mode": each["mode"],
            "uid": each["uid"],
            "gid": each["gid"],
            "content": each.get("sha256", "") if each["type"] == "file" else "",
            "link": each.get("linktarget", ""),
        }
        for each in listed
    }


def differences(check: Check, name: str, path: Path) -> Iterator[str]:
    ours, theirs = members(path), expected(check.artifacts[name])
    for each in sorted(ours.keys() | theirs.keys()):
        top = each.partition("/")[0]
        if each not in ours or each not in theirs:
            long = len(top) > 100  # the long path of case 50b
            if (check.case, top, "member") not in BETTER and not long:
                yield f"{name}: {each} is only {'theirs' if each in theirs else 'ours'}"
            continue
        for what, value in theirs[each].items():
            known = (check.case, each, what) in BETTER or (
                what == "content" and (check.case, each) in OF_THE_BASE
            )
            if ours[each][what] != value and not known:
                yield f"{name}: {each}: {what} is {ours[each][what]}, not {value}"


@pytest.mark.parametrize("check", list(checks()), ids=str)
def test_an_artifact_holds_what_luet_packs(check: Check, tmp_path: Path, cos: Cos) -> None:
    argv = [each.replace("<OUT>", str(tmp_path / "out")) for each in check.argv]
    tree = CASES / check.case

    if "bogus" in argv:
        assert cos(*argv, cwd=tree).returncode == 2
        return
    done = cos(*argv, "--rebuild", cwd=tree)

    assert done.returncode == 0, done.stderr
    found = [
        fault
        for name in check.artifacts
        for fault in differences(check, name, tmp_path / "out" / name)
    ]
    assert found == []
    if check.written:
        assert sorted(each.name for each in (tmp_path / "out").iterdir()) == sorted(check.written)
