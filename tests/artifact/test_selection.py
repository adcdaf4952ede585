"""What goes into an artifact, decided from lists of entries."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.archive import Entry, Kind
from compiler.artifact.filters import compile_filters
from compiler.artifact.selection import Selection, Strategy, cut, select, strategy_of
from compiler.errors import ArchiveError, SpecError
from compiler.spec.package import BuildSpec

CONFORMANCE = Path(__file__).parents[1] / "data" / "conformance"


@dataclass
class MemoryRoots:
    """Roots as lists of entries: the builder's, and what the steps changed in it."""

    builder: Sequence[Entry] = ()
    layer: Sequence[Entry] = ()
    asked: list[str] = field(default_factory=list)

    @property
    def root(self) -> dict[str, Entry]:
        merged = {entry.path: entry for entry in self.builder}
        for entry in self.layer:
            if entry.kind is not Kind.FOLDER or entry.opaque:
                merged = {p: e for p, e in merged.items() if not p.startswith(entry.path + "/")}
            merged[entry.path] = entry
        return {path: e for path, e in merged.items() if e.kind is not Kind.WHITEOUT}

    def changes(self) -> Sequence[Entry]:
        return self.layer

    def in_builder(self, path: str) -> bool:
        self.asked.append(path)
        return any(entry.path == path for entry in self.builder)

    def entry(self, path: str) -> Entry | None:
        found = self.root.get(path)
        return found if found and found.kind in {Kind.FOLDER, Kind.FILE} else None

    def below(self, folder: str) -> Iterable[Entry]:
        base = f"{folder}/" if folder else ""
        for path, entry in sorted(self.root.items()):
            if path.startswith(base):
                yield entry._replace(path=path.removeprefix(base))


def file(path: str, mode: int = 0o644, *, size: int = 0) -> Entry:
    return Entry(path=path, kind=Kind.FILE, mode=mode, size=size)


def folder(path: str, mode: int = 0o755, *, uid: int = 0, opaque: bool = False) -> Entry:
    return Entry(path=path, kind=Kind.FOLDER, mode=mode, uid=uid, opaque=opaque)


def link(path: str, target: str) -> Entry:
    return Entry(path=path, kind=Kind.HARDLINK, mode=0o644, target=target)


def gone(path: str) -> Entry:
    return Entry(path=path, kind=Kind.WHITEOUT)


def steps(
    *,
    includes: tuple[str, ...] = (),
    excludes: tuple[str, ...] = (),
    package_dir: str = "",
    unpack: bool = False,
) -> BuildSpec:
    return BuildSpec(
        image="debian",
        steps=("make",),
        includes=includes,
        excludes=excludes,
        package_dir=package_dir,
        unpack=unpack,
    )


def paths(selection: Selection) -> list[str]:
    return [member.entry.path for member in selection.members]


BASE = [folder("etc"), file("etc/issue"), file("etc/passwd"), file("f"), folder("d"),
        file("d/x"), folder("root", 0o700, uid=3), folder("tmp", 0o1777),
        Entry(path="lib", kind=Kind.SYMLINK, target="usr/lib")]  # fmt: skip


@pytest.mark.parametrize(
    ("build", "strategy"),
    [
        (None, Strategy.EMPTY),
        (BuildSpec(image="debian"), Strategy.EMPTY),
        (BuildSpec(image="debian", prelude=("x",)), Strategy.EMPTY),
        (steps(), Strategy.DELTA),
        (BuildSpec(dockerfile="FROM a"), Strategy.DELTA),
        (steps(unpack=True), Strategy.ROOT),
        (BuildSpec(image="debian", unpack=True), Strategy.ROOT),
        (BuildSpec(unpack=True, package_dir="/pkg"), Strategy.FOLDER),
    ],
)
def test_the_spec_says_where_the_content_comes_from(
    build: BuildSpec | None, strategy: Strategy
) -> None:
    assert strategy_of(build) is strategy


def test_a_delta_holds_new_paths_and_their_parents_as_they_are_in_the_root() -> None:
    layer = [folder("root", 0o700, uid=3), file("root/file"), folder("tmp", 0o1777),
             file("tmp/file")]  # fmt: skip

    selection = select(steps(), MemoryRoots(BASE, layer))

    assert [(m.entry.path, m.entry.mode, m.entry.uid) for m in selection.members] == [
        ("root", 0o700, 3),
        ("root/file", 0o644, 0),
        ("tmp", 0o1777, 0),
        ("tmp/file", 0o644, 0),
    ]


def test_a_delta_leaves_out_changes_and_deletions() -> None:
    layer = [folder("etc"), file("etc/issue", 0o600), gone("etc/passwd"), gone("f")]

    assert paths(select(steps(), MemoryRoots(BASE, layer))) == []


