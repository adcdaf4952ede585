"""Repositories on web servers that break off, change, lie and refuse."""

from pathlib import Path

import pytest

from compiler.errors import NotFoundError, OutsideError
from compiler.repository.sources.http import HttpSettings, HttpSource
from tests.repository.sources.lab import ADDRESS, ARCHIVE, BETWEEN, CONTENT, NAME, Site
from tests.servers.proxy import (
    ALWAYS,
    Cut,
    Fault,
    FaultyProxy,
    Packed,
    Status,
    WrongBytes,
    WrongLength,
)

PASSING = [408, 425, 429, 500, 502, 503, 504]


def ranges(proxy: FaultyProxy) -> list[str | None]:
    return [seen.headers.get("Range") for seen in proxy.seen]


def test_a_file_is_brought_whole(site: Site, tmp_path: Path) -> None:
    site.source.bring("repository.yaml", tmp_path / "page", 4)

    assert (tmp_path / "page").read_bytes() == b"page"


def test_an_archive_is_fetched_once(site: Site, proxy: FaultyProxy) -> None:
    assert site.archive() == site.archive() == CONTENT
    assert proxy.count("GET") == 1


def test_an_archive_goes_on_where_it_was_cut(site: Site, proxy: FaultyProxy) -> None:
    proxy.script(Fault(Cut(0.5), times=2))

    assert site.archive() == CONTENT
    half, rest = len(CONTENT) // 2, len(CONTENT) // 4
    assert ranges(proxy) == [None, f"bytes={half}-", f"bytes={half + rest}-"]
    assert site.waits == [0.5, 1.0]


def test_an_archive_goes_on_in_a_later_run(site: Site, proxy: FaultyProxy) -> None:
    proxy.script(Fault(Cut(0.25)), Fault(Cut(), times=3))
    assert site.refusal() == (
        f"http://{proxy.host}/{NAME}: remote end closed connection without response (tried 4 times)"
        f" ({BETWEEN})"
    )
    proxy.script()

    assert site.archive() == CONTENT
    assert ranges(proxy) == [f"bytes={len(CONTENT) // 4}-"]


def test_an_archive_that_was_stopped_at_its_very_end_is_not_asked_for(
    site: Site, proxy: FaultyProxy
) -> None:
    site.begin(CONTENT)

    assert site.archive() == CONTENT
    assert proxy.seen == []


def test_a_server_that_sends_everything_again_is_understood(site: Site, proxy: FaultyProxy) -> None:
    proxy.script(Fault(Cut(0.5)), Fault(Status(200, {}, CONTENT)))

    assert site.archive() == CONTENT


@pytest.mark.parametrize("old", [b"old" * 1000, CONTENT + b"more", bytes(len(CONTENT))])
def test_a_beginning_of_another_content_is_thrown_away(
    site: Site, proxy: FaultyProxy, old: bytes
) -> None:
    site.begin(old)

    assert site.archive() == CONTENT
    assert ranges(proxy)[-1] is None


def test_a_content_that_changes_between_two_parts_is_fetched_anew(
    site: Site, proxy: FaultyProxy, folder: Path
) -> None:
    (folder / NAME).write_bytes(bytes(len(CONTENT)))

    def change(seconds: float) -> None:
        (folder / NAME).write_bytes(CONTENT)
        site.waits.append(seconds)

    source = HttpSource(site.url, {}, HttpSettings(timeout=5, pause=change))
    proxy.script(Fault(Cut(0.5)))

    (found,) = source.fetch(ARCHIVE, site.cache)

    assert found.read_bytes() == CONTENT
    assert ranges(proxy) == [None, f"bytes={len(CONTENT) // 2}-", None]


def test_a_page_that_changes_between_two_parts_is_never_made_of_both(
    site: Site, proxy: FaultyProxy, folder: Path, tmp_path: Path
) -> None:
    (folder / "repository.yaml").write_bytes(b"old " * 100)

    def change(_seconds: float) -> None:
        (folder / "repository.yaml").write_bytes(b"new " * 100)

    source = HttpSource(site.url, {}, HttpSettings(timeout=5, pause=change))
    proxy.script(Fault(Cut(0.5)))

    source.bring("repository.yaml", tmp_path / "page", 1000)

    assert (tmp_path / "page").read_bytes() == b"new " * 100


def test_a_part_that_was_not_asked_for_is_not_taken_for_the_whole(
    site: Site, proxy: FaultyProxy
) -> None:
    proxy.script(Fault(Status(206, {}, CONTENT[:5])))

    assert site.refusal() == (
        f"http://{proxy.host}/{NAME}: the server answers 206 Partial Content"
        " (open it in a browser: is it the repository's file, or a page of something on the way?)"
    )


