"""Systems from registries and channels: only what is signed, and only what is not there yet."""

import gzip
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from compiler.agent.life.host import free_bytes
from compiler.agent.life.phases import LifeError
from compiler.oci import Reference
from compiler.signing.files import sign_bytes
from tests.agent.life.lab import Bench, do, leftovers, make_system, read_inside
from tests.agent.life.shelf import Channel, push, sign, tar_of
from tests.servers.proxy import FaultyProxy
from tests.servers.registry import RegistryServer
from tests.signing.lab import key

pytestmark = [pytest.mark.container, pytest.mark.registry]


def trust(bench: Bench, name: str = "ours") -> None:
    """Give a machine the key that it trusts."""
    (bench.root / "etc/cos/cosign.pub").write_bytes(key(name).public.pem)


def tagged(repository: Reference, tag: str) -> Reference:
    return Reference(repository.registry, repository.repository, tag)


def refusal(bench: Bench, source: str, **given: str) -> LifeError:
    """Fail to upgrade; nothing has changed."""
    with bench.running(), pytest.raises(LifeError) as caught:
        bench.upgrade(source, **given)
    assert bench.systems() == {"active": "kernel 1", "passive": "kernel 1"}
    assert leftovers(bench) == []
    return caught.value


@pytest.fixture
def image(repository: Reference, new: Path) -> Reference:
    """Version 2 in a registry, not signed."""
    place = tagged(repository, "2")
    push(place, [tar_of(new)])
    return place


def test_a_signed_image_is_taken_and_named_by_its_digest(
    machine: Bench, image: Reference, new: Path
) -> None:
    digest = push(image, [tar_of(new)])
    sign(image, key("ours"))
    trust(machine)

    with machine.running():
        machine.upgrade(f"oci:{image}")

    assert machine.systems()["active"] == "kernel 2"
    active = machine.record()["state"]["active"]
    assert (active["source"], active["digest"]) == (f"oci:{image}", digest)
    assert f"Unpacking {image} to /usr/local/tmp/rootfs" in machine.said
    assert leftovers(machine) == []


def test_an_image_that_nobody_or_somebody_else_signed_is_refused(
    machine: Bench, image: Reference
) -> None:
    trust(machine)
    error = refusal(machine, f"oci:{image}")
    assert error.exit_code == 14
    assert f"{image}: no signature counts" in error.message

    sign(image, key("a stranger"))
    error = refusal(machine, f"oci:{image}")
    assert (error.exit_code, "is not by a key that is trusted" in error.message) == (14, True)


def test_without_a_key_nothing_is_taken_and_without_verification_that_is_said_loudly(
    machine: Bench, image: Reference
) -> None:
    error = refusal(machine, f"oci:{image}")
    assert (error.exit_code, error.hint) == (14, "--no-verify takes it all the same")

    with machine.running():
        machine.upgrade(f"oci:{image}", VERIFY="false")

    assert machine.systems()["active"] == "kernel 2"
    assert any("SIGNATURES ARE NOT CHECKED" in line for line in machine.said)


def test_an_image_that_was_changed_after_it_was_signed_is_refused(
    machine: Bench, repository: Reference, registry_server: RegistryServer, tmp_path: Path
) -> None:
    image = tagged(repository, "changed")
    digest = push(image, [tar_of(make_system(tmp_path / "changed", "of-this-test"))])
    sign(image, key("ours"))
    trust(machine)
    blob = registry_server.blobs / digest[7:9] / digest[7:] / "data"
    blob.write_bytes(blob.read_bytes().replace(b"layers", b"LAYERS"))

    error = refusal(machine, f"oci:{image}")

    assert error.exit_code in {14, 53}


def test_layers_lie_over_each_other_and_delete_what_is_below(
    machine: Bench, repository: Reference, old: Path, tmp_path: Path
) -> None:
    upper = make_system(tmp_path / "upper", "2")
    (upper / "boot/.wh.vmlinuz-1").touch()
    (upper / "boot/.wh.initrd-1").touch()
    (upper / "system/features/.wh..wh..opq").touch()
    place = tagged(repository, "two")
    push(place, [tar_of(old), tar_of(upper)])

    with machine.running():
        machine.upgrade(f"oci:{place}", VERIFY="false")

    assert machine.systems()["active"] == "kernel 2"
    with machine.partition("COS_STATE") as state:
        names = do("debugfs", "-R", "ls -p /boot", state / "cOS/active.img")
        features = do("debugfs", "-R", "ls -p /system/features", state / "cOS/active.img")
    assert "vmlinuz-2" in names
    assert "vmlinuz-1" not in names
    assert ".wh." not in names + features
    assert "k3s.yaml" in features