def test_a_file_that_became_a_folder_is_only_the_parent_of_its_new_children() -> None:
    roots = MemoryRoots(BASE, [folder("f", 0o711, opaque=True), file("f/new")])

    selection = select(steps(), roots)

    assert [(m.entry.path, m.entry.mode) for m in selection.members] == [
        ("f", 0o711),
        ("f/new", 0o644),
    ]


def test_a_folder_that_became_a_file_is_left_out() -> None:
    assert paths(select(steps(), MemoryRoots(BASE, [file("d")]))) == []


def test_below_a_new_folder_the_builder_is_not_asked() -> None:
    roots = MemoryRoots(BASE, [folder("n"), folder("n-o"), file("n-o/b"), file("n/a")])

    assert paths(select(steps(), roots)) == ["n", "n-o", "n-o/b", "n/a"]
    assert roots.asked == ["n", "n-o"]


def test_a_hard_link_to_a_file_that_is_left_out_becomes_the_file() -> None:
    passwd = BASE[2]._replace(size=7, xattrs={"user.a": b"1"})
    builder = [entry for entry in BASE if entry.path != "etc/passwd"] + [passwd]
    layer = [folder("etc"), passwd, link("etc/hard", "etc/passwd"), link("etc/more", "etc/passwd")]

    selection = select(steps(), MemoryRoots(builder, layer))

    assert [(m.entry.path, m.entry.kind, m.entry.target, m.source) for m in selection.members] == [
        ("etc", Kind.FOLDER, "", "etc"),
        ("etc/hard", Kind.FILE, "", "etc/passwd"),
        ("etc/more", Kind.HARDLINK, "etc/hard", "etc/passwd"),
    ]
    assert selection.members[1].entry.size == 7
    assert selection.members[1].entry.xattrs == {"user.a": b"1"}


def test_the_first_kept_name_of_a_file_is_the_file() -> None:
    layer = [folder("k"), file("k/a", size=1), link("k/b", "k/a"), link("k/c", "k/a")]

    selection = select(steps(excludes=("/a$",)), MemoryRoots((), layer))

    assert [(m.entry.path, m.entry.kind, m.entry.target) for m in selection.members[1:]] == [
        ("k/b", Kind.FILE, ""),
        ("k/c", Kind.HARDLINK, "k/b"),
    ]


def test_a_link_to_nothing_is_said_so() -> None:
    with pytest.raises(ArchiveError) as caught:
        select(steps(), MemoryRoots((), [link("a", "b")]))

    assert str(caught.value) == "'a' is a hard link to nothing"


def test_devices_pipes_and_symbolic_links_are_kept_as_they_are() -> None:
    layer = [
        Entry(path="a", kind=Kind.CHARACTER, device=(1, 3)),
        Entry(path="b", kind=Kind.BLOCK, device=(7, 0)),
        Entry(path="c", kind=Kind.FIFO),
        Entry(path="d2", kind=Kind.SYMLINK, target="/nowhere"),
    ]

    assert [m.entry for m in select(steps(), MemoryRoots(BASE, layer)).members] == layer


def test_unpack_takes_the_whole_root() -> None:
    roots = MemoryRoots([folder("etc"), file("etc/issue"), file("f")], [gone("f"), file("g")])

    assert paths(select(steps(unpack=True), roots)) == ["etc", "etc/issue", "g"]


def test_package_dir_takes_what_lies_below_it_with_filters_on_the_package_path() -> None:
    layer = [folder("pkg", 0o700), folder("pkg/usr", 0o750), folder("pkg/usr/bin"),
             file("pkg/usr/bin/a"), file("pkg/usr/b"), link("pkg/usr/bin/c", "pkg/usr/b"),
             file("other")]  # fmt: skip
    roots = MemoryRoots(BASE, [e if e.kind is not Kind.HARDLINK else file(e.path) for e in layer])

    selection = select(steps(package_dir="/pkg/", includes=("^/usr/bin/a$",)), roots)

    assert [(m.entry.path, m.entry.mode, m.source) for m in selection.members] == [
        ("usr", 0o750, "pkg/usr"),
        ("usr/bin", 0o755, "pkg/usr/bin"),
        ("usr/bin/a", 0o644, "pkg/usr/bin/a"),
    ]
    assert selection.warnings == ()


def test_a_relative_package_dir_is_taken_from_the_root_with_a_warning() -> None:
    roots = MemoryRoots((), [folder("pkg"), file("pkg/a")])

    selection = select(steps(package_dir="./pkg"), roots)

    assert paths(selection) == ["a"]
    assert selection.warnings == ("package_dir './pkg' is taken as '/pkg'",)