def test_the_wrong_part_is_noticed(site: Site, proxy: FaultyProxy) -> None:
    site.begin(CONTENT[:1000])
    proxy.script(Fault(Status(206, {}, CONTENT)))

    assert site.archive() == CONTENT


def test_an_archive_of_another_content_is_refused_and_not_kept(
    site: Site, proxy: FaultyProxy
) -> None:
    proxy.script(Fault(WrongBytes(), times=ALWAYS))

    assert site.refusal() == (
        f"http://{proxy.host}: {NAME} has another checksum than the repository's index says"
        " (the repository may be changing just now, or is damaged)"
    )
    assert not site.part.exists()
    proxy.script()
    assert site.archive() == CONTENT


def test_a_body_that_is_shorter_than_it_says_is_asked_for_again(
    site: Site, proxy: FaultyProxy, tmp_path: Path
) -> None:
    proxy.script(Fault(WrongLength(5), times=4))

    with pytest.raises(OutsideError) as caught:
        site.source.bring(NAME, tmp_path / "file", len(CONTENT))

    assert str(caught.value) == (
        f"http://{proxy.host}/{NAME}: ended 5 bytes early (tried 4 times) ({BETWEEN})"
    )
    assert site.waits == [0.5, 1.0, 2.0]
    assert site.archive() == CONTENT


def test_an_archive_that_is_shorter_than_a_server_says_is_fetched_all_the_same(
    site: Site, proxy: FaultyProxy
) -> None:
    proxy.script(Fault(WrongLength(5)))

    assert site.archive() == CONTENT


@pytest.mark.parametrize("status", PASSING)
def test_a_server_that_cannot_answer_now_is_asked_again(
    site: Site, proxy: FaultyProxy, status: int
) -> None:
    proxy.script(Fault(Status(status), times=3))

    assert site.archive() == CONTENT
    assert site.waits == [0.5, 1.0, 2.0]


def test_a_server_that_never_can_is_given_up(site: Site, proxy: FaultyProxy) -> None:
    proxy.script(Fault(Status(503), times=ALWAYS))

    assert site.refusal() == (
        f"http://{proxy.host}/{NAME}: the server answers 503 Service Unavailable (tried 4 times)"
        " (try again later; if it stays, the server's own log says why)"
    )
    assert proxy.count("GET") == 4


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_are_refused_are_told(site: Site, proxy: FaultyProxy, status: int) -> None:
    proxy.script(Fault(Status(status)))

    assert site.refusal() == (
        f"http://{proxy.host}/{NAME}: the server wants other credentials"
        " (give the repository 'auth' with a 'token', or 'username' and 'password')"
    )
    assert proxy.count("GET") == 1


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_is_not_there_is_told(site: Site, proxy: FaultyProxy, status: int) -> None:
    proxy.script(Fault(Status(status)))

    with pytest.raises(NotFoundError) as caught:
        site.archive()

    assert str(caught.value) == (
        f"http://{proxy.host}/{NAME}: there is no such file (is this a repository?)"
    )
    assert proxy.count("GET") == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "Bad Request"), (418, "I'm a Teapot"), (416, "Requested Range Not Satisfiable")],
)
def test_other_answers_are_told_at_once(
    site: Site, proxy: FaultyProxy, status: int, reason: str
) -> None:
    proxy.script(Fault(Status(status)))

    assert site.refusal() == (
        f"http://{proxy.host}/{NAME}: the server answers {status} {reason} ({ADDRESS})"
    )
    assert proxy.count("GET") == 1


def test_an_answer_without_a_file_is_told_at_once(site: Site, proxy: FaultyProxy) -> None:
    proxy.script(Fault(Status(204)))

    assert site.refusal().startswith(
        f"http://{proxy.host}/{NAME}: the server answers 204 No Content (open it in a browser"
    )
    assert proxy.count("GET") == 1


def test_a_file_that_has_become_shorter_is_fetched_anew(site: Site, proxy: FaultyProxy) -> None:
    site.begin(bytes(2 * len(CONTENT)))

    assert site.archive() == CONTENT
    assert ranges(proxy) == [f"bytes={2 * len(CONTENT)}-", None]


def test_a_body_that_was_packed_on_the_way_is_told(site: Site, proxy: FaultyProxy) -> None:
    proxy.script(Fault(Packed()))

    assert site.refusal() == (
        f"http://{proxy.host}/{NAME}: the server packs its answer as 'gzip', unasked ({BETWEEN})"
    )