def test_only_layers_that_changed_are_fetched(
    machine: Bench, registry_server: RegistryServer, old: Path, tmp_path: Path, proxy: FaultyProxy
) -> None:
    place = tagged(registry_server.repository(), "1")
    there = Reference(proxy.host, place.repository, "1")
    first = make_system(tmp_path / "first", "2")
    second = make_system(tmp_path / "second", "3")

    fetched = []
    for upper in (first, second):
        push(place, [tar_of(old), tar_of(upper)])
        before = proxy.count("GET", "/blobs/")
        with machine.running():
            machine.upgrade(f"oci:{there}", VERIFY="false")
        fetched.append(proxy.count("GET", "/blobs/") - before)

    assert machine.systems()["active"] == "kernel 3"
    assert fetched == [3, 2]  # the config each time


def test_what_was_damaged_in_the_cache_is_fetched_again(machine: Bench, image: Reference) -> None:
    with machine.running() as mounted:
        machine.upgrade(f"oci:{image}", VERIFY="false")
        cache = mounted["COS_PERSISTENT"] / ".cos-upgrade/sha256"
        (layer,) = [each for each in cache.glob("*/*") if each.is_file()]
        layer.write_bytes(b"damaged" + layer.read_bytes()[7:])
        machine.upgrade(f"oci:{image}", VERIFY="false")

    assert machine.systems()["active"] == "kernel 2"


def kept(persistent: Path) -> list[str]:
    """List the contents that are kept."""
    folder = persistent / ".cos-upgrade"
    found = [*folder.glob("sha256/*/*"), *folder.glob("parts/*")]
    return sorted(each.name for each in found)


def test_what_the_new_image_and_the_last_one_are_made_of_is_kept_and_no_more(
    machine: Bench, repository: Reference, old: Path, tmp_path: Path
) -> None:
    uppers = [make_system(tmp_path / name, name) for name in "234"]
    layers = [tar_of(old), *map(tar_of, uppers)]
    blobs = [hashlib.sha256(gzip.compress(each, mtime=0)).hexdigest() for each in layers]
    place = tagged(repository, "1")

    with machine.running() as mounted:
        for upper in layers[1:]:
            push(place, [layers[0], upper])
            machine.upgrade(f"oci:{place}", VERIFY="false")
        both = kept(mounted["COS_PERSISTENT"])
        machine.upgrade(f"oci:{place}", VERIFY="false")
        again = kept(mounted["COS_PERSISTENT"])
        machine.upgrade(f"dir:{uppers[0]}")
        one = kept(mounted["COS_PERSISTENT"])
        machine.upgrade(f"dir:{uppers[1]}")
        machine.upgrade(f"oci:{place}", VERIFY="false")
        last = kept(mounted["COS_PERSISTENT"])

    assert both == again == sorted([blobs[0], *blobs[2:]])
    assert one == last == sorted([blobs[0], blobs[3]])


def test_what_has_no_room_on_the_persistent_partition_is_fetched_and_not_kept(
    machine: Bench, repository: Reference, old: Path, tmp_path: Path, proxy: FaultyProxy
) -> None:
    there = Reference(proxy.host, repository.repository, "1")
    large = make_system(tmp_path / "large", "2")
    (large / "data").write_bytes(os.urandom(40 << 20))
    push(tagged(repository, "1"), [tar_of(old), tar_of(large)])

    with machine.running() as mounted:
        persistent = mounted["COS_PERSISTENT"]
        (persistent / "owner").write_bytes(b"x" * (free_bytes(persistent) - (30 << 20)))
        machine.upgrade(f"oci:{there}", VERIFY="false")
        left = kept(persistent)
        before = proxy.count("GET", "/blobs/")
        machine.upgrade(f"oci:{there}", VERIFY="false")
        state = sorted(each.name for each in mounted["COS_STATE"].iterdir())

    assert machine.systems()["active"] == "kernel 2"
    assert any("has no room for" in line and "is not kept" in line for line in machine.said)
    assert (left, proxy.count("GET", "/blobs/") - before) == ([], 3)
    assert ".cos-fetched" not in state
    assert leftovers(machine) == []


