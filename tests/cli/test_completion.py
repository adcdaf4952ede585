"""What shells complete, as bash itself does it."""

import re
import subprocess
from pathlib import Path

import pytest

from compiler.cli import COMMANDS, main


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(["completion", *words])
    assert left.value.code == 0
    return capsys.readouterr().out


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "cos.bash"
    path.write_text(printed(capsys, "bash"))
    return path


def completed(script: Path, *words: str) -> list[str]:
    """Let bash complete the last of some words."""
    quoted = " ".join(f"'{word}'" for word in words)
    code = (
        f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _cos; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-uc", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_commands_are_completed(script: Path) -> None:
    assert completed(script, "cos", "re") == [
        "reclaim", "registry", "reinstall", "replace", "repo",
    ]  # fmt: skip
    assert {*COMMANDS} < {*completed(script, "cos", "")}


def test_commands_below_commands_are_completed(script: Path) -> None:
    assert completed(script, "cos", "registry", "") == ["check", "gc", "--help"]
    assert completed(script, "cos", "--store", "x", "repo", "init") == ["init-trust"]


def test_options_are_those_of_the_command(script: Path) -> None:
    assert completed(script, "cos", "registry", "gc", "a/b", "--k") == ["--keep"]
    assert completed(script, "cos", "i", "--only") == ["--onlydeps"]


def test_zsh_reads_the_same_through_its_bash_layer(
    script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, "zsh").splitlines(keepends=True)

    assert lines[0] == "#compdef cos\n"
    assert "".join(lines[2:]) == script.read_text()


def test_fish_is_told_the_same_words_in_its_own_language(
    script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, bash = printed(capsys, "fish"), script.read_text()
    steps = re.findall(r"case '(.+)'\n +set path '(.+)'\n", text)
    words = re.findall(r"case '(.+)'\n +printf '%s\\n' (.+)\n", text)

    assert steps == re.findall(r'^ +"(.+)"\) path="(.+)" ;;$', bash, re.MULTILINE)
    assert words == re.findall(r'^ +"(.+)"\) wanted="(.+)" ;;$', bash, re.MULTILINE)
    assert {*COMMANDS} < {*dict(words)["cos"].split()}
    assert text.endswith("complete -c cos -n __cos_fits -f -a '(__cos_words)'\n")


def test_other_shells_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["completion", "tcsh"])

    assert left.value.code == 2
    assert capsys.readouterr().err == (
        "error: there is no completion for 'tcsh' (bash, zsh and fish have one)\n"
    )
