"""Asks providers, all at once, and takes the first in their order that knows something."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from compiler.agent.cloudconfig.datasource import Found, azure, clouds, local
from compiler.agent.cloudconfig.machine import Machine
from compiler.errors import CompilerError

Provider = Callable[[], Found]

FIRST = "cdrom"
"""The provider that is asked before all others: somebody put a disc in."""

_NETWORK: Mapping[str, Callable[[Mapping[str, str]], Found]] = {
    "aws": clouds.aws,
    "azure": azure.azure,
    "digitalocean": clouds.digitalocean,
    "gcp": clouds.gcp,
    "hetzner": clouds.hetzner,
    "metaldata": clouds.metaldata,
    "openstack": clouds.openstack,
    "packet": clouds.packet,
    "scaleway": clouds.scaleway,
    "vultr": clouds.vultr,
}

_NEAR = ("cdrom", "config-drive", "file", "vmware")

NAMES = tuple(sorted((*_NETWORK, *_NEAR)))
"""What `providers` can name."""


def providers(names: Sequence[str], path: str, machine: Machine) -> dict[str, Provider]:
    """Give the providers of these names, the disc first; raises `CompilerError` for none such."""
    near: dict[str, Provider] = {
        "cdrom": lambda: local.cdrom(machine),
        "config-drive": lambda: local.config_drive(machine),
        "file": lambda: local.from_file(path, machine),
        "vmware": lambda: local.vmware(machine),
    }
    chosen: dict[str, Provider] = {}
    for name in sorted(dict.fromkeys(names), key=lambda each: each != FIRST):
        chosen[name] = near.get(name) or _far(name, machine)
    return chosen


def _far(name: str, machine: Machine) -> Provider:
    if name not in _NETWORK:
        raise CompilerError(
            f"unknown datasource provider {name!r}", hint=f"one of {', '.join(NAMES)}"
        )
    ask = _NETWORK[name]
    return lambda: ask(machine.outside.addresses)


def first_found(asked: Mapping[str, Provider], machine: Machine) -> Found | None:
    """Return what the first provider knows that knows anything."""
    if FIRST in asked:
        found = _tried(FIRST, asked[FIRST], machine)
        if found is not None:
            return found
    others = {name: ask for name, ask in asked.items() if name != FIRST}
    if not others:
        return None
    pool = ThreadPoolExecutor(len(others))
    try:
        waiting = {name: pool.submit(_tried, name, ask, machine) for name, ask in others.items()}
        return _first(waiting)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _first(waiting: Mapping[str, "Future[Found | None]"]) -> Found | None:
    return next((found for each in waiting.values() if (found := each.result())), None)


def _tried(name: str, ask: Provider, machine: Machine) -> Found | None:
    try:
        return ask()
    except CompilerError as error:
        machine.log.debug(f"datasource {name}: {error}")
        return None
