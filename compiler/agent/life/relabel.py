"""SELinux: a new tree gets the labels of its own policy."""

import re
from pathlib import Path

from compiler.agent.life.host import Host
from compiler.agent.life.phases import Phase, during

_CONFIG = "etc/selinux/config"
_TYPE = re.compile(r"^SELINUXTYPE=[ \t]*([A-Za-z0-9][A-Za-z0-9_.-]*)[ \t]*$", re.MULTILINE)
_USUAL = "targeted"
_PROGRAMS = ("usr/sbin/setfiles", "usr/bin/setfiles", "sbin/setfiles")


def relabel(host: Host, tree: Path) -> None:
    """Label a tree that has a policy; raises `LifeError`.

    With its own program, in a chroot: that of this machine refuses labels which the policy that is
    loaded here does not know. A tree without the program is labelled by ours, if there is one.
    """
    contexts = contexts_of(tree)
    own = next((each for each in _PROGRAMS if (tree / each).is_file()), None)
    with during(Phase.SELINUX, "the tree cannot be labelled"):
        if contexts and own:
            host.call("chroot", str(tree), f"/{own}", "-q", f"/{contexts}", "/")
        elif contexts and host.has("setfiles"):
            host.call("setfiles", "-q", "-r", str(tree), str(tree / contexts), str(tree))
    (tree / ".autorelabel").unlink(missing_ok=True)


def contexts_of(tree: Path) -> str | None:
    """Find the labels of a tree's policy: the path of `file_contexts` in it, None without a policy.

    /etc/selinux/config says which policy it is (selinux_config(5)).
    """
    config = tree / _CONFIG
    text = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else ""
    named = _TYPE.search(text)
    policy = named[1] if named else _USUAL
    path = f"etc/selinux/{policy}/contexts/files/file_contexts"
    return path if (tree / path).is_file() else None
