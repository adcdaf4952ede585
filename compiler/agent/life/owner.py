"""What the owner of a machine wants on it: files of cloud-config, from files and addresses."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from compiler.agent import web
from compiler.agent.life.host import Host, write_whole
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.life.settings import Settings
from compiler.agent.root import LARGEST
from compiler.errors import OutsideError

_ATTEMPTS = 5
_BETWEEN = 2.0
"""How often an address is asked, and the seconds between (cos-installer of cOS-toolkit 0.5)."""

_WEB = ("http://", "https://")
_CURL = ("ftp://", "ftps://", "tftp://")
_LARGEST_DOWNLOAD = 64 << 30
_MODE = 0o600
_WRITABLE = ("/etc", "/root", "/home", "/opt", "/srv", "/usr/local", "/var")
"""What can be written until the next boot, whatever else can: a system needs it."""

_PATHS = {
    "PERSISTENT_STATE_PATHS": "PERSISTENT_PATHS",
    "RW_PATHS": "EPHEMERAL_PATHS",
    "PERSISTENT_STATE_BIND": "PERSISTENT_BIND",
    "OVERLAY": "OVERLAY",
}
"""Variables of the layout file, by the settings that say them."""


def collect(host: Host, names: Sequence[str]) -> tuple[bytes, ...]:
    """Read every file of cloud-config, so that nothing is missing later; raises `LifeError`."""
    return tuple(_read(host, name) for name in names)


def _read(host: Host, name: str) -> bytes:
    if not name.startswith((*_WEB, *_CURL)):
        with during(Phase.CONFIG, name), Path(name).open("rb") as file:
            return _bounded(name, file.read(LARGEST + 1))
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with during(Phase.DOWNLOAD, name):
                return _bounded(name, _fetched(host, name))
        except LifeError as error:
            if attempt == _ATTEMPTS:
                raise
            host.log.warning(f"{error}; trying again")
            host.pause(_BETWEEN)
    raise AssertionError


def _fetched(host: Host, name: str) -> bytes:
    if name.startswith(_WEB):
        return web.fetch(name, LARGEST)
    if not host.has("curl"):
        raise OutsideError("curl is missing, which fetches from such addresses")
    answer = host.answer("curl", "--fail", "--silent", "--show-error", "--max-filesize",
                         str(LARGEST), "--", name)  # fmt: skip
    return answer.encode()


def download(url: str, target: Path) -> None:
    """Fetch a large file; raises `OutsideError`, `OSError`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        for piece in web.stream(web.Request(url=url, whole=web.SLOWEST), _LARGEST_DOWNLOAD):
            file.write(piece)


def _bounded(name: str, data: bytes) -> bytes:
    if len(data) > LARGEST:
        raise LifeError(f"{name}: is larger than {LARGEST} bytes", Phase.CONFIG)
    if not data.strip():
        raise LifeError(f"{name}: is empty", Phase.CONFIG)
    return data


def write(oem: Path, configs: Sequence[bytes]) -> None:
    """Write the files: one as 99_custom.yaml, several as 90_custom.yaml and so on."""
    first = 99 if len(configs) == 1 else 90
    names = [f"{number}_custom.yaml" for number in range(first, first + len(configs))]
    with during(Phase.COPY, "the configuration cannot be written"):
        for name, data in zip(names, configs, strict=True):
            write_whole(oem / name, data, _MODE)


def write_paths(oem: Path, settings: Settings) -> None:
    """Write which paths are kept, and which can be written until the next boot, if any are said."""
    said = {name: settings.text(key) for name, key in _PATHS.items() if settings.text(key)}
    if not said:
        return
    if "RW_PATHS" in said:
        said["RW_PATHS"] = " ".join(dict.fromkeys((*_WRITABLE, *settings.words("EPHEMERAL_PATHS"))))
    step = {
        "name": "Paths that the owner of the machine has chosen",
        "if": "[ ! -f /run/cos/recovery_mode ]",
        "environment_file": "/run/cos/cos-layout.env",
        "environment": said,
    }
    text = yaml.safe_dump({"name": "Layout", "stages": {"rootfs": [step]}}, sort_keys=False)
    with during(Phase.COPY, "the configuration cannot be written"):
        write_whole(oem / "80_layout.yaml", text.encode(), _MODE)
