"""`cos repo init-trust`, `sign`, `refresh`, `rotate` and `sign-root`, as people would use them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tuf.api.metadata import Metadata, Root
from typer.testing import CliRunner

from compiler.cli.settings import Settings
from compiler.cli.trust import app
from compiler.errors import CompilerError, InputError, TrustError, UsageError
from compiler.registry.client import RegistryClient
from compiler.registry.settings import RegistrySettings
from compiler.repository.disk import RepositoryOptions, create_repository
from compiler.repository.sources.disk import DiskSource
from compiler.repository.trust import ROLES, target_of_file
from compiler.repository.trust.client import TrustedRepository
from compiler.repository.trust.kept import state_folder
from compiler.repository.trust.places import fetch_from
from compiler.repository.trust.root import parse_root
from tests.publish.shop import NOW as EPOCH
from tests.publish.shop import Shop
from tests.repository.trust.lab import Attacker, keys
from tests.servers.registry import RegistryServer

ENOUGH = "`cos repo sign-root` adds a signature"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Desk:
    """Where somebody sits: keys in files, a repository in a folder, and the commands."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.now = NOW
        self.past: list[str] = []  # warnings of what is over by the clock of this machine
        self.shop = Shop(place / "shop")
        self.folder = self.shop.artifacts
        self.root = place / "root.json"
        for name in ("root", "root-2", "root-3", "online", "online-2", "timestamp", "thief"):
            (key,) = keys(name)
            private = key.part.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (place / f"{name}.key").write_bytes(private)
            (place / f"{name}.pub").write_bytes(key.public.pem)

    def build(self, **packages: str) -> None:
        """Build packages, and write the repository."""
        for name, text in packages.items():
            self.shop.build(name, text)
        create_repository(
            self.shop.packages.values(), [self.shop.tree], artifacts=self.folder,
            output=self.folder, options=RepositoryOptions(now=EPOCH),
        )  # fmt: skip

    def run(self, *words: str | Path, root: Path | None = None) -> str:
        """Run a command; `@name` is the file of a key. Returns what is printed; raises."""
        texts = [str(word).replace("@", f"{self.place}/") for word in words]
        if words[0] != "sign-root":
            texts += ["--root", str(root or self.root)]
        settings = Settings(source_date_epoch=int(self.now.timestamp()))
        done = CliRunner().invoke(app, texts, obj=settings)
        if isinstance(done.exception, CompilerError):
            raise done.exception
        assert done.exit_code == 0, done.output
        lines = done.output.replace(str(self.place), "").splitlines(keepends=True)
        self.past = [line for line in lines if line.startswith("warning: SOURCE_DATE_EPOCH")]
        return "".join(line for line in lines if line not in self.past)

    def refusal(self, *words: str | Path) -> str:
        """Fail to run a command; returns why."""
        with pytest.raises(CompilerError) as caught:
            self.run(*words)
        return str(caught.value).replace(str(self.place), "")

    def begin(self, *more: str) -> str:
        """Begin to sign the repository."""
        return self.run("init-trust", self.folder, "--key", "@online.key", *more)

    def client(self, root: bytes, name: str = "client") -> TrustedRepository:
        """Be a client that was given a root."""
        state = state_folder(self.place / name)
        fetch = fetch_from(DiskSource(self.folder), state)
        found = TrustedRepository(root, state, fetch, name="main")
        found.refresh(self.now)
        return found

    def sees_everything(self, root: bytes, name: str = "client") -> bool:
        """Whether a client may have everything that is in the folder."""
        client = self.client(root, name)
        files = [path for path in self.folder.iterdir() if path.is_file() and path.name[0] != "."]
        assert len(files) > 9
        return all(client.target(path.name) == target_of_file(path) for path in files)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A desk with a repository of two packages."""
    made = Desk(tmp_path)
    made.build(a="1", b="1")
    return made


@pytest.fixture
def signed(desk: Desk) -> Desk:
    """A desk whose repository is signed."""
    desk.begin("--root-key", "@root.key")
    return desk


def test_a_repository_is_signed_with_one_command(desk: Desk) -> None:
    found = desk.begin("--root-key", "@root.key")

    assert found == "/shop/build: signed, 16 files; clients need /root.json\n"
    assert desk.sees_everything(desk.root.read_bytes())


def test_the_root_says_who_signs_and_for_how_long(desk: Desk) -> None:
    desk.begin("--root-key", "@root.key", "--days", "online=40", "--days", "timestamp=2")

    root = parse_root(desk.root.read_bytes()).signed
    ends = {name: desk_ends(desk)[name] for name in ("timestamp", "snapshot", "targets")}

    assert [len(root.roles[role].keyids) for role in ROLES] == [1, 1, 1, 1]
    assert root.expires == NOW + 365 * DAY
    assert ends == {"timestamp": NOW + 2 * DAY, "snapshot": NOW + 40 * DAY,
                    "targets": NOW + 40 * DAY}  # fmt: skip


def desk_ends(desk: Desk) -> dict[str, datetime]:
    """Read until when the newest files are good."""
    attacker = Attacker(desk.folder)
    return {
        role: Metadata[Root].from_bytes(attacker.newest(role).read_bytes()).signed.expires
        for role in ROLES
    }


def test_a_repository_that_is_signed_is_not_begun_again(signed: Desk) -> None:
    assert signed.refusal(
        "init-trust", signed.folder, "--key", "@online.key", "--root-key", "@root.key"
    ) == (
        "/shop/build: is signed already"
        " (`cos repo rotate` changes keys, `cos repo sign` signs what is new)"
    )


def test_what_is_new_is_signed_and_what_is_gone_is_not(signed: Desk) -> None:
    (signed.folder / "b-t-1.metadata.yaml").unlink()
    (signed.folder / "b-t-1.package.tar").unlink()
    del signed.shop.packages["b-1"]
    signed.build(a="2", c="1")

    found = signed.run("sign", signed.folder, "--key", "@online.key")

    assert found == "/shop/build: signed, 16 files, 6 of them changed\n"
    assert signed.sees_everything(signed.root.read_bytes())
    assert signed.client(signed.root.read_bytes()).target("b-t-1.package.tar") is None


def test_a_forged_state_is_not_signed_upon(signed: Desk) -> None:
    Attacker(signed.folder).forge("timestamp", lambda _signed: None, "thief")
    before = Attacker(signed.folder).copy()

    for command in ("sign", "refresh", "rotate"):
        words = [command, signed.folder, "--key", "@online.key"]
        extra = ["--root-key", "@root.key"] if command == "rotate" else []
        assert signed.refusal(*words, *extra) == (
            "timestamp.json: is not signed by the keys that the root names"
            " (somebody may have changed it)"
        )
    assert Attacker(signed.folder).copy() == before


def test_a_timestamp_is_signed_again_before_it_ends(signed: Desk) -> None:
    root = signed.root.read_bytes()
    signed.now += 6 * DAY

    found = signed.run("refresh", signed.folder, "--key", "@online.key")
    signed.now += 6 * DAY

    assert found == "/shop/build: timestamp.json\n"
    assert signed.sees_everything(root)


def test_a_refresh_warns_of_what_its_keys_cannot_sign(desk: Desk) -> None:
    desk.begin("--root-key", "@root.key")
    desk.run("rotate", desk.folder, "--root-key", "@root.key", "--key", "@timestamp.key",
             "--key", "@online.key", "--replace", "timestamp=@timestamp.pub")  # fmt: skip
    desk.now += 80 * DAY

    found = desk.run("refresh", desk.folder, "--key", "@timestamp.key")

    assert found == (
        "warning: the targets is good until 2026-05-30 only\n"
        "warning: the snapshot is good until 2026-05-30 only\n"
        "/shop/build: timestamp.json\n"
    )


def test_a_refresh_warns_two_months_before_the_root_ends(signed: Desk) -> None:
    signed.now += 310 * DAY

    found = signed.run("refresh", signed.folder, "--key", "@online.key")

    assert "warning: the root is good until 2027-03-01 only\n" in found


def test_another_root_key_is_not_passed_over_where_there_is_a_root(desk: Desk) -> None:
    desk.run("init-trust", desk.folder, "--key", "@online.key", "--root-public", "@root.pub")
    begun = desk.root.read_bytes()

    refusal = desk.refusal("init-trust", desk.folder, "--key", "@online.key",
                           "--root-key", "@root.key", "--root-key", "@root-2.key")  # fmt: skip

    assert refusal == (
        "/root.json is there, and a --root-key is not among its keys"
        " (`cos repo rotate` gives a root other keys; --root begins another one)"
    )
    assert desk.root.read_bytes() == begun
    desk.run("init-trust", desk.folder, "--key", "@online.key", "--root-key", "@root.key")
    assert desk.sees_everything(desk.root.read_bytes())


def test_a_root_that_nobody_is_to_sign_is_not_begun(desk: Desk) -> None:
    refusal = desk.refusal("init-trust", desk.folder, "--key", "@online.key")

    assert refusal.startswith("nobody is to sign the root (--root-key KEY signs it here")
    assert not desk.root.exists()


def test_root_keys_stay_on_other_machines(desk: Desk) -> None:
    others = ("--root-public", "@root.pub", "--root-public", "@root-2.pub",
              "--root-public", "@root-3.pub", "--root-threshold", "2")  # fmt: skip
    again = ("init-trust", desk.folder, "--key", "@online.key")

    waits = desk.run(*again, *others)
    one = desk.run("sign-root", desk.root, "--root-key", "@root-3.key")
    still_waits = desk.refusal(*again)
    two = desk.run("sign-root", desk.root, "--root-key", "@root.key")
    done = desk.run(*again)

    missing = "root 1 is not signed by enough keys: 0 of 2 own"
    assert waits == f"/root.json: {missing}; `cos repo sign-root /root.json` adds one\n"
    assert one == "/root.json: signed; root 1 is not signed by enough keys: 1 of 2 own\n"
    assert still_waits == f"root 1 is not signed by enough keys: 1 of 2 own ({ENOUGH})"
    assert two == "/root.json: signed by enough keys\n"
    assert done == "/shop/build: signed, 16 files; clients need /root.json\n"
    assert desk.sees_everything(desk.root.read_bytes())


@pytest.mark.parametrize(
    ("more", "given"),
    [
        (("--days", "timestamp=2"), "--days"),
        (("--root-threshold", "1"), "--root-threshold"),
        (("--root-public", "@root-2.pub"), "--root-public"),
        (("--days", "root=x", "--root-threshold", "2", "--root-public", "@root.pub"),
         "--root-public and --root-threshold and --days"),
    ],
)  # fmt: skip
def test_a_root_that_is_there_says_what_no_option_may_say_too(
    desk: Desk, more: tuple[str, ...], given: str
) -> None:
    others = ("--root-public", "@root.pub")
    desk.run("init-trust", desk.folder, "--key", "@online.key", *others)
    before = desk.root.read_bytes()

    with pytest.raises(UsageError) as caught:
        desk.begin("--root-key", "@root.key", *more)

    assert str(caught.value).replace(str(desk.place), "") == (
        f"/root.json is there: it says what {given} would"
        " (leave them out, or begin another root with --root)"
    )
    assert desk.root.read_bytes() == before
    assert not (desk.folder / "trust").exists()
    assert desk.begin("--root-key", "@root.key").startswith("/shop/build: signed, ")


def test_what_is_signed_for_a_time_that_is_over_is_warned_of(desk: Desk) -> None:
    now = datetime.now(UTC)
    desk.now = now - 8 * DAY
    told = []

    desk.begin("--root-key", "@root.key")
    told += desk.past
    for command in ("sign", "refresh"):
        desk.run(command, desk.folder, "--key", "@online.key")
        told += desk.past
    desk.run("rotate", desk.folder, "--key", "@online.key", "--root-key", "@root.key")
    told += desk.past

    assert told == 4 * [
        f"warning: SOURCE_DATE_EPOCH is {desk.now:%Y-%m-%d}, so the timestamp that was signed was"
        f" good until {now - DAY:%Y-%m-%d}: no client takes it\n"
    ]


def test_what_is_signed_for_a_time_that_is_not_over_is_not_warned_of(desk: Desk) -> None:
    desk.now = datetime.now(UTC) - 6 * DAY

    desk.begin("--root-key", "@root.key")

    assert desk.past == []


def test_nothing_is_published_while_a_root_waits_for_signatures(desk: Desk) -> None:
    desk.run("init-trust", desk.folder, "--key", "@online.key", "--root-public", "@root.pub")

    assert not (desk.folder / "trust").exists()


def test_the_key_of_somebody_else_adds_nothing_to_a_root(desk: Desk) -> None:
    desk.run("init-trust", desk.folder, "--key", "@online.key", "--root-public", "@root.pub")

    before = desk.root.read_bytes()

    assert desk.refusal("sign-root", desk.root, "--root-key", "@thief.key") == (
        "/root.json: /thief.key is none of its root keys (which key is it? --before names the root "
        "that this one follows, whose keys sign)"
    )
    assert desk.root.read_bytes() == before


def test_keys_are_replaced_and_old_clients_follow(signed: Desk) -> None:
    first = signed.root.read_bytes()
    signed.client(first)

    found = signed.run("rotate", signed.folder, "--root-key", "@root.key", "--key",
                       "@online-2.key", "--replace", "online=@online-2.pub")  # fmt: skip

    assert found == (
        "/shop/build: root 2; /root.json is that root now, the one before works, too\n"
    )
    assert signed.root.read_bytes() != first
    assert signed.sees_everything(first)
    assert signed.sees_everything(signed.root.read_bytes(), "new")
    assert signed.refusal("refresh", signed.folder, "--key", "@online.key") == (
        "timestamp.json: 1 of the keys that the root names have to sign, none of them is given"
        " (pass the private keys that `cos repo init-trust` or `rotate` were told of)"
    )


def test_the_next_root_is_signed_on_other_machines(signed: Desk) -> None:
    first = signed.root.read_bytes()
    made = signed.place / "next.json"
    rotate = ("rotate", signed.folder, "--key", "@online.key", "--next", made)

    waits = signed.run(*rotate, "--replace", "root=@root-2.pub", "--replace",
                       "root=@root-3.pub", "--threshold", "root=2")  # fmt: skip
    one = signed.run("sign-root", made, "--root-key", "@root-2.key", "--before", signed.root)
    two = signed.run("sign-root", made, "--root-key", "@root-3.key", "--before", signed.root)
    three = signed.run("sign-root", made, "--root-key", "@root.key", "--before", signed.root)
    done = signed.run(*rotate)

    message = "root 2 is not signed by enough keys"
    assert waits == (
        f"/next.json: {message}: 0 of 2 own, 0 of 1 earlier; "
        "`cos repo sign-root /next.json` adds one, --next publishes it\n"
    )
    assert one == f"/next.json: signed; {message}: 1 of 2 own, 0 of 1 earlier\n"
    assert two == f"/next.json: signed; {message}: 2 of 2 own, 0 of 1 earlier\n"
    assert three == "/next.json: signed by enough keys\n"
    assert done.startswith("/shop/build: root 2; ")
    assert signed.sees_everything(first)
    assert signed.root.read_bytes() == made.read_bytes()


def test_a_next_root_that_is_there_says_what_changes(signed: Desk) -> None:
    made = signed.place / "next.json"
    signed.run("rotate", signed.folder, "--key", "@online.key", "--next", made)

    assert (
        signed.refusal("rotate", signed.folder, "--next", made, "--days", "root=30")
        == "/next.json is there: it says what changes, no other option does"
    )


def test_a_next_root_that_came_too_late_is_refused(signed: Desk) -> None:
    made = signed.place / "next.json"
    signed.run("rotate", signed.folder, "--key", "@online.key", "--next", made)
    signed.run("rotate", signed.folder, "--key", "@online.key", "--root-key", "@root.key")

    assert signed.refusal(
        "rotate", signed.folder, "--key", "@online.key", "--root-key", "@root.key", "--next", made
    ) == ("root 2 does not follow root 2 (make it anew from the root that is published now)")


def test_an_old_root_file_is_enough_to_go_on(signed: Desk) -> None:
    first = signed.root.read_bytes()
    signed.run("rotate", signed.folder, "--key", "@online.key", "--root-key", "@root.key")
    signed.root.write_bytes(first)

    signed.run("sign", signed.folder, "--key", "@online.key")
    found = signed.run("rotate", signed.folder, "--key", "@online.key", "--root-key", "@root.key")

    assert found.startswith("/shop/build: root 3; ")


@pytest.mark.parametrize("times", [0, 5])
def test_a_repository_in_which_a_thief_signed_begins_again_with_what_the_folder_holds(
    desk: Desk, times: int
) -> None:
    desk.begin("--root-key", "@root.key", "--bins", "4")
    for number in range(times):
        desk.build(a=f"again {number}")
        desk.run("sign", desk.folder, "--key", "@online.key")
    first = desk.root.read_bytes()
    attacker = Attacker(desk.folder)

    def poison(signed: Root) -> None:
        signed.version = 1_000_000
        signed.targets.clear()  # type: ignore[attr-defined]

    attacker.name_targets("targets", attacker.forge("targets", poison, "online"), "online")
    assert desk.client(first).target("repository.yaml") is None

    desk.run("rotate", desk.folder, "--root-key", "@root.key", "--key", "@online-2.key",
             "--replace", "online=@online-2.pub", "--restart")  # fmt: skip

    assert desk.sees_everything(first)
    bins = {path.name.split(".")[1] for path in (desk.folder / "trust").glob("1.bin-*")}
    assert len(bins) == 4
    desk.build(a="later")
    desk.run("sign", desk.folder, "--key", "@online-2.key")
    assert desk.sees_everything(first)


def test_counting_from_one_again_needs_other_keys(signed: Desk) -> None:
    before = Attacker(signed.folder).copy()

    assert signed.refusal(
        "rotate", signed.folder, "--root-key", "@root.key", "--key", "@online.key", "--restart"
    ) == (
        "--restart needs other keys for the targets: clients would see an old state"
        " (--replace online=PUBLIC-KEY changes them)"
    )
    assert Attacker(signed.folder).copy() == before


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (("sign", "/nowhere", "--key", "@online.key"), InputError,
         "/nowhere: is not a folder (`cos create-repo --sign` signs what it publishes)"),
        (("refresh", "/nowhere", "--key", "@online.key"), InputError,
         "/nowhere: there is no such folder"),
        (("init-trust", "@shop/build", "--key", "@online.key", "--root-key", "@root.key",
          "--bins", "3"), TrustError, "3 is no number of bins: a power of two, 2 to 256"),
        (("init-trust", "@shop/build", "--key", "@online.key", "--root-key", "@root.key",
          "--days", "owner=3"), UsageError, "--days is ROLE=VALUE, not 'owner=3'"
         " (roles: root, targets, snapshot, timestamp, online)"),
        (("init-trust", "@shop/build", "--key", "@online.key", "--root-key", "@root.key",
          "--days", "root=x"), UsageError, "root: 'x' is no number"),
        (("init-trust", "@shop/build", "--key", "@online.key", "--root-key", "@root.key",
          "--days", "root=4000"), TrustError, "root: 4000 is no number of days, 1 to 3650"),
        (("init-trust", "@shop/build", "--key", "@online.key", "--root-key", "@root.key",
          "--root-threshold", "2"), TrustError, "root: 2 signatures cannot come from 1 keys"
         " (give as many different keys as have to sign)"),
        (("sign", "@shop/build", "--key", "@online.key"), TrustError,
         "/root.json: cannot be read: No such file or directory"
         " (--root names the file that `cos repo init-trust` wrote)"),
        (("sign-root", "@online.key", "--root-key", "@root.key"), TrustError,
         "this is no root file (`cos repo init-trust` makes one)"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(
    desk: Desk, words: tuple[str, ...], kind: type[CompilerError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        desk.run(*words)

    assert str(caught.value).replace(str(desk.place), "") == message
    assert not (desk.folder / "trust").exists()


def test_a_repository_that_lost_its_timestamp_is_told_so(signed: Desk) -> None:
    (signed.folder / "trust/timestamp.json").unlink()

    assert signed.refusal("refresh", signed.folder, "--key", "@online.key") == (
        "/shop/build: its signed metadata has lost its timestamp, /shop/build/trust/timestamp.json"
        " (bring it back from a copy; else `cos repo rotate --restart` begins anew with other keys)"
    )


@pytest.mark.registry
def test_a_repository_in_a_registry_is_begun_and_refreshed(
    desk: Desk, registry_server: RegistryServer
) -> None:
    place = str(registry_server.repository())

    begun = desk.run("init-trust", place, "--key", "@online.key", "--root-key", "@root.key")
    refreshed = desk.run("refresh", place, "--key", "@online.key")
    rotated = desk.run("rotate", place, "--key", "@online.key", "--root-key", "@root.key")

    assert begun == f"{place}: signed, 0 files; clients need /root.json\n"
    assert refreshed == f"{place}: timestamp.json\n"
    assert rotated.startswith(f"{place}: root 2; ")
    assert desk.refusal("sign", place, "--key", "@online.key") == (
        f"{place}: is not a folder (`cos create-repo --sign` signs what it publishes)"
    )


@pytest.mark.registry
def test_a_state_that_may_not_be_the_newest_is_signed_only_if_that_is_said(
    desk: Desk, registry_server: RegistryServer
) -> None:
    place = registry_server.repository()
    with RegistryClient(RegistrySettings()) as registry:
        desk.run("init-trust", str(place), "--key", "@online.key", "--root-key", "@root.key")
        desk.run("rotate", str(place), "--key", "@online.key", "--root-key", "@root.key")
        newest = max(each for each in registry.tags(place) if each.endswith(".snapshot.json"))
        root = registry.manifest(replace(place, tag="trust-1.root.json"))
        for name in (newest, "trust-timestamp.json"):
            registry.put_manifest(replace(place, tag=name), root.data, root.descriptor.media_type)

    for words in (("refresh",), ("rotate", "--root-key", "@root.key")):
        refusal = desk.refusal(words[0], str(place), "--key", "@online.key", *words[1:])
        assert f"{newest.removeprefix('trust-')} was made after it, or made up" in refusal
        assert "--older-state goes on from that state" in refusal
    signed = desk.run("refresh", str(place), "--key", "@online.key", "--older-state")

    assert "what is missing now is to be published again" in signed
    assert signed.splitlines()[-1].startswith(f"{place}: ")
    assert desk.run("refresh", str(place), "--key", "@online.key") == f"{place}: timestamp.json\n"


@pytest.mark.parametrize("given", [("--bins", "3"), ("--days", "root=0")])
def test_a_beginning_that_fails_leaves_no_root_file(desk: Desk, given: tuple[str, ...]) -> None:
    desk.refusal("init-trust", desk.folder, "--key", "@online.key", "--root-key", "@root.key",
                 *given)  # fmt: skip

    assert not desk.root.exists()
    desk.begin("--root-key", "@root.key", "--days", "root=100")
    assert desk.sees_everything(desk.root.read_bytes())


def test_a_folder_that_is_no_repository_is_not_signed(desk: Desk) -> None:
    (desk.place / "empty").mkdir()

    refusal = desk.refusal("init-trust", desk.place / "empty", "--key", "@online.key",
                           "--root-key", "@root.key")  # fmt: skip

    assert refusal == (
        "/empty: is no repository, it has no repository.yaml"
        " (`cos create-repo` makes it one, then it can be signed)"
    )
    assert not desk.root.exists()


def test_a_repository_that_is_signed_already_gets_no_other_root_file(signed: Desk) -> None:
    other = signed.place / "other.json"

    with pytest.raises(TrustError, match="is signed already"):
        signed.run("init-trust", signed.folder, "--key", "@online.key", "--root-key", "@root.key",
                   root=other)  # fmt: skip

    assert not other.exists()


def test_a_root_that_could_not_be_published_leaves_no_file(desk: Desk) -> None:
    (desk.folder / "trust").write_text("in the way of the folder")

    refusal = desk.refusal("init-trust", desk.folder, "--key", "@online.key", "--root-key",
                           "@root.key")  # fmt: skip

    assert refusal.startswith("/shop/build/trust")
    assert not desk.root.exists()
