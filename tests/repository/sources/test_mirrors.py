"""Several addresses of one repository: asked in order, and never silently passed over."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compiler.errors import ContentError, NotFoundError, OutsideError, TrustError
from compiler.events import Event, Noted
from compiler.oci import Platform
from compiler.registry.memory import MemoryRegistry
from compiler.repository.cache import Cache
from compiler.repository.configured import RepositoryConfig
from compiler.repository.sources import Mirrors, Source
from compiler.repository.sources.disk import DiskSource
from compiler.repository.sources.http import HttpSettings, HttpSource
from compiler.repository.sources.opening import Opening, open_source
from tests.repository.sources.lab import ARCHIVE, CONTENT, NAME
from tests.servers.proxy import (
    ALWAYS,
    Cut,
    Fault,
    FaultyProxy,
    Silent,
    Status,
    WrongBytes,
    run_proxy,
)


class Failing(DiskSource):
    """An address that always fails in the same way."""

    def __init__(self, error: Exception) -> None:
        super().__init__(Path("/nowhere"))
        self._error = error

    def bring(self, name: str, target: Path, limit: int) -> None:
        """Fail."""
        del name, target, limit
        raise self._error


def mirrors(*sources: Source) -> tuple[Mirrors, list[Event]]:
    told: list[Event] = []
    return Mirrors(sources, told.append), told


def quick(proxy: FaultyProxy) -> HttpSource:
    settings = HttpSettings(timeout=5, pause=lambda _seconds: None)
    return HttpSource(f"http://{proxy.host}", {}, settings)


def on_the_web(*hosts: str) -> tuple[Mirrors, list[float]]:
    waits: list[float] = []
    opening = Opening(
        registry=lambda _: MemoryRegistry(),
        platform=Platform("linux", "amd64"),
        http=HttpSettings(timeout=5, pause=waits.append),
    )
    urls = tuple(f"http://{host}" for host in hosts)
    return open_source(RepositoryConfig(name="main", type="http", urls=urls), opening), waits


def test_the_first_address_is_asked_and_nothing_is_told(folder: Path, tmp_path: Path) -> None:
    source, told = mirrors(DiskSource(folder), Failing(OutsideError("not asked")))

    source.bring(NAME, tmp_path / "file", len(CONTENT))

    assert (tmp_path / "file").read_bytes() == CONTENT
    assert source.address == str(folder)
    assert told == []


def test_an_address_that_does_not_answer_is_told_and_the_next_is_asked(
    folder: Path, tmp_path: Path
) -> None:
    source, told = mirrors(
        Failing(OutsideError("one: is silent", hint="is it on?")),
        Failing(NotFoundError("two: there is no such file")),
        DiskSource(folder),
    )

    source.bring(NAME, tmp_path / "file", len(CONTENT))

    assert (tmp_path / "file").read_bytes() == CONTENT
    assert told == [
        Noted(f"one: is silent (is it on?); {folder} has it", warning=True),
        Noted(f"two: there is no such file; {folder} has it", warning=True),
    ]


def test_a_server_that_breaks_off_is_replaced_by_the_next_in_the_middle(
    folder: Path, proxy: FaultyProxy, tmp_path: Path
) -> None:
    proxy.script(Fault(Cut(0.25)), Fault(Cut(), times=ALWAYS))
    source, told = mirrors(quick(proxy), DiskSource(folder))

    (path,) = source.fetch(ARCHIVE, Cache(tmp_path / "cache"))

    assert path.read_bytes() == CONTENT
    assert [each.warning for each in told if isinstance(each, Noted)] == [True]


def test_a_mirror_with_another_content_is_replaced_by_the_next(
    folder: Path, proxy: FaultyProxy, tmp_path: Path
) -> None:
    proxy.script(Fault(WrongBytes(), times=ALWAYS))
    source, told = mirrors(quick(proxy), DiskSource(folder))

    (path,) = source.fetch(ARCHIVE, Cache(tmp_path / "cache"))

    assert path.read_bytes() == CONTENT
    assert len(told) == 1


def test_all_that_failed_are_told_in_one_error(tmp_path: Path) -> None:
    source, told = mirrors(
        Failing(OutsideError("one: is silent", hint="is it on?")),
        Failing(NotFoundError("two: there is no such file")),
    )

    with pytest.raises(OutsideError) as caught:
        source.bring(NAME, tmp_path / "file", 1)

    assert str(caught.value) == "one: is silent; then: two: there is no such file (is it on?)"
    assert not isinstance(caught.value, NotFoundError)
    assert told == []


def test_what_may_help_is_told_once_for_all_that_failed(tmp_path: Path) -> None:
    source, _ = mirrors(
        DiskSource(tmp_path / "one"),
        DiskSource(tmp_path / "two"),
        Failing(OutsideError("three: is silent", hint="is it on?")),
    )

    with pytest.raises(OutsideError) as caught:
        source.bring(NAME, tmp_path / "file", 1)

    assert str(caught.value) == (
        f"{tmp_path}/one: there is no such folder; then: {tmp_path}/two: there is no such folder;"
        " three: is silent (is the disk that has it mounted?; is it on?)"
    )
    assert not isinstance(caught.value, NotFoundError)


def test_a_file_that_no_address_has_is_not_there(tmp_path: Path) -> None:
    source, _ = mirrors(Failing(NotFoundError("one: no")), Failing(NotFoundError("two: no")))

    with pytest.raises(NotFoundError) as caught:
        source.bring(NAME, tmp_path / "file", 1)

    assert str(caught.value) == "one: no; then: two: no"


def test_one_address_alone_fails_as_it_does(proxy: FaultyProxy, tmp_path: Path) -> None:
    proxy.script(Fault(Status(403)))

    with pytest.raises(OutsideError) as caught:
        mirrors(quick(proxy))[0].bring(NAME, tmp_path / "file", 1)

    assert str(caught.value) == (
        f"http://{proxy.host}/{NAME}: the server wants other credentials"
        " (give the repository 'auth' with a 'token', or 'username' and 'password')"
    )


def test_a_content_that_was_not_signed_is_told_rather_than_silence(tmp_path: Path) -> None:
    source, _ = mirrors(
        Failing(OutsideError("one: is silent")),
        Failing(ContentError("two: is not what was signed")),
    )

    with pytest.raises(ContentError) as caught:
        source.bring(NAME, tmp_path / "file", 1)

    assert str(caught.value) == "two: is not what was signed"


def test_what_cannot_be_trusted_is_not_asked_for_elsewhere(folder: Path, tmp_path: Path) -> None:
    source, told = mirrors(Failing(TrustError("one: is forged")), DiskSource(folder))

    with pytest.raises(TrustError) as caught:
        source.bring(NAME, tmp_path / "file", len(CONTENT))

    assert str(caught.value) == "one: is forged"
    assert told == []


@pytest.mark.parametrize("absent", ["127.0.0.1:1", "no-such-host.invalid"])
def test_a_server_that_is_not_there_is_asked_once_if_there_is_another(
    proxy: FaultyProxy, tmp_path: Path, absent: str
) -> None:
    source, waits = on_the_web(absent, proxy.host)

    source.bring(NAME, tmp_path / "file", len(CONTENT))

    assert (tmp_path / "file").read_bytes() == CONTENT
    assert waits == []


def test_the_last_of_servers_that_are_not_there_is_asked_again(tmp_path: Path) -> None:
    source, waits = on_the_web("127.0.0.1:1", "127.0.0.1:2")

    with pytest.raises(OutsideError) as caught:
        source.bring(NAME, tmp_path / "file", len(CONTENT))

    assert str(caught.value) == (
        f"http://127.0.0.1:1/{NAME}: connection refused;"
        f" then: http://127.0.0.1:2/{NAME}: connection refused (tried 4 times)"
        " (check the port, and that the server runs)"
    )
    assert waits == [0.5, 1, 2]


def test_a_mirror_that_fails_is_asked_once_for_each_file(
    proxy: FaultyProxy, tmp_path: Path
) -> None:
    proxy.script(Fault(Status(503)))
    also = proxy.host.replace("127.0.0.1", "localhost")
    source, waits = on_the_web(also, "127.0.0.1:1", proxy.host)

    for number in range(2):
        source.bring(NAME, tmp_path / str(number), len(CONTENT))

    assert waits == []
    assert proxy.count("GET") == 3


def test_a_mirror_that_is_silent_is_asked_no_more(proxy: FaultyProxy, tmp_path: Path) -> None:
    told: list[Event] = []
    with run_proxy() as mirror, ThreadPoolExecutor(4) as pool:
        mirror.script(Fault(Silent(), times=ALWAYS))
        addresses = [f"http://{host}" for host in (mirror.host, proxy.host)]
        hasty = HttpSource(addresses[0], {}, HttpSettings(timeout=0.25), replaceable=True)
        last = HttpSource(addresses[1], {}, HttpSettings(timeout=20))
        source = Mirrors([hasty, last], told.append)
        source.bring(NAME, tmp_path / "first", len(CONTENT))

        paths = [tmp_path / str(number) for number in range(20)]
        list(pool.map(lambda path: source.bring(NAME, path, len(CONTENT)), paths))

        assert mirror.count("GET") == 1
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert told == [
        Noted(
            f"{addresses[0]}/{NAME}: the server is silent"
            " (check that it runs, and that no firewall is in between);"
            f" {addresses[1]} has it",
            warning=True,
        )
    ]


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_all_addresses_of_a_configuration_are_opened(
    folder: Path, tmp_path: Path, prefix: str
) -> None:
    urls = (f"{prefix}{tmp_path}/nowhere", f"{prefix}{folder}")
    opening = Opening(registry=lambda _: MemoryRegistry(), platform=Platform("linux", "amd64"))
    source = open_source(RepositoryConfig(name="main", type="disk", urls=urls), opening)

    source.bring(NAME, tmp_path / "file", len(CONTENT))

    assert source.address == f"{tmp_path}/nowhere"
    assert (tmp_path / "file").read_bytes() == CONTENT
