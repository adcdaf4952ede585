"""Machines for tests; the end of a console is shown when a test of its machine fails."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.vm.machine import Hardware, Machine
from tests.vm.world import Saved, World, make_disk, shared_folder

Boot = Callable[[Hardware | Machine], Machine]
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
    """Switch on a machine of some hardware, or one that is to go on where another was saved."""

    def start(machine: Hardware | Machine) -> Machine:
        if isinstance(machine, Hardware):
            machine = Machine(tmp_path / "machine", machine)
        request.node.user_properties.append(("console", str(machine.log)))
        return machines.enter_context(machine)

    return start


@pytest.fixture
def live(world: World, tmp_path: Path, switch_on: Boot) -> Callable[..., Machine]:
    """Give a machine with an empty disk that runs the live system, which it booted from a CD."""

    def boot(*, efi: bool = False) -> Machine:
        return _go_on(world.live(efi=efi), tmp_path, switch_on)

    return boot


@pytest.fixture
def installed(world: World, tmp_path: Path, switch_on: Boot) -> Callable[..., Machine]:
    """Give an installed machine that is up, on a disk of its own, after its first boot."""

    def boot(*, efi: bool = False, cache: str = "unsafe") -> Machine:
        return _go_on(world.installed(efi=efi), tmp_path, switch_on, cache)

    return boot


def _go_on(saved: Saved, folder: Path, switch_on: Boot, cache: str = "unsafe") -> Machine:
    disk = folder / "disk.qcow2"
    make_disk(disk, saved.disk)
    machine = switch_on(saved.machine(folder / "machine", disk, cache))
    machine.wait_up()
    return machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what others need: live systems, of which machines are installed."""
    places = [
        number for number, item in enumerate(items) if Path(__file__).parent in item.path.parents
    ]
    ours = sorted((items[number] for number in places), key=_turn)
    for number, item in zip(places, ours, strict=True):
        items[number] = item


def _turn(item: pytest.Item) -> int:
    wanted = getattr(item, "fixturenames", [])
    return 0 if "live" in wanted else 1


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
