"""From named packages to everything that a build of them takes: requirements, joins and copies."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from compiler.errors import CompilerError, Faults
from compiler.graph import Choices, Context, Wiring
from compiler.resolver import Resolutions, resolve, resolve_each
from compiler.retrieve import names_archive_of
from compiler.spec.package import PackageId, PackageSpec, Requirement
from compiler.tree import Tree


def choose(tree: Tree, targets: Iterable[PackageId]) -> Choices:
    """Resolve `targets`, and in turn whatever they join and copy from, each on its own closure.

    Raises `Faults` with every target that has no answer.
    """
    pending = set(targets)
    linked: dict[PackageId, Wiring] = {}
    while True:
        answers = resolve_each(sorted(pending), tree.buildtime)
        _raise_failures(answers)
        packages = {*answers.edges, *_special_packages(answers)}
        for package in sorted(packages - linked.keys()):
            linked[package] = _linked(tree, tree.packages[package])
        further = packages | {each for wires in linked.values() for each in _others(wires)}
        if further <= pending | answers.edges.keys():
            break
        pending |= further
    return _choices(tree, answers, linked)


def _raise_failures(answers: Resolutions) -> None:
    """Raise all errors of a resolution at once."""
    if answers.failed:
        raise Faults.of(answers.failed.values())


def _special_packages(answers: Resolutions) -> Iterator[PackageId]:
    """Go through the packages of targets that had to choose for themselves."""
    for answer in answers.special.values():
        yield from answer.packages


def _others(wires: Wiring) -> Iterator[PackageId]:
    """Go through the packages that one package joins, copies from or retrieves."""
    yield from wires.joined
    yield from (each for each in wires.copies if each is not None)
    yield from wires.retrieved


def _choices(tree: Tree, answers: Resolutions, linked: Mapping[PackageId, Wiring]) -> Choices:
    """Put what was resolved into the form that the graph is built from."""
    special: dict[PackageId, Context] = {
        target: answer.edges for target, answer in answers.special.items()
    }
    wiring = {
        package: Wiring(
            requires=special.get(package, answers.edges).get(package, ()),
            joined=wires.joined,
            copies=wires.copies,
            retrieved=wires.retrieved,
        )
        for package, wires in linked.items()
    }
    return Choices(specs=tree.packages, wiring=wiring, special=special)


def _linked(tree: Tree, spec: PackageSpec) -> Wiring:
    """Resolve what a package joins and copies from."""
    build = spec.build
    if build is None or not any(
        (build.copy_, build.join, build.requires_final_images, build.retrieve)
    ):
        return Wiring()
    try:
        return Wiring(
            joined=_joined(tree, spec),
            copies=tuple(
                None if each.package is None else _one(tree, each.package) for each in build.copy_
            ),
            retrieved=_retrieved(tree, spec.id, build.retrieve),
        )
    except CompilerError as error:
        error.location = error.location or spec.places.get("copy") or spec.places.get("join")
        raise


def _retrieved(tree: Tree, package: PackageId, patterns: Sequence[str]) -> tuple[PackageId, ...]:
    """List the requirements of a package whose archives it retrieves from the destination."""
    if not patterns:
        return ()
    below = resolve_each([package], tree.buildtime).of(package).packages[:-1]
    return tuple(
        each for each in below if any(names_archive_of(each, pattern) for pattern in patterns)
    )


def _one(tree: Tree, wanted: Requirement) -> PackageId:
    """Choose the newest package that satisfies one requirement."""
    return resolve([wanted], tree.buildtime).targets[0]


def _joined(tree: Tree, spec: PackageSpec) -> tuple[PackageId, ...]:
    """List the packages whose artifacts make the base, in the order of unpacking.

    `requires_final_images` takes what the requirements need to *run*; the older `join` is taken
    literally.
    """
    build = spec.build
    if build is None:
        return ()
    if build.join:
        return tuple(dict.fromkeys(_one(tree, each) for each in build.join))
    if build.requires_final_images and build.requires:
        found = resolve(build.requires, tree.runtime).packages
        return tuple(each for each in found if each != spec.id)
    return ()
