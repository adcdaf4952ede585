"""No command signs what is marked as unverified, unless it is told to: each command, each mark."""

import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from compiler.cli import repo, trust
from compiler.cli.settings import Settings
from compiler.errors import CompilerError, ExitCode, TrustError
from compiler.marks import Mark, put_mark
from compiler.repository.content import Verified
from tests.e2e.lab import contents
from tests.publish.shop import Shop
from tests.repository.trust.lab import keys
from tests.servers.registry import RegistryServer

PLACE = "registry.test/cache"
REFUSED = (
    "{folder}: not signed: no signature was checked of what came from others, or of what is made"
    " of that: {what} (`cos build --verify-key KEY.pub` fetches what that key signed and builds the"
    " rest anew, --sign-unverified signs all the same)"
)


class Desk:
    """Keys in files, two packages, and the commands that sign them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.shop = Shop(place / "shop")
        self.folder = self.shop.artifacts
        for name in ("root", "online", "online-2"):
            (key,) = keys(name)
            private = key.part.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (place / f"{name}.key").write_bytes(private)
            (place / f"{name}.pub").write_bytes(key.public.pem)
        for name in ("a", "b"):
            self.shop.build(name)

    def run(self, *words: str | Path) -> None:
        """Run a command; `@name` is the file of a key. Raises what it fails with."""
        texts = [str(word).replace("@", f"{self.place}/") for word in words]
        app = repo.app if texts[0] == "create-repo" else trust.app
        done = CliRunner().invoke(app, texts, obj=Settings())
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output

    def create(self, *more: str | Path) -> None:
        """Write or publish the repository."""
        self.run("create-repo", "--tree", self.shop.tree, "--packages", self.folder, *more)

    def begin(self) -> None:
        """Write the repository, and begin to sign it."""
        self.create("--output", self.folder)
        self.init_trust()

    def init_trust(self, *more: str) -> None:
        self.run("init-trust", self.folder, "--root", "@root.json", "--root-key", "@root.key",
                 "--key", "@online.key", *more)  # fmt: skip

    def digests(self, name: str) -> dict[str, str]:
        """Name the files of an artifact by their digests."""
        files = sorted(self.folder.glob(f"{name}.*"))
        return {path.name: Verified().sha256(path) for path in files}

    def mark(self, name: str, **other: str) -> None:
        """Mark an artifact as it is, or as it was."""
        digests = self.digests(name)
        put_mark(self.folder, name, Mark(source=PLACE, files={**digests, **other}))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


Act = Callable[..., None]


def _init_trust(desk: Desk, _target: str) -> Act:
    desk.create("--output", desk.folder)
    return desk.init_trust


def _sign(desk: Desk, _target: str) -> Act:
    desk.begin()
    words = ("sign", desk.folder, "--root", "@root.json", "--key", "@online.key")
    return lambda *more: desk.run(*words, *more)


def _restart(desk: Desk, _target: str) -> Act:
    desk.begin()
    words = ("rotate", desk.folder, "--root", "@root.json", "--root-key", "@root.key", "--key",
             "@online-2.key", "--replace", "online=@online-2.pub", "--restart")  # fmt: skip
    return lambda *more: desk.run(*words, *more)


def _create(desk: Desk, _target: str) -> Act:
    desk.begin()
    words = ("--output", desk.folder, "--root", "@root.json", "--sign", "@online.key")
    return lambda *more: desk.create(*words, *more)


def _publish(desk: Desk, target: str) -> Act:
    words = ("--output", target, "--type", "docker", "--push-images", "--sign", "@online.key")
    return lambda *more: desk.create(*words, *more)


def _publish_with_root(desk: Desk, target: str) -> Act:
    desk.run("init-trust", target, "--root", "@root.json", "--root-key", "@root.key",
             "--key", "@online.key")  # fmt: skip
    act = _publish(desk, target)
    return lambda *more: act("--root", "@root.json", *more)


def _content_trust(desk: Desk, target: str) -> Act:
    """Without `--push-images`: what is refused is refused before a server hears of it."""
    words = ("--output", target, "--type", "docker", "--content-trust", "https://notary.test")
    return lambda *more: desk.create(*words, *more)


IN_FOLDERS = {
    "repo init-trust": _init_trust,
    "repo sign": _sign,
    "repo rotate --restart": _restart,
    "create-repo --sign": _create,
}
IN_REGISTRIES = {
    "create-repo --type docker --sign": _publish,
    "create-repo --type docker --sign --root": _publish_with_root,
    "create-repo --type docker --content-trust": _content_trust,
}


def unmarked(_desk: Desk) -> None:
    """Leave both packages as they were built."""


def stale(desk: Desk) -> None:
    """Mark a package that was built anew afterwards."""
    desk.mark("a-t-1", **dict.fromkeys(desk.digests("a-t-1"), "0" * 64))


def left_over(desk: Desk) -> None:
    """Mark a package that is there no longer."""
    put_mark(desk.folder, "c-t-1", Mark(source=PLACE, files={"c-t-1.package.tar": "0" * 64}))


def marked(desk: Desk) -> None:
    desk.mark("a-t-1")


def marked_archive(desk: Desk) -> None:
    desk.mark("a-t-1", **{"a-t-1.metadata.yaml": "0" * 64})


def all_marked(desk: Desk) -> None:
    desk.mark("b-t-1")
    desk.mark("a-t-1")


def unreadable(desk: Desk) -> None:
    (desk.folder / "b-t-1.unverified").write_bytes(b"\xff")


GOOD = pytest.mark.parametrize("state", [unmarked, stale, left_over])
BAD = pytest.mark.parametrize(
    ("state", "what"),
    [
        (marked, f"a-t-1 from {PLACE}"),
        (marked_archive, f"a-t-1 from {PLACE}"),
        (all_marked, f"a-t-1, b-t-1 from {PLACE}"),
        (unreadable, "b-t-1 from an unknown place"),
    ],
)
FOLDERS = pytest.mark.parametrize("command", IN_FOLDERS)
REGISTRIES = pytest.mark.parametrize("command", IN_REGISTRIES)

State = Callable[[Desk], None]


def refusal(act: Act) -> CompilerError:
    with pytest.raises(TrustError) as caught:
        act()
    return caught.value


def files_of(desk: Desk) -> Mapping[str, str]:
    """Name all files but what only spares work the next time."""
    found = contents(desk.place)
    return {name: each for name, each in found.items() if not name.endswith("-cache.json")}


@FOLDERS
@GOOD
def test_what_was_built_here_is_signed_in_a_folder(desk: Desk, command: str, state: State) -> None:
    act = IN_FOLDERS[command](desk, "")
    state(desk)

    act()


@FOLDERS
@BAD
def test_what_is_marked_is_not_signed_in_a_folder_unless_that_is_asked_for(
    desk: Desk, command: str, state: State, what: str
) -> None:
    act = IN_FOLDERS[command](desk, "")
    state(desk)
    before = files_of(desk)

    error = refusal(act)

    assert str(error) == REFUSED.format(folder=desk.folder, what=what)
    assert error.exit_code == ExitCode.FAILED
    assert files_of(desk) == before
    act("--sign-unverified")


@pytest.mark.registry
@REGISTRIES
@GOOD
def test_what_was_built_here_is_signed_in_a_registry(
    desk: Desk, command: str, state: State, registry_server: RegistryServer
) -> None:
    act = IN_REGISTRIES[command](desk, str(registry_server.repository()))
    state(desk)

    act()


@pytest.mark.registry
@REGISTRIES
@BAD
def test_what_is_marked_is_not_signed_in_a_registry_unless_that_is_asked_for(
    desk: Desk, command: str, state: State, what: str, registry_server: RegistryServer
) -> None:
    act = IN_REGISTRIES[command](desk, str(registry_server.repository()))
    state(desk)

    error = refusal(act)

    assert str(error) == REFUSED.format(folder=desk.folder, what=what)
    act("--sign-unverified")


def test_what_is_not_signed_may_be_marked(desk: Desk) -> None:
    desk.create("--output", desk.folder)
    all_marked(desk)

    desk.create("--output", desk.folder)


def test_artifacts_that_are_not_wanted_do_not_count(desk: Desk) -> None:
    desk.begin()
    desk.shop.build("c")
    desk.mark("c-t-1")
    (desk.shop.tree / "c" / "1" / "definition.yaml").unlink()
    words = ("--output", desk.folder, "--root", "@root.json", "--sign", "@online.key")

    desk.create(*words)
    with pytest.raises(TrustError, match=f"c-t-1 from {PLACE}"):
        desk.create(*words, "--from-metadata")


def test_marks_get_into_no_repository(desk: Desk) -> None:
    all_marked(desk)

    desk.run("create-repo", "--tree", desk.place / "shop", "--packages", desk.folder,
             "--output", desk.folder)  # fmt: skip
    desk.init_trust("--sign-unverified")

    names: list[str] = []
    for path in desk.folder.glob("*.tar*"):
        with tarfile.open(path) as archive:
            names += archive.getnames()
    assert "a/1/definition.yaml" in "\n".join(names)
    assert [name for name in names if "unverified" in name] == []
    signed = b"".join(path.read_bytes() for path in (desk.folder / "trust").iterdir())
    assert b"a-t-1.metadata.yaml" in signed
    assert b"unverified" not in signed
