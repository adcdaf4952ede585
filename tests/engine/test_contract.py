"""What every engine does alike: steps run in the root, and what they changed is kept."""

from pathlib import Path

import pytest

from compiler.engine import Network, Run
from compiler.errors import EngineError
from compiler.events import StepOutput, StepStarted
from tests.engine.lab import Lab, copy


def test_a_step_leaves_what_it_wrote(lab: Lab) -> None:
    built = lab.build("mkdir -p /new/folder; echo hello > /new/folder/file")

    assert built.paths() == {"new": "/", "new/folder": "/", "new/folder/file": "file"}
    assert (built.changes / "new/folder/file").read_text() == "hello\n"


def test_steps_of_a_request_see_what_earlier_ones_did(lab: Lab) -> None:
    built = lab.build("echo one > /file", "echo two >> /file")

    assert (built.changes / "file").read_text() == "one\ntwo\n"


def test_a_layer_is_seen_by_what_is_built_on_it(lab: Lab) -> None:
    first = lab.build("echo one > /file")

    second = lab.build("cat /file", root=(*lab.base, first.layer))

    assert StepOutput("a/b", "one") in second.events
    assert second.paths() == {}


def test_a_deleted_path_becomes_a_whiteout(lab: Lab) -> None:
    below = lab.tree({"opt/a": "1", "opt/b": "2"})

    built = lab.build("rm -rf /opt/a", root=(*lab.base, below))

    assert built.paths() == {"opt": "/", "opt/a": "!"}


def test_a_whiteout_hides_a_path_in_the_stack(lab: Lab) -> None:
    below = lab.tree({"opt/a": "1", "opt/b": "2"})
    built = lab.build("rm -rf /opt/a", root=(*lab.base, below))

    with lab.engine.mounted((*lab.base, below, built.layer)) as root:
        assert [path.name for path in (root / "opt").iterdir()] == ["b"]


def test_a_folder_that_was_made_anew_hides_the_old_one(lab: Lab) -> None:
    below = lab.tree({"data/a": "1", "data/b": "2"})
    built = lab.build("rm -rf /data; mkdir -p /data; echo new > /data/c", root=(*lab.base, below))

    with lab.engine.mounted((*lab.base, below, built.layer)) as root:
        assert [path.name for path in (root / "data").iterdir()] == ["c"]


def test_new_folders_of_siblings_do_not_hide_each_other(lab: Lab) -> None:
    one = lab.build("mkdir -p /shared/deep; echo 1 > /shared/deep/one")
    two = lab.build("mkdir -p /shared/deep; echo 2 > /shared/deep/two")

    with lab.engine.mounted((*lab.base, one.layer, two.layer)) as root:
        assert {path.name for path in (root / "shared/deep").iterdir()} == {"one", "two"}


def test_what_is_undone_leaves_no_trace(lab: Lab) -> None:
    below = lab.tree({"opt/kept": "1"})

    built = lab.build("echo x > /opt/temporary", "rm -rf /opt/temporary", root=(*lab.base, below))

    assert built.paths() == {}


def test_the_workspace_is_shown_and_never_part_of_the_layer(lab: Lab) -> None:
    request = lab.request("cat /luetbuild/given; echo made > result; echo 2 > /luetbuild/other")
    (request.workspace / "given").write_text("from the package\n")

    built = lab.done(request)

    assert StepOutput("a/b", "from the package") in built.events
    assert (built.workspace / "result").read_text() == "made\n"
    assert (built.workspace / "other").read_text() == "2\n"
    assert built.paths() == {}


def test_what_a_layer_has_at_the_workspace_is_hidden(lab: Lab) -> None:
    below = lab.tree({"luetbuild/old": "1"})

    built = lab.build("echo new > /luetbuild/old", root=(*lab.base, below))

    assert (built.workspace / "old").read_text() == "new\n"
    assert built.paths() == {}


def test_variables_are_set_as_asked(lab: Lab) -> None:
    run = Run(argv=("/bin/sh", "-c", "echo $WHO"), text="echo", env=(("WHO", "me"),))

    assert StepOutput("a/b", "me") in lab.build(run).events


def test_steps_and_output_are_reported_and_logged(lab: Lab) -> None:
    built = lab.build("echo first; echo second")

    assert built.events == [
        StepStarted("a/b", "echo first; echo second"),
        StepOutput("a/b", "first"),
        StepOutput("a/b", "second"),
    ]
    assert built.log.read_text() == "$ echo first; echo second\nfirst\nsecond\n"


def test_a_failing_step_says_which_and_what_it_printed(lab: Lab) -> None:
    request = lab.request("true", "echo oh no\nexit 3")

    with pytest.raises(EngineError) as caught:
        lab.done(request)

    assert str(caught.value) == (
        f"step failed with exit code 3: echo oh no\n    oh no\nlog: {request.log}"
    )
    assert caught.value.step == "echo oh no\nexit 3"


def test_a_failing_step_shows_its_last_twenty_lines(lab: Lab) -> None:
    lines = [f"line {number}" for number in range(30)]
    request = lab.request("; ".join(f"echo {line}" for line in lines) + "; exit 1")

    with pytest.raises(EngineError) as caught:
        lab.done(request)

    assert caught.value.output == tuple(lines[-20:])
    assert request.log.read_text().splitlines()[1:] == lines


def test_a_step_runs_without_a_network_if_asked(lab: Lab) -> None:
    request = lab.request("echo fine", network=Network.NONE)

    assert StepOutput("a/b", "fine") in lab.done(request).events


