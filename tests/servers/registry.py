"""Starts Debian's `docker-registry`: plain, with a password, and with TLS; one for a session each.

Tests of a session share them, so each test uses repository names of its own: `server.repository()`
gives one that nobody else has.
"""

import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from compiler.oci import Reference

ANYWHERE = str(ip_address(0))
"""An address that leads to this machine, and does not look as if it did: TLS is asked for."""

USER = "ali"
PASSWORD = "open sesame"  # noqa: S105  (of a registry that lives as long as the tests)
_HTPASSWD = "ali:$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy\n"

_CONFIG = """\
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {folder}/data}}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:0
  secret: only of this machine
"""
_TLS = "  tls: {{certificate: {folder}/server.pem, key: {folder}/server.key}}\n"
_AUTH = "auth:\n  htpasswd: {{realm: cave, path: {folder}/htpasswd}}\n"
_LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")
_PATIENCE = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryServer:
    """A registry that runs: where it listens, and what is needed to use it."""

    host: str
    folder: Path
    user: str = ""
    password: str = ""
    authority: Path | None = None
    """The certificate of the authority that its own is signed by; None without TLS."""

    def repository(self, name: str = "test") -> Reference:
        """Name a repository that no other test has."""
        return Reference(self.host, f"{name}/{uuid4().hex}")

    @property
    def blobs(self) -> Path:
        """The folder in which it keeps all contents, to look at or to damage."""
        return self.folder / "data/docker/registry/v2/blobs/sha256"


@contextmanager
def run_registry(
    folder: Path, *, password: bool = False, tls: bool = False
) -> Iterator[RegistryServer]:
    """Run a registry that keeps everything in `folder`, until the context ends."""
    folder.mkdir(parents=True, exist_ok=True)
    config = _CONFIG + (_TLS if tls else "") + (_AUTH if password else "")
    (folder / "config.yml").write_text(config.format(folder=folder))
    (folder / "htpasswd").write_text(_HTPASSWD)
    authority = make_certificates(folder) if tls else None
    log = folder / "log"
    argv = [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "docker-registry",
        "serve",
        str(folder / "config.yml"),
    ]
    with log.open("wb") as output, subprocess.Popen(argv, stdout=output, stderr=output) as process:
        try:
            yield RegistryServer(
                host=f"127.0.0.1:{_port(log, process)}",
                folder=folder,
                user=USER if password else "",
                password=PASSWORD if password else "",
                authority=authority,
            )
        finally:
            process.kill()


@pytest.fixture(scope="session")
def registry_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A registry that speaks plain HTTP and lets everybody in."""
    with run_registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="session")
def password_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A registry that speaks plain HTTP and wants `user` and `password`."""
    with run_registry(tmp_path_factory.mktemp("password-registry"), password=True) as server:
        yield server


@pytest.fixture(scope="session")
def tls_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A registry that speaks TLS, with a certificate that only `authority` vouches for."""
    with run_registry(tmp_path_factory.mktemp("tls-registry"), tls=True) as server:
        yield server


@pytest.fixture
def repository(registry_server: RegistryServer) -> Reference:
    """A repository of the plain registry that no other test has."""
    return registry_server.repository()


def server_context(folder: Path) -> ssl.SSLContext:
    """Make what a server needs that speaks TLS with what `make_certificates` wrote."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


def make_certificates(folder: Path, address: str = "127.0.0.1", days: int = 1) -> Path:
    """Write `ca.crt`, and `server.pem` and `server.key` for an address; returns the first.

    That of the server holds for some days from now on, or has ended as many days ago.
    """
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = _name("an authority of tests")
    authority = (
        _certificate(authority_name, authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address(address))]
    server = (
        _certificate(_name(address), authority_name, server_key.public_key(), days)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(authority.public_bytes(Encoding.PEM))
    (folder / "server.pem").write_bytes(server.public_bytes(Encoding.PEM))
    (folder / "server.key").write_bytes(
        server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return folder / "ca.crt"


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int = 1
) -> x509.CertificateBuilder:
    """Begin a certificate that holds for some days."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=max(0, -days), hours=1))
        .not_valid_after(now + timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    """Say what a key is for: signing certificates, or TLS."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _port(log: Path, process: "subprocess.Popen[bytes]") -> int:
    """Wait until the registry says on which port it listens."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        match = _LISTENING.search(log.read_text())
        if match:
            return int(match[1])
        time.sleep(0.02)
    pytest.fail(f"docker-registry did not start:\n{log.read_text()}")
