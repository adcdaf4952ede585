"""`cos build` as users run it: what it makes, what it says, and that it makes the same again."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.lab import Lab, contents, on, on_base, small_disk, write_tree

pytestmark = pytest.mark.container

PERL_XATTR = (
    'perl -e \'$p="/srv/cap";$n="security.capability";$v=pack("V5",0x02000001,0x2000,0,0,0);'
    ' syscall(188,$p,$n,$v,20,0)==0 or die; $n="user.note";$v="bar";'
    " syscall(188,$p,$n,$v,3,0)==0 or die'"
)


def members(lab: Lab, name: str) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(lab.out / f"{name}-t-1.package.tar") as archive:
        return {each.name.rstrip("/"): each for each in archive}


def text(lab: Lab, name: str, path: str) -> str:
    with tarfile.open(lab.out / f"{name}-t-1.package.tar") as archive:
        file = archive.extractfile(path)
        assert file is not None
        return file.read().decode()


def build(lab: Lab, packages: Mapping[str, str], *arguments: str) -> str:
    """Write a tree and build all of it; returns what was said."""
    lab.tree(packages)
    done = lab.build("--all", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_failed_step_names_package_place_last_lines_and_log(lab: Lab) -> None:
    lab.tree({"p": on_base("true", "seq 1 100; echo oops >&2; exit 7")})

    done = lab.build()

    assert done.returncode == 1
    error = done.stderr[done.stderr.index("error: ") :].splitlines()
    assert error[0] == (
        "error: tree/p/build.yaml:5:3: t/p-1: step failed with exit code 7:"
        " seq 1 100; echo oops >&2; exit 7"
    )
    assert [line.strip() for line in error[1:21]] == [*map(str, range(82, 101)), "oops"]
    assert error[21].startswith("log: ")
    assert Path(error[21].removeprefix("log: ")).read_text().splitlines()[-1] == "oops"
    assert [name for name in lab.built() if name.startswith("p-")] == []


def test_independent_packages_are_finished_when_one_fails(lab: Lab) -> None:
    lab.tree({"bad": on_base("exit 1"), "good": on_base("sleep 0.3; echo > /good")})

    assert lab.build("--all", "--concurrency", "2").returncode == 1
    planned = lab.cos("plan", "--all", "--tree", "tree", "--destination", "out")

    assert "build  t/bad-1" in planned.stdout
    assert "build  t/good-1" not in planned.stdout


def test_a_change_that_is_taken_back_gives_the_archive_of_before(lab: Lab) -> None:
    build(lab, {"a": on_base("echo 1x > /a")})
    before = lab.built()

    build(lab, {"a": on_base("echo 2x > /a")})
    changed = lab.built()
    build(lab, {"a": on_base("echo 1x > /a")})

    assert changed["a-t-1.package.tar"] != before["a-t-1.package.tar"]
    assert lab.built() == before


def test_a_check_tells_what_is_different_each_time(lab: Lab) -> None:
    lab.tree({"clock": on_base("date +%s%N > /now"), "still": on_base("echo 1 > /one")})

    done = lab.build("--all", "--check")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: t/clock-1 is not reproducible: a second build differs in /now"
        " (let the steps remove or pin what changes from run to run)"
    )
    assert lab.build("t/still", "--check").returncode == 0


def test_siblings_that_write_one_file_are_both_heard(lab: Lab) -> None:
    tree = {
        "base": on_base("true"),
        "left": on("base", "echo left >> /etc/passwd"),
        "right": on("base", "echo right >> /etc/passwd"),
        "top": on("left right", "cp /etc/passwd /seen"),
    }

    said = build(lab, tree)
    planned = lab.cos("plan", "--all", "--tree", "tree", "--destination", "out")
    again = lab.build()

    assert text(lab, "top", "seen").splitlines()[1:] == ["left", "right"]
    told = "t/top-1: its requirements are chained, since they change /etc/passwd"
    assert f"warning: {told}" in said
    assert planned.stderr == f"warning: {told}\n"
    assert {line.split()[0] for line in planned.stdout.splitlines()} == {"reuse"}
    assert again.stderr.splitlines()[-1].startswith("nothing to do")


def test_siblings_that_write_one_file_are_an_error_where_only_stacks_are_allowed(lab: Lab) -> None:
    lab.tree(
        {
            "left": on_base("echo left >> /etc/passwd"),
            "right": on_base("echo right >> /etc/passwd"),
            "top": on("left right", "true"),
        }
    )

    done = lab.build("--all", "--layering", "stack")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: tree/top/build.yaml:2:1: t/top-1 cannot be built on a stack: its requirements"
        " change the same paths: etc/passwd (let one require the other, or allow --layering auto)"
    )


def test_without_a_network_steps_have_the_loopback_at_most(lab: Lab) -> None:
    step = "cat /proc/net/dev > /net; ls /sys/class/net > /names || :"
    build(lab, {"p": on_base(step)}, "--network", "none")

    lines = text(lab, "p", "net").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in lines] in (["lo"], [])


def test_everything_about_a_file_reaches_the_archive(lab: Lab) -> None:
    step = "\n".join(
        (
            "umask 0; mkdir -m 700 /closed; mkdir -m 755 /closed/in; echo a > /closed/in/a",
            "mkdir /srv; echo s > /srv/suid; chown 7:8 /srv/suid; chmod 4711 /srv/suid",
            "ln /srv/suid /srv/zhard; ln -s ../nowhere /srv/sym; mkfifo /srv/pipe",
            "mknod /srv/null c 1 3; mkdir -m 1777 /srv/sticky; mkdir -m 2750 /srv/gid",
            f"cp /bin/true /srv/cap; {PERL_XATTR}",
        )
    )
    build(lab, {"p": on_base(step), "all": on_base(step) + "unpack: true\n"})

    for name in ("p", "all"):
        found = members(lab, name)
        assert oct(found["closed"].mode) == "0o700"
        assert oct(found["closed/in"].mode) == "0o755"
        suid = found["srv/suid"]
        assert (oct(suid.mode), suid.uid, suid.gid) == ("0o4711", 7, 8)
        assert (found["srv/zhard"].type, found["srv/zhard"].linkname) == (b"1", "srv/suid")
        assert (found["srv/sym"].type, found["srv/sym"].linkname) == (b"2", "../nowhere")
        assert found["srv/pipe"].isfifo()
        null = found["srv/null"]
        assert (null.ischr(), null.devmajor, null.devminor) == (True, 1, 3)
        assert (oct(found["srv/sticky"].mode), oct(found["srv/gid"].mode)) == ("0o1777", "0o2750")
        assert "SCHILY.xattr.security.capability" in found["srv/cap"].pax_headers
        assert found["srv/cap"].pax_headers["SCHILY.xattr.user.note"] == "bar"
    assert "etc/passwd" in members(lab, "all")
    assert "etc/passwd" not in members(lab, "p")


def test_files_of_the_folder_are_in_the_workspace_and_in_no_archive(lab: Lab) -> None:
    lab.tree({"p": on_base("cat conf; test ! -e build.yaml; touch made", "cp made conf /srv-")})
    (lab.place / "tree" / "p" / "conf").write_text("hello")
    lab.tree({"p": on_base("test ! -e build.yaml; touch made", "cat made conf > /both")})

    done = lab.build()

    assert done.returncode == 0, done.stderr
    assert sorted(members(lab, "p")) == ["both"]
    assert text(lab, "p", "both") == "hello"


def test_a_package_takes_in_what_another_was_packed_to(lab: Lab) -> None:
    lab.tree({"a": on_base("echo a > /a")})
    assert lab.build("t/a").returncode == 0
    lab.tree({"b": on_base("cat a > /from-a") + "retrieve:\n- a-t-1.package.tar\n"})

    done = lab.build("t/b")

    assert done.returncode == 0, done.stderr
    assert text(lab, "b", "from-a") == "a\n"


def test_copies_joins_and_parts_hold_what_they_should(lab: Lab) -> None:
    need = '{name: tool, category: t, version: ">=0"}'
    parts = 'subpackages:\n- name: part\n  category: t\n  version: "1"\n  includes: [^/usr/a$]\n'
    build(
        lab,
        {
            "tool": on_base("mkdir -p /opt && echo t > /opt/tool"),
            "copying": f"image: little\ncopy:\n- package: {need}\n  source: /opt\n"
            "  destination: /got\nsteps:\n- cat /got/tool > /seen\n",
            "joined": f"join:\n- {need}\nunpack: true\n",
            "whole": on_base("mkdir -p /usr; echo a > /usr/a; echo b > /usr/b") + parts,
        },
    )

    assert sorted(members(lab, "copying")) == ["seen"]
    assert sorted(members(lab, "joined")) == ["opt", "opt/tool"]
    assert sorted(members(lab, "whole")) == ["usr", "usr/a", "usr/b"]
    assert sorted(members(lab, "part")) == ["usr", "usr/a"]


def test_instructions_within_a_step_are_followed(lab: Lab) -> None:
    step = "true\nENV A=smuggled\nWORKDIR /work\nCOPY conf ./\nRUN echo $A > here; cat conf >> here"
    lab.tree({"p": on_base(step)})
    (lab.place / "tree" / "p" / "conf").write_text("copied")

    assert lab.build().returncode == 0
    assert text(lab, "p", "work/here") == "smuggled\ncopied"


DOCKERFILE = """\
FROM little AS compile
WORKDIR /src
ENV NAME=made
COPY main.c .
RUN cp main.c /$NAME && echo layer > /layer