def test_the_mounted_root_shows_the_upper_layer(lab: Lab) -> None:
    lower, upper = lab.tree({"a": "1", "b": "1"}), lab.tree({"a": "2"})

    with lab.engine.mounted((lower, upper)) as root:
        assert {path.name: path.read_text() for path in root.iterdir()} == {"a": "2", "b": "1"}


def test_a_single_layer_and_none_at_all_can_be_mounted(lab: Lab) -> None:
    layer = lab.tree({"a": "1"})

    with lab.engine.mounted((layer,)) as one, lab.engine.mounted(()) as none:
        assert ([path.name for path in one.iterdir()], list(none.iterdir())) == (["a"], [])


def test_nothing_is_left_in_scratch(lab: Lab) -> None:
    lab.build("echo 1 > /file")
    with pytest.raises(EngineError):
        lab.build("exit 1")

    assert not any(path.iterdir() for path in lab.folder.glob("*-scratch") if any(path.iterdir()))


def test_a_file_is_copied_to_its_new_name(lab: Lab) -> None:
    source = lab.tree({"etc/one": "1"})

    built = lab.build(copy("/etc/one", to="/srv/deep/two", stack=(source,)))

    assert (built.changes / "srv/deep/two").read_text() == "1"


def test_a_folder_is_copied_by_its_content(lab: Lab) -> None:
    source = lab.tree({"data/a": "1", "data/.hidden": "2", "data/sub/b": "3"})

    built = lab.build(copy("/data", to="/target", stack=(source,)))

    assert built.paths() == {
        "target": "/", "target/.hidden": "file", "target/a": "file",
        "target/sub": "/", "target/sub/b": "file",
    }  # fmt: skip


def test_several_files_go_into_a_folder(lab: Lab) -> None:
    source = lab.tree({"a.txt": "1", "b.txt": "2", "c.md": "3"})

    built = lab.build(copy("/*.txt", to="new/", stack=(source,)))

    assert built.paths() == {"new": "/", "new/a.txt": "file", "new/b.txt": "file"}


def test_several_files_do_not_fit_one_name(lab: Lab) -> None:
    source = lab.tree({"a": "1", "b": "2"})

    with pytest.raises(EngineError) as caught:
        lab.build(copy("/a", "/b", to="/c", stack=(source,)))

    assert caught.value.message == "several sources cannot become the one file '/c'"


def test_a_missing_source_is_an_error(lab: Lab) -> None:
    with pytest.raises(EngineError) as caught:
        lab.build(copy("/no/such", to="/x", stack=(lab.tree({"a": "1"}),)))

    assert caught.value.message == "nothing to copy at '/no/such'"


def test_links_are_copied_as_links(lab: Lab) -> None:
    source = lab.tree({"d/file": "1", "d/link": "-> file", "d/dangling": "-> /nowhere"})

    built = lab.build(copy("/d", to="/t", stack=(source,)))

    assert (built.changes / "t/link").readlink() == Path("file")
    assert (built.changes / "t/dangling").readlink() == Path("/nowhere")


def test_a_link_in_the_source_never_leads_out_of_its_root(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the host")
    links = {"abs": f"-> {tmp_path}", "up": f"-> ../../../../../../../..{tmp_path}"}

    for name in links:
        with pytest.raises(EngineError) as caught:
            lab.build(copy(f"/{name}/secret", to="/x", stack=(lab.tree(links),)))
        assert caught.value.message == f"nothing to copy at '/{name}/secret'"


def test_a_link_in_the_target_never_leads_out_of_its_root(lab: Lab, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    trap = lab.tree({"trap": f"-> {outside}", "updir": "-> ../../../../../../../tmp"})
    source = lab.tree({"file": "1", "d/trap/file": "2"})

    lab.build(
        copy("/file", to="/trap/", stack=(source,)),
        copy("/d", to="/", stack=(source,)),
        copy("/file", to="/updir/deep/x-cos-test", stack=(source,)),
        root=(*lab.base, trap),
    )

    assert list(outside.iterdir()) == []
    assert not Path("/tmp/deep").exists()  # noqa: S108  (the place that must not be reached)


def test_a_copy_over_a_link_replaces_the_link(lab: Lab, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    trap = lab.tree({"file": f"-> {victim}"})

    lab.build(copy("/file", to="/file", stack=(lab.tree({"file": "1"}),)), root=(*lab.base, trap))

    assert victim.read_text() == "kept"


def test_a_copy_from_a_folder_takes_patterns_relative_to_it(lab: Lab) -> None:
    folder = lab.new("context")
    (folder / "one.conf").write_text("1")
    (folder / "two.conf").write_text("2")

    built = lab.build(copy("*.conf", to="/etc/x/", folder=folder))

    assert built.paths()["etc/x/one.conf"] == "file"
    assert built.paths()["etc/x/two.conf"] == "file"


def test_a_copy_to_the_workspace_stays_out_of_the_layer(lab: Lab) -> None:
    built = lab.build(copy("/a", to="/luetbuild/", stack=(lab.tree({"a": "1"}),)), "cat a")

    assert (built.workspace / "a").read_text() == "1"
    assert StepOutput("a/b", "1") in built.events
    assert built.paths() == {}


def test_modes_and_times_are_copied(lab: Lab) -> None:
    folder = lab.new("context")
    (folder / "run").write_text("x")
    (folder / "run").chmod(0o4751)
    old = (folder / "run").stat().st_mtime_ns

    built = lab.build(copy("run", to="/run-me", folder=folder))

    status = (built.changes / "run-me").stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o4751, old)
