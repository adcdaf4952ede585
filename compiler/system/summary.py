"""Says what a decision means, in rows that a person reads before answering."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compiler.spec.package import PackageId
from compiler.system.choice import Offers
from compiler.system.solve import Decision
from compiler.version import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One package that comes, goes, or changes; versions are empty where there is none."""

    action: str
    title: str
    old: str = ""
    new: str = ""
    repository: str = ""


def rows_of(decision: Decision, offers: Offers) -> tuple[Row, ...]:
    """Describe a decision, sorted by action and name."""
    old = {each[:2]: each for each in decision.go}
    rows = []
    for each in decision.come:
        offer = offers.get(each)
        before = old.pop(each[:2], None)
        rows.append(
            Row(
                action=_action(before, each),
                title=each.title,
                old=before.version if before else "",
                new=each.version,
                repository=offer.repository.name if offer else "",
            )
        )
    rows += [Row(action="remove", title=each.title, old=each.version) for each in old.values()]
    return tuple(sorted(rows, key=lambda row: (_ORDER.index(row.action), row.title)))


_ORDER = ("remove", "downgrade", "reinstall", "upgrade", "install")


def _action(before: PackageId | None, after: PackageId) -> str:
    if before is None:
        return "install"
    if before == after:
        return "reinstall"
    older = Version.parse(after.version) < Version.parse(before.version)
    return "downgrade" if older else "upgrade"


def table(rows: Sequence[Row]) -> list[str]:
    """Lay rows out in columns, and count them."""
    cells = [(row.action, row.title, _versions(row), row.repository) for row in rows]
    lines = columns(cells, indent="  ")
    return [*lines, f"{len(rows)} package{'' if len(rows) == 1 else 's'}"]


def _versions(row: Row) -> str:
    if row.old and row.new and row.old != row.new:
        return f"{row.old} -> {row.new}"
    return row.new or row.old


def columns(cells: Iterable[Sequence[str]], indent: str = "") -> list[str]:
    """Lay out cells of text so that columns are straight."""
    found = [tuple(each) for each in cells]
    widths = [max(map(len, column)) for column in zip(*found, strict=True)]
    return [
        indent
        + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in found
    ]
