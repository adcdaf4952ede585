"""Metadata files, in both of luet's spellings."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from compiler.artifact import goyaml
from compiler.artifact.metadata import (
    ArtifactMetadata,
    build_time,
    from_mapping,
    go_time,
    index_entry,
    metadata_text,
    parse_metadata,
    read_metadata,
)
from compiler.errors import CompilerError, InputError
from compiler.spec.package import (
    BuildSpec,
    CopySource,
    Definition,
    PackageId,
    Requirement,
    Subpackage,
)

BASE = Requirement(name="base", category="distro", version=">=1")
RUNTIME = Definition(
    name="p",
    category="t",
    version="1.0+3",
    requires=(Requirement(name="lib", category="t", version="1e3"),),
    conflicts=(BASE,),
    provides=(BASE,),
    hidden=True,
    labels={"b": "y", "a": "x"},
    annotations={"config_protect": "/etc"},
    description="It's: a\ttest # really\n",
    license="MIT",
    uri=("https://example.org/?a=b&c=*",),
    use_flags=("on",),
)
METADATA = ArtifactMetadata(
    runtime=RUNTIME,
    built=RUNTIME.model_copy(update={"requires": (BASE,)}),
    build=BuildSpec(
        requires=(BASE,),
        conflicts=(BASE,),
        provides=(BASE,),
        prelude=("a",),
        steps=("make &&\\\n  make install", "true"),
        env=("A=1",),
        copy=(CopySource(package=BASE, source="/a", destination="/b"), CopySource(image="i")),
        retrieve=("*.tar",),
        unpack=True,
        package_dir="/pkg",
        includes=("^/usr",),
        excludes=(r"\.debug$",),
        requires_final_images=True,
        subpackages=(Subpackage(name="q", category="t", version="1", includes=("^/q",)),),
    ),
    archive="p-t-1.0+3.package.tar.zst",
    sha256="0" * 64,
    compression="zstd",
    files=("usr/bin/p", "usr/share/ünï", "usr/caf\udce9", "no", "1/2", "a b/- c", "'"),
    timestamp="2020-01-01 00:00:00 +0000 UTC",
    seed="debian:trixie",
    values=({"arch": "amd64", "list": [1, 2.5, None, True], "map": {"a": {}}},),
)


def test_what_was_written_is_read_again() -> None:
    text = metadata_text(METADATA)

    assert parse_metadata(text, "p.metadata.yaml") == METADATA


def test_the_spelling_of_an_index_is_read_too() -> None:
    assert from_mapping(index_entry(METADATA), "index") == METADATA


def test_the_names_are_those_of_luets_go_fields_in_lower_case() -> None:
    written = yaml.safe_load(metadata_text(METADATA))

    assert sorted(written) == [
        "checksums",
        "compilespec",
        "compressiontype",
        "dependencies",
        "files",
        "packagecacheimage",
        "path",
        "runtime",
        "sourceassertion",
    ]
    assert sorted(written["compilespec"]) == [
        "buildoptions",
        "copy",
        "env",
        "excludes",
        "image",
        "includes",
        "outputpath",
        "package",
        "package_dir",
        "prelude",
        "requires_final_images",
        "retrieve",
        "seed",
        "sourceassertion",
        "steps",
        "subpackages",
        "unpack",
    ]
    assert sorted(written["compilespec"]["package"]) == sorted(written["runtime"])
    assert sorted(written["runtime"]) == [
        "annotations",
        "buildtimestamp",
        "category",
        "description",
        "hidden",
        "id",
        "labels",
        "license",
        "name",
        "origindockerfile",
        "packageconflicts",
        "packagerequires",
        "path",
        "provides",
        "state",
        "treedir",
        "uri",
        "useflags",
        "version",
    ]
    assert written["compilespec"]["package"]["packagerequires"] == [
        {"name": "base", "category": "distro", "version": ">=1"}
    ]
    assert written["runtime"]["packagerequires"][0]["version"] == "1e3"
    assert written["compilespec"]["subpackages"][0]["package"]["name"] == "q"


def test_the_names_of_an_index_are_those_of_luets_json() -> None:
    entry = index_entry(METADATA)

    assert list(entry) == [
        "path",
        "dependencies",
        "compilationspec",
        "checksums",
        "compressiontype",
        "files",
        "package_cacheimage",
        "runtime",
    ]
    runtime = entry["runtime"]
    assert isinstance(runtime, dict)
    assert runtime["requires"] == [{"name": "lib", "category": "t", "version": "1e3"}]


WRITTEN_BY_LUET = """\
path: build/p-t-1.0.package.tar.gz
dependencies: []
compilespec:
    steps:
        - echo one
    env: []
    prelude: []
    image: debian:bookworm
    seed: debian:bookworm
    package:
        id: 0
        name: p
        version: "1.0"
        category: t
        useflags: []
        state: ""
        packagerequires: []
        packageconflicts: []
        provides: []
        hidden: false
        annotations: {}
        path: ""
        description: ""
        uri: []
        license: ""
        buildtimestamp: 2026-11-22 23:03:16.461590878 +0000 UTC m=+3.7
        labels: {}
        treedir: /tree
        origindockerfile: ""
    sourceassertion: []
    package_dir: ""
    subpackages: []
    retrieve: []
    outputpath: /build
    unpack: false
    includes: []
    excludes: []
    buildoptions:
        pushimagerepository: luet/cache
        pullimagerepository:
            - luet/cache
        buildvalues: []
        solveroptions:
            type: null
    copy: []
    requires_final_images: false
