"""What decisions may look at: the root, its programs, the network, the clock, and facts."""

import importlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from compiler.agent.log import Log
from compiler.agent.programs import Programs
from compiler.agent.root import LARGEST, Root

_DAY = 86400


@dataclass(frozen=True)
class Outside:
    """What tests put something else in place of: clock, chance, pauses, addresses."""

    now: Callable[[], float] = time.time
    random: Callable[[int], str] = lambda size: os.urandom(size).hex()
    pause: Callable[[float], None] = time.sleep
    host_name: Callable[[], str] = lambda: os.uname().nodename
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Other addresses of the datasources, and of `github` and `gitlab`, by their names."""


@dataclass(frozen=True)
class Machine:
    """A root and all that is around it."""

    root: Root
    log: Log
    outside: Outside = Outside()

    @cached_property
    def programs(self) -> Programs:
        """The programs of the root."""
        return Programs(self.root)

    @cached_property
    def values(self) -> dict[str, object]:
        """What templates see, read once, when the first template asks."""
        values = importlib.import_module("compiler.agent.cloudconfig.facts").values
        found: dict[str, object] = values(self.root, self.outside)
        return found

    @property
    def today(self) -> int:
        """The number of days since 1970."""
        return int(self.outside.now()) // _DAY

    def render(self, text: str) -> str:
        """Render a text that has a template in it; one that is no template stays as it is."""
        if "{{" not in text:
            return text
        rendered: str = self._templates.rendered(text, self.values, self.log)
        return rendered

    def fetch(self, url: str, limit: int = LARGEST) -> bytes:
        """Fetch a small file; raises `OutsideError`."""
        data: bytes = self.web.fetch(url, limit)
        return data

    @property
    def _templates(self) -> Any:  # noqa: ANN401  (a module)
        return importlib.import_module("compiler.agent.cloudconfig.template")

    @property
    def web(self) -> Any:  # noqa: ANN401  (a module)
        """The module that speaks HTTP, loaded when something is fetched: that takes a while."""
        return importlib.import_module("compiler.agent.web")
