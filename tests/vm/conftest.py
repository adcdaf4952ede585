"""Machines for tests; the end of a console is shown when a test of its machine fails."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.vm.machine import Hardware, Machine
from tests.vm.world import World, make_disk, shared_folder

Boot = Callable[..., Machine]
_SHOWN = 60  # lines of a console


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """What machines are made of."""
    return World(shared_folder(tmp_path_factory.getbasetemp()))


@pytest.fixture
def machines() -> Iterator[ExitStack]:
    """Switches all machines of a test off; their consoles are added to a failed test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def switch_on(tmp_path: Path, machines: ExitStack, request: pytest.FixtureRequest) -> Boot:
    """Switch on a machine of some hardware."""

    def start(hardware: Hardware, name: str = "machine") -> Machine:
        machine = machines.enter_context(Machine(tmp_path / name, hardware))
        request.node.user_properties.append(("console", str(machine.log)))
        return machine

    return start


@pytest.fixture
def installed(world: World, tmp_path: Path, switch_on: Boot) -> Callable[..., Machine]:
    """Switch on an installed machine, on a disk of its own, and wait until it is up."""

    def boot(*, efi: bool = False, cdroms: Sequence[Path] = ()) -> Machine:
        disk = tmp_path / "disk.qcow2"
        make_disk(disk, world.installed(efi=efi))
        machine = switch_on(Hardware(drives=[disk], cdroms=cdroms, efi=efi))
        machine.wait_up()
        return machine

    return boot


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the ends of consoles to the report of a test that failed."""
    report = yield
    if report.failed:
        for kind, path in item.user_properties:
            if kind == "console" and Path(str(path)).exists():
                lines = Path(str(path)).read_text("utf-8", "replace").splitlines()[-_SHOWN:]
                report.sections.append((f"console: {path}", "\n".join(lines)))
    return report
