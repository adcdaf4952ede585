"""An image as a folder: whole and verified, or not there."""

from pathlib import Path

import pytest

from compiler.agent.life.host import Host
from compiler.agent.life.phases import LifeError
from compiler.agent.life.pull_image import pull_image
from compiler.agent.life.settings import gather
from compiler.agent.log import Level, Log
from compiler.oci import Reference
from tests.agent.life.lab import make_system
from tests.agent.life.shelf import push, sign, tar_of
from tests.agent.life.test_commands import call
from tests.signing.lab import key

pytestmark = [pytest.mark.container, pytest.mark.registry]


@pytest.fixture
def said() -> list[str]:
    """What the command said."""
    return []


@pytest.fixture
def host(tmp_path: Path, said: list[str]) -> Host:
    """A machine that trusts our key."""
    root = tmp_path / "root"
    (root / "etc/cos").mkdir(parents=True)
    (root / "etc/cos/cosign.pub").write_bytes(key("ours").public.pem)
    return Host(log=Log(said.append, Level.INFO), root=root)


@pytest.fixture
def image(repository: Reference, tmp_path: Path) -> Reference:
    """A system in a registry, of two layers, not signed."""
    place = Reference(repository.registry, repository.repository, "2")
    (tmp_path / "upper/etc").mkdir(parents=True)
    (tmp_path / "upper/etc/.wh.issue").touch()
    lower = make_system(tmp_path / "lower", "2", etc__issue="hello\n")
    push(place, [tar_of(lower), tar_of(tmp_path / "upper")])
    return place


def pull(host: Host, image: object, target: Path, **given: str) -> None:
    flags = {"SOURCE_NAME": str(image), "FOLDER": str(target), **given}
    pull_image(host, gather({}, {}, flags))


def refused(host: Host, image: object, target: Path, **given: str) -> LifeError:
    """Fail to pull; nothing has changed where the folder is to be."""
    before = sorted(target.parent.rglob("*"))
    with pytest.raises(LifeError) as caught:
        pull(host, image, target, **given)
    assert sorted(target.parent.rglob("*")) == before
    return caught.value


def test_a_signed_image_becomes_a_folder_as_a_machine_would_see_it(
    host: Host, image: Reference, said: list[str], tmp_path: Path
) -> None:
    sign(image, key("ours"))
    target = tmp_path / "new/folder"

    pull(host, image, target)

    assert 'VERSION="2"' in (target / "etc/os-release").read_text()
    assert str((target / "boot/vmlinuz").readlink()) == "vmlinuz-2"
    assert not (target / "etc/issue").exists(), "an upper layer took it away"
    assert [each.name for each in target.parent.iterdir()] == ["folder"]
    assert target.stat().st_mode & 0o777 == 0o755
    assert said[-1].startswith("Digest: sha256:")


def test_an_image_that_nobody_signed_is_refused_unless_that_is_asked_for(
    host: Host, image: Reference, said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()

    error = refused(host, image, tmp_path / "out/folder")
    assert (error.exit_code, f"{image}: no signature counts" in error.message) == (14, True)
    pull(host, image, tmp_path / "out/folder", VERIFY="false")

    assert (tmp_path / "out/folder/boot/vmlinuz-2").read_text() == "kernel 2"
    assert any("SIGNATURES ARE NOT CHECKED" in each for each in said)


def test_a_folder_with_something_in_it_stays_as_it_is(host: Host, tmp_path: Path) -> None:
    (tmp_path / "out/folder").mkdir(parents=True)
    (tmp_path / "out/folder/mine").touch()

    error = refused(host, "never.asked.example/x:1", tmp_path / "out/folder")

    assert str(error) == (
        f"{tmp_path}/out/folder is not empty (name one that is empty, or that is not there yet)"
    )


def test_an_empty_folder_is_filled(host: Host, tmp_path: Path) -> None:
    system = make_system(tmp_path / "system", "3")
    (tmp_path / "out").mkdir()

    pull(host, f"dir:{system}", tmp_path / "out")

    assert (tmp_path / "out/boot/vmlinuz-3").read_text() == "kernel 3"


def test_the_command_line_names_image_and_folder(image: Reference, tmp_path: Path) -> None:
    done = call("cos-agent", "pull-image", "--no-verify", str(image), str(tmp_path / "out"))

    assert (done.returncode, done.stderr.count("SIGNATURES ARE NOT CHECKED")) == (0, 1)
    assert (tmp_path / "out/etc/os-release").exists()