def test_older_layers_make_room_for_those_of_the_next_image(
    machine: Bench, repository: Reference, old: Path, tmp_path: Path
) -> None:
    place = tagged(repository, "1")
    large = []
    for version in "23":
        system = make_system(tmp_path / version, version)
        (system / "data").write_bytes(os.urandom(40 << 20))
        large.append(tar_of(system))

    with machine.running() as mounted:
        persistent = mounted["COS_PERSISTENT"]
        push(place, [tar_of(old), large[0]])
        machine.upgrade(f"oci:{place}", VERIFY="false")
        (persistent / "owner").write_bytes(b"x" * (free_bytes(persistent) - (30 << 20)))
        push(place, [tar_of(old), large[1]])
        machine.upgrade(f"oci:{place}", VERIFY="false")
        left = kept(persistent)

    assert machine.systems()["active"] == "kernel 3"
    assert not any("is not kept" in line for line in machine.said)
    assert hashlib.sha256(gzip.compress(large[1], mtime=0)).hexdigest() in left


def test_what_is_kept_of_images_stays_within_bounds(machine: Bench, image: Reference) -> None:
    with machine.running() as mounted:
        machine.upgrade(f"oci:{image}", VERIFY="false", CACHE_SIZE="0")
        left = kept(mounted["COS_PERSISTENT"])

    assert left == []


def test_an_image_for_another_processor_is_refused(
    machine: Bench, repository: Reference, new: Path
) -> None:
    place = tagged(repository, "arm")
    push(place, [tar_of(new)], architecture="arm64")

    error = refusal(machine, f"oci:{place}", VERIFY="false")

    assert (error.exit_code, error.message) == (
        90, f"{place} is for linux/arm64, and this machine is linux/amd64",
    )  # fmt: skip


def test_an_image_that_is_not_there_and_a_registry_that_does_not_answer_are_told(
    machine: Bench, repository: Reference
) -> None:
    error = refusal(machine, f"oci:{tagged(repository, 'none')}", VERIFY="false")
    assert error.exit_code == 53

    error = refusal(machine, "oci:127.0.0.1:1/os:1", VERIFY="false")
    assert error.exit_code == 53


def test_an_image_can_be_installed(blank: Bench, image: Reference) -> None:
    sign(image, key("ours"))
    trust(blank)

    blank.install(Path("/"), SYSTEM=f"oci:{image}")

    assert blank.systems() == {"active": "kernel 2", "passive": "kernel 2"}
    assert blank.record()["recovery"]["recovery"]["source"] == f"oci:{image}"


def test_a_file_needs_a_signature_beside_it_where_a_key_is_trusted(
    machine: Bench, new: Path, tmp_path: Path
) -> None:
    file = tmp_path / "system.squashfs"
    do("mksquashfs", new, file, "-noappend", "-no-progress")
    trust(machine)
    assert refusal(machine, f"file:{file}").exit_code == 14

    (tmp_path / "system.squashfs.sig").write_text(sign_bytes(b"another", key("ours")))
    assert refusal(machine, f"file:{file}").exit_code == 14

    (tmp_path / "system.squashfs.sig").write_text(sign_bytes(file.read_bytes(), key("ours")))
    with machine.running():
        machine.upgrade(f"file:{file}")

    assert machine.systems()["active"] == "kernel 2"


@pytest.fixture
def channel(tmp_path: Path, new: Path) -> Channel:
    """A signed channel that has version 2."""
    made = Channel(tmp_path / "channel")
    made.publish("2", new)
    return made


def test_the_newest_package_of_a_signed_channel_is_taken(
    machine: Bench, channel: Channel, tmp_path: Path
) -> None:
    channel.publish("3", make_system(tmp_path / "third", "3"))
    channel.configure(machine.root)

    with machine.running():
        machine.upgrade("", SYSTEM="")

    assert "Upgrading from release channel" in machine.said
    assert machine.systems()["active"] == "kernel 3"
    active = machine.record()["state"]["active"]
    assert active["source"] == "channel:system/cos-3"
    assert active["digest"].startswith("sha256:")


