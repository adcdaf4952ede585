"""`users`: accounts of people, with their homes, passwords and keys."""

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.agent.cloudconfig.accounts import (
    GROUP,
    PASSWD,
    SHADOW,
    find,
    merged,
    next_number,
    number,
    passwd_row,
    put,
    row_of,
    uids,
)
from compiler.agent.cloudconfig.actions import Action, Actions, MakeFolder, Task, Warn, WriteFile
from compiler.agent.cloudconfig.crypt import is_password
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Step, User
from compiler.agent.cloudconfig.plugins.entities import hashed
from compiler.agent.cloudconfig.plugins.keys import add_keys
from compiler.agent.root import Owner

_DEFAULTS = "/etc/default/useradd"
_INFO = "Created by entities"
_HOMES = "/home"
_SHELL = "/bin/sh"
_HOME_MODE = 0o755
_LOCKED = "!"
_SHADOW_MODE = 0o640


def tasks(step: Step) -> Iterator[Task]:
    """Make or change each account, in the order of their names."""

    def ensure(name: str, user: User) -> Task:
        return lambda machine: _ensure(name, user, machine)

    yield from (ensure(name, user) for name, user in sorted(step.users.items()))


@dataclass(frozen=True)
class Accounts:
    """The texts of the account files."""

    passwd: str
    shadow: str
    group: str


@dataclass(frozen=True)
class Defaults:
    """What an account has unless it says otherwise (useradd(8))."""

    homes: str = _HOMES
    shell: str = _SHELL


def _ensure(name: str, user: User, machine: Machine) -> Actions:
    root = machine.root
    old = Accounts(*(root.text(path, "") for path in (PASSWD, SHADOW, GROUP)))
    defaults = defaults_of(root.text(_DEFAULTS, ""))
    home = user.homedir or f"{defaults.homes}/{name}"
    status = root.status(home)
    new = changed(old, name, user, Context(defaults, machine.today, status and status.st_uid))
    for each in user.groups:
        if find(new.group, each, 4) is None:
            yield Warn(f"{name} gets no place in the group {each!r}, which is not there")
    yield from _files(old, new, None if root.exists(SHADOW) else _SHADOW_MODE)
    row = passwd_row(new.passwd, name)
    if row is None:
        raise AssertionError(name)
    is_new = passwd_row(old.passwd, name) is None
    if not user.no_create_home and (is_new or not root.exists(row[5])):
        owner = Owner(int(row[2]), int(row[3]))
        yield MakeFolder(path=row[5], mode=_HOME_MODE, keep=True)
        yield MakeFolder(path=row[5], mode=_HOME_MODE, owner=owner)
    if user.ssh_authorized_keys:
        yield from add_keys(name, user.ssh_authorized_keys, machine)


def _files(old: Accounts, new: Accounts, shadow_mode: int | None) -> Iterator[Action]:
    """Write the files that changed: the group first, so that no account is without its group."""
    for path, before, after, mode in (
        (GROUP, old.group, new.group, None),
        (PASSWD, old.passwd, new.passwd, None),
        (SHADOW, old.shadow, new.shadow, shadow_mode),
    ):
        if before != after:
            data = after.encode("utf-8", "surrogateescape")
            yield WriteFile(path=path, data=data, mode=mode)


def defaults_of(text: str) -> Defaults:
    """Read the defaults of useradd(8)."""
    pairs = dict(line.strip().split("=", 1) for line in text.splitlines() if "=" in line)
    return Defaults(
        pairs.get("HOME", _HOMES).strip("\"'").rstrip("/"), pairs.get("SHELL", _SHELL).strip("\"'")
    )


@dataclass(frozen=True)
class Context:
    """What an account depends on beside the account files."""

    defaults: Defaults
    today: int
    home_owner: int | None
    """Whose its home is, if there is one."""


def changed(old: Accounts, name: str, user: User, context: Context) -> Accounts:
    """Make an account, or give the one that is there its password and groups."""
    present = passwd_row(old.passwd, name)
    group, passwd = old.group, old.passwd
    if present is None:
        group, gid = _with_own_group(group, name, user)
        passwd = put(passwd, _new_row(name, user, gid, (old, context)))
    for each in user.groups:
        row = find(group, each, 4)
        if row is not None:
            group = put(group, row_of((*row[:3], merged(row[3], [name]))))
    shadow = _with_password(old.shadow, name, user, context.today)
    return Accounts(passwd, shadow, group)


def _with_own_group(group: str, name: str, user: User) -> tuple[str, str]:
    """Make sure of the first group of a new account; returns the groups, and its number."""
    own = user.primary_group or name
    row = find(group, own, 4) or (own, "x", str(next_number(group)), "")
    return put(group, row_of((*row[:3], merged(row[3], [name])))), row[2]


def _new_row(name: str, user: User, gid: str, given: tuple[Accounts, Context]) -> str:
    accounts, context = given
    defaults = context.defaults
    home = user.homedir or f"{defaults.homes}/{name}"
    uid = _uid(user, accounts.passwd, context.home_owner)
    shell = user.shell or defaults.shell
    return row_of((name, "x", uid, gid, user.gecos or _INFO, home, shell))


def _uid(user: User, passwd: str, home_owner: int | None) -> str:
    """Choose a number: the one asked for, that of the home if it is nobody's, or the next."""
    if user.uid:
        return number(user.uid, "uid")
    if home_owner and str(home_owner) not in uids(passwd):
        return str(home_owner)
    return str(next_number(passwd))


def _with_password(shadow: str, name: str, user: User, today: int) -> str:
    """Set a password, keeping the ages of one that is there; none changes nothing there."""
    old = find(shadow, name)
    if old is not None and not user.lock_passwd and is_password(user.passwd, old[1]):
        return shadow
    password = _LOCKED if user.lock_passwd else hashed(user.passwd)
    if old is None:
        return put(shadow, row_of((name, password, str(today), *[""] * 6)))
    if not password or old[1] == password:
        return shadow
    return put(shadow, row_of((name, password, str(today), *old[3:])))