@pytest.mark.parametrize("place", ["/nowhere", "/f", "/lib"])
def test_a_package_dir_that_is_no_folder_gives_an_empty_artifact_with_a_warning(
    place: str,
) -> None:
    selection = select(steps(package_dir=place), MemoryRoots(BASE))

    assert selection == Selection(
        (), (f"package_dir '{place}' is no folder in the root: the artifact is empty",)
    )


def test_a_package_dir_that_leads_upwards_is_refused() -> None:
    with pytest.raises(SpecError) as caught:
        select(steps(package_dir="/pkg/../../etc"), MemoryRoots(BASE))

    assert str(caught.value) == "package_dir '/pkg/../../etc' leads out with '..'"


def test_subpackages_are_cut_out_of_their_parent_by_their_own_filters() -> None:
    layer = [folder("sp", 0o711), file("sp/a"), folder("sp/lib"), file("sp/lib/b")]
    parent = select(steps(), MemoryRoots(BASE, layer))

    part = cut(parent, includes=("/b$",), excludes=())

    assert [(m.entry.path, m.entry.mode) for m in part.members] == [
        ("sp", 0o711),
        ("sp/lib", 0o755),
        ("sp/lib/b", 0o644),
    ]
    assert part.files == ("sp/lib/b",)
    assert parent.files == ("sp/a", "sp/lib/b")


ENTRIES = st.lists(
    st.tuples(st.lists(st.sampled_from("abc-"), min_size=1, max_size=4), st.booleans()),
    max_size=12,
)
EXPRESSIONS = st.lists(st.sampled_from(["a", "^/b", "c$", "^/a/b", "-", "/"]), max_size=2)


def _layer(drawn: list[tuple[list[str], bool]]) -> list[Entry]:
    """Make a layer in which parents are folders; some files are links to the first file."""
    names = ["/".join(parts) for parts, _ in drawn]
    parents = {name[:cut] for name in names for cut in range(len(name)) if name[cut] == "/"}
    found = {path: folder(path) for path in parents}
    first = None
    for name, (_, linked) in zip(names, drawn, strict=True):
        if name not in found:
            found[name] = link(name, first) if linked and first else file(name)
            first = first or name
    return list(found.values())


@given(below=ENTRIES, above=ENTRIES, includes=EXPRESSIONS, excludes=EXPRESSIONS)
def test_every_selection_can_be_unpacked_from_top_to_bottom(
    below: list[tuple[list[str], bool]],
    above: list[tuple[list[str], bool]],
    includes: list[str],
    excludes: list[str],
) -> None:
    layer = _layer([*below, *above])
    builder = [entry for entry in _layer(below) if entry.kind is not Kind.HARDLINK]
    build = steps(includes=tuple(includes), excludes=tuple(excludes))

    members = select(build, MemoryRoots(builder, layer)).members

    names = [member.entry.path for member in members]
    assert names == sorted(set(names))
    for place, member in enumerate(members):
        parent = member.entry.path.rpartition("/")[0]
        assert not parent or parent in names[:place]
        if member.entry.kind is Kind.HARDLINK:
            target = members[names.index(member.entry.target)]
            assert target.entry.kind is Kind.FILE
            assert target.source == member.source
            assert names.index(member.entry.target) < place


@given(drawn=ENTRIES, includes=EXPRESSIONS, excludes=EXPRESSIONS)
def test_a_filtered_root_holds_what_passes_and_the_folders_above_it(
    drawn: list[tuple[list[str], bool]], includes: list[str], excludes: list[str]
) -> None:
    roots = MemoryRoots((), _layer(sorted(drawn, key=lambda each: "/".join(each[0]))))
    build = steps(includes=tuple(includes), excludes=tuple(excludes), unpack=True)
    filters = compile_filters(includes, excludes)

    found = list(select(build, roots).members)

    passing = {path for path in roots.root if filters.keeps(path)}
    above = {path[:cut] for path in passing for cut in range(len(path)) if path[cut] == "/"}
    assert [member.entry.path for member in found] == sorted(passing | above)
    files = {m.entry.path for m in found if m.entry.kind is Kind.FILE}
    assert all(m.entry.target in files for m in found if m.entry.kind is Kind.HARDLINK)


def test_a_filtered_root_is_packed_while_it_is_still_read() -> None:
    roots = MemoryRoots((), [folder("a"), file("a/b"), folder("c"), file("c/d")])
    read: list[str] = []

    class Told(MemoryRoots):
        def below(self, folder: str) -> Iterable[Entry]:
            for entry in roots.below(folder):
                read.append(entry.path)
                yield entry

    selection = select(steps(unpack=True, excludes=("x",)), Told())

    assert next(iter(selection.members)).entry.path == "a"
    assert read == ["a"]
    assert selection.files == ("a/b", "c/d")
    assert read == ["a", "a/b", "c", "c/d"]