def with_shell(system: Path) -> Path:
    """Give a system a shell."""
    shutil.copy(shutil.which("busybox") or "", system / "usr/bin/busybox")
    for name in ("sh", "env", "ip", "ls"):
        (system / "usr/bin" / name).unlink(missing_ok=True)
        (system / "usr/bin" / name).symlink_to("busybox")
    return system


FINALIZER = """
install:
- echo "{{.Values.name}} $WHO $(ip -o link | wc -l) $$" > /etc/final
- ls /run > /etc/run
"""


def test_finalizers_of_a_channel_run_in_the_new_tree(machine: Bench, tmp_path: Path) -> None:
    channel = Channel(tmp_path / "channel")
    system = with_shell(make_system(tmp_path / "system", "2"))
    (system / "usr/bin/wc").symlink_to("busybox")
    (system / "run").mkdir()
    channel.publish("2", system, FINALIZER)
    channel.configure(machine.root)
    with (machine.root / "etc/luet/luet.yaml").open("a") as file:
        file.write("finalizer_envs: [{key: WHO, value: me}]\n")

    with machine.running() as mounted:
        machine.upgrade("channel:system/cos")
        image = mounted["COS_STATE"] / "cOS/active.img"
        assert read_inside(image, "/etc/final") == "cos me 1 1\n", "alone, and without a network"
        assert read_inside(image, "/etc/run") == ""

    assert machine.systems()["active"] == "kernel 2"
    assert "Finalizing system/cos-2" in machine.said
    assert leftovers(machine) == []


def test_a_finalizer_that_fails_keeps_the_machine_as_it_is(machine: Bench, tmp_path: Path) -> None:
    channel = Channel(tmp_path / "channel")
    channel.publish(
        "2", with_shell(make_system(tmp_path / "system", "2")), "install: [echo no >&2; exit 3]\n"
    )
    channel.configure(machine.root)

    error = refusal(machine, "channel:system/cos")

    assert error.exit_code == 48
    assert error.message == (
        "channel:system/cos-2: system/cos-2: its finalizer failed: "
        "'echo no >&2; exit 3' ended with exit code 3\n    no"
    )


def test_a_channel_that_goes_back_is_refused(
    machine: Bench, channel: Channel, tmp_path: Path
) -> None:
    old_state = tmp_path / "old-state"
    do("cp", "-a", channel.build, old_state)
    channel.publish("3", make_system(tmp_path / "third", "3"))
    channel.configure(machine.root)
    with machine.running():
        machine.upgrade("", SYSTEM="")
    (machine.root / "srv/channel").unlink()
    (machine.root / "srv/channel").symlink_to(old_state)

    with machine.running(), pytest.raises(LifeError) as caught:
        machine.upgrade("", SYSTEM="")

    assert caught.value.exit_code == 14
    assert machine.systems()["active"] == "kernel 3"


def test_a_channel_without_a_root_is_taken_only_without_verification(
    machine: Bench, channel: Channel
) -> None:
    channel.configure(machine.root, trusted=False)
    error = refusal(machine, "", SYSTEM="")
    assert error.exit_code == 14
    assert error.message == "main: no root says who may sign it"

    with machine.running():
        machine.upgrade("", SYSTEM="", VERIFY="false")

    assert machine.systems()["active"] == "kernel 2"


def test_a_changed_archive_of_a_channel_is_refused(machine: Bench, channel: Channel) -> None:
    channel.configure(machine.root)
    (archive,) = channel.build.glob("cos-system-2.package.tar*")
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")

    assert refusal(machine, "", SYSTEM="").exit_code in {14, 53}


def test_no_channel_and_a_package_that_it_has_not_are_told(
    machine: Bench, channel: Channel
) -> None:
    error = refusal(machine, "", SYSTEM="")
    assert (error.exit_code, error.message) == (68, "no release channel is configured")

    channel.configure(machine.root)
    assert refusal(machine, "channel:system/nothing").exit_code == 20
