"""What a build shares with others through registries: base images, layers, final images."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from compiler.archive import DEFAULT_EPOCH, Clamp
from compiler.archive.safety import Devices
from compiler.archive.unpack import unpack_tar
from compiler.artifact.metadata import SUFFIX, read_metadata
from compiler.cli.call import SharingOptions
from compiler.cli.key import public_keys, signing_key
from compiler.cli.registries import meaning, open_registry, repository_named, scratch_folder
from compiler.cli.settings import Settings
from compiler.errors import CompilerError, NotFoundError, TrustError
from compiler.events import Noted, Reporter
from compiler.lock import Lock
from compiler.marks import marked_source
from compiler.oci import INDEXES, UNVERIFIED, Image, Reference, platforms_of
from compiler.packed import document_files, files_of
from compiler.plan import Action
from compiler.publish.packages import Packed, name_packages, upload_packages
from compiler.publish.push import Pusher, Traffic
from compiler.registry.client import RegistryClient
from compiler.repository.oci import tag_of
from compiler.request import Planned, Request
from compiler.signing.files import sign_bytes, verify_bytes
from compiler.signing.keys import PublicKey
from compiler.spec.package import PackageId
from compiler.store.images import ImageConfig, host_platform
from compiler.store.local import LocalStore
from compiler.store.pull import ImagePuller
from compiler.store.remote import Check, Places, RemoteCache, Sealing
from compiler.store.remote_records import ARTIFACT, NODE

_WITHHELD = (
    "not signed and not pushed, since it came from others, or is made of what did, and no "
    "signature was checked"
)
_BUILD_ANEW = "with --verify-key KEY.pub it is fetched as that key signed it, or built anew"


class RegistrySharing:
    """Everything that one build does with registries."""

    def __init__(
        self,
        options: SharingOptions,
        settings: Settings,
        store: LocalStore,
        *,
        report: Reporter,
        lock: Lock,
    ) -> None:
        self._options = options
        self._settings = settings
        self._store = store
        self._report = report
        self._lock = lock

    @cached_property
    def registry(self) -> RegistryClient:
        """The client; made when it is first used."""
        return open_registry(self._settings, report=self._report)

    @cached_property
    def puller(self) -> ImagePuller:
        """Looks base images up, and brings them."""
        puller = ImagePuller(
            self.registry,
            self._store,
            host_platform(),
            pins=self._lock.pins,
            report=self._report,
        )
        if self.cache is not None:
            puller.known = self.cache.image
        return puller

    @cached_property
    def cache(self) -> RemoteCache | None:
        """The layers and archives that others share; None if none are pulled or pushed."""
        options = self._options
        if not (options.pull or options.push):
            return None
        named = [options.image_repository, *options.pull_repositories]
        places = [repository_named(text, "--image-repository") for text in named if text]
        return RemoteCache(
            self.registry,
            self._store,
            Places(
                sources=places if options.pull else (),
                target=places[0] if options.push else None,
            ),
            sealing=self._sealing(),
            report=self._report,
        )

    def check_targets(self) -> None:
        """Raise `RegistryError` if no registry answers where something is to be pushed to."""
        options = self._options
        named = [options.image_repository] if options.push else []
        if options.push_final_images:
            named.append(options.final_repository or options.image_repository)
        for text in dict.fromkeys(named):
            target = repository_named(text, "--image-repository")
            with meaning(text, target):
                self.registry.check_there(target)

    def lookup(self, name: str) -> Image | None:
        """Find a base image that the store does not have."""
        return self.puller.lookup(name)

    def look_again(self) -> None:
        """Ask anew for what was not there."""
        if self.cache is not None:
            self.cache.forget()

    def refusals(self) -> Mapping[str, CompilerError]:
        """Say which images no registry gave, and why."""
        return self.puller.refusals if "puller" in self.__dict__ else {}

    def bring_images(self, planned: Planned) -> None:
        """Bring the layers of those base images here that something is built or packed on."""
        for name in sorted(_image_names(planned)):
            image = planned.images.get(name)
            if image is not None and image.source:
                self.puller.ensure(name, image)

    def push_rest(self, planned: Planned, request: Request) -> None:
        """Push what the plan reused and the repository does not have yet, and the base images."""
        if self.cache is None or not self._options.push:
            return
        layers = self._push_layers(self.cache, planned)
        archives = self._push_archives(self.cache, planned, request)
        pushed = self.cache.pushed
        new = len(layers & pushed), len(archives & pushed)
        there = len(layers - pushed), len(archives - pushed)
        self._report(Noted(_pushed(self._options, new, there)))
        for image in planned.images.values():
            self.cache.push_image(image)
        self._tell_withheld(self.cache.withheld, planned, is_all=not (layers or archives))

    def _tell_withheld(self, keys: Set[str], planned: Planned, *, is_all: bool) -> None:
        """Name all that was not signed and not pushed; raises `TrustError` if nothing was."""
        names = {
            str(each.id.package)
            for each in planned.nodes
            if not keys.isdisjoint((each.keys.layer, each.keys.artifact))
        }
        if names:
            message = f"{', '.join(sorted(names))}: {_WITHHELD}"
            if is_all:
                raise TrustError(f"nothing was pushed: {message}", hint=_BUILD_ANEW)
            self._report(Noted(f"{message} ({_BUILD_ANEW})", warning=True))

    def _push_layers(self, cache: RemoteCache, planned: Planned) -> set[str]:
        """Push what layers the repository lacks; returns the keys of all that it then has."""
        present = self._store.present(each.keys.layer for each in planned.nodes)
        lacking = sorted(cache.lacking(present, NODE))
        for key in lacking:
            record = self._store.node(key)
            if record is not None:
                cache.push_node(record)
        return set(present - set(lacking)) | cache.pushed.intersection(lacking)

    def _push_archives(self, cache: RemoteCache, planned: Planned, request: Request) -> set[str]:
        """Push what archives the repository lacks and are here; returns the keys as above."""
        archives = {each.keys.artifact: each for each in planned.nodes if not each.id.variant}
        documents = {
            own: {name for name, _ in document_files(each.node.spec, each.keys)}
            for own, each in archives.items()
            if request.form.documents
        }
        missing = cache.lacking(archives, ARTIFACT, documents)
        for own in missing:
            spec, keys = archives[own].node.spec, archives[own].keys
            names = dict(files_of(spec, keys, request.form))
            if all((request.destination / name).exists() for name in names):
                cache.push_artifact(own, names, request.destination)
        return (archives.keys() - set(missing)) | cache.pushed.intersection(missing)

    def final_images(self, planned: Planned, destination: Path) -> None:
        """Make the final images of the targets: in the store, or pushed, or both."""
        options = self._options
        packed = [_packed(destination, target) for target in planned.targets]
        place = repository_named(
            options.final_repository or options.image_repository, "--push-final-images-repository"
        )
        if options.final_images:
            for each in packed:
                self._keep(each, place, marked_source(destination, each.metadata.id.fingerprint))
        if options.push_final_images:
            self._push_final(packed, place)

    def _push_final(self, packed: Iterable[Packed], place: Reference) -> None:
        """Push the final images that the repository does not have, or all of them if asked to."""
        wanted = [each for each in packed if self._options.force_final_images
                  or not self._has_final(each, place)]  # fmt: skip
        epoch = self._settings.source_date_epoch
        platform = host_platform()
        pusher = Pusher(
            self.registry,
            place,
            Traffic(),
            platform=platform,
            epoch=DEFAULT_EPOCH if epoch is None else epoch,
        )
        with scratch_folder() as folder:
            report = self._report
            name_packages(
                upload_packages(wanted, pusher, platform, folder=folder, report=report), pusher
            )

    def _has_final(self, packed: Packed, place: Reference) -> bool:
        """Tell whether the repository has a final image for the platform of a package.

        What has its name and is no index is not ours: only --push-final-images-force replaces it.
        """
        try:
            found = self.registry.manifest(_tagged(place, packed))
        except NotFoundError:
            return False
        if found.descriptor.media_type not in INDEXES:
            return True
        platform = packed.metadata.platform or host_platform()
        return platform in platforms_of(found.data, str(_tagged(place, packed)))

    def _keep(self, packed: Packed, place: Reference, source: str) -> None:
        """Keep a final image in the store, with the place from which it came unverified."""
        name = str(_tagged(place, packed))
        with self._store.scratch() as scratch:
            root = scratch / "root"
            root.mkdir()
            unpack_tar(packed.archive, root, devices=Devices.allowed())
            layer = self._store.add_layer(root, Clamp(epoch=0, after=2**62))
        labels = ((UNVERIFIED, source),) if source else ()
        self._store.put_image(name, [layer], ImageConfig(platform=host_platform(), labels=labels))
        self._report(Noted(f"{name} is in the store"))

    def _sealing(self) -> Sealing:
        """Return what signs records and checks their signatures, as far as keys are given.

        Who signs takes nothing that neither that key nor one of those to verify by has signed: it
        would be signed as if it had been built here. What they signed need not be pushed again.
        """
        trusted = public_keys(self._options.verify_key)
        if not self._options.sign_key:
            return Sealing(check=_checking(trusted) if trusted else None)
        key = signing_key(self._options.sign_key)
        check = _checking((key.public, *trusted))
        return Sealing(seal=lambda data: sign_bytes(data, key), check=check, ours=check)


def _checking(keys: Sequence[PublicKey]) -> Check:
    """Return what checks that one of these keys has signed a record."""

    def check(data: bytes, signature: str) -> None:
        verify_bytes(data, signature, keys)

    return check


def _pushed(options: SharingOptions, new: tuple[int, int], there: tuple[int, int]) -> str:
    """Say what was pushed, and what was there: layers and archives of packages."""
    where = options.image_repository
    told = f"{where}: pushed the layers of {new[0]} packages and the archives of {new[1]}"
    return f"{told}; those of {there[0]} and {there[1]} were there"


def _image_names(planned: Planned) -> set[str]:
    """Name the base images that something is built or packed on."""
    found: set[str] = set()
    for each in planned.nodes:
        if each.action is Action.BUILD or each.packs:
            found.add(planned.graph.base_image(each.id))
            found.update(edge.source.image for edge in each.node.copies)
            found.update(planned.further.get(each.id.package, ()))
    return found - {""}


def _packed(destination: Path, package: PackageId) -> Packed:
    """Find the artifact of a package."""
    file = destination / (package.fingerprint + SUFFIX)
    return Packed(read_metadata(file), file)


def _tagged(place: Reference, packed: Packed) -> Reference:
    """Name the final image of a package."""
    return replace(place, tag=tag_of(packed.metadata.id.fingerprint))
