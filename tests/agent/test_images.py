"""Images are unpacked from registries, and nothing of them leads anywhere else."""

import gzip
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import zstandard

from compiler.agent.images import unpack_image
from compiler.errors import CompilerError
from tests.agent.scratch import Scratch
from tests.agent.servers import Answer, Server, image, layer, serving

ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    (tmp_path / "root").mkdir()
    return Scratch(tmp_path / "root")


@pytest.fixture
def registry() -> Iterator[tuple[dict[str, Answer], Server]]:
    answers: dict[str, Answer] = {}
    with serving(answers) as server:
        yield answers, server


Fake = tuple[dict[str, Answer], Server]


def unpack(scratch: Scratch, registry: Fake, *layers: Mapping[str, bytes | str]) -> Path:
    """Publish an image of these layers, and unpack it to /to."""
    answers, server = registry
    answers.update(image("a/b:1", *(layer(each) for each in layers)))
    host = server.address.removeprefix("http://")
    unpack_image(f"{host}/a/b:1", "/to", "", scratch.machine)
    return scratch.folder / "to"


def test_layers_lie_over_each_other(scratch: Scratch, registry: Fake) -> None:
    target = unpack(
        scratch,
        registry,
        {"d/a": b"1", "d/b": b"1", "e/x": b"1", "gone": b"1", "link": "d/a"},
        {"d/a": b"2", "d/.wh.b": b"", "e/.wh..wh..opq": b"", "e/y": b"2", ".wh.gone": b""},
    )

    found = {str(each.relative_to(target)) for each in target.rglob("*")}
    assert found == {"d", "d/a", "e", "e/y", "link"}
    assert (target / "d/a").read_bytes() == b"2"
    assert (target / "d/a").stat().st_mode & 0o777 == 0o755


def test_links_of_an_image_stay_in_its_folder(scratch: Scratch, registry: Fake) -> None:
    scratch.put("/etc/passwd", "ours")

    target = unpack(
        scratch,
        registry,
        {"etc": "/elsewhere", "up": "../../.."},
        {"up/x": b"1", "etc/passwd": b"2"},
    )

    assert scratch.text("/etc/passwd") == "ours"
    assert (target / "x").read_bytes() == b"1"
    assert (target / "elsewhere/passwd").read_bytes() == b"2"
    assert not (scratch.folder.parent / "x").exists()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/../x"])
def test_paths_that_lead_out_are_refused(scratch: Scratch, registry: Fake, name: str) -> None:
    with pytest.raises(CompilerError, match="leads out of the image"):
        unpack(scratch, registry, {name: b"1"})


def test_a_layer_that_is_another_than_its_digest_is_refused(
    scratch: Scratch, registry: Fake
) -> None:
    answers, server = registry
    good = layer({"a": b"1"})
    answers.update(image("a/b:1", good))
    blob = next(each for each in answers if "/blobs/" in each)
    answers[blob] = good[:-1] + b"x"

    with pytest.raises(CompilerError, match="the content is not sha256:"):
        unpack_image(f"{server.address.removeprefix('http://')}/a/b:1", "/to", "", scratch.machine)

    assert list((scratch.folder / "to").iterdir()) == []


def test_a_layer_that_is_no_archive_is_an_error(scratch: Scratch, registry: Fake) -> None:
    answers, server = registry
    answers.update(image("a/b:1", b"nothing"))

    with pytest.raises(CompilerError, match="the layer cannot be unpacked"):
        unpack_image(f"{server.address.removeprefix('http://')}/a/b:1", "/to", "", scratch.machine)


def plain_layer(**members: bytes) -> bytes:
    """Make a layer that is neither compressed nor ended."""
    parts = []
    for name, content in members.items():
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o644
        parts += [info.tobuf(), content, bytes(-len(content) % 512)]
    return b"".join(parts)


@pytest.mark.parametrize("length", [1537, 2048])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, ZSTD])
def test_a_layer_may_end_right_after_a_member(
    scratch: Scratch, registry: Fake, length: int, compress: Callable[[bytes], bytes]
) -> None:
    answers, server = registry
    answers.update(image("a/b:1", compress(plain_layer(a=b"1", b=b"2")[:length])))

    unpack_image(f"{server.address.removeprefix('http://')}/a/b:1", "/to", "", scratch.machine)

    assert (scratch.folder / "to/b").read_bytes() == b"2"


@pytest.mark.parametrize("length", [1, 511, 512, 514, 1023, 1025, 1500, 1536, 1538])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, ZSTD])
def test_a_layer_that_ends_within_a_member_is_refused(
    scratch: Scratch, registry: Fake, length: int, compress: Callable[[bytes], bytes]
) -> None:
    answers, server = registry
    cut = plain_layer(a=b"1", b=b"2", c=b"3")[:length]
    answers.update(image("a/b:1", compress(cut)))

    with pytest.raises(CompilerError, match="the layer cannot be unpacked"):
        unpack_image(f"{server.address.removeprefix('http://')}/a/b:1", "/to", "", scratch.machine)


def test_a_damaged_header_is_not_the_end_of_a_layer(scratch: Scratch, registry: Fake) -> None:
    answers, server = registry
    damaged = bytearray(plain_layer(a=b"1", b=b"2") + bytes(1024))
    damaged[1024] ^= 1
    answers.update(image("a/b:1", bytes(damaged)))

    with pytest.raises(CompilerError, match="a header is damaged"):
        unpack_image(f"{server.address.removeprefix('http://')}/a/b:1", "/to", "", scratch.machine)


def test_the_image_for_a_platform_is_chosen_of_an_index(scratch: Scratch, registry: Fake) -> None:
    answers, server = registry
    host = server.address.removeprefix("http://")
    entries = []
    for architecture in ("arm64", "riscv64"):
        made = image("a/b:x", layer({architecture: b"1"}))
        manifest = made.pop("/v2/a/b/manifests/x")
        assert isinstance(manifest, bytes)
        digest = json.loads(image("a/b:y", manifest)["/v2/a/b/manifests/y"])["layers"][0]  # type: ignore[arg-type]
        answers.update({**made, f"/v2/a/b/manifests/{digest['digest']}": manifest})
        platform = {"os": "linux", "architecture": architecture}
        entries.append({**digest, "platform": platform})
    kind = "application/vnd.oci.image.index.v1+json"
    index = {"mediaType": kind, "manifests": entries}
    answers["/v2/a/b/manifests/1"] = json.dumps(index).encode()

    unpack_image(f"{host}/a/b:1", "/to", "linux/riscv64", scratch.machine)

    assert [each.name for each in (scratch.folder / "to").iterdir()] == ["riscv64"]
    with pytest.raises(CompilerError, match="has no image for linux/s390x"):
        unpack_image(f"{host}/a/b:1", "/to", "linux/s390x", scratch.machine)


def test_an_image_that_is_not_there_is_an_error(scratch: Scratch, registry: Fake) -> None:
    host = registry[1].address.removeprefix("http://")

    with pytest.raises(CompilerError, match="answers 404"):
        unpack_image(f"{host}/none:1", "/to", "", scratch.machine)
