"""What steps get from the machine: names, proxies, certificates. Never part of a layer."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HOSTNAME = "cos"
"""The name of every build container, the same everywhere, since some programs write it to files."""

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
_CERTIFICATES = (
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "NIX_SSL_CERT_FILE",
    "HTTPLIB2_CA_CERTS",
)
_BUNDLE = "/dev/cos/{name}"


@dataclass(frozen=True, slots=True)
class Shown:
    """A file of ours that steps see at `target`, an absolute path in their root."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Files and variables that every step of a request gets."""

    files: tuple[Shown, ...]
    env: Mapping[str, str]


def surroundings(place: Path, environ: Mapping[str, str]) -> Surroundings:
    """Collect what this machine gives to steps; their writable copies are made in `place`."""
    bundles, env = _certificates(environ)
    return Surroundings((*_network_files(place), *bundles), {**_proxies(environ), **env})


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    names = (*_PROXIES, *(name.upper() for name in _PROXIES))
    return {name: environ[name] for name in names if environ.get(name)}


def _certificates(environ: Mapping[str, str]) -> tuple[list[Shown], dict[str, str]]:
    """Show the bundles that variables name, below /dev: there no root needs a place for them."""
    shown: dict[str, Shown] = {}
    env = {}
    for variable in _CERTIFICATES:
        source = environ.get(variable, "")
        if source and Path(source).is_file():
            name = "ca-certificates.crt" if not shown else f"ca-certificates-{len(shown)}.crt"
            real = Path(source).resolve()
            at = shown.setdefault(str(real), Shown(real, _BUNDLE.format(name=name)))
            env[variable] = at.target
    return list(shown.values()), env


def _network_files(place: Path) -> list[Shown]:
    """Copy the files that name resolution needs, so that steps may write to them as they like."""
    resolv, hosts, hostname = (place / name for name in ("resolv.conf", "hosts", "hostname"))
    resolv.touch()
    with suppress(OSError):
        shutil.copyfile("/etc/resolv.conf", resolv)
    hosts.write_text(f"{_hosts_file()}127.0.0.1 localhost {HOSTNAME}\n", encoding="utf-8")
    hostname.write_text(f"{HOSTNAME}\n", encoding="ascii")
    for path in (resolv, hosts, hostname):
        os.chmod(path, 0o644)  # noqa: PTH101  (a mode, whatever the umask is)
    return [Shown(path, f"/etc/{path.name}", writable=True) for path in (resolv, hosts, hostname)]


def _hosts_file() -> str:
    with suppress(OSError):
        text = Path("/etc/hosts").read_text(encoding="utf-8", errors="replace")
        return text if text.endswith("\n") or not text else f"{text}\n"
    return ""
