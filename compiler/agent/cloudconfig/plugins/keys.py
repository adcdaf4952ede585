"""`authorized_keys`: who may log in by ssh."""

from collections.abc import Iterator, Mapping, Sequence

from compiler.agent.cloudconfig.accounts import PASSWD, passwd_row
from compiler.agent.cloudconfig.actions import Actions, Change, MakeFolder, Task, WriteFile
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Step
from compiler.agent.root import Owner
from compiler.errors import CompilerError, OutsideError

_FOLDER_MODE = 0o700
_MODE = 0o600
_TRIES = 10
_PAUSE = 1.0
_LARGEST = 1 << 20
_FORGES = {"github": "https://github.com", "gitlab": "https://gitlab.com"}


def tasks(step: Step) -> Iterator[Task]:
    """Add the keys of each user."""

    def add(name: str, keys: Sequence[str]) -> Task:
        return lambda machine: add_keys(name, keys, machine)

    yield from (add(name, keys) for name, keys in step.authorized_keys.items())


def add_keys(name: str, keys: Sequence[str], machine: Machine) -> Actions:
    """Add keys to the file of a user; one that cannot be fetched keeps out no other."""
    row = passwd_row(machine.root.text(PASSWD), name)
    if row is None:
        raise CompilerError(f"unknown user {name!r}")
    found: list[str] = []
    failures: list[CompilerError] = []
    for each in keys:
        try:
            found += _lines(each, machine)
        except CompilerError as error:
            failures.append(error)
    if found:
        yield from _added(row[5], Owner(int(row[2]), int(row[3])), found, machine)
    for failure in failures:
        raise failure


def _added(home: str, owner: Owner, keys: Sequence[str], machine: Machine) -> Actions:
    """Put keys in the file of a home; what is there keeps its mode, not its owner."""
    folder = f"{home}/.ssh"
    path = f"{folder}/authorized_keys"
    yield MakeFolder(path=folder, mode=_FOLDER_MODE, keep=True)
    yield Change(path=folder, owner=owner)
    old = machine.root.text(path, "")
    mode = None if machine.root.exists(path) else _MODE
    data = with_keys(old, keys).encode("utf-8", "surrogateescape")
    yield WriteFile(path=path, data=data, mode=mode, owner=owner)


def with_keys(text: str, keys: Sequence[str]) -> str:
    """Append those keys that are nowhere in the text."""
    for each in keys:
        if each not in text:
            text += f"{'' if not text or text.endswith(chr(10)) else chr(10)}{each}\n"
    return text


def _lines(key: str, machine: Machine) -> list[str]:
    """Return a key itself, or the keys at the address that it is."""
    url = address_of(key, machine.outside.addresses)
    if url is None:
        if "\n" in key.strip():
            return [line for line in key.splitlines() if line.strip()]
        return [key.strip()] if key.strip() else []
    text = _fetched(url, machine).decode("utf-8", "replace")
    return [each for line in text.splitlines() if (each := line.strip()) and each[0] != "#"]


def address_of(key: str, addresses: Mapping[str, str]) -> str | None:
    """Tell from where a key has to be fetched, None for a key itself."""
    forge, colon, name = key.partition(":")
    if key.startswith(("http://", "https://")):
        return key
    if not colon or forge not in _FORGES:
        return None
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise CompilerError(f"{key!r} names no account of {forge}")
    return f"{addresses.get(forge, _FORGES[forge])}/{name}.keys"


def _fetched(url: str, machine: Machine) -> bytes:
    """Fetch keys, trying again for a while: the network may just be coming up."""
    for turn in range(_TRIES):
        try:
            return machine.fetch(url, _LARGEST)
        except OutsideError as error:
            failure = error
            if turn + 1 < _TRIES:
                machine.outside.pause(_PAUSE)
    raise failure
