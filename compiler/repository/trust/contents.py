"""What a repository in a folder holds, as names with lengths and hashes."""

from pathlib import Path

from compiler.errors import CompilerError, OutsideError
from compiler.repository.content import Verified, load_cache, save_cache
from compiler.repository.disk import read_repository
from compiler.repository.index import REPOSITORY, parse_repository
from compiler.repository.trust import Target
from compiler.repository.trust.publisher import HISTORY, Contents


def of_folder(folder: Path) -> Contents:
    """Describe the repository in a folder: its index, its last snapshots, and all its artifacts.

    Raises `CompilerError` for what the index lists and the folder does not hold as it should.
    """
    repository = read_repository(folder)
    verified = load_cache(folder)
    index = {name: _target(folder / name, verified) for name in _index_names(folder)}
    artifacts: dict[str, Target] = {}
    for artifact in repository.index.artifacts:
        for name in (artifact.archive, artifact.file_name):
            path = folder / name
            if name and (path.exists() or name == artifact.archive):
                artifacts[name] = _target(path, verified)
        if artifact.archive and artifacts[artifact.archive].sha256 != artifact.sha256:
            message = f"{folder / artifact.archive}: has another checksum than the index says"
            raise CompilerError(message, hint="make the repository anew before it is signed")
    verified.fresh = {**verified.known, **verified.fresh}
    save_cache(folder, verified)
    return Contents(index=index, artifacts=artifacts)


def _index_names(folder: Path) -> list[str]:
    """Name the files of the index, and those of the last snapshots."""
    pages = sorted(path.name for path in folder.glob(f"*-{REPOSITORY}"))[-HISTORY:]
    names = []
    for page in (REPOSITORY, *pages):
        path = folder / page
        try:
            info = parse_repository(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise OutsideError(f"{path}: cannot be read: {error}") from error
        names += [page, *(file.filename for file in info.repo_files.values())]
    return names


def _target(path: Path, verified: Verified) -> Target:
    """Describe a file; its hash comes from memory if the file is unchanged."""
    try:
        sha256 = verified.sha256(path)
        return Target(path.stat().st_size, sha256)
    except FileNotFoundError as error:
        hint = "`cos create-repo` lists what there is"
        raise CompilerError(f"{path}: is listed, and is not there", hint=hint) from error
    except OSError as error:
        raise OutsideError(f"{path}: cannot be read: {error.strerror}") from error
