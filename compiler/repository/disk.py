"""Repositories in a folder: writes luet's files so that a reader never sees half of them."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from compiler.archive import DEFAULT_EPOCH, Compression
from compiler.archive.compress import atomic_file, sync_folder
from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import ArchiveError, CompilerError, OutsideError, UsageError
from compiler.repository import index as texts
from compiler.repository.archives import read_texts, write_folders, write_texts
from compiler.repository.content import Verified, gather, load_cache, save_cache
from compiler.repository.index import RepositoryFile, RepositoryIndex, RepositoryInfo, TreePackage
from compiler.repository.oci import check_tags
from compiler.spec.load import read_text
from compiler.spec.package import PackageSpec

TYPES = ("disk", "http")
"""The types of repositories that lie in a folder."""

DOCKER = "docker"
"""The type of repositories that lie in a registry."""

_COMPILER_TREE = "compilertree.tar.gz"
_STAGING = ".cos-repo.part"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~@-]*")
_NOT_OF_A_TREE = (".git", ".cos", _STAGING)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryOptions:
    """What `create-repo` is told; the defaults are luet's.

    `now` is the time that is written, `epoch` that of the members of archives, in seconds since
    1970; with SOURCE_DATE_EPOCH both are that value.
    """

    name: str = "luet"
    description: str = "luet"
    urls: tuple[str, ...] = ()
    type: str = "disk"
    priority: int = 0
    tree_compression: Compression = Compression.GZIP
    tree_filename: str = "tree.tar"
    meta_compression: Compression = Compression.NONE
    meta_filename: str = "repository.meta.yaml.tar"
    reset_revision: bool = False
    snapshot_id: str = ""
    from_metadata: bool = False
    vouches: bool = False
    """Whether it is signed, so that artifacts nobody vouches for are refused."""
    now: int
    epoch: int = DEFAULT_EPOCH

    def check(self) -> None:
        """Raise `UsageError` for an unknown type, and for names that cannot be, or used twice."""
        if self.type not in (*TYPES, DOCKER):
            raise UsageError(f"{self.type!r} is no type of repository: disk, http or docker")
        for name in filter(None, (self.tree_filename, self.meta_filename, self.snapshot_id)):
            if not _NAME.fullmatch(name):
                raise UsageError(f"{name!r} cannot be the name of a file of a repository")
        names = (texts.REPOSITORY, _COMPILER_TREE, _tree_name(self), _meta_name(self))
        if len(set(names)) != len(names):
            raise UsageError("the files of a repository need different names")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository that was written or read: its front page, its index, its runtime tree."""

    info: RepositoryInfo
    index: RepositoryIndex
    tree: dict[str, str]


def create_repository(
    packages: Iterable[PackageSpec],
    roots: Sequence[Path],
    *,
    artifacts: Path,
    output: Path,
    options: RepositoryOptions,
) -> Repository:
    """Write a repository into `output` of those `packages` that have an artifact in `artifacts`.

    `roots` are the trees as given, kept for those who build on them. Raises `UsageError` for
    options that cannot be, `Faults` for archives that are missing or damaged, `OutsideError` when
    a file cannot be read or written; the repository that was there then stays as it was.
    """
    options.check()
    with _words_for(output), _locked(output):
        verified = load_cache(output)
        with _staging(output) as staging:
            made = compose(
                packages,
                roots,
                artifacts=artifacts,
                folder=staging,
                plan=Composition(options, _revision(output, options), verified, (output,)),
            )
            _publish(staging, output, made.info, snapshot_name(options))
        save_cache(output, verified)
    return made


@dataclass(frozen=True, slots=True)
class Composition:
    """How a repository is put together: its options and revision, and what is known already.

    `besides` are folders that do not belong to a tree although they lie in one. The packages of
    `kept`, another state of the repository, stay in it unless they are there anew.
    """

    options: RepositoryOptions
    revision: int
    verified: Verified
    besides: tuple[Path, ...] = ()
    kept: Repository | None = None


