"""The connection to an engine that speaks Docker's API (Docker Engine API 1.41), and whose it is.

`DOCKER_HOST`, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` mean what they mean to the SDK.
"""

import math
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from docker import APIClient
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env
from requests import RequestException
from requests.utils import get_environ_proxies

from compiler.engine.namespace import is_real_root
from compiler.errors import OutsideError

RUN_LABEL = "cos-toolkit.run"
"""Marks containers and passing images with the process that they belong to."""

_SOCKET = "unix:///var/run/docker.sock"
_OLDEST = "1.41"
_REACH = "use the Docker engine"
_DAY = 86400
_PATIENCE = _DAY
"""Seconds that one answer may take: an image of many gigabytes is one answer."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_REMAPPED = ("name=userns", "name=rootless")
_START = "start it (`systemctl start docker`), or let DOCKER_HOST name another one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an engine says about itself.

    `shares` is whether it may read our files and we its, `podman` whether it is Podman, `whole`
    whether its overlayfs leaves nothing of a changed file in the layers below. `late` are the
    seconds that its clock may be behind ours, and `since` what it showed when we came.
    """

    shares: bool
    podman: bool
    whole: bool
    late: int
    since: int


class Daemon:
    """An engine that can be reached and is new enough; raises `OutsideError` if it is not."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.url = environ.get("DOCKER_HOST") or _SOCKET
        self.run = _own_name()
        self._environ = {**environ, "DOCKER_HOST": self.url}
        self._version = _OLDEST
        self._knock()
        with self.answering(_REACH), self.client() as api:
            asked = api.version(api_version=False)
            self._version = self._checked(str(asked["ApiVersion"]))
        with self.answering(_REACH), self.client() as api:
            self.facts = self._facts(api, asked.get("Components") or ())
            clean(api)

    @contextmanager
    def client(self) -> Iterator[APIClient]:
        """Open a connection for one thread, since the SDK's cannot be shared."""
        settings = kwargs_from_env(dict(self._environ))
        api = APIClient(version=self._version, timeout=_PATIENCE, use_ssh_client=True, **settings)
        if "tls" in settings:
            # REQUESTS_CA_BUNDLE would win over the authority that DOCKER_CERT_PATH names.
            api.trust_env = False
            api.proxies = get_environ_proxies(api.base_url)
        try:
            yield api
        finally:
            api.close()

    @contextmanager
    def answering(self, what: str) -> Iterator[None]:
        """Turn what the engine refuses, or breaks on the way to it, into an `OutsideError`."""
        try:
            yield
        except APIError as error:
            raise OutsideError(f"the Docker engine at {self.url}: {said_by(error)}") from error
        except (DockerException, RequestException) as error:
            raise self._broken(what, error) from error

    def _knock(self) -> None:
        """Find out early whether there is a socket that lets us in; raises `OutsideError`."""
        if self.url.startswith("unix://"):
            try:
                with socket.socket(socket.AF_UNIX) as ours:
                    ours.connect(self.url.removeprefix("unix://"))
            except OSError as error:
                raise self._broken(_REACH, error) from error

    def _broken(self, what: str, error: Exception) -> OutsideError:
        """Say what keeps us from the engine, and what to try."""
        reason = _reason(error)
        message = f"cannot {what} at {self.url}: {_words(error, reason)}"
        return OutsideError(message, hint=_hint(error, reason))

    def _checked(self, version: str) -> str:
        """Refuse an engine that is too old."""
        if _numbers(version) < _numbers(_OLDEST):
            raise OutsideError(
                f"the Docker engine at {self.url} speaks version {version} of its API, and"
                f" {_OLDEST} is needed",
                hint="Docker 20.10 or later, Podman 4 or later",
            )
        return version

    def _facts(self, api: APIClient, parts: Sequence[Mapping[str, object]]) -> Facts:
        """Ask the engine about itself; raises `OutsideError` if its machine is of another kind."""
        asked = time.time()
        info = api.info()
        ours, theirs = (f"linux/{architecture(os.uname().machine)}", _platform(info))
        if ours != theirs:
            raise OutsideError(
                f"the Docker engine at {self.url} runs {theirs}, and packages are built for {ours}",
                hint="let DOCKER_HOST name an engine on a machine of this kind",
            )
        options = [str(option) for option in info.get("SecurityOptions") or ()]
        remapped = any(option.startswith(_REMAPPED) for option in options)
        since = _moment(str(info.get("SystemTime", "")), asked)
        return Facts(
            shares=self.url.startswith("unix:") and is_real_root() and not remapped,
            podman=any("Podman" in str(each.get("Name")) for each in parts),
            whole=["Native Overlay Diff", "true"] in (info.get("DriverStatus") or ()),
            late=max(0, math.ceil(time.time() - since)),
            since=math.floor(since),
        )


