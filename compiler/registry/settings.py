"""How registries are reached: credentials, certificates, mirrors, proxies, and the limits kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

_HUB = frozenset({"docker.io", "index.docker.io", "registry.hub.docker.com"})
_HUB_ADDRESS = "registry-1.docker.io"
_CERTIFICATES = Path("/etc/docker/certs.d")
_PROXIES = ("http", "https", "all", "no")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """All that a client is told; where the user said nothing, what other programs do.

    `auth_files` are searched in order. `insecure` names the hosts that may be spoken to without
    TLS besides this machine's own, `*` for all. `mirrors` gives for a host (or `docker.io`) those
    that are asked first when something is read, each as `HOST[/PREFIX]`. `authorities` are files
    that replace the system's certificates; `certificate_folders` have a folder for each host whose
    `*.crt` are trusted besides. `proxies` are as in the environment: http, https, all, no. Instead
    of hosts that are `replaceable` the user has others asked, at once where nobody is there.
    """

    auth_files: tuple[Path, ...] = ()
    insecure: frozenset[str] = frozenset()
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    authorities: tuple[Path, ...] = ()
    certificate_folders: tuple[Path, ...] = (_CERTIFICATES,)
    proxies: Mapping[str, str] = field(default_factory=dict)
    replaceable: frozenset[str] = frozenset()
    attempts: int = 6
    """How often a request is tried when the registry or the network fails."""
    first_wait: float = 0.5
    """Seconds before the second attempt; doubled before each further one."""
    longest_wait: float = 60.0
    """The longest wait; a registry that asks for more has refused."""
    timeout: float = 30.0
    """Seconds that a registry may be silent."""
    slowest: int = 1024
    """Bytes a second below which a transfer counts as broken."""
    chunk: int = 32 << 20
    """How much is uploaded in one request; what is no larger goes up in one piece."""

    def plain_allowed(self, host: str) -> bool:
        """Tell whether a host may be spoken to without TLS."""
        return host in self.insecure or "*" in self.insecure or is_loopback(host)

    def mirrors_of(self, host: str) -> Sequence[str]:
        """List the mirrors that are asked before a host."""
        names = sorted(_HUB) if host in _HUB else [host]
        return [mirror for name in names for mirror in self.mirrors.get(name, ())]

    def proxy_for(self, url: str) -> str:
        """Return the proxy through which an address is reached, "" for none."""
        parts = urlsplit(url)
        without = self.proxies.get("no", "")
        if is_loopback(parts.netloc) or _bypassed(parts.netloc, without.split(",")):
            return ""
        return self.proxies.get(parts.scheme) or self.proxies.get("all", "")


def settings_from(
    environ: Mapping[str, str],
    *,
    insecure: Iterable[str] = (),
    mirrors: Mapping[str, Sequence[str]] | None = None,
    certificate_folder: Path | None = None,
) -> RegistrySettings:
    """Make the settings from environment variables and options; looks at no file."""
    named = [Path(environ[name]) for name in _AUTHORITY_NAMES if environ.get(name)]
    proxies = {
        scheme: environ.get(f"{scheme}_proxy") or environ.get(f"{scheme}_proxy".upper(), "")
        for scheme in _PROXIES
    }
    return RegistrySettings(
        auth_files=_auth_files(environ),
        insecure=frozenset(insecure),
        mirrors={host: tuple(names) for host, names in (mirrors or {}).items()},
        authorities=tuple(named[:1]),
        certificate_folders=(*((certificate_folder,) if certificate_folder else ()), _CERTIFICATES),
        proxies={scheme: proxy for scheme, proxy in proxies.items() if proxy},
    )


_AUTHORITY_NAMES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def address_of(host: str) -> str:
    """Return the host that serves a registry; only Docker Hub's goes by another name."""
    return _HUB_ADDRESS if host in _HUB else host


def is_hub(host: str) -> bool:
    """Tell whether a registry's name is one of Docker Hub's."""
    return host in _HUB or host == _HUB_ADDRESS


def is_loopback(host: str) -> bool:
    """Tell whether `HOST[:PORT]` is this machine, by name or by address."""
    name = host_name(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def host_name(host: str) -> str:
    """Return `HOST[:PORT]` without its port and, for IPv6, brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _auth_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Find the files with credentials: the one that is named, else Docker's and then Podman's."""
    if environ.get("REGISTRY_AUTH_FILE"):
        return (Path(environ["REGISTRY_AUTH_FILE"]),)
    files = []
    if environ.get("DOCKER_CONFIG"):
        files.append(Path(environ["DOCKER_CONFIG"]) / "config.json")
    elif environ.get("HOME"):
        files.append(Path(environ["HOME"]) / ".docker" / "config.json")
    if environ.get("XDG_RUNTIME_DIR"):
        files.append(Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json")
    return tuple(files)


def _bypassed(host: str, without: Iterable[str]) -> bool:
    """Tell whether one of the names, domains or networks of `no_proxy` covers `HOST[:PORT]`."""
    name = host_name(host)
    for each in filter(None, (each.strip().lower().lstrip(".") for each in without)):
        if each == "*" or host.lower() == each or name == each or name.endswith(f".{each}"):
            return True
        if _within(name, each):
            return True
    return False


def _within(host: str, network: str) -> bool:
    """Tell whether a host is an address in a network."""
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False
