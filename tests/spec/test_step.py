import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import Faults, Location, SpecError
from compiler.spec.dockerfile import Stage, base_image, parse_dockerfile
from compiler.spec.instruction import (
    CopyIn,
    Exec,
    Instruction,
    Mount,
    Noted,
    SetEnv,
    SetShell,
    Shell,
    User,
    Workdir,
)
from compiler.spec.step import parse_env, parse_env_entry, parse_run
from compiler.spec.words import expand, split

CACHE = Mount("cache", "/var/cache")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("make", (Shell("make"),)),
        ("a && \\\n  # why\n\n  b\n", (Shell("a &&   b"),)),
        ('["a", "b c"]', (Exec(("a", "b c")),)),
        ("[ -f x ] && y", (Shell("[ -f x ] && y"),)),
        ("--mount=type=cache,target=/var/cache --network=none make",
         (Shell("make", (CACHE,), "none"),)),
        ("--mount=type=tmpfs,dst=/t,size=1m x",
         (Shell("x", (Mount("tmpfs", "/t", {"size": "1m"}),)),)),
        ("cat > /x <<EOF\nENV no\n\n# in\nEOF", (Shell("cat > /x <<EOF\nENV no\n\n# in\nEOF\n"),)),
        ("<<EOF\na\nb\nEOF", (Shell("a\nb\n"),)),
        ("<<-'E'\n\ta\n\tE", (Shell("a\n"),)),
        ("echo $((1<<n))", (Shell("echo $((1<<n))"),)),
        ("a\nENV X=1\nCOPY --from=q f g /d\nWORKDIR /x\nUSER u\nLABEL a=b",
         (Shell("a"), SetEnv((("X", "1"),)), CopyIn(("f", "g"), "/d", "q"), Workdir("/x"),
          User("u"), Noted("LABEL", "a=b"))),
        ('SHELL ["/bin/bash", "-c"]', (Shell('SHELL ["/bin/bash", "-c"]'),)),
        ('a\nSHELL ["/bin/bash", "-c"]', (Shell("a"), SetShell(("/bin/bash", "-c")))),
    ],
)  # fmt: skip
def test_a_step_is_read_as_docker_reads_it(text: str, expected: tuple[Instruction, ...]) -> None:
    assert parse_run(text) == expected


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("l1\nl2\n", "set -e\nl1\nl2"),
        ("if a; then\n\n  # why\n  b\nfi", "set -e\nif a; then\n\n  # why\n  b\nfi"),
        ("echo 'a\n\n b'\nenv X=1 make", "set -e\necho 'a\n\n b'\nenv X=1 make"),
        ("a \\\n  b\nc", "set -e\na \\\n  b\nc"),
        ("cat <<E\nx\nE\ny", "set -e\ncat <<E\nx\nE\ny"),
    ],
)
def test_lines_that_docker_would_refuse_are_one_script_as_written(text: str, script: str) -> None:
    assert parse_run(text) == (Shell(script),)


def test_instructions_in_capitals_end_a_script() -> None:
    assert parse_run("--mount=type=cache,target=/var/cache a\nb\nUSER u\nRUN c\nd") == (
        Shell("set -e\na\nb", (CACHE,)),
        User("u"),
        Shell("set -e\nc\nd"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--mount=type=disk,target=/x a",
         "f:1:2: unknown kind of mount 'disk' (cache, tmpfs, bind, secret or ssh)"),
        ("--privileged a", "f:1:2: unknown flag '--privileged'"),
        ("--network=none", "f:1:2: RUN without a command"),
        ("a\nCOPY x", "f:1:2: COPY needs a source and a destination"),
        ("a\nSHELL bash", 'f:1:2: SHELL needs a list (write SHELL ["/bin/bash", "-c"])'),
    ],
)  # fmt: skip
def test_a_step_that_makes_no_sense_says_why(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_run(text, location=Location("f", 1, 2))

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('K=V K2="a b"', {"K": "V", "K2": "a b"}),
        ("K some words", {"K": "some words"}),
        ("PATH=$PATH:/x", {"PATH": "/bin:/x"}),
        ("A=with  space", {"A": "with space"}),
        (r"A='$PATH' B=a\ b C=\$PATH", {"A": "$PATH", "B": "a b", "C": "$PATH"}),
        ("A=", {"A": ""}),
        ("A=x=y", {"A": "x=y"}),
    ],
)
def test_an_environment_entry_has_dockers_quotes(text: str, values: dict[str, str]) -> None:
    assert {name: expand(word, {"PATH": "/bin"}) for name, word in parse_env(text)} == values


def test_an_environment_entry_may_hold_more_instructions() -> None:
    assert parse_env_entry("A=b\nUSER u") == (SetEnv((("A", "b"),)), User("u"))


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("$A", "1"), ("${A}2", "12"), ("$B-", "-"), ("${B:-x$A}", "x1"), ("${E:-x}", "x"),
        ("${E-x}", ""), ("${A:+y}", "y"), ("${E:+y}", ""), ("${E+y}", "y"), ("${B:-${C:-z}}", "z"),
        ("'$A'", "$A"), ('"$A \\$ \\x"', "1 $ \\x"), ("a$", "a$"), ("$-x", "$-x"),
    ],
)  # fmt: skip
def test_variables_are_put_in_as_docker_does(word: str, expanded: str) -> None:
    assert expand(word, {"A": "1", "E": ""}) == expanded


@pytest.mark.parametrize("word", ["${A", "${A%x}", "${B:?gone}"])
def test_a_variable_that_cannot_be_expanded_is_a_fault(word: str) -> None:
    with pytest.raises(SpecError):
        expand(word, {"A": "1"})


@given(st.text(alphabet="aA=$\\{}'\":-+ \n<#[]EUNR", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_run(text)
        for word in split(text):
            expand(word, {"A": "1"})
    except SpecError:
        pass


def test_a_dockerfile_has_stages_with_their_lines() -> None:
    text = 'ARG V=1\nFROM a:$V AS one\nRUN x\n\n# c\nFROM one\nCOPY --from=one /f /f\nCMD ["x"]\n'

    stages = parse_dockerfile(text, "Dockerfile")

    assert stages == (
        Stage("a:1", "one", ((3, Shell("x")),)),
        Stage("one", "", ((7, CopyIn(("/f",), "/f", "one")), (8, Noted("CMD", '["x"]')))),
    )
    assert base_image(stages) == "a:1"


def test_all_faults_of_a_dockerfile_are_told() -> None:
    with pytest.raises(Faults) as caught:
        parse_dockerfile("RUN x\nFROM a b\nFRM x\n", "Dockerfile")

    assert [str(each).partition(" (known")[0] for each in caught.value.exceptions] == [
        "Dockerfile:1:1: stands before the first FROM",
        "Dockerfile:2:1: cannot read 'FROM a b' (write FROM image [AS name])",
        "Dockerfile:3:1: unknown instruction 'FRM'",
    ]
