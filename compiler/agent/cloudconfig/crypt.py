"""Passwords as crypt(3) keeps them with SHA-512, by the specification of Ulrich Drepper (2007).

Python's own module is gone since 3.13.
"""

import hashlib
from itertools import islice

_ROUNDS = 5000
_SIZE = 64
_LETTERS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_THIRD = 21
_PARTS = 4


def sha512_crypt(password: str, salt: str) -> str:
    """Hash a password: `$6$SALT$HASH`."""
    key, salted = password.encode(), salt.encode()
    digest = _first_digest(key, salted)
    p = _stretched(hashlib.sha512(key * len(key)).digest(), len(key))
    s = _stretched(hashlib.sha512(salted * (16 + digest[0])).digest(), len(salted))
    for turn in range(_ROUNDS):
        odd = turn % 2
        text = (p if odd else digest) + (s if turn % 3 else b"") + (p if turn % 7 else b"")
        digest = hashlib.sha512(text + (digest if odd else p)).digest()
    return f"$6${salt}${_letters(digest)}"


def is_password(password: str, hashed: str) -> bool:
    """Whether a hash is that of a password; one of another kind is not."""
    parts = hashed.split("$")
    known = len(parts) == _PARTS and parts[1] == "6" and not parts[2].startswith("rounds=")
    return known and sha512_crypt(password, parts[2]) == hashed


def _first_digest(key: bytes, salt: bytes) -> bytes:
    """Mix the password, the salt and their digest by the bits of the password's length."""
    other = hashlib.sha512(key + salt + key).digest()
    mix = hashlib.sha512(key + salt + _stretched(other, len(key)))
    length = len(key)
    while length:
        mix.update(other if length & 1 else key)
        length >>= 1
    return mix.digest()


def _stretched(digest: bytes, length: int) -> bytes:
    return (digest * (length // _SIZE + 1))[:length]


def _letters(digest: bytes) -> str:
    """Write a digest in crypt's own order and alphabet: three bytes make four letters."""
    groups = []
    order = [0, _THIRD, 2 * _THIRD]
    for turn in range(_THIRD):
        high, middle, low = (digest[each + turn] for each in order)
        groups.append(_number(high << 16 | middle << 8 | low, 4))
        order = [order[1], order[2], order[0]]
    return "".join(groups) + _number(digest[_SIZE - 1], 2)


def _number(value: int, count: int) -> str:
    return "".join(islice((_LETTERS[value >> shift & 63] for shift in range(0, 24, 6)), count))
