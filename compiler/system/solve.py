"""Decides which packages come and which go, for every command that changes a system.

Nothing is fetched or touched here. Installing changes as little as it can: what is installed stays
in its version unless that stands against what is asked for. Only an upgrade looks for the newest.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

from compiler.archive.scan import collector_paused
from compiler.errors import ResolutionError
from compiler.resolver import resolve
from compiler.resolver.world import newest_first
from compiler.spec.package import PackageId, Requirement
from compiler.system.choice import Choice, Offer, Offers, Present, Title, definitions_of
from compiler.system.tables import Installed
from compiler.version import Selector, Version, parse_argument

_REMOVED = "name that too, or use --full-clean; --nodeps removes it nevertheless"
_REPLACED = "name that too, or in its place what provides it; --nodeps replaces it nevertheless"
"""What to do when something that stays needs what goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to happen: what comes, each after what it needs, and what goes.

    What is in both is installed anew. `asked` are the titles that somebody asked for by name.
    """

    come: tuple[PackageId, ...] = ()
    go: tuple[PackageId, ...] = ()
    asked: frozenset[Title] = frozenset()

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is to happen."""
        return not (self.come or self.go)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallOptions:
    """How an installation goes: without what is needed, with nothing else, and so on.

    `relax` takes no care of what is installed, `upgrade` brings that up to date on the way.
    """

    nodeps: bool = False
    onlydeps: bool = False
    relax: bool = False
    upgrade: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOptions:
    """How an uninstallation goes.

    Without `check` also what others need is removed. `full` removes as well what was only there
    for what goes, `dependents` also everything that needs it.
    """

    check: bool = True
    full: bool = False
    dependents: bool = False


