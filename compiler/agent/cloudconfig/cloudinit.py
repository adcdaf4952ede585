"""`#cloud-config`: the part of cloud-init's own format that is understood, as stages."""

from dataclasses import replace

from compiler.agent.cloudconfig.model import (
    Config,
    Device,
    Expand,
    File,
    InitConfig,
    InitFile,
    Layout,
    Step,
)

HEADER = "#cloud-config"

_LINES = 10
_MODE = 0o644
_REMOTE = ("github:", "gitlab:", "http://", "https://")


def has_header(text: str) -> bool:
    """Whether a text is a `#cloud-config`: the header stands among the comments it begins with."""
    for line in text.split("\n", _LINES)[:_LINES]:
        if line.rstrip() == HEADER:
            return True
        if not line.startswith("#"):
            return False
    return False


def needs_network(key: str) -> bool:
    """Whether an entry of authorized keys has to be fetched."""
    return key.startswith(_REMOTE)


def stages_of(init: InitConfig) -> Config:
    """Turn the keys into the stages in which they take effect; raises `ValueError`.

    Those of `stages` follow in theirs.
    """
    keys = _keys(init)
    boot = Step(
        users={
            each.name: replace(each, ssh_authorized_keys=()) for each in init.users if each.name
        },
        authorized_keys=_picked(keys, remote=False),
        files=tuple(_file(each) for each in init.write_files),
        commands=init.runcmd,
    )
    grown = tuple(
        Step(layout=Layout(device=Device(path=each), expand=Expand()))
        for each in init.growpart.devices
    )
    made = {
        "boot": (boot, *grown),
        "initramfs": (Step(hostname=init.hostname),),
        "network": (Step(authorized_keys=_picked(keys, remote=True)),),
    }
    names = sorted({*made, *init.stages})
    stages = {name: (*made.get(name, ()), *init.stages.get(name, ())) for name in names}
    return Config(name=init.name, stages=stages)


def _keys(init: InitConfig) -> dict[str, tuple[str, ...]]:
    """Give every user the keys of all; without users they are root's."""
    own = {each.name: each.ssh_authorized_keys for each in init.users if each.name}
    everybody = own or ({"root": ()} if init.ssh_authorized_keys else {})
    return {name: (*keys, *init.ssh_authorized_keys) for name, keys in everybody.items()}


def _picked(keys: dict[str, tuple[str, ...]], *, remote: bool) -> dict[str, tuple[str, ...]]:
    """Choose the keys that need the network, or the others."""
    picked = {
        name: tuple(key for key in each if needs_network(key) is remote)
        for name, each in keys.items()
    }
    return {name: each for name, each in picked.items() if each}


def _file(init: InitFile) -> File:
    return File(
        path=init.path,
        content=init.content,
        encoding=init.encoding,
        permissions=_mode(init),
        ownerstring=init.owner,
    )


def _mode(init: InitFile) -> int:
    if not init.permissions:
        return _MODE
    try:
        return int(init.permissions.removeprefix("0o"), 8)
    except ValueError:
        message = f"the permissions {init.permissions!r} of {init.path!r} are no octal number"
        raise ValueError(message) from None
