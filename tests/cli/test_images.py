"""`cos util unpack`, `pack` and `image-exist`, `cos box exec` and `cos pack`, as processes."""

import base64
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.artifact.metadata import read_metadata
from compiler.marks import Mark, put_mark
from compiler.oci import Descriptor, Reference, canonical_json, descriptor_json, digest_of
from compiler.registry import Registry
from compiler.registry.client import RegistryClient
from compiler.registry.settings import RegistrySettings
from compiler.repository.content import Verified
from compiler.store.images import host_platform
from tests.cli.machine import add_shell
from tests.cli.test_main import CHECKOUT, cos
from tests.repository.luet import luet_tar, push_schema2
from tests.system.lab import member, tar


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A little root file system."""
    folder = tmp_path / "root"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/name").write_text("here")
    (folder / "etc/link").symlink_to("name")
    return folder


@pytest.fixture
def archive(root: Path, tmp_path: Path) -> Path:
    """The same as a tar."""
    path = tmp_path / "root.tar"
    with tarfile.open(path, "w") as file:
        file.add(root, ".")
    return path


def contents(folder: Path) -> dict[str, str]:
    """Say what a folder holds."""
    return {
        str(path.relative_to(folder)): f"-> {path.readlink()}"
        if path.is_symlink()
        else path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


HELD = {"etc/link": "-> name", "etc/name": "here"}


@pytest.mark.parametrize("source", ["tar:root.tar", "file://root.tar", "dir:root"])
def test_an_image_out_of_a_file_is_unpacked(
    root: Path, archive: Path, tmp_path: Path, source: str
) -> None:
    done = cos("util", "unpack", source, "out", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert contents(tmp_path / "out") == HELD == contents(root)
    assert archive.exists()
    assert not (tmp_path / ".cos").exists()


def test_what_umoci_inserts_is_unpacked_although_its_layers_have_no_end(
    root: Path, tmp_path: Path
) -> None:
    for argv in (
        ("init", "--layout", "image"),
        ("new", "--image", "image:1"),
        ("insert", "--rootless", "--image", "image:1", root, "/"),
    ):
        subprocess.run(["umoci", *argv], cwd=tmp_path, check=True, capture_output=True)

    done = cos("util", "unpack", "oci:image:1", "out", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert contents(tmp_path / "out") == HELD


def test_a_tar_becomes_an_archive_that_docker_loads(archive: Path, tmp_path: Path) -> None:
    done = cos("util", "pack", "my/image:1", archive, "image.tar", "--arch", "arm64", cwd=tmp_path)

    assert done.stdout == "image.tar\n"
    with tarfile.open(tmp_path / "image.tar") as file:
        names = file.getnames()
        manifest = json.load(file.extractfile("manifest.json") or io.BytesIO())
        config = json.load(file.extractfile("config.json") or io.BytesIO())
    assert names == ["layer.tar", "config.json", "manifest.json"]
    assert manifest == [{"Config": "config.json", "RepoTags": ["docker.io/my/image:1"],
                         "Layers": ["layer.tar"]}]  # fmt: skip
    assert config["architecture"] == "arm64"
    assert config["rootfs"]["diff_ids"] == [digest_of(archive.read_bytes())]
    assert cos("util", "unpack", "docker-archive:image.tar", "out", cwd=tmp_path).returncode == 0
    assert contents(tmp_path / "out") == HELD


def test_what_is_no_tar_becomes_no_archive(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no tar")

    done = cos("util", "pack", "my/image", "text", "image.tar", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (1, "error: text: the archive ends too early\n")
    assert not (tmp_path / "image.tar").exists()


def test_an_image_merges_with_what_a_folder_holds(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "out/etc").mkdir(parents=True)
    (tmp_path / "out/etc/own").write_text("stays")
    (tmp_path / "out/etc/name").write_text("goes")

    cos("util", "unpack", f"tar:{archive}", "out", cwd=tmp_path)

    assert contents(tmp_path / "out") == {**HELD, "etc/own": "stays"}


def test_no_link_of_the_folder_leads_an_image_out_of_it(archive: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/etc").symlink_to(outside)

    cos("util", "unpack", f"tar:{archive}", "out", cwd=tmp_path)

    assert contents(outside) == {}


def test_a_hostile_archive_writes_nothing(tmp_path: Path) -> None:
    tar(tmp_path / "evil.tar", [member("good", data=b"x"), member("../evil", data=b"x")])

    done = cos("util", "unpack", "tar:evil.tar", "out", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (
        1, "error: evil.tar: ../evil: the path leads out with '..'\n",
    )  # fmt: skip
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil").exists()


def test_an_image_of_the_store_for_another_platform_is_not_taken(
    root: Path, tmp_path: Path
) -> None:
    store = ("--store", "store")
    cos(*store, "image", "import", "mine:1", f"dir:{root}", cwd=tmp_path)
    unpack = (*store, "util", "unpack", "--local", "--platform")

    other = cos(*unpack, "linux/s390x", "mine:1", "out", cwd=tmp_path)

    assert (other.returncode, other.stderr) == (
        1,
        f"error: the store has docker.io/library/mine:1 for {host_platform()}, not for"
        " linux/s390x\n",
    )
    assert cos(*unpack, str(host_platform()), "mine:1", "out", cwd=tmp_path).returncode == 0
    assert contents(tmp_path / "out") == HELD


def test_an_image_of_the_store_is_taken_before_any_other(root: Path, tmp_path: Path) -> None:
    store = ("--store", "store")
    cos(*store, "image", "import", "mine:1", f"dir:{root}", cwd=tmp_path)

    done = cos(*store, "util", "unpack", "--local", "mine:1", "out", cwd=tmp_path)

    assert done.stderr == "mine:1 is unpacked to out\n"
    assert contents(tmp_path / "out") == HELD
    missing = cos(*store, "util", "unpack", "--local", "other", "out", cwd=tmp_path)
    assert (missing.returncode, missing.stderr) == (
        1,
        "error: the store has no image docker.io/library/other:latest (`cos image import"
        " docker.io/library/other:latest SOURCE` takes it from a file or folder)\n",
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("127.0.0.1:1/x", "out"), 3,
         "127.0.0.1:1/x:latest: cannot fetch the manifest: 127.0.0.1:1 refused the connection"
         " (tried 3 times) (check the port, and that the registry runs)"),
        (("--verify", "x", "out"), 2,
         "--verify needs to know who may sign (--key PUBLIC-KEY says it)"),
        (("--platform", "arm64", "x", "out"), 2, "--platform is OS/ARCHITECTURE, not 'arm64'"),
        (("tar:nowhere", "out"), 1, "nowhere: no such file or folder"),
        (("dir:root", "root.tar"), 2, "root.tar: is not a folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_unpacked_is_told(
    archive: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = cos("util", "unpack", *arguments, cwd=tmp_path)

    assert (done.returncode, done.stderr) == (code, f"error: {message}\n")
    assert not (tmp_path / "out").exists()
    assert archive.is_file()


def _push(registry: Registry, target: Reference, *layers: Mapping[str, bytes | None]) -> None:
    """Push an image of several layers; `.wh.` marks what one deletes."""
    packed = [luet_tar(each, packed=False) for each in layers]
    rootfs = {"type": "layers", "diff_ids": [digest_of(each) for each in packed]}
    config = canonical_json({"architecture": "amd64", "os": "linux", "rootfs": rootfs})
    blobs = []
    types = ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar")
    for number, data in enumerate((config, *packed)):
        blob = Descriptor(types[bool(number)], digest_of(data), len(data))
        registry.put_blob(target, data, blob)
        blobs.append(descriptor_json(blob))
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": blobs[0], "layers": blobs[1:]}
    registry.put_manifest(target, canonical_json(manifest), kind)


@pytest.mark.registry
def test_an_image_of_a_registry_is_unpacked_as_a_machine_would_see_it(
    repository: Reference, tmp_path: Path
) -> None:
    image = replace(repository, tag="1")
    with RegistryClient(RegistrySettings()) as registry:
        _push(
            registry,
            image,
            {"a/": None, "a/one": b"1", "a/two": b"2", "b/": None, "b/x": b"x"},
            {"a/": None, "a/.wh.one": b"", "a/two": b"new", "b/": None, "b/.wh..wh..opq": b""},
        )

    done = cos("util", "unpack", str(image), "out", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == {"a/two": "new"}
    assert (tmp_path / "out/b").is_dir()
    assert not (tmp_path / ".cos").exists()


@pytest.mark.registry
def test_an_image_is_unpacked_only_if_the_given_key_signed_it(
    repository: Reference, tmp_path: Path
) -> None:
    image = replace(repository, tag="1")
    with RegistryClient(RegistrySettings()) as registry:
        push_schema2(registry, image, luet_tar({"file": b"x"}, packed=True))
    password = {"COSIGN_PASSWORD": "pw"}
    cos("key", "generate", "--output", "mine", cwd=tmp_path, **password)
    arguments = ("util", "unpack", "--key", "mine.pub", str(image), "out")

    refused = cos(*arguments, cwd=tmp_path)
    cos("sign", "--key", "mine.key", str(image), cwd=tmp_path, **password)
    done = cos(*arguments, cwd=tmp_path)

    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: {image}: ")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == {"file": "x"}


@pytest.mark.registry
def test_whether_an_image_is_there_is_told_by_the_exit_code(
    repository: Reference, tmp_path: Path
) -> None:
    image = replace(repository, tag="1")
    with RegistryClient(RegistrySettings()) as registry:
        push_schema2(registry, image, luet_tar({"file": b"x"}, packed=True))

    codes = [
        cos("util", "image-exist", name, cwd=tmp_path).returncode
        for name in (str(image), str(replace(image, tag="2")), "127.0.0.1:1/x")
    ]

    assert codes == [0, 1, 3]


@pytest.mark.registry
def test_an_image_that_a_mirror_has_is_there(repository: Reference, tmp_path: Path) -> None:
    image = replace(repository, tag="1")
    with RegistryClient(RegistrySettings()) as registry:
        push_schema2(registry, image, luet_tar({"file": b"x"}, packed=True))
    mirror = f"--registry-mirror=127.0.0.1:1={image.registry}"
    elsewhere = replace(image, registry="127.0.0.1:1")

    codes = [
        cos(mirror, "util", "image-exist", str(name), cwd=tmp_path).returncode
        for name in (elsewhere, replace(elsewhere, tag="2"))
    ]

    assert codes == [0, 3]


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A root with a shell."""
    folder = tmp_path / "box"
    folder.mkdir()
    add_shell(folder)
    return folder


