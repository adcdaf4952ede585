"""What the `cos` command says and leaves with, whatever happens; options of all commands."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from compiler.cli.settings import Settings, take_settings
from compiler.errors import UsageError

TREE = "tests/data/conformance/13-diamond/tree"
CHECKOUT = Path(__file__).parent.parent.parent


def cos(
    *arguments: str | Path, cwd: Path = CHECKOUT, **env: str
) -> "subprocess.CompletedProcess[str]":
    """Run the real command."""
    return subprocess.run(
        [sys.executable, "-m", "compiler", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def taken(*arguments: str, **environ: str) -> tuple[Settings, list[str]]:
    return take_settings(arguments, environ)


def refused(*arguments: str, **environ: str) -> str:
    with pytest.raises(UsageError) as caught:
        take_settings(arguments, environ)
    return str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--store", "/s", "build", "a/b"),
        ("build", "--store", "/s", "a/b"),
        ("build", "a/b", "--store=/s"),
    ],
)
def test_options_of_all_commands_stand_anywhere(arguments: Sequence[str]) -> None:
    settings, rest = taken(*arguments)

    assert settings.store == Path("/s")
    assert rest == ["build", "a/b"]


def test_what_follows_two_dashes_is_not_an_option() -> None:
    settings, rest = taken("build", "--", "--debug", "--store")

    assert not settings.debug
    assert rest == ["build", "--", "--debug", "--store"]


def test_options_that_only_luet_knows_are_taken_out_with_their_values() -> None:
    _, rest = taken("--no-spinner", "--config", "luet.yaml", "build", "--color=false",
                    "--system-dbpath=/x", "--all", "--solver-type", "qlearning")  # fmt: skip

    assert rest == ["build", "--all"]


def test_the_command_line_goes_before_the_environment() -> None:
    settings, _ = taken("--store", "/given", COS_STORE="/environment")

    assert settings.store == Path("/given")
    assert taken(COS_STORE="/environment")[0].store == Path("/environment")
    assert taken(COS_STORE="")[0].store is None


def test_a_switch_can_be_turned_off() -> None:
    assert not taken("--live-output=false")[0].output
    assert taken("--live-output=true")[0].output
    assert taken("--live-output")[0].output


def test_the_values_files_of_the_environment_are_a_list() -> None:
    assert taken(LUET_VALUES="a.yaml b.yaml")[0].values == (Path("a.yaml"), Path("b.yaml"))


def test_the_concurrency_is_that_of_the_machine_unless_given() -> None:
    assert taken("--concurrency", "7")[0].concurrency == 7
    assert taken()[0].concurrency == len(os.sched_getaffinity(0))
    assert taken("--concurrency=0")[0].concurrency == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "1e9", "9" * 50, "\u0663"])
def test_a_number_that_is_none_is_refused(text: str) -> None:
    assert refused("--concurrency", text) == (f"--concurrency is a whole number, not {text[:40]!r}")
    assert refused(SOURCE_DATE_EPOCH=text) == (
        f"SOURCE_DATE_EPOCH is a whole number, not {text[:40]!r}"
    )


def test_an_option_without_its_value_is_refused() -> None:
    assert refused("build", "--store") == "option --store needs a value"


def test_a_log_format_is_text_or_json() -> None:
    assert refused("--log-format", "xml") == "--log-format is text or json, not 'xml'"


def test_help_and_version_are_results() -> None:
    for arguments in ([], ["--help"], ["-h"], ["help"]):
        done = cos(*arguments)
        assert done.returncode == 0
        assert done.stdout.startswith("Usage: cos [OPTIONS] COMMAND")
        assert done.stderr == ""
    assert cos("--version").stdout.startswith("cos ")


def test_an_unknown_command_is_wrong_usage() -> None:
    assert wrong("biuld") == (2, "error: unknown command 'biuld' (did you mean 'build'?)\n")
    assert wrong("xyz") == (2, "error: unknown command 'xyz' (`cos --help` lists the commands)\n")


def wrong(*arguments: str | Path) -> tuple[int, str]:
    done = cos(*arguments)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_an_unknown_option_is_wrong_usage() -> None:
    code, said = wrong("build", "--wrong")

    assert code == 2
    assert "--wrong" in said
    assert "Traceback" not in said


def test_an_error_of_the_input_is_one_line_and_code_1(tmp_path: Path) -> None:
    store = tmp_path / "store"

    assert wrong("plan", "--tree", TREE, "nothing/like-it", "--store", store) == (
        1, "error: there is no package 'nothing/like-it' in the tree\n")  # fmt: skip


def test_a_store_that_cannot_be_is_code_3(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    code, said = wrong("build", "--tree", TREE, "--all", "--store", tmp_path / "file" / "store")

    assert code == 3
    assert said == f"error: {tmp_path}/file/store/index.json: not a directory\n"


def test_of_several_errors_the_highest_code_counts(tmp_path: Path) -> None:
    code, said = wrong("plan", "--tree", TREE, "no/a", "no/b", "--store", tmp_path / "store")

    assert (code, len(said.splitlines())) == (1, 2)


def test_debug_shows_where_an_error_came_from_and_keeps_the_code() -> None:
    for switch in ("--debug", "-d"):
        done = cos(switch, "biuld")
        assert done.returncode == 2
        assert "Traceback" in done.stderr
        assert "error: unknown command 'biuld'" in done.stderr.splitlines()[-1]


def test_a_reader_that_leaves_early_is_no_error() -> None:
    argv = f"{sys.executable} -m compiler tree pkglist --tree {TREE} | true"
    shell = ["bash", "-o", "pipefail", "-c", argv]
    done = subprocess.run(shell, cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_results_that_cannot_be_written_are_code_3() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "compiler", "tree", "pkglist", "--tree", TREE],
            cwd=CHECKOUT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (3, "error: No space left on device\n")


def test_a_command_without_standard_output_ends_without_a_traceback() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m compiler tree pkglist --tree {TREE} >&-"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_name_that_is_not_text_can_be_told(tmp_path: Path) -> None:
    name = os.fsdecode(b"tr\xffee")
    (tmp_path / name / "p").mkdir(parents=True)
    (tmp_path / name / "p" / "definition.yaml").write_text("name: [")

    code, said = wrong("tree", "pkglist", "--tree", tmp_path / name)

    assert code == 1
    assert "Traceback" not in said
    assert "this is a fault of cos" not in said


@pytest.mark.parametrize("home", ["C", "POSIX", "en_US.UTF-8"])
def test_the_language_of_the_machine_does_not_matter(tmp_path: Path, home: str) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "definition.yaml").write_text(
        "name: ünï\ncategory: t\nversion: '1'\n", encoding="utf-8"
    )

    done = cos("tree", "pkglist", "--tree", tmp_path, LC_ALL=home, PYTHONUTF8="0")

    assert done.returncode == 0, done.stderr


def test_errors_are_json_where_events_are() -> None:
    done = cos("nope", "--log-format=json")

    assert done.returncode == 2
    assert json.loads(done.stderr) == {
        "event": "Error",
        "message": "unknown command 'nope' (`cos --help` lists the commands)",
        "location": "",
    }


def test_a_program_with_the_name_of_a_command_is_that_command(tmp_path: Path) -> None:
    program = tmp_path / "luet-greet"
    program.write_text('#!/bin/sh\necho hello "$@"\nexit 7\n')
    program.chmod(0o755)

    done = cos("greet", "--debug", "you", cwd=tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")

    assert (done.returncode, done.stdout, done.stderr) == (7, "hello --debug you\n", "")


def test_the_help_loads_none_of_the_commands() -> None:
    code = (
        "import sys; sys.argv = ['cos', '--help']\nfrom compiler.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if m.startswith(('typer', 'pydantic', 'compiler.sys'))])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == "[]"


def test_brackets_in_help_are_shown(tmp_path: Path) -> None:
    done = cos("create-repo", "--help", cwd=tmp_path, COLUMNS="100")

    assert done.returncode == 0
    assert "Name under which this state is kept; [the time]." in done.stdout


def test_brackets_in_the_help_of_commands_below_a_command_are_shown(tmp_path: Path) -> None:
    done = cos("util", "unpack", "--help", cwd=tmp_path, COLUMNS="100")

    assert "OS/ARCHITECTURE; [this machine's]." in done.stdout