checksums:
    sha256: 4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865
sourceassertion: []
compressiontype: gzip
files:
    - new/copied
    - pre/new
packagecacheimage: ""
runtime:
    id: 0
    name: p
    version: "1.0"
    category: t
    packagerequires:
        - name: lib
          category: t
          version: '>=0'
    labels: null
"""


def test_what_luet_wrote_is_read() -> None:
    metadata = parse_metadata(WRITTEN_BY_LUET, "p-t-1.0.metadata.yaml")

    assert metadata.id == PackageId("t", "p", "1.0")
    assert metadata.archive == "p-t-1.0.package.tar.gz"
    assert metadata.compression == "gzip"
    assert metadata.files == ("new/copied", "pre/new")
    assert metadata.build.steps == ("echo one",)
    assert metadata.built.requires == ()
    assert metadata.runtime.requires == (Requirement(name="lib", category="t", version=">=0"),)
    assert metadata.timestamp == "2026-11-22 23:03:16.461590878 +0000 UTC m=+3.7"
    assert metadata.seed == "debian:bookworm"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "m: does not hold a mapping of names to values"),
        ("- a\n", "m: does not hold a mapping of names to values"),
        ("1: a\n", "m: does not hold a mapping of names to values"),
        ("a: &x [1]\nb: *x\n", "m: YAML aliases are not allowed here"),
        ("files: 3\n", "m: files: Input should be a valid tuple"),
        ("runtime: {name: 3}\n", "m: runtime.name: Input should be a valid string"),
        ("runtime: {name: ''}\n", "m: the package has no name"),
        ("runtime: {name: a/b}\n", "m: 'a/b' cannot be part of a package's name"),
        ("runtime: {name: a, category: ..}\n", "m: '..' cannot be part of a package's name"),
        ("a: ]", "m: is not YAML: while parsing a block node did not find expected node "
                 'content in "<unicode string>", line 1, column 4'),
    ],
)  # fmt: skip
def test_what_is_no_metadata_is_said_so(text: str, message: str) -> None:
    with pytest.raises(CompilerError) as caught:
        parse_metadata(text, "m")

    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 200_000 + "]" * 200_000,
        "a: " + "{b: " * 100_000,
        "- " * 100_000 + "a",
        "".join(f"{' ' * depth}a:\n" for depth in range(2000)),
        "? " * 100_000 + "a",
    ],
)
def test_deep_nesting_is_an_error_and_no_crash(text: str) -> None:
    with pytest.raises(CompilerError) as caught:
        parse_metadata(text, "m")

    assert str(caught.value) == "m: nests more than 100 levels deep"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin"
    latin.write_bytes(b"name: \xe9")

    with pytest.raises(InputError) as missing:
        read_metadata(tmp_path / "nothing")
    with pytest.raises(CompilerError) as strange:
        read_metadata(latin)

    assert str(missing.value) == (f"{tmp_path}/nothing: cannot be read: No such file or directory")
    assert str(strange.value) == f"{latin}: is not UTF-8 text"


@pytest.mark.parametrize(
    ("epoch", "text"),
    [
        (0, "1970-01-01 00:00:00 +0000 UTC"),
        (1577836800, "2020-01-01 00:00:00 +0000 UTC"),
    ],
)
def test_times_are_written_as_go_prints_them(epoch: int, text: str) -> None:
    assert go_time(epoch) == text


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (123456789, "2020-01-01 00:00:00.123456789 +0000 UTC"),
        (120000000, "2020-01-01 00:00:00.12 +0000 UTC"),
        (1, "2020-01-01 00:00:00.000000001 +0000 UTC"),
        (0, "2020-01-01 00:00:00 +0000 UTC"),
    ],
)
def test_fractions_of_a_second_end_in_no_zero(nanoseconds: int, text: str) -> None:
    assert go_time(1577836800, nanoseconds) == text


def test_the_fraction_of_the_time_of_a_build_follows_its_archive() -> None:
    one, two = (f"{number + 10**9:064x}" for number in (123456789, 5))

    assert build_time(1577836800, one) == "2020-01-01 00:00:00.123456789 +0000 UTC"
    assert build_time(1577836800, two) == "2020-01-01 00:00:00.000000005 +0000 UTC"


def test_both_packages_of_a_metadata_file_tell_the_time_of_the_build() -> None:
    written = yaml.safe_load(metadata_text(METADATA))

    assert written["compilespec"]["package"]["buildtimestamp"] == METADATA.timestamp
    assert written["runtime"]["buildtimestamp"] == METADATA.timestamp
    del written["compilespec"]["package"]["buildtimestamp"]
    assert parse_metadata(yaml.safe_dump(written), "x").timestamp == METADATA.timestamp


def test_a_time_that_no_calendar_has_is_refused() -> None:
    with pytest.raises(CompilerError) as caught:
        go_time(10**12)

    assert str(caught.value) == "1000000000000 is no time in seconds since 1970"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("a b", "a b"),
        ("1.0", '"1.0"'),
        ("1e3", '"1e3"'),
        ("y", '"y"'),
        ("No", '"No"'),
        ("no/way", "no/way"),
        ("", '""'),
        ("a: b", '"a: b"'),
        ("a #b", '"a #b"'),
        ("\x7f\u2028", '"\\u007f\\u2028"'),
        ("\x00\n\t", '"\\u0000\\n\\t"'),
        ("2020-01-01", '"2020-01-01"'),
        ("caf\udce9", "!!binary Y2Fm6Q=="),
        (3, "3"),
        (True, "true"),
        (None, "null"),
    ],
)
def test_scalars_are_written_so_that_no_parser_takes_them_for_something_else(
    *, value: str | int | bool | None, text: str
) -> None:
    assert goyaml.scalar(value) == text


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(st.characters(exclude_categories=["Cs"]))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, min_size=1))
def test_a_yaml_parser_reads_back_what_was_dumped(value: dict[str, object]) -> None:
    assert yaml.safe_load(goyaml.dump(value)) == value


WORDS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.sampled_from(
        ["usr/bin/[", "yes", "a b", "Null", "y/n", "1e3", "_1", "-", "a: b", "\\", "é"]
    ),
)


@given(st.lists(WORDS, min_size=1), st.sampled_from(["", "  ", "    "]))
def test_a_list_that_is_kept_as_lines_is_the_list_and_is_written_as_it_was(
    words: list[str], indent: str
) -> None:
    lines = goyaml.dump({"files": words}).removeprefix("files:\n")
    indented = "".join(f"{indent}{line}" for line in lines.splitlines(keepends=True))

    kept = goyaml.Texts.read(indented)

    assert kept is not None
    assert kept == words
    assert (len(kept), kept[0], kept[1:]) == (len(words), words[0], tuple(words[1:]))
    for place in ({"files": kept}, {"index": [{"files": kept}]}):
        assert goyaml.dump(place) == goyaml.dump(yaml.safe_load(goyaml.dump(place)))


@pytest.mark.parametrize(
    "lines",
    ["- yes\n", "- 1\n", "- &a x\n", "- a: b\n", "- !!binary Y2Fm6Q==\n", "- 'a'\n", "- a #b\n",
     '- "\\xe9"\n', '- "\\ud83d"\n', "- - a\n", "-  a\n", "- a \n", "- a\n  b\n",
     "- a\n - b\n", "-\n"],
)  # fmt: skip
def test_lines_that_only_a_yaml_parser_understands_are_left_to_it(lines: str) -> None:
    assert goyaml.Texts.read(lines) is None


def test_a_long_list_of_files_in_luets_own_layout_is_read_as_it_is() -> None:
    text = metadata_text(METADATA)
    plain = replace(METADATA, files=("bin", "usr/bin/p", "usr/bin/["))
    luets = metadata_text(plain).replace("\n- ", "\n    - ")

    assert parse_metadata(luets, "p.metadata.yaml") == plain
    assert metadata_text(parse_metadata(luets, "p.metadata.yaml")) == metadata_text(plain)
    assert metadata_text(parse_metadata(text, "p.metadata.yaml")) == text
