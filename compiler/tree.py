"""Tree: finds the packages' files, keeps all packages, and answers who needs whom.

Discovery is luet's: folders are walked in lexical order at any depth, hidden ones too, symbolic
links to folders are not followed; of two packages with the same name, category and version the one
read last wins; several trees lie over each other in the order given.
"""

import gc
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path

from compiler.errors import CompilerError, Faults, Location, ResolutionError, SpecError
from compiler.spec.fields import closest
from compiler.spec.flavour import load_values
from compiler.spec.folder import (
    BUILD,
    COLLECTION,
    DEFINITION,
    FINALIZE,
    Folder,
    FolderReader,
    Recorded,
)
from compiler.spec.load import read_text
from compiler.spec.package import PackageId, PackageSpec, Requirement
from compiler.spec.template import Source, Templates
from compiler.version import Selector, Version, parse_argument

_SPEC_FILES = frozenset((DEFINITION, COLLECTION, BUILD, FINALIZE))
_TEMPLATES = "templates"
_DOCKERFILE = "Dockerfile"


class View:
    """One of the two ways to read a tree: what packages need to be built, or to run.

    It is what the resolver chooses from; subpackages are part of the runtime view only.
    """

    def __init__(self, packages: Mapping[PackageId, PackageSpec], *, build: bool) -> None:
        """Look at `packages` as the build sees them, or as an installation does."""
        self.build = build
        self.packages: Mapping[PackageId, PackageSpec] = (
            {id_: spec for id_, spec in packages.items() if spec.parent is None}
            if build
            else packages
        )

    def versions(self, category: str, name: str) -> tuple[PackageId, ...]:
        """List all versions of one package, the newest first."""
        return self._titles.get((category, name), ())

    def requirements(self, package: PackageId) -> tuple[Requirement, ...]:
        """Tell what `package` needs."""
        spec = self.packages[package]
        return spec.build_requires if self.build else spec.definition.requires

    def conflicts(self, package: PackageId) -> tuple[Requirement, ...]:
        """Tell what must not be there together with `package`."""
        spec = self.packages[package]
        return spec.build_conflicts if self.build else spec.definition.conflicts

    def provides(self, package: PackageId) -> tuple[Requirement, ...]:
        """Tell what `package` stands in for."""
        spec = self.packages[package]
        return spec.build_provides if self.build else spec.definition.provides

    def providers(self, category: str, name: str) -> tuple[tuple[PackageId, Requirement], ...]:
        """List who says to provide a package, each with the words that it says so with."""
        return self._providers.get((category, name), ())

    def location(self, package: PackageId, requirement: Requirement) -> Location | None:
        """Tell where `package` was written to need `requirement`, or to conflict with it."""
        spec = self.packages[package]
        prefix = "" if self.build else "definition."
        for name, stanzas in (
            ("requires", self.requirements(package)),
            ("conflicts", self.conflicts(package)),
        ):
            if requirement in stanzas:
                return spec.places.get(f"{prefix}{name}.{stanzas.index(requirement)}")
        return None

    def titles(self) -> tuple[str, ...]:
        """List all packages there are, as `category/name`."""
        return tuple(versions[0].title for versions in self._titles.values())

    @cached_property
    def _titles(self) -> Mapping[tuple[str, str], tuple[PackageId, ...]]:
        found: dict[tuple[str, str], list[PackageId]] = {}
        for id_ in self.packages:
            found.setdefault((id_.category, id_.name), []).append(id_)
        return {
            title: tuple(sorted(ids, key=lambda id_: Version.parse(id_.version), reverse=True))
            for title, ids in found.items()
        }

    @cached_property
    def _providers(self) -> Mapping[tuple[str, str], tuple[tuple[PackageId, Requirement], ...]]:
        found: dict[tuple[str, str], list[tuple[PackageId, Requirement]]] = {}
        for id_ in self.packages:
            for each in self.provides(id_):
                found.setdefault((each.category, each.name), []).append((id_, each))
        return {title: tuple(pairs) for title, pairs in found.items()}


