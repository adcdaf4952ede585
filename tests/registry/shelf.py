"""What tests of registries need: contents to store, and clients for the real registries."""

import json
from dataclasses import dataclass
from pathlib import Path

from compiler.oci import INDEX, MANIFEST, Descriptor, Digest, Reference, digest_of
from compiler.registry import Registry
from compiler.registry.client import RegistryClient
from compiler.registry.settings import RegistrySettings
from tests.servers.registry import RegistryServer

EMPTY = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
NOWHERE = Digest("sha256:" + 64 * "0")


def described(data: bytes, media_type: str = LAYER_TYPE) -> Descriptor:
    """Describe a content."""
    return Descriptor(media_type, digest_of(data), len(data))


def line(descriptor: Descriptor) -> dict[str, object]:
    """Write a descriptor as it stands in manifests."""
    return {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }


def manifest_of(
    *layers: Descriptor, artifact_type: str = "", subject: Descriptor | None = None, note: str = ""
) -> bytes:
    """Write a manifest with an empty config."""
    manifest: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": line(described(EMPTY, EMPTY_TYPE)),
        "layers": [line(layer) for layer in layers],
    }
    if artifact_type:
        manifest["artifactType"] = artifact_type
    if subject is not None:
        manifest["subject"] = line(subject)
    if note:
        manifest["annotations"] = {"note": note}
    return json.dumps(manifest).encode()


def index_of(*manifests: Descriptor) -> bytes:
    """Write an index."""
    lines = [line(manifest) for manifest in manifests]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": lines}).encode()


def tagged(repository: Reference, tag: str) -> Reference:
    """Name something in a repository by its tag."""
    return Reference(repository.registry, repository.repository, tag)


def pinned(repository: Reference, digest: Digest) -> Reference:
    """Name something in a repository by its digest."""
    return Reference(repository.registry, repository.repository, digest=digest)


def put_image(registry: Registry, repository: Reference, tag: str, text: bytes) -> Descriptor:
    """Store an image of one layer, and name it."""
    layer = described(text)
    registry.put_blob(repository, EMPTY, described(EMPTY))
    registry.put_blob(repository, text, layer)
    return registry.put_manifest(tagged(repository, tag), manifest_of(layer), MANIFEST)


@dataclass(slots=True)
class Waits:
    """Stands in for sleeping: keeps how long each wait would have been."""

    seconds: list[float]

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def settings_for(server: RegistryServer, folder: Path, **changes: object) -> RegistrySettings:
    """Make settings that fit a server: its password in a file, its authority."""
    values: dict[str, object] = {"timeout": 20.0, "certificate_folders": ()} | changes
    if server.user:
        auth = folder / "auth.json"
        write_auth(auth, server.host, server.user, server.password)
        values["auth_files"] = (auth,)
    if server.authority is not None:
        values["authorities"] = (server.authority,)
    return RegistrySettings(**values)  # type: ignore[arg-type]  # each test names what it changes


def write_auth(path: Path, key: str, user: str, password: str) -> None:
    """Write a file with one user's password."""
    entry = {"username": user, "password": password}
    path.write_text(json.dumps({"auths": {key: entry}}))


def client_for(server: RegistryServer, folder: Path, **changes: object) -> RegistryClient:
    """Make a client of a server, that never really waits."""
    return RegistryClient(settings_for(server, folder, **changes), pause=Waits([]))
