"""Passwords of keys: from the environment, where programs put them, or from the terminal."""

import getpass
import os
import sys

from compiler.errors import UsageError

VARIABLE = "COSIGN_PASSWORD"
"""The variable that `cosign` reads as well."""


def key_password() -> bytes:
    """Return the password of a key; raises `UsageError` where nobody can be asked."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return given.encode()
    if not sys.stdin.isatty():
        raise UsageError(f"the key needs a password: set {VARIABLE}, or run this on a terminal")
    return getpass.getpass("Password of the key: ").encode()
