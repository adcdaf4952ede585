"""Upgrades over the air: from a channel, an image, a folder; signed, unsigned, tampered with."""

from collections.abc import Callable, Iterator

import pytest

from tests.servers.registry import run_registry
from tests.vm.channel import Channel, make_channel
from tests.vm.machine import Machine
from tests.vm.systems import booted, choose, version
from tests.vm.world import NEXT, VERSION, World

pytestmark = [pytest.mark.vm, pytest.mark.registry, pytest.mark.xdist_group("channel")]

Installed = Callable[..., Machine]
DONE = "Upgrade done, now you might want to reboot"


@pytest.fixture(scope="module")
def channel(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Channel]:
    """A channel with two versions of the system."""
    with run_registry(tmp_path_factory.mktemp("registry")) as server:
        yield make_channel(server, world)


def test_a_machine_upgrades_from_its_channel_and_falls_back_by_choice(
    installed: Installed, channel: Channel
) -> None:
    machine = installed()
    channel.follow(machine)

    said = machine.check("cos-upgrade", 1200)
    assert "-> Upgrade target: active.img" in said
    assert DONE in said
    machine.reboot()
    assert (booted(machine), version(machine)) == ("active", NEXT)

    choose(machine, next_entry="fallback")
    machine.reboot()
    assert (booted(machine), version(machine)) == ("passive", VERSION)


def test_a_machine_upgrades_to_an_image_and_is_reset_to_what_it_was_installed_with(
    installed: Installed, channel: Channel
) -> None:
    machine = installed()
    channel.follow(machine)

    said = machine.check(f"cos-upgrade --docker-image {channel.image(f'cos-system-{NEXT}')}", 1200)
    assert "to /usr/local/tmp/rootfs" in said
    machine.reboot()
    assert (booted(machine), version(machine)) == ("active", NEXT)

    choose(machine, next_entry="recovery")
    machine.reboot()
    assert booted(machine) == "recovery"
    machine.check("cos-reset", 1200)
    machine.reboot()
    assert (booted(machine), version(machine)) == ("active", VERSION)