@dataclass(frozen=True)
class Tree:
    """All packages of one or several trees, sorted, subpackages included."""

    packages: Mapping[PackageId, PackageSpec] = field(default_factory=dict)

    @cached_property
    def runtime(self) -> View:
        """The packages by what they need to run."""
        return View(self.packages, build=False)

    @cached_property
    def buildtime(self) -> View:
        """The packages by what they need to be built."""
        return View(self.packages, build=True)

    def find(self, argument: str) -> PackageId:
        """Find the package that a command line names: the newest that its selector allows.

        A name without category finds the package when just one category has it. Raises
        `UsageError` for what names no package, and `ResolutionError` for one that is not there.
        """
        category, name, selector = parse_argument(argument)
        versions = self._named(category, name)
        if not versions:
            shown = [id_ for id_ in self.buildtime.packages if str(id_) == argument]
            if shown:
                return shown[0]
            raise _unknown_package(argument, name, self.buildtime)
        for id_ in versions:
            if id_.version == selector:
                return id_
        wanted = Selector.of_requirement(selector)
        wanted.check()
        for id_ in versions:
            if wanted.matches(Version.parse(id_.version)):
                return id_
        known = ", ".join(id_.version for id_ in versions)
        message = f"no version of {versions[0].title} matches {selector!r}"
        raise ResolutionError(message, hint=f"the tree has {known}")

    def _named(self, category: str, name: str) -> tuple[PackageId, ...]:
        found = self.buildtime.versions(category, name)
        if found or category:
            return found
        categories = {id_.category for id_ in self.buildtime.packages if id_.name == name}
        if len(categories) > 1:
            titles = sorted(f"{each}/{name}" for each in categories)
            raise ResolutionError(f"{name!r} could be {' or '.join(titles)}", hint="name one")
        return self.buildtime.versions(categories.pop(), name) if categories else ()


def load_tree(
    roots: Sequence[Path],
    *,
    values: Mapping[str, object] | Sequence[Path] = (),
    dockerfiles: bool = False,
    recorded: Mapping[Path, Recorded] | None = None,
) -> Tree:
    """Load trees, the later over the earlier; raises `Faults` with all that is wrong with them.

    `values` are values files, or what is in them, which override the packages' own in templates.
    With `dockerfiles`, every file with `Dockerfile` in its name is a package, named as its folder.
    Of roots that were published, `recorded` has what their packages were built with.
    """
    with _without_collector():
        overrides = values if isinstance(values, Mapping) else load_values(values)
        published = recorded or {}
        named = [(root, published.get(root)) for root in roots]
        return _load_tree(named, overrides, dockerfiles=dockerfiles)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Stop the search for unused rings while much is made and nothing dropped: it finds none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _load_tree(
    roots: Sequence[tuple[Path, Recorded | None]],
    overrides: Mapping[str, object],
    *,
    dockerfiles: bool,
) -> Tree:
    faults: list[CompilerError] = []
    files = [_Files.of(root, faults) for root, _ in roots]
    templates = _load_templates(files, faults)
    if templates is None:
        raise Faults.of(faults)
    packages: dict[PackageId, PackageSpec] = {}
    for each, (_, recorded) in zip(files, roots, strict=True):
        reader = FolderReader(templates, overrides, recorded)
        _add(packages, _load_packages(each, reader, dockerfiles=dockerfiles), reader.faults)
        faults += reader.faults
    faults += _same_files(packages)
    if faults:
        raise Faults.of(faults)
    return Tree(dict(sorted(packages.items())))


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of one tree that are of interest, in the order in which luet meets them."""

    specs: tuple[tuple[str, Folder], ...] = ()
    templates: tuple[str, ...] = ()
    dockerfiles: tuple[tuple[str, Folder], ...] = ()

    @classmethod
    def of(cls, root: Path, faults: list[CompilerError]) -> "_Files":
        """Walk a tree, adding to `faults` what keeps it from being read."""
        top = os.path.normpath(root)
        problem = _root_problem(top)
        if problem is not None:
            faults.append(problem)
            return cls()
        specs: list[tuple[str, Folder]] = []
        templates: list[str] = []
        docker: list[tuple[str, Folder]] = []
        for name, folder in _walk(top, faults):
            if name in (DEFINITION, COLLECTION) and not _is_text(folder.path):
                place = Location(repr(os.fsencode(folder.path))[2:-1])
                faults.append(SpecError("the folder's name is not UTF-8", location=place))
            elif name in (DEFINITION, COLLECTION):
                specs.append((name, folder))
            elif _DOCKERFILE in name:
                docker.append((name, folder))
            if name.lower().endswith(".yaml") and _in_templates(folder.path, top):
                templates.append(folder.file(name))
        return cls(tuple(specs), tuple(templates), tuple(docker))


def _is_text(path: str) -> bool:
    """Whether a path can be printed: what is not UTF-8 comes from the system as surrogates."""
    return path.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in path)


def _root_problem(top: str) -> CompilerError | None:
    location = Location(top)
    if os.path.islink(top):  # noqa: PTH114  (as are all paths of the walk, it is plain text)
        hint = f"name the folder itself: {os.path.realpath(top)}"
        return SpecError("the tree is a symbolic link", location=location, hint=hint)
    if not os.path.lexists(top):
        return SpecError("there is no such tree", location=location)
    if not os.path.isdir(top):  # noqa: PTH112  (plain text, as all paths of the walk)
        return SpecError("the tree is not a folder", location=location)
    return None


def _walk(top: str, faults: list[CompilerError]) -> Iterator[tuple[str, Folder]]:
    """Go through all files in Go's `filepath.Walk` order, each with its folder."""
    stack = [_entries(top, faults)]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif isinstance(entry, str):
            stack.append(_entries(entry, faults))
        else:
            yield entry


