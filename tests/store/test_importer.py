import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from compiler.archive import Clamp
from compiler.archive.scan import entries_of
from compiler.archive.tar import folder_content, write_layer
from compiler.errors import CompilerError, ImageError
from compiler.oci import Platform, digest_of
from compiler.store.images import host_platform
from compiler.store.importer import import_image
from compiler.store.local import LocalStore

AS_THEY_ARE = Clamp(epoch=0, after=2**62)
AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "sh").write_bytes(os.urandom(100_000))
    (folder / "bin" / "sh").chmod(0o755)
    (folder / "bin" / "bash").hardlink_to(folder / "bin" / "sh")
    (folder / "lib").symlink_to("usr/lib")
    os.utime(folder / "bin", (7, 7))
    return folder


class Layout:
    """Writes an OCI image layout piece by piece."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)
        self.manifests: list[object] = []

    def blob(self, data: bytes, media_type: str, **more: object) -> dict[str, object]:
        digest = digest_of(data)
        (self.folder / "blobs" / "sha256" / digest[7:]).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def image(
        self, layer: bytes, config: Mapping[str, object], **more: object
    ) -> dict[str, object]:
        full = {**config, "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]}}
        manifest = {
            "schemaVersion": 2,
            "config": self.blob(json.dumps(full).encode(), "config"),
            "layers": [self.blob(layer, "application/vnd.oci.image.layer.v1.tar")],
        }
        kind = "application/vnd.oci.image.manifest.v1+json"
        return self.blob(json.dumps(manifest).encode(), kind, **more)

    def name(self, descriptor: dict[str, object], name: str) -> None:
        self.manifests.append(
            {**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}}
        )
        index = {"schemaVersion": 2, "manifests": self.manifests}
        (self.folder / "index.json").write_text(json.dumps(index))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def tar_of(folder: Path) -> bytes:
    sink = io.BytesIO()
    write_layer(entries_of(folder, AS_THEY_ARE), folder_content(folder), sink)
    return sink.getvalue()


def config(platform: Platform = AMD, **inner: object) -> dict[str, object]:
    return {"os": platform.os, "architecture": platform.architecture, "config": inner}


def failure(store: LocalStore, source: str) -> str:
    with pytest.raises(CompilerError) as caught:
        import_image(store, "debian:trixie", source)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["dir", "tar"])
def test_a_root_file_system_is_taken_in_unchanged(
    store: LocalStore, root: Path, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "root.tar").write_bytes(tar_of(root))
    before = entries_of(root, AS_THEY_ARE)

    image = import_image(store, "mine", f"{kind}:{root}{'.tar' if kind == 'tar' else ''}")

    (layer,) = image.layers
    assert entries_of(store.layer_path(layer), AS_THEY_ARE) == before
    assert entries_of(root, AS_THEY_ARE) == before
    assert image.platform == host_platform()
    assert store.image("mine") == image


def test_an_oci_layout_keeps_what_its_config_says(
    store: LocalStore, root: Path, layout: Layout
) -> None:
    env = ["PATH=/bin", "EMPTY=", "A=b=c"]
    described = config(AMD, Env=env, User="nobody", Shell=["/bin/bash", "-c"])
    layout.name(layout.image(tar_of(root), described), "trixie")

    image = import_image(store, "debian:trixie", f"oci:{layout.folder}:trixie")

    assert image.env == (("PATH", "/bin"), ("EMPTY", ""), ("A", "b=c"))
    assert (image.user, image.shell, image.platform) == ("nobody", ("/bin/bash", "-c"), AMD)
    assert store.layer_path(image.layers[0]).joinpath("bin/sh").stat().st_nlink == 2


def test_of_several_platforms_the_wanted_one_is_taken(
    store: LocalStore, root: Path, layout: Layout
) -> None:
    inner = [
        layout.image(
            tar_of(root), config(each), platform={"os": "linux", "architecture": each.architecture}
        )
        for each in (AMD, ARM)
    ]
    index = json.dumps({"schemaVersion": 2, "manifests": inner}).encode()
    layout.name(layout.blob(index, "application/vnd.oci.image.index.v1+json"), "x")

    image = import_image(store, "x", f"oci:{layout.folder}", ARM)

    assert image.platform == ARM
    with pytest.raises(ImageError) as caught:
        import_image(store, "x", f"oci:{layout.folder}", Platform("linux", "riscv64"))
    assert str(caught.value) == f"{layout.folder}: it has no image for linux/riscv64"


def test_a_docker_archive_is_taken_in(store: LocalStore, root: Path, tmp_path: Path) -> None:
    file = docker_archive(tmp_path, tar_of(root), config(AMD, Env=["A=b"]))

    image = import_image(store, "debian:trixie", f"docker-archive:{file}")

    assert image.env == (("A", "b"),)
    assert (store.layer_path(image.layers[0]) / "bin" / "sh").exists()


def docker_archive(
    folder: Path, layer: bytes, described: Mapping[str, object], diff_id: str = ""
) -> Path:
    diff_ids = [diff_id or digest_of(layer)]
    full = json.dumps({**described, "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
    name = hashlib.sha256(full).hexdigest() + ".json"
    manifest = [{"Config": name, "RepoTags": ["debian:trixie"], "Layers": ["one/layer.tar"]}]
    contents = {name: full, "one/real.tar": layer, "manifest.json": json.dumps(manifest).encode()}
    file = folder / "saved.tar"
    with tarfile.open(file, "w") as archive:
        for path, data in contents.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("one/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../one/real.tar"
        archive.addfile(link)
    return file


def test_a_layer_of_a_docker_archive_that_is_not_the_right_one_is_refused(
    store: LocalStore, root: Path, tmp_path: Path
) -> None:
    wrong = "sha256:" + 64 * "0"
    file = docker_archive(tmp_path, tar_of(root), config(), wrong)

    assert failure(store, f"docker-archive:{file}") == f"{file}: the layer {wrong} is damaged"
    assert store.images() == ()


def test_a_damaged_blob_is_refused(store: LocalStore, root: Path, layout: Layout) -> None:
    layer = tar_of(root)
    layout.name(layout.image(layer, config()), "x")
    digest = digest_of(layer)
    (layout.folder / "blobs" / "sha256" / digest[7:]).write_bytes(layer[:-1] + b"x")

    assert failure(store, f"oci:{layout.folder}:x") == (
        f"{layout.folder}: the layer {digest} is damaged"
    )


def test_a_digest_that_is_a_path_is_refused(
    store: LocalStore, layout: Layout, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("{}")
    layout.name({"digest": "sha256:../../../secret", "size": 2}, "x")

    assert failure(store, f"oci:{layout.folder}:x") == (
        f"{layout.folder}: 'sha256:../../../secret' is not a sha256 digest"
    )


def test_a_hostile_layer_is_refused_and_leaves_nothing(
    store: LocalStore, layout: Layout, tmp_path: Path
) -> None:
    header = tarfile.TarInfo("../../out").tobuf()
    layout.name(layout.image(header + bytes(1024), config()), "x")

    message = failure(store, f"oci:{layout.folder}:x")

    assert message.endswith(": ../../out: the path leads out with '..'")
    assert store.images() == ()
    assert not list(tmp_path.rglob("out"))
    assert not list((store.root / "layers").iterdir())


def test_what_cannot_be_a_source_is_refused(
    store: LocalStore, layout: Layout, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("text" * 1000)
    layout.name(layout.blob(b"{}", "manifest"), "x")
    layout.name(layout.blob(b"[]", "manifest"), "y")

    hint = "(oci:DIR[:TAG], docker-archive:FILE, tar:FILE or dir:DIR)"
    assert failure(store, "debian") == f"'debian' is not a source of an image {hint}"
    assert failure(store, "oci:") == f"'oci:' is not a source of an image {hint}"
    assert failure(store, "tar:/none") == "/none: no such file or folder"
    assert failure(store, f"dir:{tmp_path}/text") == f"{tmp_path}/text: not a folder"
    assert failure(store, f"dir:{tmp_path}") == (
        f"{tmp_path}: the store itself lies in this folder"
    )
    assert failure(store, f"tar:{tmp_path}/text") == (
        f"{tmp_path}/text: a header is damaged: invalid header"
    )
    assert failure(store, f"oci:{layout.folder}") == (
        f"{layout.folder}: it holds several images (oci:{layout.folder}:TAG, one of x, y)"
    )
    assert failure(store, f"oci:{layout.folder}:z") == (
        f"{layout.folder}: it has no image 'z' (it has x, y)"
    )
    assert failure(store, f"oci:{layout.folder}:x") == (
        f"{layout.folder}: a descriptor of the image has no size"
    )
    assert failure(store, f"oci:{layout.folder}:y") == (
        f"{layout.folder}: the image's manifest is not a JSON object"
    )


@pytest.mark.container
def test_other_tools_read_the_store(store: LocalStore, root: Path, tmp_path: Path) -> None:
    import_image(store, "debian:trixie", f"dir:{root}")
    full = "docker.io/library/debian:trixie"

    inspected = json.loads(run("skopeo", "inspect", "--config", f"oci:{store.root}:{full}"))
    run("skopeo", "copy", "-q", f"oci:{store.root}:{full}", f"dir:{tmp_path}/copied")
    listed = run("umoci", "ls", "--layout", str(store.root))

    image = store.image("debian:trixie")
    assert image is not None
    assert inspected["rootfs"]["diff_ids"] == list(image.layers)
    assert listed == f"{full}\n"


@pytest.mark.container
def test_what_skopeo_writes_is_taken_in(store: LocalStore, root: Path, tmp_path: Path) -> None:
    original = import_image(store, "debian:trixie", f"dir:{root}")
    name = f"oci:{store.root}:docker.io/library/debian:trixie"
    run("skopeo", "copy", "-q", "--dest-compress-format", "gzip", name, f"oci:{tmp_path}/out:tag")

    image = import_image(store, "copy", f"oci:{tmp_path}/out:tag")

    assert image.layers == original.layers


@pytest.mark.container
def test_gnu_tar_reads_xattrs_and_capabilities(tmp_path: Path, root: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(root / "bin" / "sh", "security.capability", capability)
    os.setxattr(root / "bin" / "sh", "user.a", b"text")
    (tmp_path / "root.tar").write_bytes(tar_of(root))
    (tmp_path / "out").mkdir()

    run("tar", "--xattrs", "--xattrs-include=*", "-C", f"{tmp_path}/out", "-xf", f"{root}.tar")

    assert entries_of(tmp_path / "out", AS_THEY_ARE) == entries_of(root, AS_THEY_ARE)


def run(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout
