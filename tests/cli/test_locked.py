"""`cos build --locked`: what the lock says is taken, and nobody is asked what a name stands for."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from compiler.lock import NAME, Lock, Locked, write_lock
from tests.cli.test_main import cos

DIGEST = f"sha256:{'1' * 64}"

pytestmark = pytest.mark.container


class Listening:
    """A registry that has nothing, and remembers what it was asked."""

    def __init__(self) -> None:
        asked = self.asked = list[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200 if self.path == "/v2/" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_HEAD = do_GET  # noqa: N815  (the library's name)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def listening() -> Iterator[Listening]:
    made = Listening()
    with made.server as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def project(place: Path, *images: str, locked: dict[str, Locked]) -> None:
    """Write a tree with a package on each image, and the lock."""
    for number, image in enumerate(images):
        folder = place / "tree" / f"p{number}"
        folder.mkdir(parents=True)
        (folder / "definition.yaml").write_text(f"name: p{number}\ncategory: t\nversion: '1'\n")
        (folder / "build.yaml").write_text(f"image: {image}\nsteps: ['true']\n")
    write_lock(place / NAME, Lock(locked))


def build(place: Path) -> tuple[int, str]:
    """Build everything as it is locked; returns the exit code and what was said."""
    done = cos("--store", place / ".cos/store", "build", "--locked", "--tree", "tree", "--all",
               cwd=place)  # fmt: skip
    return done.returncode, done.stderr


def test_a_missing_pin_fails_before_anybody_is_asked(listening: Listening, tmp_path: Path) -> None:
    one, two = f"{listening.host}/one:1", f"{listening.host}/two:1"
    project(tmp_path, one, two, locked={one: Locked(content=DIGEST, digest=DIGEST)})

    code, said = build(tmp_path)

    assert code == 1
    assert f"the image '{two}' is not locked (`cos lock` takes it in)" in said
    assert listening.asked == []


def test_what_is_pinned_is_asked_for_by_its_digest_alone(
    listening: Listening, tmp_path: Path
) -> None:
    one = f"{listening.host}/one:1"
    project(tmp_path, one, locked={one: Locked(content=DIGEST, digest=DIGEST)})

    code, said = build(tmp_path)

    assert code == 3
    assert f"the image '{one}'" in said
    assert f"/v2/one/manifests/{DIGEST}" in listening.asked
    assert not [path for path in listening.asked if path.endswith("/manifests/1")]


def test_a_registry_is_not_asked_for_what_was_locked_from_this_machine(
    listening: Listening, tmp_path: Path
) -> None:
    one = f"{listening.host}/one:1"
    project(tmp_path, one, locked={one: Locked(content=DIGEST)})

    code, said = build(tmp_path)

    assert code == 1
    assert f"the image '{one}', from which t/p0-1 is built, is not in the store" in said
    assert listening.asked == []


def test_a_lock_that_cannot_be_read_is_told_before_anybody_is_asked(
    listening: Listening, tmp_path: Path
) -> None:
    project(tmp_path, f"{listening.host}/one:1", locked={})
    (tmp_path / NAME).write_text("version: 2\n")

    code, said = build(tmp_path)

    assert code == 1
    assert "cos.lock: is not a lock file" in said
    assert listening.asked == []


def test_the_empty_image_needs_no_lock(tmp_path: Path) -> None:
    project(tmp_path, "scratch", locked={})
    (tmp_path / "tree/p0/build.yaml").write_text("image: scratch\nunpack: true\n")

    code, said = build(tmp_path)

    assert code == 0, said