def compose(
    packages: Iterable[PackageSpec],
    roots: Sequence[Path],
    *,
    artifacts: Path,
    folder: Path,
    plan: Composition,
) -> Repository:
    """Write the files that `repository.yaml` names into `folder`, under their plain names.

    Raises `Faults` for archives that are missing or damaged, `TrustError` for artifacts that nobody
    vouches for if this is signed, `InputError` for packages that a registry cannot tell apart,
    `OSError` when a file cannot be read or written.
    """
    options = plan.options
    specs = {spec.id: spec for spec in packages}
    wanted = None if options.from_metadata else specs
    found = gather(artifacts, wanted, plan.verified, vouches=options.vouches)
    tree = texts.runtime_tree(_tree_package(item, specs.get(item.id)) for item in found)
    index = texts.make_index(found)
    if plan.kept is not None:
        index, tree = _joined(index, tree, plan.kept)
    if options.type == DOCKER:
        check_tags((item.id for item in found), (item.id for item in index.artifacts))
    skip = _Skipped((artifacts, *plan.besides))
    files = {
        texts.TREE: _text_file(folder, tree, options),
        texts.COMPILER_TREE: _compiler_tree(folder, roots, skip, options.epoch),
        texts.META: _meta_file(folder, index, options),
    }
    return Repository(info=_info(options, plan.revision, files), index=index, tree=tree)


def _joined(
    index: RepositoryIndex, tree: dict[str, str], kept: Repository
) -> tuple[RepositoryIndex, dict[str, str]]:
    """Add the packages of another state that are not there anew."""
    new = {artifact.id for artifact in index.artifacts}
    others = [artifact for artifact in kept.index.artifacts if artifact.id not in new]
    folders = {texts.tree_folder(artifact.id) for artifact in others}
    texts_of_others = {
        path: text for path, text in kept.tree.items() if path.rpartition("/")[0] in folders
    }
    return texts.make_index((*index.artifacts, *others)), {**tree, **texts_of_others}


def read_repository(folder: Path, reference: str = texts.REPOSITORY) -> Repository:
    """Read a repository (or one of its snapshots), checking the checksums of its files.

    Raises `CompilerError` or `ArchiveError` naming the file that is wrong.
    """
    path = folder / reference
    with _words_for(path):
        info = texts.parse_repository(path.read_text(encoding="utf-8"), str(path))
        tree = read_texts(_checked(folder, info, texts.TREE))
        meta = _checked(folder, info, texts.META)
        text = read_texts(meta).get(texts.INDEX)
    if text is None:
        raise ArchiveError(f"{meta}: holds no {texts.INDEX}")
    return Repository(info=info, index=texts.parse_index(text, str(meta)), tree=tree)


def _tree_name(options: RepositoryOptions) -> str:
    """Name the archive of the runtime tree."""
    return options.tree_filename + options.tree_compression.suffix


def _meta_name(options: RepositoryOptions) -> str:
    """Name the archive of the index."""
    return options.meta_filename + options.meta_compression.suffix


def _tree_package(artifact: ArtifactMetadata, spec: PackageSpec | None) -> TreePackage:
    """Show a package as the trees define it, or, if they do not, as its metadata says."""
    if spec is None:
        return TreePackage(definition=artifact.runtime)
    finalizer = None
    if spec.finalize_file is not None:
        finalizer = read_text(str(spec.finalize_file))
    return TreePackage(definition=spec.definition, finalizer=finalizer)


