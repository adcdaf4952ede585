"""`cos-feature`: files of cloud-config that come with the system, and count once they are enabled.

An enabled feature is a link of the owner's folder to the file in the folder of features.
"""

import os
from pathlib import Path

from compiler.agent.life.host import Host
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.life.settings import Settings

_ENABLED = "/oem/features"
_SUFFIX = ".yaml"


def feature(host: Host, settings: Settings) -> None:
    """List, enable or disable features; raises `LifeError`."""
    folder = settings.text("COS_FEATURESDIR")
    action, names = settings.text("ACTION"), settings.text("FEATURE").split()
    if action == "list":
        for line in listing(known(host.path(folder)), enabled(host)):
            host.log.info(line)
        return
    if not names:
        raise LifeError("name a feature", Phase.CONFIG, hint="`cos-feature list` lists them")
    for name in names:
        if action == "enable":
            _enable(host, folder, name)
        else:
            _disable(host, name)


def known(folder: Path) -> list[str]:
    """List the features that there are."""
    return sorted(each.stem for each in folder.glob(f"*{_SUFFIX}"))


def enabled(host: Host) -> set[str]:
    """Return the features that are enabled."""
    return {each.stem for each in host.path(_ENABLED).glob(f"*{_SUFFIX}")}


def listing(features: list[str], active: set[str]) -> list[str]:
    """Write the list that people see: each line says of its own feature whether it is enabled."""
    lines = [f"- {each} (enabled)" if each in active else f"- {each}" for each in features]
    return ["cOS features:", *lines]


def _enable(host: Host, folder: str, name: str) -> None:
    if name not in known(host.path(folder)):
        raise LifeError("Feature not present", Phase.REFUSED, hint="`cos-feature list` lists them")
    link = host.path(_ENABLED) / f"{name}{_SUFFIX}"
    if os.path.lexists(link):
        host.log.info(f"Feature {name} enabled already")
        return
    with during(Phase.COPY, f"{name} cannot be enabled"):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"{folder.rstrip('/')}/{name}{_SUFFIX}")
    host.log.info(f"{name} enabled")


def _disable(host: Host, name: str) -> None:
    link = host.path(_ENABLED) / f"{Path(name).name}{_SUFFIX}"
    if not os.path.lexists(link):
        host.log.info(f"Feature {name} not enabled")
        return
    with during(Phase.COPY, f"{name} cannot be disabled"):
        link.unlink()
    host.log.info(f"Feature {name} disabled")
