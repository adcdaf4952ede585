"""The command lines: words, exit codes, streams, and the time to start."""

import json
import os
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

import jsonschema
import pytest
import yaml

from compiler.agent.cloudconfig import model
from compiler.agent.cloudconfig.model import Step
from compiler.agent.cloudconfig.reader import keys_of
from compiler.agent.cloudconfig.schema import schema
from compiler.agent.cloudconfig.stage import PLUGINS
from compiler.errors import ExitCode

CHECKOUT = Path(__file__).parents[2]
GOOD = "stages:\n  t:\n  - name: one\n    sysctl: {a.b: '1'}\n"
BAD = "stages:\n  t:\n  - files: x\n"
UNKNOWN = "stages:\n  t:\n  - systctl: {a: b}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "proc/sys/a").mkdir(parents=True)
    return folder


def call(
    *words: str, stdin: str = "", name: str = "cos-agent"
) -> "subprocess.CompletedProcess[str]":
    """Call the program by a name."""
    start = "import sys; from compiler.agent.cli import main; sys.argv[0] = sys.argv.pop(1); main()"
    argv = [sys.executable, "-c", start, f"/usr/bin/{name}", *words]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, env=env)


def test_a_stage_of_files_runs_below_a_root(root: Path) -> None:
    (root / "f.yaml").write_text(GOOD)

    done = call("run-stage", "t", "--root", str(root), "/f.yaml")

    assert (done.returncode, done.stdout) == (ExitCode.DONE, "")
    assert done.stderr == "/f.yaml.one: runs\n"
    assert (root / "proc/sys/a/b").read_text() == "1"


def test_files_beside_the_root_and_flags_in_any_order(root: Path, tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(GOOD)

    done = call("run-stage", "--root", str(root), "t", str(tmp_path / "f.yaml"))

    assert done.returncode == ExitCode.DONE
    assert (root / "proc/sys/a/b").read_text() == "1"


def test_text_and_standard_input_are_configurations_too(root: Path) -> None:
    assert call("run-stage", "t", "--root", str(root), GOOD).returncode == ExitCode.DONE
    assert (root / "proc/sys/a/b").read_text() == "1"

    text = GOOD.replace("'1'", "'2'")
    assert call("run-stage", "t", "--root", str(root), "-", stdin=text).returncode == ExitCode.DONE
    assert (root / "proc/sys/a/b").read_text() == "2"


def test_a_broken_file_is_told_and_stops_nothing_else(root: Path) -> None:
    (root / "d").mkdir()
    (root / "d/1.yaml").write_text(BAD)
    (root / "d/2.yaml").write_bytes(b"a\n\xff\n")
    (root / "d/3.yaml").write_text(GOOD)

    done = call("run-stage", "t", "--root", str(root), "/d")

    assert done.returncode == ExitCode.FAILED
    assert done.stderr == (
        "error: /d/1.yaml:3:12: 'files' must be a list, not text\n"
        "error: /d/2.yaml:2: is not UTF-8 text\n"
        "/d/3.yaml.one: runs\n"
    )
    assert (root / "proc/sys/a/b").exists()


_SMALLER = "(what is large comes by `downloads`, or in files of its own)"


@pytest.mark.parametrize("command", [["validate"], ["run-stage", "t"]])
@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"", 0, []),
        (b"stages: [\n", 1, ["F:2:1: is not YAML: did not find expected node content while"]),
        (b"- a list\n", 1, ["F:1:1: the file must be a map, not a list"]),
        (b"\xff\xfe\x00", 1, ["F:1: is not UTF-8 text"]),
        (
            b"stages:\n  t:\n  - files:\n"
            b'    - path: /x\n      permissions: "0644"\n    commands: 7\n',
            1,
            [
                "F:5:20: 'permissions' must be a whole number, not text (write it without quotes)",
                "F:6:15: 'commands' must be a list, not a number",
            ],
        ),
        (
            b"stages:\n  t:\n  - commands:\n" + b"    - echo of a stage\n" * 2_400_000,
            1,
            [f"F: is larger than 16777216 bytes {_SMALLER}"],
        ),
    ],
    ids=["empty", "no YAML", "no map", "no text", "wrong types", "50 MB"],
)
def test_what_is_wrong_with_a_file_is_told_with_its_place(
    root: Path, command: list[str], content: bytes, code: int, said: list[str]
) -> None:
    (root / "f.yaml").write_bytes(content)

    done = call(*command, "--root", str(root), "/f.yaml")

    lines = [line.removeprefix("error: ") for line in done.stderr.splitlines()]
    assert (done.returncode, len(lines)) == (code, len(said)), done.stderr
    for line, start in zip(lines, said, strict=True):
        assert line.startswith(start.replace("F:", "/f.yaml:", 1))


