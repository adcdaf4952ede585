"""What is done with roots on this machine although steps run elsewhere: looking, and copying."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from compiler.engine import WORKSPACE, CopyFiles, LayerRequest
from compiler.engine.buildroot import USUAL_PLACES, BuildRoot
from compiler.engine.copying import copy_files
from compiler.engine.flatten import changes_between, flatten
from compiler.engine.merge import put_over
from compiler.engine.namespace import Namespace, prepare
from compiler.engine.stack import Stack, mounted
from compiler.errors import EngineError
from compiler.oci import Digest

Scratch = Callable[[], AbstractContextManager[Path]]


class LocalRoots:
    """Stacks of layers as folders: mounted, or copied where root may not mount.

    Raises `EngineError` without root and user namespaces, for then files could not have owners.
    """

    def __init__(self, layer_path: Callable[[Digest], Path], scratch: Scratch) -> None:
        self._layer_path = layer_path
        self._scratch = scratch
        self._namespace = _namespace()

    @property
    def mounts(self) -> bool:
        """Whether we may mount, and see all that overlayfs writes down."""
        return self._namespace is not None

    def enter(self) -> None:
        """Bring the calling thread to where stacks are mounted."""
        if self._namespace is not None:
            self._namespace.enter()

    def lowers(self, root: tuple[Digest, ...]) -> list[Path]:
        """Find the folders of a stack, topmost first, each once: the kernel refuses repetitions."""
        return [self._layer_path(layer) for layer in dict.fromkeys(reversed(root))]

    @contextmanager
    def mounted(self, root: tuple[Digest, ...]) -> Iterator[Path]:
        """Show a stack as one read-only folder while the context lasts."""
        self.enter()
        lowers = self.lowers(root)
        with self._scratch() as place:
            if self._namespace is None:
                flatten(lowers[::-1], place)
                yield place
            else:
                with mounted(Stack(lowers=lowers, place=place)) as folder:
                    yield folder

    def copy(self, action: CopyFiles, request: LayerRequest) -> None:
        """Do what `action` says to the root of a request as it is with `request.changes`."""
        with ExitStack() as context:
            folder = action.folder or context.enter_context(self.mounted(action.stack))
            place = context.enter_context(self._scratch())
            if self._namespace is None:
                self._copy_apart(action, folder, request, place)
                return
            lowers = self.lowers(request.root)
            with (
                BuildRoot(place, lowers, request.changes, USUAL_PLACES) as root,
                root.showing(request.workspace),
            ):
                copy_files(action, folder, root.folder)

    def _copy_apart(
        self, action: CopyFiles, folder: Path, request: LayerRequest, place: Path
    ) -> None:
        """Do it to a copy of the root, and keep what is different then."""
        inside = _in_workspace(action.destination)
        if inside is not None:
            copy_files(replace(action, destination=inside), folder, request.workspace)
            return
        before, after, found = (place / name for name in ("before", "after", "found"))
        for each in (before, after, found):
            each.mkdir()
        layers = [*self.lowers(request.root)[::-1], request.changes]
        flatten(layers, before)
        flatten(layers, after)
        copy_files(action, folder, after)
        changes_between(before, after, found)
        put_over(found, request.changes)


def _in_workspace(destination: str) -> str | None:
    """Return where in the workspace a destination is, None if it is elsewhere."""
    whole = os.path.normpath(os.path.join("/", destination))  # noqa: PTH118  (pure text)
    if whole != WORKSPACE and not whole.startswith(f"{WORKSPACE}/"):
        return None
    ending = "/" if destination.endswith("/") else ""
    return f"{whole.removeprefix(WORKSPACE) or '/'}{ending}"


def _namespace() -> Namespace | None:
    """Prepare mounts; None for root in a container, who may not mount and need not either."""
    try:
        return prepare()
    except EngineError:
        if os.geteuid() != 0:
            raise
        return None
