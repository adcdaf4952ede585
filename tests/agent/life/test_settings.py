"""Where settings come from, which of them wins, and that the docs know them."""

import argparse
import re
from pathlib import Path

import pytest

from compiler.agent.assignments import FILES
from compiler.agent.life.cli import describe
from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.life.settings import ALIASES, KNOWN, Settings, gather

DOCS = (Path(__file__).resolve().parents[3] / "docs/agent.md").read_text(encoding="utf-8")
LIFE = ("install", "upgrade", "reset", "deploy", "rebrand", "feature", "status", "suc-upgrade")


def test_flags_win_over_the_environment_and_that_over_files_and_those_over_what_is_built_in() -> (
    None
):
    files = {"/etc/cos/config": "VERIFY=no\nUPGRADE_IMAGE=a/b\nRECOVERY_IMAGE=c/d\n"}

    found = gather(
        files, {"UPGRADE_IMAGE": "e/f", "RECOVERY_IMAGE": "g/h"}, {"RECOVERY_IMAGE": "i/j"}
    )

    assert found.text("CHANNEL_UPGRADES") == "true"
    assert found.text("VERIFY") == "no"
    assert found.text("UPGRADE_IMAGE") == "e/f"
    assert found.text("RECOVERY_IMAGE") == "i/j"


def test_later_files_win() -> None:
    files = dict.fromkeys(FILES, "")
    files |= {"/etc/os-release": "GRUB_ENTRY_NAME=One", "/etc/cos/config": "GRUB_ENTRY_NAME='Two'"}

    assert gather(files, {}, {}).text("GRUB_ENTRY_NAME") == "Two"


@pytest.mark.parametrize(
    ("line", "value"),
    [("VERIFY=false", "false"), ('VERIFY="false"', "false"), ("export VERIFY='false'", "false"),
     ("  VERIFY=false # why", "false"), ("VERIFY=", ""), ('VERIFY="a b"', "a b")],
)  # fmt: skip
def test_files_are_read_as_a_shell_would(line: str, value: str) -> None:
    assert gather({"/etc/cos/config": f"# first\n\n{line}\n"}, {}, {}).text("VERIFY") == value


@pytest.mark.parametrize("line", ["touch /tmp/x", "VERIFY=$(id) more", "if true", "VERIFY='open"])
def test_what_is_no_assignment_is_noted_with_its_line_and_never_run(line: str) -> None:
    found = gather({"/etc/cos/config": f"STRICT=yes\n{line}\n"}, {}, {})

    assert found.doubts == ("/etc/cos/config:2: is no assignment, and has no effect",)
    assert found.flag("STRICT")
    assert found.text("VERIFY") == "true"


def test_a_command_in_a_value_stays_text() -> None:
    assert gather({"/etc/cos/config": "IMAGE=$(id)"}, {}, {}).text("IMAGE") == "$(id)"


@pytest.mark.parametrize(("other", "name"), sorted(ALIASES.items()))
def test_other_names_of_settings_are_read(other: str, name: str) -> None:
    assert gather({}, {other: "value"}, {}).text(name) == "value"


def test_variables_that_are_no_settings_are_left_alone() -> None:
    assert "HOME" not in gather({"/etc/os-release": "HOME=x"}, {"PATH": "x"}, {}).values


def test_yes_and_no_have_several_words_and_others_are_refused() -> None:
    words = {"true": True, "YES": True, "1": True, "false": False, "no": False, "": False}
    assert {word: Settings({"STRICT": word}).flag("STRICT") for word in words} == words

    with pytest.raises(LifeError) as caught:
        Settings({"STRICT": "perhaps"}).flag("STRICT")
    assert (caught.value.phase, str(caught.value)) == (
        Phase.CONFIG, "STRICT is true or false, not 'perhaps'",
    )  # fmt: skip


def test_a_number_is_one() -> None:
    assert Settings({"CACHE_SIZE": "12"}).number("CACHE_SIZE") == 12
    assert Settings({}).number("CACHE_SIZE") == 0
    with pytest.raises(LifeError, match="CACHE_SIZE is a number, not '-1'"):
        Settings({"CACHE_SIZE": "-1"}).number("CACHE_SIZE")


@pytest.mark.parametrize("command", LIFE)
def test_the_docs_name_every_flag(command: str) -> None:
    parser = argparse.ArgumentParser()
    describe(command, parser)
    flags = {word for action in parser._actions for word in action.option_strings}

    known = {each for each in flags if re.search(rf"`[^`\n]*(?<![\w-]){each}(?![\w-])", DOCS)}
    assert flags - known - {"-h", "--help"} == set()


def test_the_docs_name_every_setting() -> None:
    assert {name for name in KNOWN if f"`{name}`" not in DOCS} == set()
