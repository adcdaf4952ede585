"""SELinux: a new tree gets the labels of its own policy."""

from pathlib import Path

from compiler.agent.life.host import Host
from compiler.agent.life.phases import Phase, during

_CONTEXTS = "etc/selinux/targeted/contexts/files/file_contexts"


def relabel(host: Host, tree: Path) -> None:
    """Label a tree, where it has a policy and the program is there; raises `LifeError`."""
    contexts = tree / _CONTEXTS
    if contexts.is_file() and host.has("setfiles"):
        with during(Phase.SELINUX, "the tree cannot be labelled"):
            host.call("setfiles", "-r", str(tree), str(contexts), str(tree))
    (tree / ".autorelabel").unlink(missing_ok=True)
