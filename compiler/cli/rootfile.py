"""The root files that the commands about signed metadata read and write."""

from collections.abc import Sequence
from pathlib import Path

from compiler.archive.compress import atomic_file
from compiler.errors import UsageError, unwritable
from compiler.repository.trust.kept import read_root
from compiler.repository.trust.root import names_all
from compiler.signing.keys import PrivateKey


def read_root_file(path: Path) -> bytes:
    """Read a root file that an option names; raises `TrustError`."""
    return read_root(path, hint="--root names the file that `cos repo init-trust` wrote")


def given(root: Path, keys: Sequence[str]) -> str:
    """Say with which root and keys something failed."""
    return f" (given are the root {root} and {', '.join(keys) or 'no key'})"


def read_begun(path: Path, keys: Sequence[PrivateKey]) -> bytes:
    """Read a root that is there; raises `UsageError` for keys that it does not name."""
    data = read_root_file(path)
    if not names_all(data, keys):
        hint = "`cos repo rotate` gives a root other keys; --root begins another one"
        raise UsageError(f"{path} is there, and a --root-key is not among its keys", hint=hint)
    return data


def write_root_file(path: Path, data: bytes) -> None:
    """Write a root file, whole or not at all."""
    try:
        with atomic_file(path) as file:
            file.write(data)
    except OSError as error:
        raise unwritable(path, error) from error
