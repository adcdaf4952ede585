"""Every recorded behaviour of the executor, on a scratch root."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from compiler.agent.cloudconfig.datasource.userdata import cloud_config_part
from compiler.agent.cloudconfig.disks.probe import device_path
from compiler.agent.cloudconfig.disks.table import Entry, parse_table, partition_node
from compiler.agent.cloudconfig.load import Loaded, load
from compiler.agent.cloudconfig.model import Config, File, Step
from compiler.agent.cloudconfig.order import layers, operations, ordered
from compiler.agent.cloudconfig.source import Source, is_url
from compiler.agent.cloudconfig.written import written
from tests.agent.scratch import (
    Scratch,
    add_program,
    calls,
    changes,
    make_root,
    matches,
    put,
    snapshot,
)
from tests.agent.servers import image, layer, serving

pytestmark = pytest.mark.container  # chroot, and files of other owners

DATA = Path(__file__).parents[2] / "data" / "cloud-config-cases.json"
CASES: list[dict[str, Any]] = json.loads(DATA.read_text())["cases"]
BY_ID = {case["id"]: case for case in CASES}
NEWEST = "newest"
MIB = 1 << 20


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(make_root(tmp_path / "root"))


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """What stands in the cases for servers that they need."""
    repository = tmp_path / "repository"
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", "-b", "master", str(repository)], check=True)
    (repository / "unittest.txt").write_text("test")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    answers = {"/unittest.txt": b"test", **image("base:latest", layer({"usr/bin/luet": b"x"}))}
    with serving(answers) as server:
        host = server.address.removeprefix("http://")
        yield {"HOST": host, "REGISTRY": host, "URL": f"file://{repository}"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["id"]))
def test_the_executor_behaves_as_recorded(
    case: dict[str, Any], scratch: Scratch, places: Mapping[str, str]
) -> None:
    _prepare(case, scratch, places)
    expected = case["expected"]

    check = next((check for key, check in CHECKS.items() if key in expected), None)
    if check is not None and key_is_special(expected):
        check(case, scratch)
        return

    before = snapshot(scratch.folder)
    ok = _run(case, scratch)
    changed = changes(before, snapshot(scratch.folder))

    assert expected.get("exit_zero", ok) == ok, scratch.said
    _check_changes(case, changed, scratch)
    _check_programs(case, scratch)
    assert any(expected.get("log_contains", "") in line for line in scratch.said or [""])
    assert all((scratch.folder / each.lstrip("/")).exists() for each in expected.get("exists", ()))


def key_is_special(expected: Mapping[str, Any]) -> bool:
    return not {"changed", "partitions", "exists", "passwd_uids"} & expected.keys()


def _prepare(case: dict[str, Any], scratch: Scratch, places: Mapping[str, str]) -> None:
    for path, entry in case["initial"].items():
        if "block_device_like_file" in entry:
            _make_disk(scratch.folder / path.lstrip("/"), 1024 * MIB)
        else:
            put(scratch.folder, path, entry)
    for path, text in case["input"].get("config_files", {}).items():
        put(scratch.folder, path, {"content": _filled(text, places)})
    if "some/device" in case.get("note", ""):
        _make_reference_disk(scratch.folder)
    scratch.stdin = case["input"].get("stdin", "").encode()


def _filled(text: str, places: Mapping[str, str]) -> str:
    return re.sub(r"\b(?:HOST|REGISTRY|URL)\b", lambda match: places[match[0]], text)


def _run(case: dict[str, Any], scratch: Scratch) -> bool:
    given = case["input"]
    stages = given["stage"] if isinstance(given["stage"], list) else [given["stage"]]
    names = ["default" if each == "(default)" else each for each in stages]
    if not given["args"]:
        return _agent("run-stage", *names, "--root", str(scratch.folder)) == 0
    dots = given.get("flags") == "-d"
    results = [scratch.run(each, *given["args"], dots=dots) for each in names]
    return all(results)


def _agent(*words: str) -> int:
    argv = [sys.executable, "-m", "compiler.agent", *words]
    return subprocess.run(argv, check=False, capture_output=True).returncode


def _check_changes(case: dict[str, Any], changed: dict[str, Any], scratch: Scratch) -> None:
    wanted = case["expected"].get("changed")
    if wanted is None:
        return
    exact = NEWEST not in case["evidence"] or not wanted
    if exact:
        assert sorted(changed) == sorted(wanted), scratch.said
    for path, entry in wanted.items():
        got = changed[path]
        for key, value in entry.items():
            if key == "line_foo_password":
                assert got["content"].split(":")[1] == value
            elif key == "line_foo_keeps":
                assert value in got["content"]
            elif key == "content":
                assert matches(value, got["content"]), got["content"]
            else:
                assert got[key] == value, (path, key)


def _check_programs(case: dict[str, Any], scratch: Scratch) -> None:
    expected = case["expected"]
    if "partitions" in expected:
        _check_partitions(case, scratch)
    elif "some/device" in case.get("note", ""):
        _check_reference_disk(case, scratch)
    elif "external_calls" in expected:
        assert calls(scratch.folder) == expected["external_calls"], scratch.said
    if "passwd_uids" in expected:
        rows = [line.split(":") for line in scratch.text("/etc/passwd").splitlines()]
        assert {row[0]: int(row[2]) for row in rows if row[0] != "root"} == expected["passwd_uids"]
    if "error_contains" in expected:
        assert expected["error_contains"] in "".join(scratch.errors())


# Disks


def _make_disk(path: Path, size: int, *flags: str) -> None:
    with path.open("wb") as file:
        file.truncate(size)
    subprocess.run(["sgdisk", "-o", *flags, str(path)], check=True, capture_output=True)


def _make_reference_disk(folder: Path) -> None:
    """A disk with four partitions that has grown by some space since it was partitioned."""
    disk = folder / "some" / "device"
    disk.parent.mkdir()
    flags = [f"-n={n}:{2048 * n}:{2048 * n + 2047}" for n in (1, 2, 3)]
    flags += ["-n=4:178176:4372479", "-c=4:root", "-t=4:8300"]
    _make_disk(disk, (4372480 + 34) * 512, *flags)
    with disk.open("r+b") as file:
        file.truncate((4372480 + 2097152 + 33) * 512)
    (folder / "some/part").touch()
    add_program(
        folder, "blkid", 'case "$*" in *LABEL=reflabel*) echo /some/part ;; *) exit 2; esac'
    )
    add_program(folder, "lsblk", "echo /some/device")


def _entries(disk: Path) -> tuple[Entry, ...]:
    shown = subprocess.run(["sgdisk", "-p", str(disk)], check=True, capture_output=True, text=True)
    return parse_table(shown.stdout).entries


def _label(disk: Path, first: int) -> str:
    """Read the label of an ext file system that begins at a sector; nothing if there is none."""
    with disk.open("rb") as file:
        file.seek(first * 512 + 1024)
        block = file.read(1024)
    return block[120:136].rstrip(b"\0").decode() if block[56:58] == b"\x53\xef" else ""


def _check_partitions(case: dict[str, Any], scratch: Scratch) -> None:
    disk = scratch.folder / "test.img"
    entries = _entries(disk)
    wanted = case["expected"]["partitions"]
    assert [each.name for each in entries] == [each["name"] for each in wanted]
    for entry, each in zip(entries, wanted, strict=True):
        assert abs((entry.last - entry.first + 1) // 2048 - each["size_mib"]) <= 2
    made = [line.split()[2] for line in case["expected"].get("external_calls", ())]
    assert _label(disk, entries[0].first) == "".join(made)


def _check_reference_disk(case: dict[str, Any], scratch: Scratch) -> None:
    disk = scratch.folder / "some/device"
    entries = _entries(disk)
    if not case["expected"]["exit_zero"]:
        assert len(entries) == 4
        return
    assert (entries[4].number, entries[4].code) == (5, "8300")
    assert entries[4].last - entries[4].first + 1 == 2097152
    assert _label(disk, entries[4].first) == "MYLABEL"


# What is asked of functions rather than of a run


def _check_device(case: dict[str, Any], scratch: Scratch) -> None:
    args = case["input"]["args"]
    if "config_files" not in case["input"]:
        assert partition_node(args[0], int(args[1])) == case["expected"]["device"]
        return
    device = _loaded(scratch).config.stages["test"][0].layout.device
    assert device is not None
    assert device_path(device.path, scratch.machine) == case["expected"]["device"]
    assert not scratch.run("test", "/cfg.yaml")
    assert case["expected"]["device"] in scratch.errors()[0]


def _loaded(scratch: Scratch) -> Loaded:
    return load(Source("/cfg.yaml", scratch.text("/cfg.yaml")))


def _check_part(case: dict[str, Any], _scratch: Scratch) -> None:
    parts = (("cloud-config", case["expected"]["result"]), ("x-shellscript", "#!/bin/sh\n"))
    body = "".join(f"--B\nContent-Type: text/{kind}\n\n{text}\n" for kind, text in parts)
    mail = f'Content-Type: multipart/mixed; boundary="B"\nMIME-Version: 1.0\n\n{body}--B--\n'
    assert cloud_config_part(mail.encode()).decode() == case["expected"]["result"]
    assert cloud_config_part(b"plain") == b"plain"


def _check_model(case: dict[str, Any], scratch: Scratch) -> None:
    stages = _loaded(scratch).config.stages
    for path, wanted in case["expected"].items():
        if path == "stages":
            assert sorted(stages) == wanted
        else:
            value = _at(stages, path)
            assert (f"{value:04o}" if path.endswith("permissions") else _plain(value)) == wanted


def _at(value: object, path: str) -> object:
    for step in re.findall(r"[^.\[\]]+", path):
        if step.isdigit():
            value = value[int(step)] if isinstance(value, tuple) else None
        else:
            value = value[step] if isinstance(value, dict) else getattr(value, step)
    return value


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _check_round_trip(_case: dict[str, Any], _scratch: Scratch) -> None:
    for content in ("", " a: b\n", "no", "0644", "tab\t\n\n", "…\x85\u2028\x7f\ud7ff", "'\"#"):
        config = Config("n", {"s": (Step(files=(File(path="/f", content=content),)),)})
        assert load(Source("again", written(config))).config == config


def _check_layers(case: dict[str, Any], _scratch: Scratch) -> None:
    text = BY_ID["steps-sequence"]["input"]["config_files"]["/cfg.yaml"]
    order = ordered(operations([load(Source("/cfg.yaml", text))], "test"))
    assert len(layers(order, "test")) == case["expected"]["layers"]


def _check_order(case: dict[str, Any], _scratch: Scratch) -> None:
    files = BY_ID["stage-three-calls-two-files"]["input"]["config_files"]
    configs = [load(Source(path, text)) for path, text in files.items()]
    order = ordered(operations(configs, "rootfs"))
    assert [each.name for each in order.operations] == case["expected"]["order"]


def _check_urls(case: dict[str, Any], _scratch: Scratch) -> None:
    assert {each: is_url(each) for each in case["expected"]} == case["expected"]


CHECKS: Mapping[str, Callable[[dict[str, Any], Scratch], None]] = {
    "device": _check_device,
    "result": _check_part,
    "boot[0].authorized_keys": _check_model,
    "same": _check_round_trip,
    "layers": _check_layers,
    "order": _check_order,
    "https://foo.bar": _check_urls,
}
