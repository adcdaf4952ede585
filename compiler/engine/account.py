"""Who a step runs as: the accounts of the root it runs in (passwd(5), group(5))."""

from dataclasses import dataclass
from pathlib import Path

from compiler.engine.confine import settle
from compiler.errors import EngineError


@dataclass(frozen=True, slots=True)
class Account:
    """The ids of a process, and where its home is."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/root"


def account(root: Path, user: str) -> Account:
    """Look up `user`, a `name[:group]` or ids, in `root`; raises `EngineError` if unknown."""
    name, _, group = user.partition(":")
    entry = _find(_table(root, "/etc/passwd", fields=7), name or "0")
    if entry is None and not name.isdigit() and name:
        raise EngineError(f"unknown user {name!r}", hint="the root has no such line in /etc/passwd")
    uid = int(entry[2]) if entry else int(name or 0)
    gid = int(entry[3]) if entry else 0
    home = entry[5] if entry else "/root" if uid == 0 else "/"
    groups = _table(root, "/etc/group", fields=4)
    if group:
        return Account(uid, _group_id(groups, group), (), home)
    members = tuple(int(row[2]) for row in groups if entry and entry[0] in row[3].split(","))
    return Account(uid, gid, members, home)


def _group_id(groups: list[list[str]], group: str) -> int:
    entry = _find(groups, group)
    if entry is not None:
        return int(entry[2])
    if not group.isdigit():
        raise EngineError(
            f"unknown group {group!r}", hint="the root has no such line in /etc/group"
        )
    return int(group)


def _table(root: Path, path: str, *, fields: int) -> list[list[str]]:
    try:
        text = settle(root, path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    rows = (line.split(":") for line in text.splitlines())
    return [row for row in rows if len(row) >= fields and row[2].isdigit() and _sound(row, fields)]


def _sound(row: list[str], fields: int) -> bool:
    return fields == 4 or row[3].isdigit()  # noqa: PLR2004  (only passwd has a second number)


def _find(rows: list[list[str]], name: str) -> list[str] | None:
    """Find by name first, then by number, as login programs do."""
    by_name = (row for row in rows if row[0] == name)
    by_number = (row for row in rows if row[2] == name)
    return next(by_name, None) or next(by_number, None)
