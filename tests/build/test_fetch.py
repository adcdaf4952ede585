"""What `retrieve` brings into the workspace."""

import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.build.fetch import retrieve_into
from compiler.errors import ArchiveError, OutsideError, SpecError
from compiler.retrieve import retrieved_files

EPOCH = 1_600_000_000


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def retrieve(workspace: Path, destination: Path, *patterns: str) -> list[str]:
    retrieve_into(workspace, patterns, destination=destination, epoch=EPOCH)
    return sorted(str(path.relative_to(workspace)) for path in workspace.rglob("*"))


def tar(path: Path, **members: str) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


def test_files_that_match_are_named_by_content(destination: Path) -> None:
    (destination / "a.txt").write_text("a")
    (destination / "b.txt").write_text("b")
    (destination / "link.txt").symlink_to("/etc/passwd")
    (destination / "dir.txt").mkdir()

    assert retrieved_files(["*.txt", "a*", "https://host/x"], destination) == {
        name: hashlib.sha256(name[0].encode()).hexdigest() for name in ("a.txt", "b.txt")
    }


def test_a_destination_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert retrieved_files(["*"], tmp_path / "none") == {}


@pytest.mark.parametrize("pattern", ["../x", "a/../../x", "/etc/passwd", ".", ""])
def test_a_pattern_that_leads_elsewhere_is_refused(destination: Path, pattern: str) -> None:
    with pytest.raises(SpecError) as caught:
        retrieved_files([pattern], destination)

    assert str(caught.value) == (
        f"retrieve: {pattern!r} leads out of the destination"
        " (name files of the destination folder, or a URL)"
    )


def test_a_pattern_that_is_none_is_an_error_of_the_spec(destination: Path) -> None:
    with pytest.raises(SpecError) as caught:
        retrieved_files(["a**b"], destination)

    assert str(caught.value) == (
        "retrieve: 'a**b' is no pattern: Invalid pattern: '**' can only be an entire path component"
    )


@pytest.mark.parametrize("pattern", ["[", "a[!", "\0"])
def test_a_pattern_that_matches_nothing_finds_nothing(destination: Path, pattern: str) -> None:
    (destination / "f").write_text("f")

    assert retrieved_files([pattern], destination) == {}


def test_a_file_is_copied_with_the_time_of_the_build(workspace: Path, destination: Path) -> None:
    (destination / "f").write_text("f")

    assert retrieve(workspace, destination, "f") == ["f"]
    assert (workspace / "f").stat().st_mtime == EPOCH


def test_an_archive_is_unpacked_beside_itself(workspace: Path, destination: Path) -> None:
    tar(destination / "a.tar.gz", x="x")

    assert retrieve(workspace, destination, "*.gz") == ["a.tar.gz", "x"]


def test_a_link_of_the_workspace_is_replaced_and_not_followed(
    workspace: Path, destination: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_text("mine")
    (destination / "f").write_text("theirs")
    (workspace / "f").symlink_to(tmp_path / "outside")

    retrieve(workspace, destination, "f")

    assert (tmp_path / "outside").read_text() == "mine"
    assert (workspace / "f").read_text() == "theirs"


def test_an_archive_does_not_write_through_a_link_of_the_workspace(
    workspace: Path, destination: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (workspace / "d").symlink_to(tmp_path / "outside")
    tar(destination / "a.tar.gz", **{"d/evil": "x"})

    with pytest.raises(ArchiveError) as caught:
        retrieve(workspace, destination, "a.tar.gz")

    assert str(caught.value) == (
        f"{destination}/a.tar.gz: d/evil: 'd' on the way to it is not a folder"
    )
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = {"/a.tar.gz?token=1": b"text", "/cut": b"te"}.get(self.path)
            self.send_response(404 if text is None else 200)
            self.send_header("Content-Length", "0" if text is None else "4")
            self.end_headers()
            self.wfile.write(text or b"")

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_url_is_downloaded_under_its_last_name(
    workspace: Path, destination: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    assert retrieve(workspace, destination, f"{server}/a.tar.gz?token=1") == ["a.tar.gz"]
    assert (workspace / "a.tar.gz").read_text() == "text"
    assert (workspace / "a.tar.gz").stat().st_mtime == EPOCH


def test_a_download_does_not_follow_a_link_of_the_workspace(
    workspace: Path,
    destination: Path,
    tmp_path: Path,
    server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "outside").write_text("mine")
    (workspace / "a.tar.gz").symlink_to(tmp_path / "outside")

    retrieve(workspace, destination, f"{server}/a.tar.gz?token=1")

    assert (tmp_path / "outside").read_text() == "mine"


def test_a_download_that_fails_names_its_url(
    workspace: Path, destination: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    with pytest.raises(OutsideError) as caught:
        retrieve(workspace, destination, f"{server}/none")

    assert str(caught.value) == (
        f"retrieve: {server}/none cannot be downloaded: HTTP Error 404: Not Found"
    )
    assert list(workspace.iterdir()) == []


def test_a_download_that_ends_early_is_an_error(
    workspace: Path, destination: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    with pytest.raises(OutsideError) as caught:
        retrieve(workspace, destination, f"{server}/cut")

    assert str(caught.value) == f"retrieve: {server}/cut ended 2 bytes early"


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://host:port/x", "https:///x"])
def test_a_url_that_is_none_is_an_error_and_no_accident(
    workspace: Path, destination: Path, url: str
) -> None:
    with pytest.raises(OutsideError) as caught:
        retrieve(workspace, destination, url)

    assert str(caught.value).startswith(f"retrieve: {url} cannot be downloaded: ")
