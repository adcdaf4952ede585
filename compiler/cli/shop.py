"""Where the packages and images come from that system images are made of."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import typer
from pydantic import ValidationError

from compiler.archive import Clamp
from compiler.artifact.layered import LayeredRoot
from compiler.cli.client import client_config, open_client
from compiler.cli.images import Unpacking, obtained, platform_of
from compiler.cli.report import reporter
from compiler.cli.settings import Settings
from compiler.cli.userns import enter_user_namespace
from compiler.errors import InputError, ResolutionError, UsageError
from compiler.image.finalized import finalized, need_rights, run_finalizers
from compiler.image.layers import ImageLayer
from compiler.image.place import place_files
from compiler.image.rootfs import PackageLayer, Shop, packages_of
from compiler.image.tree import Tree
from compiler.image.unpacked import unpack_file_system
from compiler.repository.configured import RepositoryConfig, kind_of
from compiler.spec.image import ImageSpec, RepositorySpec
from compiler.system.change import Incoming
from compiler.system.client import Client
from compiler.system.config import read_repository
from compiler.system.database import Installed

_AS_THEY_ARE = Clamp(epoch=0, after=2**62)
_NO_REPOSITORY = (
    "no repository is known: --local FOLDER names build results, `repositories` of the manifest"
    " others"
)
_REPOSITORY = re.compile(r"etc/luet/repos\.conf\.d/[^/]+\.ya?ml")


@contextmanager
def open_shop(context: typer.Context, local: Path | None, spec: ImageSpec) -> Iterator[Shop]:
    """Open a shop: repositories of a manifest and of the configuration, local results before all.

    Nothing is asked before a source needs it, and all that was fetched goes at the end.
    """
    if local is not None and not local.is_dir():
        raise InputError(f"--local {local}: there is no such folder")
    with ExitStack() as stack:
        shop = _Shop(context, local, spec, stack)
        yield Shop(
            packages=shop.packages,
            image=shop.image,
            unpacked=shop.unpacked,
            finalized=shop.finalized,
            report=reporter(shop.settings),
        )


class _Shop:
    """Fetches into folders that go with the stack."""

    def __init__(
        self, context: typer.Context, local: Path | None, spec: ImageSpec, stack: ExitStack
    ) -> None:
        self._context = context
        self.settings: Settings = context.obj or Settings()
        self._local = local
        self._spec = spec
        self._stack = stack

    def packages(self, names: Sequence[str]) -> Sequence[Incoming]:
        """Fetch packages with what they need; raises `ResolutionError`."""
        try:
            return packages_of(self._client, names)
        except ResolutionError as error:
            if not any(each.enable for each in self._client.config.repositories):
                error.hint = _NO_REPOSITORY
            raise

    def image(self, name: str) -> ImageLayer:
        """Bring an image here, from the store if that has it."""
        enter_user_namespace()
        how = Unpacking(platform=self._spec.platform, auth={})
        folder = self._folder("cos-images-")
        found = obtained(self.settings, name, how, folder)
        store, image = self._stack.enter_context(found)
        layers = [(store.layer_path(each), store.entries(each)) for each in image.layers]
        root = LayeredRoot(layers, clamp=_AS_THEY_ARE)
        return ImageLayer(name, root, digest=image.source)

    def unpacked(self, file: Path) -> Path:
        """Unpack a squashfs or the image of a file system."""
        enter_user_namespace()
        folder = self._folder("cos-unpacked-") / "root"
        unpack_file_system(file, folder)
        return folder

    def finalized(self, root: Tree, packages: Sequence[Installed], clamp: Clamp) -> Tree:
        """Run the finalizers of packages in a copy of a root; returns what it is then."""
        need_rights(packages)
        client = self._client
        env = {each.key: each.value for each in client.config.finalizer_envs}
        run = partial(run_finalizers, packages=packages, env=env, report=client.report)
        return finalized(root, self._folder("cos-finalized-") / "root", run, clamp)

    @cached_property
    def _client(self) -> Client:
        """Open a client of all repositories, those that packages of the manifest describe too."""
        named = [_configured(each) for each in self._spec.repositories]
        wanted = self._spec.repository_packages
        if not wanted:
            return self._opened(named)
        first = self._opened(named)
        found = packages_of(first, [each.value for each in wanted])
        return self._opened([*named, *self._described(found)])

    def _opened(self, repositories: Sequence[RepositoryConfig]) -> Client:
        """Open a client whose system is empty."""
        config = client_config(self.settings)
        own = [] if self._local is None else [_local_repository(self._local)]
        found = {each.name: each for each in (*own, *repositories, *config.repositories)}
        rootfs = str(self._folder("cos-packages-"))
        update = {
            "system": config.system.model_copy(update={"rootfs": rootfs}),
            "repositories": tuple(found.values()),
        }
        wanted = config.model_copy(update=update)
        platform = platform_of(self._spec.platform)
        client = open_client(self._context, config=wanted, platform=platform)
        return self._stack.enter_context(client)

    def _described(self, packages: Sequence[Incoming]) -> Iterator[RepositoryConfig]:
        """Read the repositories that packages describe."""
        folder = self._folder("cos-repositories-")
        tree = Tree.of([PackageLayer(each, _AS_THEY_ARE) for each in packages], epoch=0)
        paths = [each.path for each in tree.entries if _REPOSITORY.fullmatch(each.path)]
        places = {path: folder / f"{number}.yaml" for number, path in enumerate(sorted(paths))}
        place_files(tree, places)
        for place in places.values():
            yield from read_repository(place)

    def _folder(self, prefix: str) -> Path:
        return Path(self._stack.enter_context(TemporaryDirectory(prefix=prefix)))


def _configured(spec: RepositorySpec) -> RepositoryConfig:
    """Make the configuration of a repository that a manifest names."""
    kind = spec.type or _guessed(spec.urls[0])
    value = {
        "name": spec.name, "urls": spec.urls, "type": kind, "priority": spec.priority,
        "arch": spec.arch, "enable": spec.enable and not spec.arch,
    }  # fmt: skip
    try:
        return RepositoryConfig.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        message = fault["msg"].removeprefix("Value error, ")
        raise UsageError(f"the repository {spec.name!r} of the manifest: {message}") from None


def _guessed(address: str) -> str:
    """Guess the type of a repository: without a sign it is in a registry, as version 0.8 has it."""
    try:
        return kind_of(address)
    except UsageError:
        return "docker"


def _local_repository(folder: Path) -> RepositoryConfig:
    """Describe a folder of build results as the repository that wins over all others."""
    if not (folder / "repository.yaml").is_file():
        hint = "`make create-repo` or `cos create-repo` writes it"
        raise InputError(f"--local {folder}: holds no repository", hint=hint)
    return RepositoryConfig(
        name="local", type="disk", urls=(str(folder.resolve()),), enable=True, priority=-1
    )
