"""`datasource`: the data of this one machine, kept in /run/config and applied."""

from collections.abc import Iterator

from compiler.agent.cloudconfig.accounts import PASSWD, passwd_row
from compiler.agent.cloudconfig.actions import (
    Actions,
    MakeFolder,
    Run,
    Task,
    Warn,
    WriteFile,
)
from compiler.agent.cloudconfig.datasource import Found
from compiler.agent.cloudconfig.datasource.azure import report_ready
from compiler.agent.cloudconfig.datasource.choose import first_found, providers
from compiler.agent.cloudconfig.datasource.userdata import interpreter, is_configuration, plain
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Datasource, Step
from compiler.agent.cloudconfig.plugins.hostname import renamed
from compiler.agent.cloudconfig.plugins.keys import add_keys
from compiler.agent.programs import Program
from compiler.errors import CompilerError, OutsideError

_FOLDER = "/run/config"
_MODE = 0o755
_USERDATA = "userdata"
_SCRIPT_MODE = 0o744
_FILE_MODE = 0o644
_KEYS_MODE = 0o600
_LONGEST = 64
_ROOT = "root"


def tasks(step: Step) -> Iterator[Task]:
    """Ask, and use the first answer."""
    if step.datasource.providers:
        yield lambda machine: _use(step.datasource, machine)


def _use(wanted: Datasource, machine: Machine) -> Actions:
    yield MakeFolder(path=_FOLDER, mode=_MODE, keep=True)
    found = first_found(providers(wanted.providers, wanted.path, machine), machine)
    if found is None:
        asked = ", ".join(wanted.providers)
        raise OutsideError(f"no metadata/userdata found by {asked}")
    yield from _kept(found)
    folder = _FOLDER if "file" in wanted.providers else wanted.path or _FOLDER
    yield from _user_data(found, folder, wanted.userdata_name)
    if found.provider == "Azure":
        yield from _ready(machine)
    if found.keys and passwd_row(machine.root.text(PASSWD, ""), _ROOT):
        yield from add_keys(_ROOT, found.keys, machine)
    if found.hostname:
        yield from renamed(_short(found.hostname), machine)


def _kept(found: Found) -> Actions:
    """Write down what was found."""
    texts = {"provider": found.provider, "hostname": found.hostname, **found.facts}
    for name, text in texts.items():
        if text:
            yield WriteFile(path=f"{_FOLDER}/{name}", data=text.encode(), mode=_FILE_MODE)
    if found.keys:
        data = "".join(f"{each}\n" for each in found.keys).encode()
        path = f"{_FOLDER}/ssh/authorized_keys"
        yield WriteFile(path=path, data=data, mode=_KEYS_MODE, parents=_MODE)


def _user_data(found: Found, folder: str, name: str) -> Actions:
    """Keep user data; a configuration is for later stages, a script runs now."""
    data = plain(found.userdata)
    if not data.strip():
        return
    if "/" in name or name in {".", ".."}:
        raise CompilerError(f"the userdata_name {name!r} must not hold '/'")
    path = f"{folder.rstrip('/')}/{_USERDATA}"
    is_config = is_configuration(data)
    words = () if is_config else interpreter(data)
    mode = _SCRIPT_MODE if words else _FILE_MODE
    yield WriteFile(path=path, data=data, mode=mode, parents=_MODE)
    if is_config:
        other = f"{folder.rstrip('/')}/{name or f'{_USERDATA}.yaml'}"
        yield WriteFile(path=other, data=data, mode=_FILE_MODE, parents=_MODE)
    elif words:
        yield Run(Program(argv=(*words, path)))
    else:
        yield Warn("the user data is neither a configuration nor a script: it is only kept")


def _ready(machine: Machine) -> Actions:
    try:
        report_ready(machine.outside.addresses)
    except OutsideError as error:
        yield Warn(f"Azure was not told that the machine is up: {error}")


def _short(hostname: str) -> str:
    """Cut a name that the kernel would refuse at its first dot."""
    return hostname if len(hostname) <= _LONGEST else hostname.partition(".")[0]
