"""`ensure_entities`: rows of account files that have to be there."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from compiler.agent.cloudconfig.accounts import (
    GROUP,
    GSHADOW,
    PASSWD,
    SHADOW,
    find,
    merged,
    number,
    put,
    row_of,
)
from compiler.agent.cloudconfig.actions import Actions, Task, WriteFile
from compiler.agent.cloudconfig.crypt import sha512_crypt
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Entity, Step
from compiler.agent.cloudconfig.reader import Reader
from compiler.errors import CompilerError
from compiler.spec.yaml import YamlFaults, parse, places

_LETTERS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SALT = 8
_KEPT = ("$", "!", "*")


@dataclass(frozen=True)
class Row:
    """All that the text of an entity can say; which of it counts depends on its kind."""

    kind: str = ""
    username: str = ""
    group_name: str = ""
    name: str = ""
    password: str = ""
    uid: str = ""
    gid: str = ""
    info: str = ""
    homedir: str = ""
    shell: str = ""
    users: str = ""
    administrators: str = ""
    members: str = ""
    last_changed: str = ""
    minimum_changed: str = ""
    maximum_changed: str = ""
    warn: str = ""
    inactive: str = ""
    expire: str = ""
    reserved: str = ""


PATHS: Mapping[str, str] = {"user": PASSWD, "shadow": SHADOW, "group": GROUP, "gshadow": GSHADOW}
"""The file of each kind."""


def tasks(step: Step) -> Iterator[Task]:
    """Put each in its file."""

    def ensure(entity: Entity) -> Task:
        return lambda machine: _ensure(entity, machine)

    yield from map(ensure, step.ensure_entities)


def _ensure(entity: Entity, machine: Machine) -> Actions:
    row, path = parsed(entity, machine)
    text = machine.root.text(path)
    new = put(text, written(row, text, machine.today))
    yield WriteFile(path=path, data=new.encode("utf-8", "surrogateescape"))


def parsed(entity: Entity, machine: Machine) -> tuple[Row, str]:
    """Read the text of an entity, and tell which file it is about; raises `CompilerError`."""
    row = _row(machine.render(entity.entity))
    return row, entity.path or PATHS[row.kind]


def fault_of(text: str) -> CompilerError | None:
    """Tell what is wrong with the text of an entity, None if nothing is."""
    try:
        _row(text)
    except CompilerError as error:
        return error
    return None


def _row(text: str) -> Row:
    """Read a text that is no template any more."""
    reader = Reader(lambda: places(text))
    try:
        row = reader.read(Row, parse(text))
    except YamlFaults as error:
        raise CompilerError(f"the entity {error.faults[0].message}") from None
    if reader.faults:
        raise CompilerError(f"in the entity {reader.faults[0].message}")
    if row.kind not in PATHS:
        hint = f"one of {', '.join(PATHS)}"
        raise CompilerError(f"unknown kind of entity {row.kind!r}", hint=hint)
    return row


def written(row: Row, text: str, today: int) -> str:
    """Write the row as it has to stand in its file, of which `text` is the content."""
    match row.kind:
        case "user":
            return user_row(row)
        case "shadow":
            return shadow_row(row, hashed(row.password), today)
        case "gshadow":
            return row_of((row.name, row.password, row.administrators, row.members))
        case _:
            return _group_row(row, text)


def user_row(row: Row) -> str:
    """Write a row of passwd(5)."""
    numbers = (_number(row.uid, "uid"), _number(row.gid, "gid"))
    return row_of((row.username, row.password, *numbers, row.info, row.homedir, row.shell))


def shadow_row(row: Row, password: str, today: int) -> str:
    """Write a row of shadow(5)."""
    changed = str(today) if row.last_changed == "now" else row.last_changed
    ages = (changed, row.minimum_changed, row.maximum_changed, row.warn, row.inactive)
    return row_of((row.username, password, *ages, row.expire, row.reserved))


def _group_row(row: Row, text: str) -> str:
    """Write a row of group(5); a group that is there keeps all but gets more members."""
    old = find(text, row.group_name, 4)
    more = row.users.split(",")
    if old is not None:
        return row_of((*old[:3], merged(old[3], more)))
    members = merged("", more)
    return row_of((row.group_name, row.password, _number(row.gid, "gid"), members))


def hashed(password: str) -> str:
    """Hash a password, unless it is a hash already, locks the account, or is none."""
    if not password or password.startswith(_KEPT):
        return password
    salt = "".join(secrets.choice(_LETTERS) for _ in range(_SALT))
    return sha512_crypt(password, salt)


def _number(text: str, key: str) -> str:
    return number(text, key) if text else "0"
