"""Where paths lead in a root that has links."""

import pytest

from compiler.errors import CompilerError, EngineError
from compiler.links import MOST_LINKS, follow

LINKS = {
    "bin": "usr/bin",
    "usr/bin/sh": "dash",
    "etc/alternatives": "/opt/../srv",
    "up": "../../../etc",
    "ring": "ring",
    "one": "two",
    "two": "one/x",
}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("", ""),
        ("/", ""),
        ("/a//./b/", "a/b"),
        ("bin/sh", "usr/bin/dash"),
        ("/bin/../lib", "usr/lib"),
        ("etc/alternatives/x", "srv/x"),
        ("up/alternatives", "srv"),
        ("../../x", "x"),
        ("no/such/../file", "no/file"),
    ],
)
def test_a_path_leads_where_it_would_if_the_root_were_the_machines(path: str, place: str) -> None:
    assert follow(path, LINKS.get) == place


@pytest.mark.parametrize("path", ["ring", "one/y"])
def test_links_that_go_round_are_an_error_of_the_kind_that_is_asked_for(path: str) -> None:
    with pytest.raises(CompilerError, match=f"^too many links on the way to '{path}'$"):
        follow(path, LINKS.get)
    with pytest.raises(EngineError):
        follow(path, LINKS.get, ring=EngineError)


def test_as_many_links_are_followed_as_the_kernel_follows() -> None:
    chain = {str(number): str(number + 1) for number in range(MOST_LINKS)}

    assert follow("0", chain.get) == str(MOST_LINKS)
    with pytest.raises(CompilerError):
        follow("0", {**chain, str(MOST_LINKS): "end"}.get)
