"""Says what a decision means, in rows that a person reads before answering."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from compiler.spec.package import Definition, PackageId
from compiler.system.choice import Offers, Present, definitions_of
from compiler.system.solve import Decision
from compiler.system.tables import Installed
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


def stand_ins(decision: Decision, installed: Iterable[Installed], offers: Offers) -> Iterator[str]:
    """Say what comes in place of what goes although nobody named it, and for whom.

    Nothing is said of a decision for which nobody named anything, as an upgrade is.
    """
    if not (decision.asked and decision.go):
        return
    known = definitions_of(installed)
    gone = Present(known[each] for each in decision.go)
    titles = {each[:2] for each in known}
    coming = [offer.package.definition for each in decision.come if (offer := offers.get(each))]
    fresh = [
        each for each in coming if not titles & {each.id[:2]} and not _is_named(each, decision)
    ]
    staying = [known[each] for each in sorted(known.keys() - {*decision.go})]
    others = Present([*staying, *(each for each in coming if each not in fresh)])
    needs = [(each.id, need) for each in staying for need in each.requires]
    lost = [(user, need) for user, need in needs if gone.meets(need) and not others.meets(need)]
    for each in fresh:
        new = Present([each])
        for user, need in lost:
            if new.meets(need):
                before = gone.answers(need)[0]
                yield f"{each.id} comes in place of {before}: {user} requires {need}"
                break


def _is_named(definition: Definition, decision: Decision) -> bool:
    """Whether somebody asked for a package, or for what it provides."""
    titles = {definition.id[:2], *((each.category, each.name) for each in definition.provides)}
    return bool(titles & decision.asked)


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