KINDS = {"dir": Kind.FOLDER, "file": Kind.FILE, "symlink": Kind.SYMLINK}


def _expected(case: str, package: str) -> tuple[list[Entry], list[str]]:
    """Read what luet packed: members without content, and the list of files."""
    checks = json.loads((CONFORMANCE / case / "expected.json").read_text())["checks"]
    artifacts = [check.get("artifacts") or {} for check in checks]
    found = next(each[package] for each in artifacts if each.get(package, {}).get("tar"))
    members = [
        Entry(
            path=member["path"],
            kind=KINDS[member["type"]],
            mode=int(member["mode"], 8),
            uid=member["uid"],
            gid=member["gid"],
            size=member.get("size", 0),
            target=member.get("linktarget", ""),
        )
        for member in found["tar"]
    ]
    return members, found["metadata"]["files"]


def _by_path(members: Iterable[Entry]) -> list[Entry]:
    return sorted(members, key=lambda entry: entry.path)


def test_a_delta_is_what_luet_packs_but_for_parents_that_keep_their_mode() -> None:
    members, files = _expected("50-build-delta", "p-t-1.0.package.tar")
    builder = [folder("etc"), file("etc/issue"), file("etc/debian_version"), folder("tmp", 0o1777),
               folder("root", 0o700), folder("pre"), file("pre/old")]  # fmt: skip
    kept = {"tmp": 0o1777, "root": 0o700}
    ours = [e._replace(mode=kept.get(e.path, e.mode)) for e in members]
    layer = [*ours, folder("etc"), file("etc/issue"), gone("etc/debian_version"), file("pre/old")]

    selection = select(steps(), MemoryRoots(builder, layer))

    assert _by_path(member.entry for member in selection.members) == _by_path(ours)
    assert sorted(selection.files) == sorted(files)


@pytest.mark.parametrize(
    ("name", "includes", "excludes"),
    [
        ("i", ("^/opt/app/bin/b$", "emptydir", "marker"), ()),
        ("e", (), (r"\.debug$", "^/srv", "emptydir")),
        ("b", ("/opt/.*",), ("doc",)),
    ],
)
def test_filters_keep_what_luet_keeps(
    name: str, includes: tuple[str, ...], excludes: tuple[str, ...]
) -> None:
    members, files = _expected("52-build-delta-filters", f"{name}-t-1.package.tar")
    layer = [
        folder("opt"), folder("opt/app"), folder("opt/app/bin"), folder("opt/app/doc"),
        folder("opt/app/emptydir"), folder("srv"), folder("srv/x"),
        *(file(path, size=2) for path in ("opt/app/bin/b", "opt/app/bin/c.debug",
                                          "opt/app/doc/d", "srv/x/marker", "marker")),
    ]  # fmt: skip
    builder = [folder("opt"), folder("srv")]

    selection = select(steps(includes=includes, excludes=excludes), MemoryRoots(builder, layer))

    assert _by_path(member.entry for member in selection.members) == _by_path(members)
    assert sorted(selection.files) == sorted(files)


def test_unpacked_roots_are_filtered_as_luet_filters_them() -> None:
    members, _ = _expected("54-build-unpack", "p-t-1.package.tar")
    rest = [file("etc/issue.net"), file("etc/debian_version"), folder("root", 0o700)]
    build = steps(
        unpack=True,
        includes=("^/etc/issue", "^/etc/debian_version", "^/etc/new", "^/etc/default$",
                  "^/tmp$", r"^/etc/host\.conf$"),
        excludes=("issue.net",),
    )  # fmt: skip
    roots = MemoryRoots([*members, *rest], [gone("etc/debian_version")])

    selection = select(build, roots)

    assert _by_path(member.entry for member in selection.members) == _by_path(members)


@pytest.mark.parametrize(
    ("package", "includes", "excludes"),
    [
        ("p-a-t-1.1", ("^/sp/a$", "^/sp/l$"), ()),
        ("p-rest-t-2", (), ("^/sp/a$",)),
    ],
)
def test_subpackages_hold_what_luet_puts_into_them(
    package: str, includes: tuple[str, ...], excludes: tuple[str, ...]
) -> None:
    everything, _ = _expected("59-build-subpackages", "p-t-1.package.tar")
    members, _ = _expected("59-build-subpackages", f"{package}.package.tar")
    parent = select(steps(), MemoryRoots(BASE, everything))

    part = cut(parent, includes=includes, excludes=excludes)

    assert _by_path(member.entry for member in part.members) == _by_path(members)