FROM compile AS more
RUN echo "$NAME $PWD" > /where

FROM scratch
COPY --from=more /where /made /
"""


def test_a_dockerfile_is_a_package(lab: Lab) -> None:
    folder = lab.place / "docker" / "app"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "main.c").write_text("int main;")

    argv = (
        "build",
        "--dockerfiles",
        "--all",
        "--tree",
        lab.place / "docker",
        "--destination",
        "out",
    )
    done = lab.cos(*argv)

    assert done.returncode == 0, done.stderr
    (path,) = lab.out.glob("*.package.tar")
    with tarfile.open(path) as archive:
        texts = {
            each.name: archive.extractfile(each).read().decode()  # type: ignore[union-attr]
            for each in archive
            if each.isfile()
        }
    assert texts == {"made": "int main;", "where": "made /src\n"}


def test_a_full_destination_is_told_and_nothing_half_written_stays(lab: Lab) -> None:
    lab.tree({"p": on_base("dd if=/dev/urandom of=/big bs=1M count=6")})
    lab.out = lab.place / "small"

    with small_disk(lab.out, "4m"):
        done = lab.build()
        left = list(lab.out.iterdir())
        subprocess.run(["mount", "-o", "remount,size=20m", lab.out], check=True)
        again = lab.build()
        assert len(list(lab.out.iterdir())) == 2

    assert done.returncode == 3, done.stderr
    assert "no space left on device" in done.stderr.splitlines()[-1].lower()
    assert str(lab.out) in done.stderr.splitlines()[-1]
    assert left == []
    assert again.returncode == 0, again.stderr


def test_a_full_store_is_told_and_nothing_half_written_stays(
    tmp_path: Path, little_base: Path
) -> None:
    with small_disk(tmp_path / "disk", "40m") as disk:
        lab = Lab(disk, little_base)
        lab.tree(
            {"a": on_base("echo a > /a"), "p": on("a", "dd if=/dev/urandom of=/b bs=1M count=60")}
        )
        done = lab.build()
        faults = lab.faults()
        subprocess.run(["mount", "-o", "remount,size=400m", disk], check=True)
        again = lab.build()
        assert (lab.out / "p-t-1.package.tar").stat().st_size > 60 << 20

    assert done.returncode in {1, 3}, done.stderr
    assert "no space left on device" in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert faults == []
    assert again.returncode == 0, again.stderr


def test_a_destination_that_is_a_file_is_wrong_usage(lab: Lab) -> None:
    lab.tree({"p": on_base("true")})
    lab.out.write_text("")

    done = lab.build()

    assert (done.returncode, done.stderr) == (
        2, f"error: {lab.out}: is not a folder (name another --destination)\n")  # fmt: skip


def test_a_destination_below_a_file_is_told(lab: Lab) -> None:
    lab.tree({"p": on_base("true")})
    (lab.place / "file").write_text("")
    lab.out = lab.place / "file" / "out"

    done = lab.build()

    assert done.returncode in {2, 3}
    assert str(lab.place / "file") in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_read_only_destination_is_told(lab: Lab) -> None:
    lab.tree({"p": on_base("echo > /p")})
    lab.out = lab.place / "fixed"

    with small_disk(lab.out, "4m"):
        subprocess.run(["mount", "-o", "remount,ro", lab.out], check=True)
        done = lab.build()

    assert done.returncode == 3
    assert "read-only file system" in done.stderr.splitlines()[-1].lower()


def test_another_users_store_is_told(lab: Lab) -> None:
    lab.tree({"p": on_base("echo > /p")})
    os.chown(lab.store, 65534, 65534)
    lab.store.chmod(0o700)
    without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", "--"]

    done = subprocess.run(
        [*without, *lab.command("build", "--all", "--tree", "tree", "--destination", "out")],
        env=lab.environment(),
        cwd=lab.place,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 3
    assert done.stderr == (
        f"error: {lab.store}/lock: permission denied"
        " (choose a store of your own with --store or $COS_STORE)\n"
    )


MAKEFILE = """\
LUET ?= luet
build:
\t$(LUET) build --all --tree tree --values values/x.yaml --destination build --compression zstd \\
\t  --backend docker --pull --no-spinner --only-target-package --live-output \\
\t  --image-repository quay.io/x/y
create-repo:
\t$(LUET) create-repo --tree tree --packages build --output build --name cos --type http \\
\t  --urls http://localhost:8000 --no-spinner
.PHONY: build create-repo
"""


def test_a_makefile_written_for_luet_works_with_cos(lab: Lab) -> None:
    lab.tree({"base": on_base("echo {{ .Values.word }} > /word"), "top": on("base", "cat /word")})
    (lab.place / "values").mkdir()
    (lab.place / "values" / "x.yaml").write_text("word: hello\n")
    (lab.place / "Makefile").write_text(MAKEFILE)
    argv = ["make", f"LUET={sys.executable} -P -m compiler", "build", "create-repo"]

    done = subprocess.run(
        argv, cwd=lab.place, env=lab.environment(), capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    names = {path.name for path in (lab.place / "build").iterdir()}
    assert {"base-t-1.package.tar.zst", "top-t-1.metadata.yaml", "repository.yaml"} <= names


def test_the_same_tree_gives_the_same_bytes_anywhere(
    tmp_path_factory: pytest.TempPathFactory, little_base: Path
) -> None:
    made = []
    for umask, concurrency in ((0o022, "1"), (0o077, "2")):
        lab = Lab(tmp_path_factory.mktemp("anywhere"), little_base)
        previous = os.umask(umask)
        try:
            source = write_tree(lab.place / "source" / str(umask), SAME)
            (source / "right" / "conf").write_text("x")
            shutil.copytree(source, lab.place / "tree", copy_function=shutil.copyfile)
            done = lab.build(
                "--all", "--sbom", "--compression", "zstd", "--concurrency", concurrency
            )
            assert done.returncode == 0, done.stderr
            repo = lab.cos(
                "create-repo", "--tree", "tree", "--packages", "out", "--output", "repo",
                "--name", "r", "--urls", "x", SOURCE_DATE_EPOCH="1700000000",
            )  # fmt: skip
            assert repo.returncode == 0, repo.stderr
        finally:
            os.umask(previous)
        made.append((lab.built(), public(contents(lab.place / "repo"))))

    assert made[0] == made[1]
    assert len(made[0][0]) == 4 * (2 + 3)  # archive and metadata, and the documents


SAME = {
    "base": on_base("date > /dated; rm /dated; mkdir -p /d; seq 5 > /d/f; cp -a /d /e"),
    "left": on("base", "ls -lR /d > /dev/null; ln -s /d /l; touch /left"),
    "right": on("base", "cp conf /conf; chmod 600 /conf; umask > /umask"),
    "top": on("left right", "cat /d/f /umask > /top") + "unpack: true\nexcludes: [^/proc]\n",
}


def public(files: dict[str, str]) -> dict[str, str]:
    """Leave out what only we read: it says where things were found."""
    return {name: digest for name, digest in files.items() if not name.startswith(".")}
