"""A repository as luet itself writes it: formats and spelling of 0.32."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping

import yaml

from compiler.oci import Descriptor, Reference, canonical_json, descriptor_json, digest_of
from compiler.registry import Registry

_BUILT = "2022-11-22 23:03:16.461590878 +0000 UTC m=+3.7"
_SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"
_SCHEMA2_CONFIG = "application/vnd.docker.container.image.v1+json"
_SCHEMA2_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def luet_tar(members: Mapping[str, bytes | None], *, packed: bool) -> bytes:
    """Make an archive; a member without content is a folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.type, info.mode = (
                (tarfile.DIRTYPE, 0o755) if data is None else (tarfile.REGTYPE, 0o644)
            )
            info.size = len(data or b"")
            archive.addfile(info, io.BytesIO(data or b""))
    return gzip.compress(stream.getvalue()) if packed else stream.getvalue()


def _luet_package(name: str, version: str, *requires: str) -> dict[str, object]:
    stanzas = [{"name": each, "category": "cat", "version": ">=0"} for each in requires]
    return {
        "id": 0, "name": name, "version": version, "category": "cat", "use_flags": None,
        "state": 0, "requires": stanzas or None, "conflicts": None, "provides": None,
        "annotations": None, "path": f"/trees/{name}", "description": "", "uri": None,
        "license": "", "hidden": False,
    }  # fmt: skip


def luet_files() -> dict[str, bytes]:
    """Write a repository of two packages, as luet's create-repo does."""
    files: dict[str, bytes] = {}
    index: list[dict[str, object]] = []
    members: dict[str, bytes | None] = {"cat/": None}
    for name, version, requires in (("a", "1.0+1", ("b",)), ("b", "0.2.rc1-1+7", ())):
        package = _luet_package(name, version, *requires)
        archive = f"{name}-cat-{version}.package.tar.gz"
        files[archive] = luet_tar({"usr/": None, f"usr/{name}": version.encode()}, packed=True)
        spec = {
            "steps": ["x"], "env": None, "seed": "alpine", "unpack": False,
            "package": {**package, "buildtimestamp": _BUILT},
            "build_options": {"PushImageRepository": "luet/cache", "BuildValues": None},
        }  # fmt: skip
        index.append({
            "path": archive, "dependencies": None, "compilationspec": spec, "runtime": package,
            "checksums": {"sha256": hashlib.sha256(files[archive]).hexdigest()},
            "sourceassertion": None, "compressiontype": "gzip", "files": [f"usr/{name}"],
            "package_cacheimage": "",
        })  # fmt: skip
        folder = f"cat/{name}/{version}/"
        text = yaml.safe_dump(package).encode()
        members |= {f"cat/{name}/": None, folder: None, f"{folder}definition.yaml": text}
    files["tree.tar.gz"] = luet_tar(members, packed=True)
    text = yaml.safe_dump({"index": index}).encode()
    files["repository.meta.yaml.tar"] = luet_tar({"repository.meta.yaml": text}, packed=False)
    files["repository.yaml"] = _luet_page(files)
    return files


def _luet_page(files: Mapping[str, bytes]) -> bytes:
    described = {
        key: {
            "filename": name,
            "compressiontype": kind,
            "checksums": {"sha256": hashlib.sha256(files[name]).hexdigest()},
        }
        for key, name, kind in (
            ("tree", "tree.tar.gz", "gzip"),
            ("meta", "repository.meta.yaml.tar", "none"),
        )
    }
    page: dict[str, object] = {
        "name": "l", "urls": None, "type": "disk", "enable": True, "revision": 3,
        "last_update": "1795389729", "index": [], "repo_files": described,
    }  # fmt: skip
    return yaml.safe_dump(page).encode()


def push_schema2(registry: Registry, target: Reference, layer: bytes) -> None:
    """Push an image of one layer as Docker does."""
    diff_id = digest_of(gzip.decompress(layer))
    config = canonical_json({
        "architecture": "amd64", "os": "linux", "created": "0001-01-01T00:00:00Z", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created_by": "luet", "comment": "Custom image"}],
    })  # fmt: skip
    blobs = []
    for kind, data in ((_SCHEMA2_CONFIG, config), (_SCHEMA2_LAYER, layer)):
        blob = Descriptor(kind, digest_of(data), len(data))
        registry.put_blob(target, data, blob)
        blobs.append(descriptor_json(blob))
    manifest = {"schemaVersion": 2, "mediaType": _SCHEMA2, "config": blobs[0], "layers": blobs[1:]}
    registry.put_manifest(target, canonical_json(manifest), _SCHEMA2)
