"""Systems in registries and channels, signed or not."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from compiler.oci import CONFIG, LAYER_GZIP, MANIFEST, Descriptor, Digest, Reference, digest_of
from compiler.registry.client import RegistryClient
from compiler.registry.settings import RegistrySettings
from compiler.signing.images import sign_image
from compiler.signing.keys import PrivateKey

REGISTRY = RegistrySettings(attempts=1)


def tar_of(folder: Path) -> bytes:
    """Pack a folder as a layer, the same bytes each time."""
    done = subprocess.run(
        ["tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-C", str(folder),
         "-cf", "-", "."],
        capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout


def push(place: Reference, layers: Sequence[bytes], architecture: str = "amd64") -> Digest:
    """Push an image of these layers, the lowest first; returns its digest."""
    with RegistryClient(REGISTRY) as registry:
        blobs = []
        for layer in layers:
            packed = gzip.compress(layer, mtime=0)
            blob = Descriptor(LAYER_GZIP, digest_of(packed), len(packed))
            registry.put_blob(place, packed, blob)
            blobs.append(blob)
        diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
        config = json.dumps({
            "architecture": architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }).encode()  # fmt: skip
        about = Descriptor(CONFIG, digest_of(config), len(config))
        registry.put_blob(place, config, about)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": about.digest, "size": about.size},
            "layers": [
                {"mediaType": each.media_type, "digest": each.digest, "size": each.size}
                for each in blobs
            ],
        }
        return registry.put_manifest(place, json.dumps(manifest).encode(), MANIFEST).digest


def sign(place: Reference, key: PrivateKey) -> None:
    """Sign an image."""
    with RegistryClient(REGISTRY) as registry:
        sign_image(registry, place, key)


def cos(*arguments: str | Path) -> str:
    """Run our own command, which has to succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "compiler", *map(str, arguments)],
        capture_output=True, check=False, text=True, env={**os.environ, "COSIGN_PASSWORD": "x"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


class Channel:
    """A signed repository in a folder, from which machines upgrade."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.build = folder / "build"
        self.root = folder / "root.json"
        self.build.mkdir(parents=True)
        for name in ("root", "online"):
            cos("key", "generate", "--output", folder / name)

    def _pack(self, version: str, system: Path, finalizer: str = "") -> None:
        """Pack a system as the package system/cos; `finalizer` is its finalize.yaml."""
        tree = self.folder / "tree/system" / f"cos-{version}"
        tree.mkdir(parents=True)
        (tree / "definition.yaml").write_text(
            f'name: cos\ncategory: system\nversion: "{version}"\n'
        )
        (tree / "build.yaml").write_text("image: scratch\n")
        if finalizer:
            (tree / "finalize.yaml").write_text(finalizer)
        cos("pack", f"system/cos@{version}", "--source", system, "--destination", self.build,
            "--compression", "zstd")  # fmt: skip

    def publish(self, version: str, system: Path, finalizer: str = "") -> None:
        """Publish a system as the package system/cos; `finalizer` is its finalize.yaml."""
        self._pack(version, system, finalizer)
        signing = ("--sign", self.folder / "online.key", "--root", self.root)
        first = not self.root.exists()
        cos("create-repo", "--tree", self.folder / "tree", "--packages", self.build,
            "--output", self.build, "--type", "http", "--name", "main",
            *(() if first else signing))  # fmt: skip
        if first:
            cos("repo", "init-trust", self.build, "--root-key", self.folder / "root.key", "--key",
                self.folder / "online.key", "--root", self.root)  # fmt: skip

    def configure(self, root: Path, *, trusted: bool = True) -> None:
        """Tell a machine of the channel."""
        place = root / "srv/channel"
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(self.build)
        self._tell(root, "disk", "/srv/channel", trusted=trusted)

    def _tell(self, root: Path, kind: str, url: str, *, trusted: bool = True) -> None:
        """Write the configuration of a machine."""
        folder = root / "etc/luet"
        folder.mkdir(parents=True, exist_ok=True)
        (root / "etc/cos/main.root.json").write_bytes(self.root.read_bytes())
        lines = ["repositories:", "- name: main", f"  type: {kind}", "  enable: true",
                 f'  urls: ["{url}"]']  # fmt: skip
        lines += ["  root: /etc/cos/main.root.json"] if trusted else []
        (folder / "luet.yaml").write_text("\n".join(lines) + "\n")


class RegistryChannel(Channel):
    """A signed repository in a registry."""

    def __init__(self, folder: Path, place: Reference) -> None:
        super().__init__(folder)
        self.place = place

    def publish(self, version: str, system: Path, finalizer: str = "") -> None:
        """Publish a system as the package system/cos; `finalizer` is its finalize.yaml."""
        self._pack(version, system, finalizer)
        if not self.root.exists():
            cos("repo", "init-trust", str(self.place), "--root-key", self.folder / "root.key",
                "--key", self.folder / "online.key", "--root", self.root)  # fmt: skip
        cos("create-repo", "--tree", self.folder / "tree", "--packages", self.build, "--type",
            "docker", "--output", str(self.place), "--name", "main", "--push-images",
            "--sign", self.folder / "online.key", "--root", self.root)  # fmt: skip

    def configure_at(self, root: Path, place: Reference) -> None:
        """Tell a machine of the channel, at a place of it."""
        self._tell(root, "docker", str(place))
