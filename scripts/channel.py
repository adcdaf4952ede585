"""Writes the values of what built systems upgrade from, and whose signatures they trust.

channel.py FILE REPOSITORY KEY ROOT: KEY is the file of cosign's public key, ROOT that of the root
of the repository's signed metadata; nothing ("") is trusted where one is not given. What is no such
file would end in systems that trust nobody, or hold a private key, so it is refused.
"""

import base64
import json
import sys
from pathlib import Path

from compiler.archive.compress import atomic_file
from compiler.cli.rootfile import read_root_file
from compiler.errors import CompilerError
from compiler.repository.trust.root import check_root
from compiler.signing.keys import read_public_key


def main(file: str, repository: str, key: str, root: str) -> int:
    """Check the files and write the values."""
    try:
        if key:
            read_public_key(Path(key))
        if root:
            check_root(read_root_file(Path(root)))
    except CompilerError as error:
        what = f"RELEASE_ROOT={root}: " if root and root not in error.message else ""
        sys.stderr.write(f"error: {what}{error}\n")
        return error.exit_code
    values = {
        "release_repository": repository,
        "release_key": _text(key),
        "release_root": _text(root),
    }
    with atomic_file(Path(file)) as written:
        written.write(
            "".join(f"{name}: {json.dumps(each)}\n" for name, each in values.items()).encode()
        )
    return 0


def _text(file: str) -> str:
    """Return a file as one line of text; nothing for no file."""
    return base64.b64encode(Path(file).read_bytes()).decode() if file else ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