def clean(api: APIClient) -> None:
    """Remove what killed runs left: containers with their volumes, and images that were passing.

    Only the process that made something can be asked whether it needs it, and only on its own
    machine; what came from elsewhere is removed when it has not run for a day.
    """
    for container in api.containers(all=True, filters={"label": RUN_LABEL}):
        still = container["State"] == "running" or container["Created"] > time.time() - _DAY
        if _is_left(container["Labels"][RUN_LABEL], needed=still):
            remove_container(api, container["Id"])
    for image in api.images(filters={"label": RUN_LABEL}):
        if _is_left(image["Labels"][RUN_LABEL], needed=image["Created"] > time.time() - _DAY):
            for tag in image["RepoTags"] or [image["Id"]]:
                remove_image(api, tag)


def remove_container(api: APIClient, container: str) -> None:
    """Remove a container with its volumes, whatever it does; nothing if it is gone."""
    with suppress(APIError):
        api.remove_container(container, v=True, force=True)


def remove_image(api: APIClient, image: str) -> None:
    """Take a name off an image; the engine keeps the layers that others share."""
    with suppress(APIError):
        api.remove_image(image)


def said_by(error: APIError) -> str:
    """Return what the engine said, in one line."""
    words = str(error.explanation or error).strip()
    return words.splitlines()[-1] if words else "it does not say why"


def _numbers(version: str) -> tuple[int, ...]:
    """Read a version of the API."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _own_name() -> str:
    """Name this process as no other one on any machine is named."""
    return ".".join((*_machine(), str(os.getpid()), _born(os.getpid()) or "0"))


def _machine() -> tuple[str, str]:
    """Name the set of processes that we can see: this start of the machine, and the namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return boot, str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")


def _born(pid: int) -> str | None:
    """Return when a process started, in ticks (proc(5), /proc/pid/stat), None if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()[19]


def _is_left(name: str, *, needed: bool) -> bool:
    """Tell whether nobody needs any more what the process `name` made."""
    *machine, pid, born = name.rsplit(".", 3)
    if tuple(machine) != _machine() or not pid.isdigit():
        return not needed
    return _born(int(pid)) != born


def _platform(info: Mapping[str, object]) -> str:
    """Name the platform of an engine."""
    return f"{info.get('OSType', 'linux')}/{architecture(str(info.get('Architecture')))}"


def architecture(machine: str) -> str:
    """Name a kind of machine as Go does, whether uname(2) or Go named it."""
    return _ARCHITECTURES.get(machine, machine)


def _moment(text: str, otherwise: float) -> float:
    """Read a time of RFC 3339."""
    with suppress(ValueError):
        return datetime.fromisoformat(text).timestamp()
    return otherwise


def _reason(error: BaseException) -> OSError | None:
    """Find what the system refused, below what libraries made of it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None and not _is_wrapped(seen):
            return seen
        inner = next((each for each in seen.args if isinstance(each, BaseException)), None)
        seen = seen.__cause__ or inner or seen.__context__
    return None


def _is_wrapped(error: OSError) -> bool:
    return isinstance(error, RequestException)


def _words(error: Exception, reason: OSError | None) -> str:
    words = str(error) if reason is None else str(reason.strerror or reason)
    return words[:1].lower() + words[1:]


def _hint(error: Exception, reason: OSError | None) -> str | None:
    """Say what to try when there is no way to the engine."""
    if isinstance(reason, PermissionError):
        return "run as root, or join the group that may use it (`usermod -aG docker USER`)"
    if isinstance(reason, FileNotFoundError | ConnectionRefusedError):
        return f"{_START}; Podman: `systemctl start podman.socket`"
    if "paramiko" in str(error):
        return (
            "forward its socket, `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST`,"
            " and set DOCKER_HOST=unix:///tmp/docker.sock"
        )
    return "DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH say where it is" if reason else None