def _entries(path: str, faults: list[CompilerError]) -> Iterator[str | tuple[str, Folder]]:
    """List a folder by name: the paths of folders, and files with this folder."""
    try:
        with os.scandir(path) as scan:
            found = [(each.name, each.is_dir(follow_symlinks=False)) for each in scan]
    except OSError as error:
        faults.append(SpecError(f"cannot be read: {error.strerror}", location=Location(path)))
        return iter(())
    found.sort(key=lambda pair: os.fsencode(pair[0]))
    names = frozenset(name for name, is_folder in found if not is_folder)
    folder = Folder(path, names & _SPEC_FILES)
    return iter([folder.file(name) if is_dir else (name, folder) for name, is_dir in found])


def _in_templates(path: str, top: str) -> bool:
    return _TEMPLATES in Path(path.removeprefix(top)).parts


def _load_templates(files: Iterable[_Files], faults: list[CompilerError]) -> Templates | None:
    """Load the templates folders of all trees; None when they cannot be used."""
    try:
        paths = [path for each in files for path in each.templates]
        templates = Templates([Source(path, read_text(path)) for path in paths])
    except SpecError as error:
        faults.append(error)
        return None
    return templates


def _load_packages(
    files: _Files, reader: FolderReader, *, dockerfiles: bool
) -> Iterator[PackageSpec]:
    for name, folder in files.specs:
        yield from reader.definition(folder) if name == DEFINITION else reader.collection(folder)
    for name, folder in files.dockerfiles if dockerfiles else ():
        try:
            yield _dockerfile_package(Path(folder.file(name)))
        except SpecError as error:
            reader.faults.append(error)
        except Faults as group:
            reader.faults += [each for each in group.exceptions if isinstance(each, CompilerError)]


def _dockerfile_package(path: Path) -> PackageSpec:
    """Make the package of a Dockerfile; what reads these is loaded only for it: start-up time."""
    package: PackageSpec = import_module("compiler.spec.dockerfile").dockerfile_package(path)
    return package


def _add(
    packages: dict[PackageId, PackageSpec],
    specs: Iterable[PackageSpec],
    faults: list[CompilerError],
) -> None:
    """Put the packages of one tree over those of the trees before; the last one read wins."""
    own: dict[PackageId, PackageSpec] = {}
    for spec in specs:
        other = own.get(spec.id)
        if other is not None and spec.parent is not None and other.parent is None:
            continue  # a package of its own goes before a part of another one
        own[spec.id] = spec
        if other is not None and other.parent is spec.parent is None:
            if other.folder != spec.folder:
                own[spec.id] = _instead_of(spec, other)
            elif other.definition != spec.definition:
                faults.append(_defined_twice(spec, other))
    packages |= own


def _same_files(packages: Mapping[PackageId, PackageSpec]) -> Iterator[SpecError]:
    """Find packages that would write one file: `a-b` of category `c`, and `a` of `b-c`."""
    found: dict[str, PackageSpec] = {}
    for spec in packages.values():
        other = found.setdefault(spec.id.fingerprint, spec)
        if other is not spec:
            place = spec.places.get("definition.name", Location(str(spec.definition_file)))
            hint = "artifacts are named name-category-version; rename one of the two"
            message = f"{spec.id} and {other.id} would have one artifact, {spec.id.fingerprint}"
            yield SpecError(message, location=place, hint=hint)


def _defined_twice(spec: PackageSpec, other: PackageSpec) -> SpecError:
    first = other.places.get("definition.name", Location(str(other.definition_file)))
    place = spec.places.get("definition.name", Location(str(spec.definition_file)))
    hint = f"first at {first}; give one of them another name or version"
    return SpecError(f"{spec.id} is defined twice in this folder", location=place, hint=hint)


def _instead_of(spec: PackageSpec, other: PackageSpec) -> PackageSpec:
    """Let a package warn of the one in another folder of its tree that it takes the place of."""
    place = spec.places.get("definition.name", Location(str(spec.definition_file)))
    hint = "take one of the two out, or give it another name or version"
    message = f"{spec.id} is in {other.folder} too, which is not used: the last folder wins"
    return replace(spec, warnings=(*spec.warnings, SpecError(message, location=place, hint=hint)))


def _unknown_package(argument: str, name: str, view: View) -> ResolutionError:
    titles = view.titles()
    near = sorted(title for title in titles if name and name in title.rpartition("/")[2])
    near = near or [each for each in [closest(argument, frozenset(titles))] if each]
    hint = f"did you mean {' or '.join(map(repr, near[:3]))}?" if near else None
    return ResolutionError(f"there is no package {argument!r} in the tree", hint=hint)