@pytest.mark.container
def test_a_program_runs_in_a_root_with_its_own_environment(box: Path, tmp_path: Path) -> None:
    before = sorted(box.iterdir())
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown/file").write_text("shown\n")

    done = cos("box", "exec", "--rootfs", box, "-e", "A=b", "-m", f"{tmp_path}/shown:/mnt/in",
               "--", "-c", "echo $A$OUTSIDE; read line < /mnt/in/file; echo $line; echo bad >&2",
               cwd=tmp_path, OUTSIDE="not inside")  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (0, "b\nshown\n", "bad\n")
    assert sorted(box.iterdir()) == before


@pytest.mark.container
def test_a_program_in_a_root_hears_what_it_is_given(box: Path, tmp_path: Path) -> None:
    words = [base64.b64encode(each.encode()).decode() for each in ("-c", "read x; echo got $x")]

    done = subprocess.run(
        [sys.executable, "-m", "compiler", "box", "exec", "--rootfs", box, "--stdin", "--decode",
         "--", *words],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, input="something\n",
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "got something\n"), done.stderr


@pytest.mark.container
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--rootfs", "box", "--", "-c", "exit 7"), 1, "/bin/sh ended with exit code 7"),
        (("--rootfs", "nowhere"), 1, "--rootfs nowhere: is not a folder"),
        (("--rootfs", "box", "--entrypoint", "/nothing"), 3,
         "/nothing: cannot be started in box: executable file `/nothing` not found in $PATH: No"
         " such file or directory"),
        (("--rootfs", "box", "-m", "/x"), 2, "--mount is HOST:PLACE, not '/x'"),
        (("--rootfs", "box", "-m", "/no-such:/x"), 1,
         "--mount /no-such:/x: there is no /no-such"),
        (("--rootfs", "box", "-e", "A"), 2, "--env is NAME=VALUE, not 'A'"),
        (("--rootfs", "box", "--decode", "--", "%"), 2,
         "--decode: the arguments are not texts in base64"),
    ],
)  # fmt: skip
def test_a_program_that_fails_in_a_root_is_told(
    box: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = cos("box", "exec", *arguments, cwd=tmp_path)

    assert done.returncode == code
    assert done.stderr.splitlines()[-1] == f"error: {message}"
    assert (box / "bin/sh").exists()


def test_a_folder_is_packed_with_what_is_known_of_the_package(root: Path, tmp_path: Path) -> None:
    (tmp_path / "definition.yaml").write_text(
        "name: foo\ncategory: cat\nversion: '1.0'\ndescription: Packed\n"
    )

    done = cos("pack", "cat/foo@1.0", "--source", root, "--destination", "out", cwd=tmp_path)

    files = ["out/foo-cat-1.0.package.tar.gz", "out/foo-cat-1.0.metadata.yaml"]
    assert (done.returncode, done.stdout.split()) == (0, files), done.stderr
    metadata = read_metadata(tmp_path / files[1])
    assert metadata.runtime.description == "Packed"
    assert list(metadata.files) == ["etc/link", "etc/name"]
    (tmp_path / "tree").mkdir()
    (tmp_path / "definition.yaml").rename(tmp_path / "tree/definition.yaml")
    made = cos(
        "create-repo", "--tree", "tree", "--packages", "out", "--output", "out", cwd=tmp_path
    )
    assert made.stdout == "out: repository luet, revision 1, packages: 1\n"


def test_a_folder_that_is_packed_takes_the_place_of_what_was_marked(
    root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "foo-cat-1.0.cdx.json").write_text("{}")
    digest = Verified().sha256(out / "foo-cat-1.0.cdx.json")
    put_mark(out, "foo-cat-1.0", Mark(source="x", files={"foo-cat-1.0.cdx.json": digest}))

    done = cos("pack", "cat/foo@1.0", "--source", root, "--destination", "out", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "foo-cat-1.0.metadata.yaml",
        "foo-cat-1.0.package.tar.gz",
    ]


def test_a_definition_of_another_package_says_nothing_of_the_one_packed(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "definition.yaml").write_text(
        "name: other\ncategory: cat\nversion: '1.0'\ndescription: Of another\n"
    )

    cos("pack", "cat/foo@1.0", "--source", root, "--destination", "out", cwd=tmp_path)

    metadata = read_metadata(tmp_path / "out/foo-cat-1.0.metadata.yaml")
    assert (metadata.runtime.name, metadata.runtime.description) == ("foo", "")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("cat/foo",), 2, "cat/foo: needs one version: category/name@version"),
        (("cat/foo@>=1",), 2, "cat/foo@>=1: needs one version: category/name@version"),
        (("cat/foo@1", "--source", "nowhere"), 1, "--source nowhere: is not a folder"),
        (("cat/foo@1", "--source", ".", "--destination", "root"), 2,
         "root lies in the folder that is packed (name another folder with --destination)"),
        (("cat/foo@1", "--source", "root", "--compression", "lzma"), 2,
         "--compression is one of none, gzip, zstd, not 'lzma'"),
    ],
)  # fmt: skip
def test_what_cannot_be_packed_is_told(
    root: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = cos("pack", *arguments, cwd=tmp_path)

    assert (done.returncode, done.stderr) == (code, f"error: {message}\n")
    assert contents(root) == HELD
