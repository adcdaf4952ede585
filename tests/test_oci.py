"""The names of images."""

import pytest

from compiler.errors import ImageError
from compiler.oci import Reference, parse_reference, parse_repository


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("debian", Reference("docker.io", "library/debian", "latest")),
        ("debian:trixie", Reference("docker.io", "library/debian", "trixie")),
        ("a/b", Reference("docker.io", "a/b", "latest")),
        ("localhost/b", Reference("localhost", "b", "latest")),
        ("Host.Example:5000/a_b/c__d/e-.f".replace("-.", "-"),
         Reference("Host.Example:5000", "a_b/c__d/e-f", "latest")),
        ("h.example/a---b.c:V_1.0+x", Reference("h.example", "a---b.c", "V_1.0+x")),
    ],
)  # fmt: skip
def test_names_are_completed_as_container_tools_do(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "/a", "a//b", "a/../b", "a b", "h.example/Mine", "h.example/a/B:1", "Debian",
        "localhost:5073:short", "localhost:5073/short:", "h.example/-a", "h.example/a-",
        "h.example/a..b", "h.example/a___b",
    ],
)  # fmt: skip
def test_what_no_registry_takes_is_no_name(text: str) -> None:
    with pytest.raises(ImageError, match="is not an image name"):
        parse_reference(text)


def test_a_repository_has_neither_tag_nor_digest() -> None:
    assert parse_repository("h.example:5000/a") == Reference("h.example:5000", "a")
    with pytest.raises(ImageError, match="without tag or digest"):
        parse_repository("h.example:5000/a:1")
