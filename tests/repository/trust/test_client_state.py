"""What clients remember: damaged, half written, shared, and never older than what was seen."""

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from compiler.errors import ContentError, NotFoundError, OutsideError
from compiler.repository.trust import target_of_bytes
from compiler.repository.trust.client import TrustedRepository
from compiler.repository.trust.kept import holds
from tests.processes import wait_for
from tests.repository.trust.lab import DAY, NOW, Attacker, Client, Owner

FILES = ("root.json", "root_history/1.root.json", "root_history/2.root.json", "timestamp.json",
         "snapshot.json", "targets.json", "bin-00.json")  # fmt: skip
OLD = (
    "main: timestamp.json is older than what was seen before, or names older files"
    " (somebody may be showing an old state)"
)


def in_process(work: Callable[..., None], *arguments: object) -> int:
    """Do something in a process of its own; returns how that ended."""

    def run() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        work(*arguments)

    process = get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def snapshot(state: Path) -> dict[str, bytes]:
    return {str(path.relative_to(state)): path.read_bytes() for path in state.rglob("*.json")}


@pytest.fixture
def seen(client: Client, owner: Owner) -> Client:
    """A client that has seen two roots, and everything under them."""
    owner.rotate()
    client.visit().require("a.tar")
    return client


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage",
    [Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"\xff{"),
     lambda path: path.write_bytes(path.read_bytes()[:200])],
    ids=["gone", "empty", "garbage", "torn"],
)  # fmt: skip
def test_a_file_that_was_damaged_on_the_disk_is_fetched_again(
    seen: Client, name: str, damage: Callable[[Path], object]
) -> None:
    before = snapshot(seen.state)

    damage(seen.state / name)

    assert seen.visit().require("a.tar") == target_of_bytes(b"1")
    assert snapshot(seen.state) == before


@pytest.mark.parametrize("name", FILES[2:])
def test_what_was_damaged_does_not_make_an_old_state_good(
    seen: Client, owner: Owner, attacker: Attacker, name: str
) -> None:
    old = attacker.copy()
    owner.publish({"repository.yaml": "2"}, {"a.tar": "2"})
    seen.visit().require("a.tar")
    attacker.put_back(old)

    (seen.state / name).write_bytes(b"")

    file = "2.snapshot.json" if name == "timestamp.json" else "timestamp.json"
    assert seen.refusal() == OLD.replace("timestamp.json", file)


def test_nothing_unfinished_is_left_by_those_who_were_killed(seen: Client) -> None:
    (seen.state / ".timestamp.json.0.part").write_bytes(b"{")
    (seen.state / "root_history/.2.root.json.0.part").write_bytes(b"{")
    (seen.state / ".trust-killed").mkdir()
    (seen.state / ".trust-killed/file").write_bytes(b"{")

    seen.visit()

    assert [path for path in seen.state.rglob("*") if path.name.startswith(".")] == []


def test_a_client_that_is_killed_at_any_file_loses_nothing(
    client: Client, owner: Owner, attacker: Attacker
) -> None:
    client.visit()
    old = attacker.copy()
    owner.rotate()
    owner.publish({"repository.yaml": "2"}, {"a.tar": "2", "b.tar": "2"})
    new = attacker.copy()
    endings = []

    for count in range(10):
        attacker.put_back(new)
        endings.append(in_process(_visit_and_die, client, count))
        assert client.visit().require("a.tar") == target_of_bytes(b"2")
        attacker.put_back(old)
        assert client.refusal() == OLD

    assert endings[0] == -signal.SIGKILL
    assert endings[-1] == 0


def _visit_and_die(client: Client, count: int) -> None:
    """Ask for everything, and be killed at the file with this number."""
    fetch, asked = client.fetch, list[str]()

    def dying(name: str, limit: int) -> Iterable[bytes]:
        if len(asked) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        asked.append(name)
        return fetch(name, limit)

    client.fetch = dying
    repository = client.visit()
    for name in ("a.tar", "b.tar"):
        repository.require(name)


