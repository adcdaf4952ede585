"""`downloads`: files from web servers."""

import urllib.parse
from collections.abc import Iterator

from compiler.agent.cloudconfig.actions import Actions, Change, Fetch, Task
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Download, Step
from compiler.agent.cloudconfig.plugins.files import owner_of
from compiler.agent.root import Owner
from compiler.errors import CompilerError

_MODE = 0o777
_DEFAULT = 0o644
_SEARCH = 0o100
_TIMEOUT = 30


def tasks(step: Step) -> Iterator[Task]:
    """Fetch each file."""

    def fetch(download: Download) -> Task:
        return lambda machine: _fetch(download, machine)

    yield from map(fetch, step.downloads)


def _fetch(download: Download, machine: Machine) -> Actions:
    path = path_of(download)
    mode = download.permissions & _MODE or _DEFAULT
    yield Fetch(
        url=download.url,
        path=path,
        mode=mode,
        owner=Owner(download.owner, download.group),
        parents=mode | _SEARCH,
        timeout=download.timeout or _TIMEOUT,
    )
    if download.ownerstring:
        yield Change(path=path, mode=mode, owner=owner_of(download.ownerstring, machine))


def path_of(download: Download) -> str:
    """Tell where the file goes: a path that ends with `/` is a folder for the name it has there."""
    if not download.path or not download.url:
        raise CompilerError("a download needs a path and a url")
    if not download.path.endswith("/"):
        return download.path
    name = urllib.parse.unquote(urllib.parse.urlsplit(download.url).path).rpartition("/")[2]
    if name in {"", ".", ".."}:
        raise CompilerError(f"{download.url} names no file, and neither does {download.path!r}")
    return f"{download.path}{name}"
