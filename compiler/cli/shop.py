"""Where the packages and images come from that system images are made of."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from compiler.archive import Clamp
from compiler.artifact.layered import LayeredRoot
from compiler.cli.client import client_config, open_client
from compiler.cli.images import Unpacking, obtained
from compiler.cli.settings import Settings
from compiler.cli.userns import enter_user_namespace
from compiler.image.layers import ImageLayer
from compiler.image.rootfs import Shop, packages_of
from compiler.repository.configured import RepositoryConfig
from compiler.store.images import host_platform
from compiler.system.change import Incoming
from compiler.system.config import Config

_AS_THEY_ARE = Clamp(epoch=0, after=2**62)


@contextmanager
def open_shop(
    context: typer.Context, local: Path | None, repositories: Sequence[RepositoryConfig] = ()
) -> Iterator[Shop]:
    """Open a shop: repositories of a manifest and of the configuration, local results before all.

    Nothing is asked before a source needs it, and all that was fetched goes at the end.
    """
    with ExitStack() as stack:

        def packages(names: Sequence[str]) -> Sequence[Incoming]:
            root = Path(stack.enter_context(TemporaryDirectory(prefix="cos-packages-")))
            config = _config(context, root, local, repositories)
            client = stack.enter_context(open_client(context, config=config))
            return packages_of(client, names)

        def image(name: str) -> ImageLayer:
            enter_user_namespace()
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="cos-images-")))
            settings: Settings = context.obj or Settings()
            how = Unpacking(auth={})
            store, found = stack.enter_context(
                obtained(settings, name, host_platform(), how, folder)
            )
            layers = [(store.layer_path(each), store.entries(each)) for each in found.layers]
            return ImageLayer(name, LayeredRoot(layers, clamp=_AS_THEY_ARE))

        yield Shop(packages=packages, image=image)


def _config(
    context: typer.Context,
    root: Path,
    local: Path | None,
    repositories: Sequence[RepositoryConfig],
) -> Config:
    """Make the configuration of a system that is empty, and goes when all is done."""
    config = client_config(context.obj or Settings())
    own = [] if local is None else [_local_repository(local)]
    found = {each.name: each for each in (*own, *repositories, *config.repositories)}
    system = config.system.model_copy(update={"rootfs": str(root)})
    update = {"system": system, "repositories": tuple(found.values())}
    return config.model_copy(update=update)


def _local_repository(folder: Path) -> RepositoryConfig:
    """Describe a folder of build results as the repository that wins over all others."""
    return RepositoryConfig(
        name="local", type="disk", urls=(str(folder.resolve()),), enable=True, priority=-1
    )