def test_a_client_that_is_killed_at_any_moment_loses_nothing(
    client: Client, owner: Owner, attacker: Attacker, tmp_path: Path
) -> None:
    client.visit()
    before = tmp_path / "before"
    client.state.rename(before)
    old = attacker.copy()
    owner.rotate()
    owner.publish({"repository.yaml": "2"}, {"a.tar": "2"})
    new = attacker.copy()
    begun = time.monotonic()
    assert in_process(_visit_for, client, 60.0) == 0
    whole = time.monotonic() - begun
    killed = 0

    for part in range(1, 31):
        shutil.rmtree(client.state)
        shutil.copytree(before, client.state, symlinks=True)
        attacker.put_back(new)
        killed += in_process(_visit_for, client, whole * part / 30) != 0
        assert client.visit().require("a.tar") == target_of_bytes(b"2")
        assert not [path for path in client.state.rglob("*") if path.name.startswith(".")]
        attacker.put_back(old)
        assert client.refusal() == OLD

    assert killed > 5


def _visit_for(client: Client, seconds: float) -> None:
    """Ask for everything, and be killed after a while."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    client.visit().require("a.tar")


def test_processes_that_share_a_state_all_see_what_is_new(
    client: Client, owner: Owner, attacker: Attacker
) -> None:
    old = attacker.copy()
    context = get_context("fork")
    workers = [context.Process(target=_keep_visiting, args=(client, 15)) for _ in range(3)]
    for worker in workers:
        worker.start()

    for number in range(20):
        owner.publish({"repository.yaml": str(number)}, {"a.tar": str(number), "b.tar": "9"})
    for worker in workers:
        worker.join(60)

    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert client.visit().require("a.tar") == target_of_bytes(b"19")
    attacker.put_back(old)
    assert client.refusal() == OLD


def _keep_visiting(client: Client, times: int) -> None:
    """Ask again and again; a repository that changes meanwhile is asked once more."""
    for _ in range(times):
        wait_for(lambda: _sees_one_state(client))


def _sees_one_state(client: Client) -> bool:
    """Ask for everything; tells whether the repository left enough time for that."""
    try:
        repository = client.visit()
        repository.require("a.tar")
        repository.require("b.tar")
    except ContentError:
        return False
    return True


def test_what_was_seen_holds_while_somebody_else_asks(client: Client, owner: Owner) -> None:
    now = NOW + 400 * DAY
    owner.rotate(now=now)
    owner.publish(now=now)
    client.visit(now)
    fetch, found = client.fetch, list[bool]()

    def looking(name: str, limit: int) -> Iterable[bytes]:
        found.append(holds(client.state, now))
        return fetch(name, limit)

    client.fetch = looking
    client.visit(now)

    assert found == [True, True]


def test_what_was_seen_counts_without_an_answer_until_it_expires(
    seen: Client, owner: Owner, tmp_path: Path
) -> None:
    owner.folder.rename(tmp_path / "away")
    repository = TrustedRepository(seen.root, seen.state, seen.fetch, name="main")
    gone = f"{owner.folder}: there is no such folder (is the disk that has it mounted?)"

    assert _silence(lambda: repository.refresh(NOW + 6 * DAY)) == gone
    assert repository.require("a.tar") == target_of_bytes(b"1")
    assert _silence(lambda: repository.require("b.tar")) == gone  # its bin was never seen

    assert _silence(lambda: repository.refresh(NOW + 7 * DAY)) == gone
    assert _silence(lambda: repository.require("a.tar")) == gone


def _silence(ask: Callable[[], object]) -> str:
    """Ask a repository that does not answer; returns the error, which blames nobody."""
    with pytest.raises(OutsideError) as caught:
        ask()
    assert not isinstance(caught.value, NotFoundError)
    return str(caught.value)


def test_threads_may_share_a_repository(client: Client) -> None:
    repository = client.visit()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(repository.target, ["a.tar", "b.tar", "c.tar"] * 10))

    one = target_of_bytes(b"1")
    assert found == [one, one, None] * 10


def test_a_state_that_cannot_be_kept_is_told(client: Client) -> None:
    client.state.rmdir()
    client.state.write_bytes(b"")

    with pytest.raises(OutsideError) as caught:
        client.visit()

    assert str(caught.value) == f"{client.state}: File exists"


def test_a_state_that_finds_no_room_is_told_and_goes_on_later(client: Client) -> None:
    fetch = client.fetch
    texts = {name: b"".join(fetch(name, 1 << 20)) for name in ("timestamp.json", "1.snapshot.json")}
    client.fetch = lambda name, limit: (texts[name],) if name in texts else fetch(name, limit)

    assert in_process(_visit_without_room, client) == 0

    assert client.visit().require("a.tar") == target_of_bytes(b"1")


def _visit_without_room(client: Client) -> None:
    """Ask where no file can be written."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with pytest.raises(OutsideError) as caught:
        client.visit()
    assert str(caught.value).endswith("File too large")