class Solver:
    """Decides about one system, given what is installed in it and what repositories offer."""

    def __init__(self, installed: Iterable[Installed], offers: Offers) -> None:
        self._installed = {each.id: each for each in installed}
        self._frozen = definitions_of(self._installed.values())
        self._titles = {id_[:2]: id_ for id_ in self._installed}
        self._offers = offers

    def named(self, argument: str) -> Requirement:
        """Read a package of the command line; one without category is looked for by its name.

        Raises `UsageError` for what names no package, `ResolutionError` for what could be several.
        """
        category, name, selector = parse_argument(argument)
        if not category:
            category = self._category_of(name)
        return Requirement(category=category, name=name, version=selector)

    def installed_named(self, argument: str) -> PackageId:
        """Find an installed package that the command line names; raises `ResolutionError`."""
        wanted = self.named(argument)
        found = self._titles.get((wanted.category, wanted.name))
        if found is None:
            shown = [id_ for id_ in self._installed if str(id_) == argument]
            if not shown:
                raise ResolutionError(f"{argument} is not installed")
            return shown[0]
        if not _matches(wanted, found):
            raise ResolutionError(f"{wanted} is not installed, but {found}")
        return found

    def install(self, wanted: Sequence[Requirement], options: InstallOptions) -> Decision:
        """Decide how to have all of `wanted`; what is installed already counts."""
        asked = frozenset((each.category, each.name) for each in wanted)
        if options.nodeps:
            new = () if options.onlydeps else tuple(self._new(wanted))
            return Decision(come=new, go=self._replaced(new), asked=asked)
        choice = self._choice()
        preferred = self._frozen.keys() | self._offered(asked - self._titles.keys())
        there: Iterable[Requirement] = ()
        if not options.relax:
            there = self._at_least() if options.upgrade else self._any_version()
        if options.upgrade:
            preferred = self._offered(asked | self._titles.keys())
            choice = self._choice(without=self._not_newer())
        chosen = _chosen(wanted, choice, there, preferred=preferred)
        come = [each for each in chosen if each not in self._installed]
        gone = set(self._frozen.keys() - set(chosen)) if not options.relax else set()
        if options.onlydeps:
            come = [each for each in come if not any(_answers(one, each) for one in wanted)]
            gone &= set(self._replaced(come))
        return self._decision(come, gone, asked)

    def upgrade(self, *, rebuilt: bool = False, clean: bool = False) -> Decision:
        """Decide how to have the newest of everything; nothing is ever replaced by older versions.

        With `rebuilt`, what was built anew in the same version counts as newer; with `clean`, what
        no repository has any more goes, unless something needs it.
        """
        again = set(self.rebuilt()) if rebuilt else set()
        vanished = self._titles.keys() - {id_[:2] for id_ in self._offers.ids()}
        needed = [
            each
            for each in self._at_least()
            if not (clean and (each.category, each.name) in vanished)
        ]
        choice = self._choice(without=self._not_newer(), loose=again)
        chosen = _chosen((), choice, needed, preferred=self._offered(self._titles.keys()))
        come = [each for each in chosen if each not in self._installed or each in again]
        gone = set(self._frozen.keys() - set(chosen)) | (again & set(chosen))
        return self._decision(come, gone, frozenset())

    def rebuilt(self) -> tuple[PackageId, ...]:
        """List installed packages that a repository has in the same version, but built anew."""
        return tuple(
            id_
            for id_, package in self._installed.items()
            if (offer := self._offers.get(id_)) is not None and _is_rebuilt(package, offer)
        )

    def uninstall(self, packages: Iterable[PackageId], options: RemoveOptions) -> Decision:
        """Decide what goes; raises `ResolutionError` when something that stays needs any of it."""
        going = set(packages)
        if options.dependents:
            going = self._with_dependents(going)
        elif options.check:
            self._check_removal(going)
        if options.full or options.dependents:
            going |= self._orphans(going)
        return Decision(go=tuple(sorted(going)))

    def replace(
        self, packages: Iterable[PackageId], wanted: Sequence[Requirement], options: InstallOptions
    ) -> Decision:
        """Decide how to have `wanted` instead of installed packages.

        Raises `ResolutionError` when something that stays would miss what it needs.
        """
        going = set(packages)
        asked = frozenset((each.category, each.name) for each in wanted)
        if options.nodeps:
            come: Sequence[PackageId] = tuple(self._new(wanted))
            return self._decision(come, going | set(self._replaced(come)), asked)
        staying = {id_: each for id_, each in self._frozen.items() if id_ not in going}
        titles = {id_[:2] for id_ in going} - asked
        without = {id_ for id_ in self._offers.ids() if id_[:2] in titles}
        choice = Choice(
            self._offers.definitions(),
            staying,
            without=without | {*going} - self._again(wanted),
            going=[self._frozen[id_] for id_ in sorted(going)],
        )
        there = (_any(id_) for id_ in staying if id_[:2] not in asked)
        preferred = staying.keys() | self._offered(asked - {id_[:2] for id_ in staying})
        try:
            chosen = _chosen(wanted, choice, there, preferred=preferred)
        except ResolutionError:  # where nothing that may come could help, who is left is told
            fitting = {id_ for id_ in self._offers.ids() if any(_answers(n, id_) for n in wanted)}
            self._check_removal(going, fitting, hint=_REPLACED)
            raise
        come = [each for each in chosen if each not in staying]
        if options.onlydeps:
            come = [each for each in come if not any(_answers(one, each) for one in wanted)]
        decision = self._decision(come, going | (staying.keys() - set(chosen)), asked)
        self._check_removal({*decision.go}, {*decision.come}, hint=_REPLACED)
        return decision

    def unmet(self) -> Iterator[tuple[PackageId, Requirement]]:
        """Find what installed packages need and nothing installed is, in order."""
        present = Present(self._frozen.values())
        for id_, definition in sorted(self._frozen.items()):
            for need in definition.requires:
                if not present.meets(need):
                    yield id_, need

    def reinstall(self, packages: Iterable[PackageId]) -> Decision:
        """Decide how to install the same packages anew; raises `ResolutionError`."""
        wanted = sorted(packages)
        missing = [str(each) for each in wanted if self._offers.get(each) is None]
        if missing:
            hint = "`cos upgrade` brings the versions that there are"
            words = "is in no repository" if len(missing) == 1 else "are in no repository"
            raise ResolutionError(f"{', '.join(missing)} {words} any more", hint=hint)
        return Decision(come=tuple(wanted), go=tuple(wanted))

    def has_offer(self, package: PackageId) -> bool:
        """Whether a repository has a package in this very version."""
        return self._offers.get(package) is not None

    def already(self, wanted: Requirement) -> PackageId | None:
        """Return the installed package that is what is asked for, if there is one."""
        found = self._titles.get((wanted.category, wanted.name))
        return found if found is not None and _matches(wanted, found) else None

    def _category_of(self, name: str) -> str:
        offered = {id_.category for id_ in self._offers.ids() if id_.name == name}
        found = offered | {id_.category for id_ in self._installed if id_.name == name}
        if len(found) > 1:
            titles = " or ".join(f"{each}/{name}" if each else name for each in sorted(found))
            raise ResolutionError(f"{name!r} could be {titles}", hint="name one")
        return found.pop() if found else ""

    def _choice(
        self, without: Set[PackageId] = frozenset(), loose: Set[PackageId] = frozenset()
    ) -> Choice:
        frozen = {id_: each for id_, each in self._frozen.items() if id_ not in loose}
        return Choice(self._offers.definitions(), frozen, without=without)

    def _offered(self, titles: Set[Title]) -> set[PackageId]:
        """List what there is under these names: it goes before what only claims to provide them."""
        everything = {*self._offers.ids(), *self._installed}
        return {each for each in everything if each[:2] in titles}

    def _any_version(self) -> Iterator[Requirement]:
        return (_any(id_) for id_ in self._frozen)

    def _at_least(self) -> Iterator[Requirement]:
        """Require what is installed, in this version or a newer one."""
        for id_ in self._frozen:
            known = Version.parse(id_.version).is_valid
            version = f">={id_.version}" if known else ""
            yield Requirement(category=id_.category, name=id_.name, version=version)

    def _not_newer(self) -> set[PackageId]:
        """Find older versions of what is installed, and other spellings of the same ones.

        Nothing is gained by those, and without them nobody who replaces a package brings an older
        one of it back.
        """
        found = set()
        for id_ in self._offers.ids():
            there = self._titles.get(id_[:2])
            if there is not None and there != id_ and not _is_newer(id_, there):
                found.add(id_)
        return found

    def _again(self, wanted: Sequence[Requirement]) -> set[PackageId]:
        """Find what goes and is asked for in the same version."""
        return {id_ for id_ in self._installed if any(_answers(each, id_) for each in wanted)}

    def _new(self, wanted: Iterable[Requirement]) -> Iterator[PackageId]:
        """Choose the newest of each that is not there, whatever it needs."""
        for each in wanted:
            fitting = [id_ for id_ in self._offers.ids() if _answers(each, id_)]
            if not fitting and self.already(each) is None:
                raise ResolutionError(f"there is no package {each} in the repositories")
            newest = newest_first(fitting)[:1]
            if self.already(each) is None:
                yield from newest

    def _replaced(self, come: Iterable[PackageId]) -> tuple[PackageId, ...]:
        """List installed packages that have to go for others of the same name."""
        found = (self._titles.get(each[:2]) for each in come)
        return tuple(sorted({each for each in found if each is not None}))

    def _decision(
        self, come: Sequence[PackageId], gone: Set[PackageId], asked: frozenset[Title]
    ) -> Decision:
        go = {*gone, *self._replaced(come)}
        return Decision(come=tuple(come), go=tuple(sorted(go)), asked=asked)

    def _check_removal(
        self, going: Set[PackageId], come: Set[PackageId] = frozenset(), hint: str = _REMOVED
    ) -> None:
        """Raise if anything that stays needs what goes, and not what comes, naming all of it."""
        broken = list(self._broken(going, come))
        if broken:
            chain = [f"{user} requires {need}" for user, need in broken]
            names = ", ".join(sorted({str(user) for user, _ in broken}))
            raise ResolutionError(
                f"what is to be removed is needed by {names}",
                chain=chain,
                hint=hint,
            )

    def _broken(
        self, going: Set[PackageId], come: Set[PackageId] = frozenset()
    ) -> Iterator[tuple[PackageId, Requirement]]:
        """Find what is met now, and would not be without what goes, and with what comes."""
        staying = [each for id_, each in self._frozen.items() if id_ not in going]
        offered = self._offers.definitions() if come else {}
        new = [offered[each] for each in come]
        before, after = Present(self._frozen.values()), Present([*staying, *new])
        for definition in staying:
            for need in definition.requires:
                if before.meets(need) and not after.meets(need):
                    yield definition.id, need

    def _with_dependents(self, going: set[PackageId]) -> set[PackageId]:
        while more := {user for user, _ in self._broken(going)}:
            going = going | more
        return going

    def _orphans(self, going: Set[PackageId]) -> set[PackageId]:
        """Find what nobody asked for, and nothing needs any more once `going` is gone."""
        reachable = self._below(going)
        kept = [id_ for id_ in self._frozen if id_ not in going and id_ not in reachable]
        kept += [id_ for id_ in reachable - going if self._installed[id_].requested]
        return set(reachable - going - self._below(kept) - set(kept))

    def _below(self, packages: Iterable[PackageId]) -> set[PackageId]:
        """Find all that packages need, directly or not."""
        present = Present(self._frozen.values())
        found: set[PackageId] = set()
        todo = list(packages)
        while todo:
            for need in self._frozen[todo.pop()].requires:
                new = [each for each in present.answers(need) if each not in found]
                found.update(new)
                todo += new
        return found


