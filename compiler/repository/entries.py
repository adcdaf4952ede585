"""Reads the index of a repository entry by entry, without what installing a package never needs.

As one document, the index of some thousand packages takes half a minute and a gigabyte to read.
"""

import re
from collections.abc import Callable, Iterator, Mapping

from compiler.artifact.goyaml import Texts
from compiler.artifact.metadata import ArtifactMetadata, from_mapping
from compiler.errors import CompilerError
from compiler.repository.index import parse_index
from compiler.spec.package import PackageId
from compiler.spec.yaml import YamlFaults, parse

_HEAD = "index:\n"
_ENTRY = re.compile(r"^- ", re.MULTILINE)
_OTHER = re.compile(r"^(?!- |  |$)", re.MULTILINE)
_KEY = re.compile(r"^  ([A-Za-z_]+):", re.MULTILINE)
_BUILT = re.compile(r"^    package:\n(?:      .*\n|    - .*\n)*", re.MULTILINE)
_OPTIONS = re.compile(r"^    build_?options:\n(?:      .*\n|\n)*", re.MULTILINE)
_HOW = frozenset({"compilationspec", "compilespec"})


def artifacts_in(text: str, source: str) -> Iterator[ArtifactMetadata]:
    """Give the artifacts of a `repository.meta.yaml` that luet or `cos` wrote.

    Of how they were built only the time is read. Raises `CompilerError` naming `source`.
    """
    return _artifacts(text, source, _only_package)


def values_in(text: str, source: str) -> dict[PackageId, Mapping[str, object]]:
    """Read from a `repository.meta.yaml` which values the templates of packages got.

    Raises `CompilerError` naming `source`.
    """
    found: dict[PackageId, Mapping[str, object]] = {}
    for artifact in _artifacts(text, source, _only_options):
        merged: dict[str, object] = {}
        for each in artifact.values:
            merged |= each
        if merged:
            found[artifact.id] = merged
    return found


def _artifacts(
    text: str, source: str, of_build: Callable[[str], str]
) -> Iterator[ArtifactMetadata]:
    """Read the entries, and of how they were built what `of_build` keeps."""
    if not text.startswith(_HEAD) or _OTHER.search(text, len(_HEAD)):
        yield from parse_index(text, source).artifacts  # in another layout
        return
    starts = [match.start() for match in _ENTRY.finditer(text)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield _artifact(f"  {text[start + 2 : end]}", source, of_build)


def _artifact(text: str, source: str, of_build: Callable[[str], str]) -> ArtifactMetadata:
    """Read one entry, the keys of which stand two columns in."""
    kept, files = [], None
    keys = list(_KEY.finditer(text))
    ends = [key.start() for key in keys[1:]] + [len(text)]
    for key, end in zip(keys, ends, strict=True):
        block = text[key.start() : end]
        if key[1] == "files" and "\n" in block:
            files = Texts.read(block.partition("\n")[2])
        if key[1] in _HOW:
            block = of_build(block)
        if key[1] != "files" or files is None:
            kept.append(block)
    try:
        value = parse("".join(kept))
    except YamlFaults as error:
        raise CompilerError(f"{source}: {error.faults[0].message}") from error
    if not isinstance(value, dict):
        raise CompilerError(f"{source}: holds an entry that is not a map")
    return from_mapping({**value, "files": files} if files is not None else value, source)


def _only_package(block: str) -> str:
    """Keep of how an artifact was built which package that was, and when."""
    built = _BUILT.search(block)
    if built is None:
        return block
    return f"{block.partition(chr(10))[0]}\n{built[0]}"


def _only_options(block: str) -> str:
    """Keep of how an artifact was built what its build was told, and which package that was."""
    options = _OPTIONS.search(block)
    return f"{_only_package(block)}{options[0] if options is not None else ''}"
