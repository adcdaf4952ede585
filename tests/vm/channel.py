"""A release channel: what a registry on the host holds for machines, as they reach it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compiler.oci import Reference
from tests.e2e.own_tree import cos
from tests.servers.registry import RegistryServer
from tests.vm.machine import Machine
from tests.vm.world import PASSWORD, World, must

_HOST = "10.0.2.2"
"""The host, as machines of QEMU see it."""


@dataclass(frozen=True)
class Channel:
    """A signed repository in a registry, with two versions of the system."""

    place: Reference
    world: World

    def publish(self, artifacts: Path, *trees: str | Path) -> None:
        """Publish artifacts, signed."""
        keys = self.world.keys
        values = [word for file in self.world.values() for word in ("--values", file)]
        signed = ("--sign", keys / "online.key", "--root", keys / "root.json")
        must(cos("create-repo", "--tree", "tree", *trees, *values, "--packages", artifacts,
                 "--type", "docker", "--output", str(self.place), "--name", "cos", "--push-images",
                 *signed, **PASSWORD))  # fmt: skip

    @property
    def address(self) -> str:
        """The repository, as machines name it."""
        port = self.place.registry.rpartition(":")[2]
        return f"{_HOST}:{port}/{self.place.repository}"

    @property
    def settings(self) -> Mapping[str, str]:
        """By which machines take a registry that speaks no TLS, and has another name for them."""
        return {
            "INSECURE_REGISTRIES": self.address.partition("/")[0],
            "COSIGN_REPOSITORY": str(self.place),
        }

    def image(self, tag: str) -> str:
        """Name an image, as machines do."""
        return f"{self.address}:{tag}"

    def follow(self, machine: Machine) -> None:
        """Make a machine follow this channel, from this boot on."""
        lines = [
            "stages:",
            "  initramfs:",
            "  - environment_file: /etc/cos/config",
            f"    environment: {json.dumps(self.settings)}",
            "  - commands:",
            "    - |",
            f'      sed -i \'s|^  - ""$|  - "{self.address}"|\' /etc/luet/luet.yaml',
            "      sed -i 's|enable: false|enable: true|' /etc/luet/luet.yaml",
        ]
        text = "\n".join(lines)
        machine.check(f"cat > /oem/95_channel.yaml << 'END'\n{text}\nEND")
        machine.check("cos-setup initramfs --strict")
        assert self.address in machine.check("cat /etc/luet/luet.yaml")


def make_channel(server: RegistryServer, world: World) -> Channel:
    """Publish both versions of the system, signed with the keys that machines know."""
    channel = Channel(server.repository("os"), world)
    keys = world.keys
    must(cos("repo", "init-trust", str(channel.place), "--root-key", keys / "root.key", "--key",
             keys / "online.key", "--root", keys / "root.json", **PASSWORD))  # fmt: skip
    channel.publish(world.packages)
    channel.publish(world.next_packages, "--tree", world.next_tree)
    return channel
