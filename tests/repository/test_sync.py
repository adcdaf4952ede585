"""What a client knows of a repository: brought up to date, kept, and used while it holds."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from compiler.errors import CompilerError, ExitCode, NotFoundError, OutsideError, TrustError
from compiler.events import Event, Noted
from compiler.oci import Platform
from compiler.registry.memory import MemoryRegistry
from compiler.repository.configured import RepositoryConfig
from compiler.repository.disk import RepositoryOptions, create_repository
from compiler.repository.sources.disk import DiskSource
from compiler.repository.sources.opening import Opening
from compiler.repository.sync import SyncTools, sync
from compiler.repository.synced import Shelf, Synced
from compiler.repository.trust.contents import of_folder
from compiler.repository.trust.kept import seal_of
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.places import FolderPlace
from compiler.repository.trust.published import read_published
from compiler.repository.trust.publisher import sign_contents, start
from compiler.repository.trust.root import first_root, make_policy, sign_root
from compiler.repository.trust.sources import signed_source
from tests.publish.shop import NOW as EPOCH
from tests.publish.shop import Shop
from tests.repository.trust.lab import keys

ROOT_KEY, ONLINE = keys("root", "online")
DAY = timedelta(days=1)


class Machine:
    """A client of one repository in a folder, and its publisher."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.shop = Shop(place / "shop")
        self.folder = self.shop.artifacts
        self.config = RepositoryConfig(name="main", type="disk", urls=(str(self.folder),))
        self.told: list[Event] = []
        self.waits: list[float] = []
        self.now = datetime.now(UTC)
        policy = make_policy([ROOT_KEY.public], [ONLINE.public])
        self.root = sign_root(first_root(policy, self.now), [ROOT_KEY])
        self.signs = False
        self.meanwhile: Callable[[], object] = lambda: None
        """What happens while the client waits."""
        self._count = 0

    def publish(self, **packages: str) -> None:
        """Publish packages of these texts."""
        self._count += 1
        for name, text in packages.items():
            self.shop.build(name, text)
        create_repository(
            self.shop.packages.values(), [self.shop.tree], artifacts=self.folder,
            output=self.folder, options=RepositoryOptions(now=EPOCH + self._count),
        )  # fmt: skip
        if self.signs:
            self._sign()

    def _sign(self) -> None:
        place, signing = FolderPlace(self.folder), Signing((ONLINE,), self.now)
        contents, published = of_folder(self.folder), read_published(place.read, self.root)
        if published is None:
            place.write(start(self.root, contents, signing))
        else:
            place.write(sign_contents(published, contents, signing))

    def vanish(self) -> None:
        """Take the repository from the net."""
        self.folder.rename(self.place / "away")

    def come_back(self) -> None:
        """Put it back."""
        (self.place / "away").rename(self.folder)

    def sync(self, *, force: bool = False) -> Synced:
        """Bring it up to date, as a new process."""
        seal = seal_of(self.root if self.signs else None)
        tools = SyncTools(
            shelf=Shelf(self.place / "repos", lambda _config: seal),
            report=self.told.append,
            force=force,
            now=lambda: self.now,
            pause=self._pause,
        )
        if not self.signs:
            return sync(self.config, DiskSource(self.folder), tools)
        opening = Opening(registry=lambda _: MemoryRegistry(), platform=Platform("linux", "amd64"))
        source, trust = signed_source(self.config, opening, self.place / "trust", self.root)
        return sync(self.config, source, tools, trust)

    def _pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.meanwhile()

    def refusal(self) -> CompilerError:
        """Fail to bring it up to date."""
        with pytest.raises(CompilerError) as caught:
            self.sync()
        return caught.value

    @property
    def warnings(self) -> list[str]:
        """What was warned of."""
        return [each.message for each in self.told if isinstance(each, Noted) and each.warning]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that trusts whatever it is told."""
    made = Machine(tmp_path)
    made.publish(a="1")
    return made


@pytest.fixture
def trusting(tmp_path: Path) -> Machine:
    """A machine that was given a root."""
    made = Machine(tmp_path)
    made.signs = True
    made.publish(a="1")
    return made


def names(synced: Synced) -> list[str]:
    return sorted(package.name for package in synced.packages)


@pytest.mark.parametrize("signs", [False, True])
def test_what_is_new_is_fetched_and_what_is_known_is_not(tmp_path: Path, signs: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    machine = Machine(tmp_path)
    machine.signs = signs
    machine.publish(a="1")
    first = machine.sync()
    machine.sync()
    machine.publish(b="1")
    second = machine.sync()

    assert (names(first), names(second)) == (["a"], ["a", "b"])
    assert second.files(next(iter(second.packages))) == ("file-of-a",)
    assert machine.told == [
        Noted(f"fetching what main has, revision {number}") for number in (1, 2)
    ]


def test_a_repository_that_does_not_answer_is_used_as_it_was_with_a_warning(
    machine: Machine,
) -> None:
    machine.sync()
    machine.vanish()

    assert names(machine.sync()) == ["a"]
    assert machine.warnings == [
        f"main: {machine.folder}: there is no such folder (is the disk that has it mounted?);"
        " what was fetched before is used"
    ]


def test_a_repository_that_never_answered_is_an_error(machine: Machine) -> None:
    machine.vanish()

    error = machine.refusal()

    assert isinstance(error, OutsideError)
    assert not isinstance(error, NotFoundError)
    assert str(error) == (
        f"{machine.folder}: there is no such folder (is the disk that has it mounted?)"
    )


def test_what_was_signed_is_used_without_asking_until_it_expires(trusting: Machine) -> None:
    trusting.sync()
    trusting.vanish()
    trusting.now += 6 * DAY

    assert names(trusting.sync()) == ["a"]
    assert trusting.warnings == [
        f"main: {trusting.folder}: there is no such folder (is the disk that has it mounted?);"
        " what was fetched before is used"
    ]
    trusting.now += 2 * DAY
    error = trusting.refusal()
    assert isinstance(error, TrustError)
    assert error.exit_code is ExitCode.OUTSIDE
    assert str(error) == (
        f"main: {trusting.folder}: there is no such folder (is the disk that has it mounted?);"
        " the signatures of what is kept have expired"
        " (it has to be asked before more is taken)"
    )


def test_what_was_seen_without_a_root_is_not_believed_under_one(trusting: Machine) -> None:
    trusting.signs = False
    trusting.sync()
    trusting.signs = True
    trusting.vanish()

    assert str(trusting.refusal()) == (
        f"{trusting.folder}: there is no such folder (is the disk that has it mounted?)"
    )


def test_a_forged_repository_is_refused_although_the_last_state_is_good(
    trusting: Machine,
) -> None:
    trusting.sync()
    trusting.signs = False
    trusting.publish(a="2")
    trusting.signs = True

    error = trusting.refusal()

    assert isinstance(error, TrustError)
    assert str(error).startswith("main: repository.yaml is not what was signed: ")
    assert trusting.waits == [1.0, 1.0]


def test_a_repository_whose_signatures_are_gone_is_refused(trusting: Machine) -> None:
    trusting.sync()
    shutil.rmtree(trusting.folder / "trust")

    assert str(trusting.refusal()) == (
        "main: is not signed, although its root is known: "
        f"{trusting.folder}/trust/timestamp.json: there is no such file"
        " (are its address and type right? `cos repo get` shows them; nothing unsigned is taken,"
        " and its owner's `cos repo refresh` brings a timestamp back that was lost)"
    )
    assert trusting.waits == []


def test_a_signed_repository_that_changes_while_it_is_read_is_read_again(
    trusting: Machine,
) -> None:
    trusting.signs = False
    trusting.publish(b="1")
    trusting.signs = True

    trusting.meanwhile = trusting.publish

    assert names(trusting.sync()) == ["a", "b"]
    assert trusting.waits == [1.0]


def test_a_repository_that_changes_while_it_is_read_is_read_again(machine: Machine) -> None:
    tree = machine.folder / "tree.tar.gz"
    old = tree.read_bytes()
    machine.publish(b="1")
    new = tree.read_bytes()
    tree.write_bytes(old)

    machine.meanwhile = lambda: tree.write_bytes(new)

    assert names(machine.sync()) == ["a", "b"]
    assert machine.waits == [1.0]


def test_a_repository_that_stays_mixed_is_told(machine: Machine) -> None:
    (machine.folder / "tree.tar.gz").write_bytes(b"another")

    assert str(machine.refusal()) == (
        f"{machine.folder}: tree.tar.gz has another checksum than repository.yaml says"
        " (it may be changing just now, or be damaged)"
    )
    assert machine.waits == [1.0, 1.0]


def test_a_repository_that_stays_mixed_is_used_as_it_was(machine: Machine) -> None:
    machine.sync()
    machine.publish(b="1")
    (machine.folder / "tree.tar.gz").write_bytes(b"another")

    assert names(machine.sync()) == ["a"]
    assert machine.warnings == [
        f"main: {machine.folder}: tree.tar.gz has another checksum than repository.yaml says"
        " (it may be changing just now, or be damaged); what was fetched before is used"
    ]


@pytest.mark.parametrize("fixture", ["machine", "trusting"])
def test_what_is_cached_is_not_asked_for_on_the_same_day(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    machine: Machine = request.getfixturevalue(fixture)
    machine.config = machine.config.model_copy(update={"cached": True})
    machine.sync()
    machine.publish(b="1")

    machine.now += timedelta(hours=23, minutes=59)
    assert names(machine.sync()) == ["a"]
    assert names(machine.sync(force=True)) == ["a", "b"]
    machine.publish(c="1")
    machine.now += timedelta(hours=24)
    assert names(machine.sync()) == ["a", "b", "c"]


def test_a_clock_that_was_set_back_makes_nothing_fresh(machine: Machine) -> None:
    machine.config = machine.config.model_copy(update={"cached": True})
    machine.sync()
    machine.publish(b="1")

    machine.now -= 10 * DAY

    assert names(machine.sync()) == ["a", "b"]


def test_what_is_cached_and_has_expired_is_asked_for(trusting: Machine) -> None:
    trusting.config = trusting.config.model_copy(update={"cached": True})
    trusting.sync()
    trusting.now += 8 * DAY
    Shelf(trusting.place / "repos").note_time(trusting.config, trusting.now)

    assert str(trusting.refusal()).startswith("main: timestamp.json has expired (")


@pytest.mark.parametrize(
    "damage",
    [lambda text: text[:0], lambda text: text[:-20], lambda text: text + b"\xff"],
)
@pytest.mark.parametrize("pattern", ["*.packages", "repository.yaml"])
def test_a_state_that_was_damaged_is_fetched_again(
    machine: Machine, damage: Callable[[bytes], bytes], pattern: str
) -> None:
    machine.sync()
    (path,) = (machine.place / "repos/main").glob(pattern)

    path.write_bytes(damage(path.read_bytes()))

    assert names(machine.sync()) == ["a"]
    assert len(machine.told) == 2


def test_a_state_of_another_address_is_not_taken(machine: Machine) -> None:
    machine.sync()
    machine.config = replace_urls(machine.config, "/somewhere/else")
    machine.vanish()

    assert isinstance(machine.refusal(), OutsideError)


def replace_urls(config: RepositoryConfig, url: str) -> RepositoryConfig:
    return config.model_copy(update={"urls": (url,)})


def test_only_the_last_state_is_kept(machine: Machine) -> None:
    machine.sync()
    (machine.place / "repos/main/.sync-killed").mkdir()
    machine.publish(b="1")
    machine.sync()

    kept = sorted(path.suffix or path.name for path in (machine.place / "repos/main").iterdir())

    assert kept == [".files", ".packages", ".sync-killed", ".yaml", "SYNCTIME"]


def test_a_snapshot_is_read_as_it_was(machine: Machine) -> None:
    snapshots = list(machine.folder.glob("*-repository.yaml"))
    machine.publish(b="1")
    machine.config = machine.config.model_copy(update={"reference": snapshots[0].name})

    assert names(machine.sync()) == ["a"]


DAMAGED = " (it is damaged, or newer than this version of cos: publish it again, or update cos)"
PARTLY = " (`cos create-repo` writes all of it: publish the repository again)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff", "{folder}: repository.yaml: is not UTF-8 text" + DAMAGED),
        (b"repo_files: {}", "{folder}: repository.yaml names no 'tree'" + PARTLY),
        (b"repo_files: {tree: {filename: ../x, checksums: {sha256: x}}}",
         "{folder}: repository.yaml: repo_files.tree.filename: String should match pattern"
         " '^[A-Za-z0-9_][A-Za-z0-9_.+~@-]*$'" + DAMAGED),
        (b"repo_files: {tree: {filename: tree.tar.gz}}",
         "{folder}: tree.tar.gz has no checksum" + PARTLY),
    ],
)  # fmt: skip
def test_a_page_that_means_nothing_is_told(machine: Machine, text: bytes, message: str) -> None:
    (machine.folder / "repository.yaml").write_bytes(text)

    assert str(machine.refusal()) == message.format(folder=machine.folder)


def test_a_page_without_end_is_not_read(machine: Machine) -> None:
    with (machine.folder / "repository.yaml").open("wb") as file:
        file.truncate(1 << 40)

    assert str(machine.refusal()) == (
        f"{machine.folder}/repository.yaml: is larger than {4 << 20} bytes"
    )


def test_a_folder_that_cannot_be_written_is_told(machine: Machine) -> None:
    (machine.place / "repos").write_bytes(b"")

    assert str(machine.refusal()) == (
        f"{machine.place}/repos/main: cannot be written: Not a directory"
    )