def test_a_file_of_50_megabytes_is_an_error(root: Path) -> None:
    with (root / "f.yaml").open("wb") as file:
        file.truncate(50 << 20)

    done = call("run-stage", "t", "--root", str(root), "/f.yaml")

    assert done.returncode == ExitCode.FAILED
    assert done.stderr == f"error: /f.yaml: is larger than 16777216 bytes {_SMALLER}\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run-stage", "t"], 2,
         "error: nothing to run (name a file, a folder or an address, or -)\n"),
        (["run-stage", "t", "/none.yaml"], 1,
         "error: '/none.yaml' is no file, folder or address, and no configuration\n"),
        (["run-stage", "t", "a: [b"], 1,
         "error: argument:1:6: is not YAML: did not find expected ',' or ']' while parsing a flow "
         "sequence (check the indentation and the quotes of this line and the one before)\n"),
        (["run-stage", "t", "ftp://x/y"], 1, "error: ftp://x/y: only http and https are fetched\n"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_an_error(words: list[str], code: int, said: str, root: Path) -> None:
    done = call(*words, "--root", str(root))

    assert (done.returncode, done.stderr) == (code, said)


def test_unknown_commands_are_wrong_usage() -> None:
    assert call("dance").returncode == ExitCode.USAGE
    assert call().returncode == ExitCode.USAGE
    assert "run-stage" in call("--help").stdout


def test_yip_has_its_own_flags(root: Path) -> None:
    (root / "line").write_text("ro stages.t[0].sysctl.a=3 stages.default[0].name=x quiet")
    (root / "f.yaml").write_text(GOOD)

    first = call("-s", "t", "--root", str(root), "/f.yaml", name="yip")
    second = call("-d", "--root", str(root), "/line", name="yip")

    assert (first.returncode, first.stderr) == (ExitCode.DONE, "/f.yaml.one: runs\n")
    assert (second.returncode, second.stderr) == (ExitCode.DONE, "/line.x: runs\n")


def test_the_order_is_printed_and_nothing_runs(root: Path) -> None:
    (root / "f.yaml").write_text(f"name: cfg\n{GOOD}  - name: two\n")

    done = call("-a", "-s", "t", "--root", str(root), "/f.yaml", name="yip")

    assert done.stdout == "0. t\n1. cfg.one\n2. cfg.two\n"
    assert not (root / "proc/sys/a/b").exists()


def test_how_much_is_said_is_chosen_by_the_environment(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "f.yaml").write_text(UNKNOWN)
    monkeypatch.setenv("LOGLEVEL", "error")
    assert call("run-stage", "t", "--root", str(root), "/f.yaml").stderr == ""
    monkeypatch.setenv("LOGLEVEL", "debug")
    assert "unknown key 'systctl'" in call("run-stage", "t", "--root", str(root), "/f.yaml").stderr


def test_validating_says_what_has_no_effect_and_fails_for_faults(tmp_path: Path) -> None:
    (tmp_path / "unknown.yaml").write_text(UNKNOWN)
    (tmp_path / "bad.yaml").write_text(BAD)

    unknown = call("validate", str(tmp_path / "unknown.yaml"))
    bad = call("validate", str(tmp_path / "bad.yaml"))

    assert (unknown.returncode, bad.returncode) == (ExitCode.DONE, ExitCode.FAILED)
    assert unknown.stderr == (
        f"warning: {tmp_path}/unknown.yaml:3:5: unknown key 'systctl' is ignored "
        "(did you mean 'sysctl'?)\n"
    )
    assert bad.stderr == f"error: {tmp_path}/bad.yaml:3:12: 'files' must be a list, not text\n"


def test_any_notation_is_shown_as_yaml(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("#cloud-config\nhostname: me\nruncmd: [a]\n")

    shown = call("show", str(tmp_path / "f")).stdout

    assert yaml.safe_load(shown)["stages"] == {
        "boot": [{"commands": ["a"]}],
        "initramfs": [{"hostname": "me"}],
        "network": [{}],
    }


def test_the_schema_accepts_what_runs_and_refuses_what_does_not() -> None:
    printed = json.loads(call("schema").stdout)

    assert printed == schema()
    jsonschema.Draft202012Validator.check_schema(printed)
    jsonschema.validate(yaml.safe_load(GOOD), printed)
    jsonschema.validate(yaml.safe_load(UNKNOWN), printed)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(BAD), printed)


def test_every_key_of_a_step_is_a_condition_or_has_a_plugin() -> None:
    others = {"name", "after", "if", "node", "if_files", "only_os", "only_os_version", "only_arch",
              "only_service_manager", "environment_file"}  # fmt: skip

    assert set(keys_of(Step)) == others | set(PLUGINS)


def test_what_is_slow_to_load_is_loaded_when_it_is_needed() -> None:
    code = "import sys, compiler.agent.stages; print(*sorted(sys.modules))"
    argv = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True, env=env).stdout

    slow = {"gotpl", "pydantic", "urllib.request", "ssl", "email", "tarfile", "typer", "concurrent"}
    assert not slow & set(loaded.split())


