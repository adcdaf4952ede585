"""Registries in memory that let a test choose what goes wrong, and when."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from compiler.errors import RegistryError
from compiler.oci import Descriptor, Reference
from compiler.registry import Progress
from compiler.registry.memory import MemoryRegistry
from compiler.repository.trust import tag
from tests.publish.shop import Shop


class Meeting(MemoryRegistry):
    """A registry in which two publishers both come to one point before either of them goes on."""

    def __init__(self) -> None:
        super().__init__()
        self._met: threading.Barrier | None = None
        self._tag = ""
        self._first = threading.local()

    def meet_before(self, tag: str) -> None:
        """Let two threads meet when they first write a tag that begins so."""
        self._met, self._tag = threading.Barrier(2, timeout=30), tag

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
        is_first = not getattr(self._first, "done", False)
        if self._met and is_first and reference.tag.startswith(self._tag):
            self._first.done = True
            self._met.wait()
        return super().put_manifest(reference, data, media_type)


class Stopping(MemoryRegistry):
    """A registry that stops answering after some changes: `left` says how many."""

    left = 10**6

    def _change(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise RegistryError("the line is dead")

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
        self._change()
        return super().put_manifest(reference, data, media_type)

    def put_blob(
        self,
        repository: Reference,
        source: Path | bytes,
        blob: Descriptor,
        progress: Progress | None = None,
    ) -> bool:
        self._change()
        return super().put_blob(repository, source, blob, progress)


class Unsigning(MemoryRegistry):
    """A registry that refuses signed metadata for as long as it is told to."""

    stops = False

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
        if self.stops and reference.tag.startswith(tag("")):
            raise RegistryError("the line is dead")
        return super().put_manifest(reference, data, media_type)


class Interrupting(MemoryRegistry):
    """A registry in which something else is done just before a tag that begins so is written."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[tuple[str, Callable[[], None]]] = []

    @property
    def is_done(self) -> bool:
        """Whether it was done."""
        return not self._waiting

    def before(self, tag: str, work: Callable[[], None]) -> None:
        """Do some work, once, before the next such tag is written."""
        self._waiting = [(tag, work)]

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
        if self._waiting and reference.tag.startswith(self._waiting[0][0]):
            self._waiting.pop()[1]()
        return super().put_manifest(reference, data, media_type)


def together(publish: Callable[[Shop], object], shops: Iterable[Shop]) -> None:
    """Let several shops publish at the same time; raises what any of them raises."""
    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(publish, shop) for shop in shops]:
            future.result()
