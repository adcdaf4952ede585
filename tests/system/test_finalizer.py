"""Finalizers: parsed here, and run in containers."""

from pathlib import Path

import pytest

from compiler.engine.container import Mount
from compiler.errors import CompilerError, SpecError
from compiler.events import Event, Noted, StepOutput
from compiler.spec.finalizer import parse_finalizer
from compiler.spec.package import Definition
from compiler.system.finalizer import Moment, Task, run_finalizers, run_in_root
from compiler.system.transaction import System
from tests.cli.machine import add_shell
from tests.system.lab import DATABASE, Lab

DEFINITION = Definition(name="a", category="t", version="1")


@pytest.fixture
def busybox(lab: Lab) -> Lab:
    """A root with a shell, made of the one of this machine."""
    add_shell(lab.root)
    return lab


def finalize(
    lab: Lab, env: dict[str, str] | None = None, moment: Moment = Moment.INSTALL
) -> list[Event]:
    """Run the finalizers of all that is installed."""
    events: list[Event] = []
    with lab.system() as system:
        packages = system.database.installed()
        run_finalizers(system, packages, env or {}, moment=moment, reporter=events.append)
    return events


def test_a_finalizer_is_rendered_with_the_fields_of_its_package() -> None:
    text = "install:\n- echo {{ .Values.name }}-{{ .Values.version }}\nshell: [bash, -ec]\n"

    found = parse_finalizer(text, DEFINITION, "t/a-1/finalize.yaml")

    assert (found.install, found.shell) == (("echo a-1",), ("bash", "-ec"))


def test_a_damaged_finalizer_is_named_with_its_line() -> None:
    with pytest.raises(SpecError, match=r"^t/a-1/finalize\.yaml:1:10: "):
        parse_finalizer("install: x\n", DEFINITION, "t/a-1/finalize.yaml")


def test_on_the_machine_itself_finalizers_are_plain_processes(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.apply(lab.package("a", {"f": "x"}, finalizer="install: ['echo \"$KEY:$PWD\"']"))
    with lab.system() as there:
        packages = there.database.installed()
    events: list[Event] = []

    machine = System(Path("/"), str(lab.root / DATABASE))
    with machine:
        run_finalizers(machine, packages, {"KEY": "value"}, reporter=events.append)

    assert [each.line for each in events if isinstance(each, StepOutput)] == ["value:/"]


@pytest.mark.container
def test_finalizers_run_in_the_root_and_are_marked(busybox: Lab) -> None:
    text = "install: ['echo \"$KEY\" > /made', 'echo $$; echo said']\nuninstall: ['echo bye']"
    busybox.apply(busybox.package("a", {"f": "x"}, finalizer=text))

    events = finalize(busybox, {"KEY": "value"})

    assert (busybox.root / "made").read_text() == "value\n"
    assert [each.line for each in events if isinstance(each, StepOutput)] == ["1", "said"]
    with busybox.system() as system:
        assert system.database.installed()[0].finalized
    events = finalize(busybox, moment=Moment.UNINSTALL)
    assert [each.line for each in events if isinstance(each, StepOutput)] == ["bye"]


@pytest.mark.container
def test_a_failure_is_told_and_the_others_go_on(busybox: Lab) -> None:
    busybox.apply(
        busybox.package("a", {"f": "x"}, finalizer="install: ['echo oops; exit 3', 'touch /no']"),
        busybox.package("b", {"g": "x"}, finalizer="install: ['echo yes > /yes']"),
    )

    with busybox.system() as system:
        events: list[Event] = []
        packages = system.database.installed()
        with pytest.raises(CompilerError) as caught:
            run_finalizers(system, packages, {}, reporter=events.append)
        marked = [each.finalized for each in system.database.installed()]

    assert str(caught.value) == (
        "a finalizer failed: t/a-1 (the packages are installed; see the warnings above)"
    )
    warnings = [each.message for each in events if isinstance(each, Noted)]
    assert warnings == [
        "t/a-1: its finalizer failed: 'echo oops; exit 3' ended with exit code 3\n    oops"
    ]
    assert marked == [False, True]
    assert (busybox.root / "yes").exists()
    assert not (busybox.root / "no").exists()


@pytest.mark.container
def test_a_task_gets_its_mounts_and_nothing_stays_of_them(busybox: Lab) -> None:
    before = sorted(busybox.root.iterdir())
    shown = busybox.place / "shown"
    shown.mkdir()
    (shown / "f").write_text("text")
    task = Task(
        argv=("/bin/sh", "-c", "read x < /a/b/f; echo $x $KEY; exit 4"),
        env={"KEY": "value"},
        mounts=(Mount(target="/a/b", source=str(shown)),),
    )
    said: list[str] = []

    finished = run_in_root(busybox.root, task, said.append)

    assert (finished.code, said) == (4, ["text value"])
    assert sorted(busybox.root.iterdir()) == before