def _chosen(
    wanted: Sequence[Requirement],
    choice: Choice,
    there: Iterable[Requirement],
    *,
    preferred: Set[PackageId],
) -> tuple[PackageId, ...]:
    """Resolve what is wanted, and what is there; thousands of small values are made meanwhile."""
    with collector_paused():
        return resolve(wanted, choice, preferred, installed=there).packages


def _any(package: PackageId) -> Requirement:
    return Requirement(category=package.category, name=package.name)


def _matches(wanted: Requirement, package: PackageId) -> bool:
    """Whether a package of the right name is what is asked for."""
    if wanted.version == package.version:
        return True
    return Selector.of_requirement(wanted.version).matches(Version.parse(package.version))


def _is_newer(one: PackageId, two: PackageId) -> bool:
    """Whether a version is newer than another one; of what is no version, anything else is."""
    new, old = Version.parse(one.version), Version.parse(two.version)
    return new > old or not (new.is_valid and old.is_valid)


def _answers(wanted: Requirement, package: PackageId) -> bool:
    return package[:2] == (wanted.category, wanted.name) and _matches(wanted, package)


def _is_rebuilt(package: Installed, offer: Offer) -> bool:
    """Whether other bytes are offered, or, where checksums are unknown, of another time."""
    if package.sha256 and offer.package.sha256:
        return package.sha256 != offer.package.sha256
    return package.timestamp != offer.package.timestamp
