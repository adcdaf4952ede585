"""Runs what the packages of a channel want to have run once, in the tree that they were put into.

It is the same as when an image is made of them, but for the container: systems need have no program
for those. What runs has own processes and no network, and sees no services of the machine.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compiler.agent.life.hooks import bound
from compiler.agent.life.host import Host
from compiler.errors import OutsideError
from compiler.spec.finalizer import parse_finalizer
from compiler.spec.package import Definition

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHELL = ("sh", "-c")
_SEEN = ("/dev", "/proc", "/sys")
"""Of the machine; /run, where services listen, is not among them."""

_ALONE = ("unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child")


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """What one package wants to have run: the text of its `finalize.yaml`."""

    definition: Definition
    text: str


def run_finals(
    host: Host, tree: Path, finals: Sequence[Final], env: Mapping[str, str] | None = None
) -> None:
    """Run all, in the order given, until one fails; raises `CompilerError`."""
    if not finals:
        return
    with _seeing(host, tree):
        for final in finals:
            _run(host, tree, final, env or {})


def _run(host: Host, tree: Path, final: Final, env: Mapping[str, str]) -> None:
    name = str(final.definition.id)
    found = parse_finalizer(final.text, final.definition, f"{name}/finalize.yaml")
    given = [f"{key}={value}" for key, value in {"PATH": _PATH, "HOME": "/root", **env}.items()]
    for text in found.install:
        host.log.info(f"Finalizing {name}")
        done = host.attempt(*_ALONE, "chroot", str(tree), "env", "-i", *given,
                            *(found.shell or _SHELL), text)  # fmt: skip
        if done.code:
            said = "".join(f"\n    {line}" for line in done.tail)
            message = f"{name}: its finalizer failed: {text!r} ended with exit code {done.code}"
            raise OutsideError(f"{message}{said}")


@contextmanager
def _seeing(host: Host, tree: Path) -> Iterator[None]:
    """Show a tree what programs need of the machine; folders made for that go again."""
    made = [tree / each.lstrip("/") for each in _SEEN if not (tree / each.lstrip("/")).exists()]
    try:
        with bound(host, tree, machine=_SEEN):
            yield
    finally:
        for each in made:
            each.rmdir()
