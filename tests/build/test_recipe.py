"""What the words of a package become: commands and copies, each with its surroundings."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.build.recipe import Interpreter, Recipe, Surroundings, recipe_of, stage_actions
from compiler.engine import CacheMount, CopyFiles, Network, Run
from compiler.errors import CompilerError, Location
from compiler.oci import Digest, Image, Platform
from compiler.spec.dockerfile import parse_dockerfile
from compiler.spec.package import PackageSpec
from tests.factories import package

OTHER = (Digest("sha256:" + "a" * 64),)
IMAGE = Image(  # noqa: S604  (a value, not the call of a shell)
    name="i",
    digest=Digest("sha256:" + "b" * 64),
    layers=(),
    env=(("PATH", "/image"), ("LANG", "C")),
    user="builder",
    shell=("/bin/bash", "-c"),
    platform=Platform("linux", "amd64"),
)


def origin(name: str) -> tuple[Digest, ...]:
    assert name == "other"
    return OTHER


AROUND = Surroundings(workspace=Path("/w"), origin=origin, epoch=7)


def recipe(
    spec: PackageSpec, *, below: Sequence[PackageSpec] = (), image: Image | None = None
) -> Recipe:
    return recipe_of(spec, below=below, image=image, copies=[], around=AROUND)


def runs(*steps: str, image: Image | None = None, **build: object) -> list[Run]:
    actions = recipe(package("p", (), steps=steps, **build), image=image).steps
    return [action for action in actions if isinstance(action, Run)]


def refused(*steps: str, **build: object) -> str:
    spec = replace(
        package("p", (), steps=steps, **build),
        places={
            "steps.0": Location("p/build.yaml", 5, 3),
            "steps": Location("p/build.yaml", 4, 1),
            "env.0": Location("p/build.yaml", 2, 3),
        },
    )
    with pytest.raises(CompilerError) as caught:
        recipe(spec)
    return str(caught.value)


def test_a_step_runs_in_a_shell_in_the_workspace() -> None:
    (run,) = runs("make install")

    assert run.argv == ("/bin/sh", "-c", "make install")
    assert (run.directory, run.user, run.network) == ("/luetbuild", "", None)
    assert dict(run.env) == {
        "SOURCE_DATE_EPOCH": "7",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PACKAGE_NAME": "p",
        "PACKAGE_VERSION": "1",
        "PACKAGE_CATEGORY": "t",
    }


def test_a_path_is_added_to_where_the_image_sets_none() -> None:
    (run,) = runs("true", env=("PATH=$PATH:/x",))

    assert dict(run.env)["PATH"].endswith(":/bin:/x")


def test_a_step_runs_with_what_the_image_says() -> None:
    (run,) = runs("true", image=IMAGE)

    assert run.argv == ("/bin/bash", "-c", "true")
    assert run.user == "builder"
    assert dict(run.env)["PATH"] == "/image"


def test_a_later_package_overrides_the_variables_of_those_below() -> None:
    below = [package("a", env=("A=1", "B=a")), package("b", env=("B=b$A", "PACKAGE_NAME=x"))]
    spec = package("p", env=("C=$B-$LANG",), steps=("true",))

    (run,) = recipe(spec, below=below, image=IMAGE).steps
    assert isinstance(run, Run)
    env = dict(run.env)

    assert {name: env[name] for name in ("A", "B", "C", "PACKAGE_NAME")} == {
        "A": "1", "B": "b1", "C": "b1-C", "PACKAGE_NAME": "p"}  # fmt: skip


def test_what_a_prelude_sets_holds_for_the_steps() -> None:
    made = recipe(package("p", prelude=("true\nENV A=1\nUSER u",), steps=("true",)))

    (before,), (after,) = made.builder, made.steps
    assert isinstance(before, Run)
    assert isinstance(after, Run)
    assert "A" not in dict(before.env)
    assert dict(after.env)["A"] == "1"
    assert after.user == "u"


def test_instructions_in_a_step_are_followed_like_those_of_a_dockerfile() -> None:
    first, second, third = runs(
        "true\nENV A=1 B=$A\nARG C=c\nWORKDIR /srv\nWORKDIR sub\nUSER 7:8\nRUN second\n"
        'SHELL ["/bin/ash", "-x"]\nRUN third'
    )

    assert first.directory == "/luetbuild"
    assert (second.directory, second.user) == ("/srv/sub", "7:8")
    assert {name: dict(second.env)[name] for name in "ABC"} == {"A": "1", "B": "", "C": "c"}
    assert third.argv == ("/bin/ash", "-x", "third")


def test_a_command_may_be_a_list_of_words() -> None:
    (run,) = runs('["/bin/x", "a b"]')

    assert run.argv == ("/bin/x", "a b")


def test_a_variable_is_not_put_into_a_script() -> None:
    (run,) = runs("echo $A ${B}", env=("A=1",))

    assert run.argv[-1] == "echo $A ${B}"


def test_a_cache_is_named_by_its_id_or_its_place() -> None:
    (run,) = runs(
        "--mount=type=cache,target=/var/cache --mount=type=cache,target=/x,id=y"
        " --mount=type=tmpfs,target=/fast true"
    )

    def name(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    assert run.mounts == (
        CacheMount(target="/var/cache", cache=name("/var/cache")),
        CacheMount(target="/x", cache=name("y")),
        CacheMount(target="/fast", tmpfs=True),
    )


def test_a_step_may_have_a_network_of_its_own() -> None:
    (run,) = runs("--network=none true")

    assert run.network is Network.NONE


def test_copies_come_from_the_workspace_or_another_image() -> None:
    made = recipe(
        package(
            "p",
            env=("D=/etc",),
            steps=("true\nCOPY a b $D/\nADD x.tar .\nCOPY --from=other /s /d",),
        )
    )

    copies = [
        (each.stack, each.folder, each.sources, each.destination, each.extract)
        for each in made.steps
        if isinstance(each, CopyFiles)
    ]
    assert copies == [
        ((), Path("/w"), ("a", "b"), "/etc/", False),
        ((), Path("/w"), ("x.tar",), "/luetbuild/.", True),
        (OTHER, None, ("/s",), "/d", False),
    ]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            "--mount=type=secret,id=x true",
            "RUN --mount=type=secret is not supported (cache and tmpfs are)",
        ),
        (
            "true\nCOPY --chown=1 a b",
            "COPY with a here-document, --chown or --chmod is not supported"
            " (copy plainly, and change the file with a RUN)",
        ),
        (
            "true\nADD https://host/x /x",
            "ADD of a URL is not supported (name the URL under 'retrieve')",
        ),
        ("true\nFROM other", "FROM within a step is not supported (use 'copy')"),
        ("echo a\0b", "a command and its variables cannot hold the NUL character"),
    ],
)
def test_what_no_engine_can_do_is_told_where_it_was_written(step: str, message: str) -> None:
    assert refused(step) == f"p/build.yaml:5:3: {message}"


def test_a_later_entry_without_a_place_of_its_own_is_told_at_its_list() -> None:
    assert refused("true", "true\nADD http://h/x /x").startswith("p/build.yaml:4:1: ")


def test_an_environment_entry_cannot_run_anything() -> None:
    assert refused("true", env=("A=1\nRUN rm",)) == (
        "p/build.yaml:2:3: runs a command (write it as a step)"
    )


DOCKERFILE = """\
FROM one AS Build
ENV A=1
WORKDIR /src
RUN first
FROM build
RUN second
COPY --from=other /a /b
"""


def test_a_stage_goes_on_where_the_one_that_it_starts_from_ended() -> None:
    first, second = parse_dockerfile(DOCKERFILE, "Dockerfile")
    state = Interpreter(AROUND, directory="/")
    stage_actions(first, state, path="Dockerfile")

    run, copy = stage_actions(second, state.again(), path="Dockerfile")

    assert isinstance(run, Run)
    assert (run.directory, dict(run.env)["A"], run.text) == ("/src", "1", "Dockerfile:6")
    assert isinstance(copy, CopyFiles)
    assert copy.stack == OTHER


def test_an_error_in_a_dockerfile_is_told_at_its_line() -> None:
    (stage,) = parse_dockerfile("FROM a\nRUN x\n\nADD http://h/x /\n", "d/Dockerfile")

    with pytest.raises(CompilerError) as caught:
        stage_actions(stage, Interpreter(AROUND), path="d/Dockerfile")

    assert str(caught.value).startswith("d/Dockerfile:4:1: ADD of a URL")
