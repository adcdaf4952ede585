"""The files of accounts: rows of fields with colons between them, see passwd(5), shadow(5)."""

import re
from collections.abc import Iterable, Sequence

from compiler.agent.root import Owner
from compiler.errors import CompilerError

PASSWD = "/etc/passwd"  # noqa: S105  (a file)
SHADOW = "/etc/shadow"
GROUP = "/etc/group"
GSHADOW = "/etc/gshadow"

_FORBIDDEN = (":", "\n", "\r", "\0")
_NO_NAME = re.compile(r"[\s/,]|^[-+~]|^\.{1,2}$")
"""What adduser(8) of Debian refuses in any name: paths and lists are made of them."""

_FIRST, _LAST = 1000, 60000
"""The numbers of people and their groups (login.defs(5): UID_MIN and UID_MAX)."""

_HIGHEST = 2**32 - 2
_PASSWD_FIELDS = 7
_GROUP_FIELDS = 4

Row = tuple[str, ...]


def row_of(fields: Iterable[str]) -> str:
    """Join fields to a row; raises `CompilerError` for one that would be another row or field."""
    each = tuple(fields)
    for value in each:
        if any(letter in value for letter in _FORBIDDEN):
            raise CompilerError(f"{value!r} must not hold ':' or a line break")
    if not each[0]:
        raise CompilerError("an entry of accounts needs a name")
    if _NO_NAME.search(each[0]):
        hint = "it has no blanks, no '/' and no ',', and begins with none of '-', '+' and '~'"
        raise CompilerError(f"{each[0]!r} cannot be the name of an account", hint=hint)
    return ":".join(each)


def rows(text: str) -> list[Row]:
    """Read all rows."""
    return [tuple(line.split(":")) for line in text.splitlines() if line.strip()]


def find(text: str, name: str, fields: int = 1) -> Row | None:
    """Find the row of a name that has at least so many fields."""
    return next((row for row in rows(text) if row[0] == name and len(row) >= fields), None)


def passwd_row(text: str, name: str) -> Row | None:
    """Find a user in the text of /etc/passwd."""
    return find(text, name, _PASSWD_FIELDS)


def put(text: str, row: str) -> str:
    """Replace the row of the same name, or append it."""
    name = row.partition(":")[0]
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if line.partition(":")[0] == name:
            lines[index] = row
            break
    else:
        lines.append(row)
    return "".join(f"{line}\n" for line in lines)


def without(text: str, row: str) -> str:
    """Take out every line that is this row."""
    return "".join(f"{line}\n" for line in text.splitlines() if line != row)


def without_name(text: str, name: str) -> str:
    """Take out the rows of a name."""
    return "".join(f"{line}\n" for line in text.splitlines() if line.partition(":")[0] != name)


def merged(members: str, more: Iterable[str]) -> str:
    """Add members to those that a group has."""
    return ",".join(dict.fromkeys(each for each in (*members.split(","), *more) if each))


def next_number(text: str) -> int:
    """Choose the next number for a user or group: one above the highest of people."""
    taken = {int(row[2]) for row in rows(text) if len(row) > 2 and row[2].isdecimal()}  # noqa: PLR2004  (the third field)
    people = [each for each in taken if _FIRST <= each < _LAST]
    above = max(people, default=_FIRST - 1) + 1
    if above < _LAST:
        return above
    free = next((each for each in range(_FIRST, _LAST) if each not in taken), None)
    if free is None:
        raise CompilerError("no number is free for another account")
    return free


def uids(text: str) -> dict[str, str]:
    """Tell which user has which number."""
    return {row[2]: row[0] for row in rows(text) if len(row) >= _PASSWD_FIELDS}


def owner_named(owner: str, passwd: str, group: str) -> Owner:
    """Look up `user` or `user:group`, by names or numbers; raises `CompilerError`.

    A user alone brings the group that it has.
    """
    name, colon, group_name = owner.partition(":")
    row = passwd_row(passwd, name)
    uid = _number(row, 2, name, "user")
    if not colon:
        return Owner(uid, _number(row, 3, name, "user"))
    return Owner(uid, _number(find(group, group_name, 3), 2, group_name, "group"))


def number(text: str, key: str) -> str:
    """Check the number of a user or group; raises `CompilerError`."""
    if not (text.isascii() and text.isdecimal()) or int(text[:12]) > _HIGHEST:
        raise CompilerError(f"{key!r} must be a number, not {text[:40]!r}")
    return text


def _number(row: Sequence[str] | None, index: int, name: str, kind: str) -> int:
    if row is not None:
        return int(number(row[index], f"{kind} {name}"))
    if name.isdecimal():
        return int(number(name, kind))
    raise CompilerError(f"unknown {kind} {name!r}")