def test_the_docs_name_every_key() -> None:
    text = (CHECKOUT / "docs/cloud-config.md").read_text()

    models = [Step, *(each for each in vars(model).values() if is_dataclass(each))]
    names = {name for each in models if isinstance(each, type) for name in keys_of(each)}
    assert [name for name in sorted(names) if name not in text] == []


def test_the_agent_needs_pyyaml_and_nothing_else(root: Path, tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    for each in (CHECKOUT / "compiler", *(Path(yaml.__file__).parents[1].glob("*yaml"))):
        (modules / each.name).symlink_to(each)
    (root / "f.yaml").write_text(GOOD + "    hostname: '{{ upper `x` }}'\n    timesyncd: {A: b}\n")
    argv = [sys.executable, "-S", "-m", "compiler.agent", "run-stage", "t", "--root", str(root)]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(modules)}

    done = subprocess.run(
        [*argv, "/f.yaml"], capture_output=True, text=True, check=False, env=env, cwd=tmp_path
    )

    assert done.stderr == (
        "/f.yaml.one: runs\n"
        "error: /f.yaml:3:5: step 'one': a template needs the Python package 'gotpl'\n"
        "error: /f.yaml:3:5: step 'one': /etc/systemd/timesyncd.conf: no such file or directory\n"
    )
    assert (root / "proc/sys/a/b").read_text() == "1"


def test_a_boot_goes_on_whatever_fails_and_only_a_strict_stage_says_so_to_its_caller(
    root: Path,
) -> None:
    (root / "oem").mkdir()
    (root / "oem/1.yaml").write_text(BAD)

    done = call("t", "--root", str(root), name="cos-setup")
    strict = call("t", "--strict", "--root", str(root), name="cos-setup")

    assert (done.returncode, strict.returncode) == (ExitCode.DONE, ExitCode.FAILED)
    assert done.stderr == strict.stderr
    assert "error: /oem/1.yaml:3:12: " in done.stderr


def test_a_level_that_there_is_not_is_told_and_info_counts(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "f.yaml").write_text(GOOD)
    monkeypatch.setenv("LOGLEVEL", "silly")

    said = call("run-stage", "t", "--root", str(root), "/f.yaml").stderr

    first, *more = said.splitlines()
    assert first == (
        "warning: LOGLEVEL=silly: there is no such level, so it is info "
        "(one of error, warning, info, debug)"
    )
    assert more


def test_what_is_said_in_vain_is_a_warning_of_validate(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("stages:\n  bot:\n  - if_files: {every: [/a]}\n")

    done = call("validate", str(tmp_path / "f.yaml"))

    assert done.returncode == ExitCode.DONE
    assert done.stderr == (
        f"warning: {tmp_path}/f.yaml:3:3: nothing runs a stage 'bot' by itself (did you mean "
        "'boot'?)\n"
        f"warning: {tmp_path}/f.yaml:3:23: unknown if_files check type 'every' (one of all, any, "
        "none)\n"
    )


def test_warnings_of_a_step_say_where_it_is(root: Path) -> None:
    text = (
        "stages:\n  t:\n  - name: one\n    if: /none/such\n  - files: [{path: /a, encoding: zip}]\n"
    )
    (root / "f.yaml").write_text(text)

    said = call("run-stage", "t", "--root", str(root), "/f.yaml").stderr

    assert (
        "warning: /f.yaml:3:5: step 'one': if: '/none/such' cannot be run, which counts as false"
    ) in said
    assert "warning: /f.yaml:5:5: /a: unknown encoding 'zip'" in said
