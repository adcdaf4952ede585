"""`suc-upgrade`: for clusters, in a container of the new system, with the machine in a folder.

The system-upgrade-controller of Kubernetes starts it; it ends with 1 before the machine boots, so
that nobody takes the upgrade for done before.
"""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from compiler.agent.life.host import Host
from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.life.settings import Settings
from compiler.agent.life.upgrade import upgrade
from compiler.errors import ExitCode

_SHOWN = ("/dev", "/run")
_OS_RELEASE = "etc/os-release"


def suc_upgrade(host: Host, settings: Settings) -> int:
    """Upgrade the machine around this container to what the container is; returns an exit code."""
    host.need_root()
    machine = Path(settings.text("HOST_DIR"))
    if not (machine / _OS_RELEASE).is_file():
        hint = "the machine's root has to be mounted there, HOST_DIR says where"
        raise LifeError(f"{machine} is no machine's root", Phase.ABSENT, hint=hint)
    ours, theirs = (host.root / _OS_RELEASE).read_text(), (machine / _OS_RELEASE).read_text()
    if ours == theirs and not settings.flag("FORCE"):
        host.log.info("Update to date with")
        host.log.info(theirs.rstrip())
        return ExitCode.DONE
    values = {**settings.values, "SYSTEM": f"dir:{host.root}", "INTERACTIVE": ""}
    with ExitStack() as stack:
        for each in _SHOWN:
            host.bind(machine / each.lstrip("/"), host.path(each))
            stack.callback(host.unmount, host.path(each))
        upgrade(host, replace(settings, values=values))
    host.call("nsenter", "--target", "1", "--mount", "--uts", "--ipc", "--net", "--pid", "--",
              "reboot")  # fmt: skip
    return ExitCode.FAILED
