"""What user data is: a configuration, a script, or a mail with both in it."""

import email
import email.policy
import zlib
from collections.abc import Sequence

from compiler.errors import OutsideError
from compiler.spec.yaml import YamlFaults, parse

_GZIP = b"\x1f\x8b"
_LARGEST = 16 << 20
_ANY_WINDOW = 47
_MULTIPART = ("content-type: multipart/", "mime-version:")
_CLOUD_CONFIG = "text/cloud-config"


def plain(data: bytes) -> bytes:
    """Unpack user data that came packed, and take the configuration out of a mail."""
    if data.startswith(_GZIP):
        data = gunzipped(data)
    return cloud_config_part(data)


def gunzipped(data: bytes) -> bytes:
    """Unpack gzip to at most 16 MiB; raises `OutsideError`."""
    unpacker = zlib.decompressobj(_ANY_WINDOW)
    try:
        plain = unpacker.decompress(data, _LARGEST)
    except zlib.error as error:
        raise OutsideError("the user data is not gzip") from error
    if unpacker.unconsumed_tail:
        raise OutsideError(f"the user data unpacks to more than {_LARGEST} bytes")
    return plain


def cloud_config_part(data: bytes) -> bytes:
    """Return the part of a mail that is a cloud-config; what is no such mail stays as it is."""
    if not data[:200].lower().startswith(tuple(each.encode() for each in _MULTIPART)):
        return data
    mail = email.message_from_bytes(data, policy=email.policy.default)
    for part in mail.walk():
        if part.get_content_type() == _CLOUD_CONFIG:
            content = part.get_payload(decode=True)
            if isinstance(content, bytes):
                return content.replace(b"\r\n", b"\n")
    return data


def is_configuration(data: bytes) -> bool:
    """Whether user data is a map of YAML, as every configuration is."""
    try:
        return isinstance(parse(data.decode()), dict)
    except (UnicodeDecodeError, YamlFaults):
        return False


def interpreter(data: bytes) -> Sequence[str]:
    """Return the words after `#!`, none if it is no script."""
    if not data.startswith(b"#!"):
        return ()
    line = data[2:].split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    return line.split(None, 1)