class _Skipped:
    """Tells what of a tree's folder does not belong to the tree: build results and tools' own."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = {folder.resolve() for folder in folders}

    def __call__(self, path: Path) -> bool:
        """Tell whether `path` is left out."""
        return path.name in _NOT_OF_A_TREE or path.absolute() in self._folders


def _text_file(staging: Path, tree: dict[str, str], options: RepositoryOptions) -> RepositoryFile:
    """Write the archive of the runtime tree."""
    path, compression = staging / _tree_name(options), options.tree_compression
    return _file(path, compression, write_texts(path, tree, compression, epoch=options.epoch))


def _meta_file(staging: Path, index: RepositoryIndex, options: RepositoryOptions) -> RepositoryFile:
    """Write the archive of the index."""
    path, compression = staging / _meta_name(options), options.meta_compression
    content = {texts.INDEX: texts.index_text(index)}
    return _file(path, compression, write_texts(path, content, compression, epoch=options.epoch))


def _compiler_tree(
    staging: Path, roots: Sequence[Path], skip: "_Skipped", epoch: int
) -> RepositoryFile:
    """Write the archive of the trees as they were given."""
    path = staging / _COMPILER_TREE
    return _file(path, Compression.GZIP, write_folders(path, roots, skip=skip, epoch=epoch))


def _file(path: Path, compression: Compression, sha256: str) -> RepositoryFile:
    """Describe a file of the repository."""
    return RepositoryFile(
        filename=path.name, compressiontype=compression.value, checksums={"sha256": sha256}
    )


def _info(
    options: RepositoryOptions, revision: int, files: dict[str, RepositoryFile]
) -> RepositoryInfo:
    """Make the front page."""
    return RepositoryInfo(
        name=options.name,
        description=options.description,
        type=options.type,
        urls=options.urls,
        priority=options.priority,
        revision=revision,
        last_update=str(options.now),
        repo_files=files,
    )


def _revision(output: Path, options: RepositoryOptions) -> int:
    """Count on from the repository that is there; raises `CompilerError` if it cannot be read."""
    path = output / texts.REPOSITORY
    if options.reset_revision or not path.exists():
        return 1
    try:
        text = path.read_text(encoding="utf-8")
        return texts.parse_repository(text, str(path)).revision + 1
    except (CompilerError, UnicodeDecodeError) as error:
        hint = "--reset-revision starts at 1 again"
        raise CompilerError(f"{path}: the last revision cannot be read", hint=hint) from error


def snapshot_name(options: RepositoryOptions) -> str:
    """Name the snapshot: as given, or by the time."""
    return options.snapshot_id or f"{datetime.fromtimestamp(options.now, UTC):%Y%m%d%H%M%S}"


def _publish(staging: Path, output: Path, info: RepositoryInfo, snapshot: str) -> None:
    """Give all files their names: the snapshot first, and `repository.yaml` as the very last."""
    copies = {
        key: file.model_copy(update={"filename": f"{snapshot}-{file.filename}"})
        for key, file in info.repo_files.items()
    }
    for key, file in info.repo_files.items():
        _copy(staging / file.filename, staging / copies[key].filename)
    kept = info.model_copy(update={"repo_files": copies})
    _write(staging / f"{snapshot}-{texts.REPOSITORY}", texts.repository_text(kept))
    _write(staging / texts.REPOSITORY, texts.repository_text(info))
    sync_folder(staging)
    names = [file.filename for file in copies.values()]
    names += [f"{snapshot}-{texts.REPOSITORY}"]
    names += [file.filename for file in info.repo_files.values()]
    for name in [*names, texts.REPOSITORY]:
        (staging / name).replace(output / name)
    sync_folder(output)


def _copy(source: Path, target: Path) -> None:
    """Give a file a second name; copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write(path: Path, text: str) -> None:
    """Write a text file."""
    with atomic_file(path) as file:
        file.write(text.encode())


def _checked(folder: Path, info: RepositoryInfo, key: str) -> Path:
    """Find a file of the repository and compare its checksum."""
    file = info.repo_files.get(key)
    if file is None:
        raise CompilerError(f"{folder / texts.REPOSITORY}: repo_files has no {key!r}")
    path = folder / file.filename
    if Verified().sha256(path) != file.sha256:
        raise CompilerError(f"{path}: has another checksum than {texts.REPOSITORY} says")
    return path


@contextmanager
def _staging(output: Path) -> Iterator[Path]:
    """Lend a folder inside `output` for files that are not named yet; an old one is removed."""
    staging = output / _STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Let one process at a time write into `output`, which is made if it is not there."""
    output.mkdir(parents=True, exist_ok=True)
    handle = os.open(output, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _words_for(place: Path) -> Iterator[None]:
    """Say in words what the system refused."""
    try:
        yield
    except FileExistsError as error:
        raise UsageError(f"{place}: is not a folder") from error
    except OSError as error:
        path = error.filename or place
        raise OutsideError(f"{path}: {error.strerror or error}") from error
