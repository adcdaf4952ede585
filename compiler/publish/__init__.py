"""Publishes repositories to registries: what goes up, in which order, and with whom.

Contents go up before what names them, the name that clients ask for at the very end. The files of
a publication have names made of their content, so a client that holds an older index still
finds all that it names.

Registries cannot compare and swap, so publishers agree like this: each leaves a *claim*, a tag of
its own for its index, before it moves `repository.yaml`, and looks for claims of others afterwards.
Whoever moves the name last sees all other claims, and publishes again with those packages that are
not in its index yet.

Where the repository has signed metadata (`trusted`), a publication begins with the index that is
signed, not with what the registry's names lead to; of what others claim only that counts which
was signed with a key of the repository.
"""

import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import RegistryError
from compiler.events import Reporter, silent
from compiler.oci import Descriptor, Digest, Platform, Reference
from compiler.publish.check import Checked, find_broken
from compiler.publish.current import Front
from compiler.publish.endorse import Endorsement, Trust, endorse_front, endorse_packages
from compiler.publish.front import (
    Claim,
    claim_at,
    push_claim,
    push_files,
    push_snapshot,
    recent_claims,
)
from compiler.publish.meanwhile import Claims, Presence, Seen
from compiler.publish.packages import Packed, PushedPackage, name_packages, upload_packages
from compiler.publish.platforms import OtherPlatforms
from compiler.publish.push import Pusher, Traffic
from compiler.publish.resign import Asked, sign_anew
from compiler.publish.state import Pushed, State, claims_of
from compiler.publish.takeover import Own, Takes, takes
from compiler.publish.union import ids_of, is_changed, is_part, listed_in, union
from compiler.registry import Registry
from compiler.repository import index as texts
from compiler.repository.content import Verified, load_cache, metadata_files, save_cache
from compiler.repository.disk import Composition, Repository, RepositoryOptions, compose
from compiler.repository.oci import tag_of, tags_of
from compiler.signing.images import pinned
from compiler.signing.keys import PublicKey
from compiler.spec.package import PackageId, PackageSpec

_ROUNDS = 20
_PAUSE = 0.2  # seconds, times the number of rounds before


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOptions:
    """What a publication is told.

    `force` brings up packages again that the index lists unchanged, `repair` those whose tags do
    not name what it lists (see `check`); `prune` drops packages that are in the index but no longer
    among those published. Images of files are marked with
    `platform`, images of packages with their own where their metadata says one.
    """

    repository: RepositoryOptions
    platform: Platform
    force: bool = False
    repair: bool = False
    prune: bool = False
    dry_run: bool = False
    """Whether only to find out what would be brought up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a publication came to: the repository, which packages went up, and the traffic."""

    repository: Repository
    pushed: tuple[PackageId, ...]
    traffic: Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a publication works with: a registry, a folder for its files, clocks and a reporter."""

    registry: Registry
    folder: Path
    report: Reporter = silent
    endorsements: Sequence[Endorsement] = ()
    trust: Trust | None = None
    older: Sequence[PublicKey] = ()
    """Keys that signed before: what they signed is signed anew, if a key of now is new."""
    clock: Callable[[], int] = time.time_ns
    pause: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is published: the packages and trees as they were read, and where artifacts lie."""

    packages: Sequence[PackageSpec]
    roots: Sequence[Path]
    artifacts: Path


def publish_repository(
    source: Source, target: Reference, options: PublishOptions, around: Surroundings
) -> Published:
    """Publish those packages of `source` that have an artifact to the repository `target`.

    Packages that are there already stay, unless `options.prune`. Raises `Faults` for archives that
    are missing or damaged, `RegistryError` for what the registry refuses; the state that clients
    see is then the one before.
    """
    options.repository.check()
    return _Publication(source, target, options, around).run()


@dataclass(slots=True)
class _Publication:
    """One publication, from the state that it found to the one that it left."""

    source: Source
    target: Reference
    options: PublishOptions
    around: Surroundings
    traffic: Traffic = field(default_factory=Traffic)
    pushed: set[PackageId] = field(default_factory=set)
    images: dict[str, Descriptor] = field(default_factory=dict)
    """What the tags of packages name that went up."""
    own: dict[str, Mapping[str, Digest]] = field(default_factory=dict)
    """What of that was pushed here, by tag and platform."""
    taken: Mapping[str, Descriptor] = field(default_factory=dict)
    """What was taken over from others when the index was made last."""
    moved: Mapping[PackageId, bool] = field(default_factory=dict)
    """Of which packages pushed here others signed something else since; whether it is in there."""
    said: frozenset[str] = frozenset()
    """The tags of signatures and attestations that were made of packages."""
    current: State | None = None
    """The state that was there when that was last looked at, and the same if it was signed."""
    signed: State | None = None
    before: State | None = None
    """The state whose images a new key has still to sign."""
    broken: frozenset[PackageId] = frozenset()
    """The packages whose tags did not name what is listed, or were removed meanwhile."""
    there: frozenset[str] = frozenset()
    """The tags that were there at the beginning."""
    earlier: frozenset[str] = frozenset()
    """The claims that count as part of what is published, though nothing of them is in it."""
    revision: int = 0
    """What the next revision is higher than, whatever states there are."""

    def run(self) -> Published:
        """Publish, and again for as long as other publishers have added something meanwhile."""
        if self.around.trust is not None:
            self.around.trust.check()
        verified = load_cache(self.source.artifacts)
        self.there = frozenset(self.around.registry.tags(self.target))
        current = self._current()
        if current is None and self.options.prune:  # a new beginning: nothing of before comes back
            self.revision = self._front().last_revision()
            self.earlier = frozenset(claims_of(self.there, recent_claims(self.around.clock)))
        pruned = ids_of([current]) if self.options.prune else frozenset()
        states = [] if current is None else [current]
        if self.options.repair and current is not None:
            self.broken = self._find_broken(current)
        if self.options.dry_run:
            made = self._compose(states, pruned, verified, self._folder())
            pushed = tuple(artifact.id for artifact in self._changed(made, states))
            return Published(repository=made, pushed=pushed, traffic=self.traffic)
        self.before = current
        for round_ in range(1, _ROUNDS):
            made, publications = self._publish(states, pruned, verified)
            tags = frozenset(self.around.registry.tags(self.target))
            others = self._unseen(made, publications, tags)
            lost = self._lost(made, tags)
            self.broken, self.pushed = self.broken | lost, self.pushed - lost
            if not others and not lost and self._is_settled():
                self._takeover.name({**self.images, **self.taken})
                save_cache(self.source.artifacts, verified)
                pushed = tuple(sorted(self.pushed))
                return Published(repository=made, pushed=pushed, traffic=self.traffic)
            self.around.pause(random.uniform(0, _PAUSE * round_))  # noqa: S311  (not a secret)
            current = self._current()
            states = others if current is None else [*others, current]
        raise RegistryError(
            f"{self.target}: others kept publishing meanwhile", hint="run the same command again"
        )

    def _sign_anew(self, current: State, made: Repository) -> None:
        """Have listed images signed with keys that are new here, or by tag if that was not done."""
        around, trust = self.around, self.around.trust
        index = pinned(self.target, current.index.digest)
        packages = ids_of([current]) - self.pushed
        signed = trust.signed if trust else dict
        asked = Asked(around.registry, around.older, signed, around.report)
        for each in around.endorsements:
            listed = packages & listed_in(made.index).keys() if each.by_tag else packages
            sign_anew(each, index, listed, asked)

    def _find_broken(self, current: State) -> frozenset[PackageId]:
        """Find the packages whose tags do not name what is listed; says what is wrong."""
        around = self.around
        checked = Checked(
            registry=around.registry,
            target=self.target,
            folder=around.folder,
            signed=around.trust.signed() if around.trust else None,
        )
        here = metadata_files(self.source.artifacts).keys()
        return find_broken(current.repository.index, checked, here, around.report)

    def _current(self) -> State | None:
        """Read what the repository holds: what was signed last, or what its index says."""
        self.current, is_signed = self._front().current()
        self.signed = self.current if is_signed else None
        return self.current

    def _front(self) -> Front:
        around = self.around
        return Front(
            registry=around.registry,
            target=self.target,
            trust=around.trust,
            folder=self._folder,
            prunes=self.options.prune,
        )

    def _is_settled(self) -> bool:
        """Tell whether no other publisher has put something else in place of what was signed."""
        trust = self.around.trust
        return trust is None or (all(self.moved.values()) and trust.is_settled())

    def _folder(self) -> Path:
        """Make an empty folder for what is fetched or made."""
        folder = self.around.folder / uuid4().hex
        folder.mkdir()
        return folder

    def _publish(
        self, states: Sequence[State], pruned: frozenset[PackageId], verified: Verified
    ) -> tuple[Repository, frozenset[str]]:
        """Bring one state up; returns it, and the publications that are part of it."""
        folder = self._folder()
        made = self._compose(states, pruned, verified, folder)
        self._push_packages(self._changed(made, states), folder)
        if self.before is not None:
            self._sign_anew(self.before, made)
            self.before = None
        return made, self._push_names(made, states, folder)

    def _compose(
        self,
        states: Sequence[State],
        pruned: frozenset[PackageId],
        verified: Verified,
        folder: Path,
    ) -> Repository:
        """Put the next state together, in `folder`."""
        options = self.options.repository
        last = max([self.revision, *(each.repository.info.revision for each in states)])
        trees = () if self.options.prune else (tree for each in states for tree in each.trees)
        return compose(
            self.source.packages,
            [*trees, *self.source.roots],
            artifacts=self.source.artifacts,
            folder=folder,
            plan=Composition(
                options,
                1 if options.reset_revision else last + 1,
                verified,
                kept=union([each.repository for each in states], without=pruned),
            ),
        )

    def _changed(self, made: Repository, states: Sequence[State]) -> list[ArtifactMetadata]:
        """Find the packages that are new or changed."""
        files = metadata_files(self.source.artifacts)
        listed = [listed_in(each.repository.index) for each in states]
        again = self.options.force and not self.pushed
        return [
            artifact
            for artifact in made.index.artifacts
            if artifact.file_name in files
            and (
                again
                or (artifact.id in self.broken and artifact.id not in self.pushed)
                or is_changed(artifact, listed, is_new=artifact.id not in self.pushed)
            )
        ]

    def _push_packages(self, packages: Sequence[ArtifactMetadata], folder: Path) -> None:
        """Bring up the images of packages and of their metadata, signed before they are named."""
        files = metadata_files(self.source.artifacts)
        pusher = self._pusher()
        uploaded = upload_packages(
            [Packed(artifact, files[artifact.file_name]) for artifact in packages],
            pusher,
            self.options.platform,
            folder=folder,
            report=self.around.report,
        )
        for each in name_packages(uploaded, pusher, self._vouch):
            self.images |= each.images
            self.own |= each.pushed
        self.pushed.update(artifact.id for artifact in packages)

    def _vouch(self, packages: Sequence[PushedPackage]) -> None:
        """Have said of packages what is to be said, and keep in mind where."""
        self.said |= endorse_packages(self.around.endorsements, self.target, packages)

    def _push_names(
        self, made: Repository, states: Sequence[State], folder: Path
    ) -> frozenset[str]:
        """Bring up the repository's files and its index; returns the publications in it."""
        pusher, options = self._pusher(), self.options.repository
        window = recent_claims(self.around.clock)
        taken = self._take(made, states)
        info = push_files(pusher, made.info, options, folder)
        name = claim_at(self.around.clock(), secrets.token_hex(8))
        earlier = self.earlier.union(*(each.publications for each in states))
        publications = frozenset({name, *claims_of(earlier, window)})
        push_snapshot(pusher, info, options, folder)
        front = dict(pusher.named)
        claim = Claim(name, publications, {**self.own, **taken})
        index = push_claim(pusher, info, claim, folder)
        files = {tag_of(each.filename) for each in info.repo_files.values()}
        named = {tag: image for tag, image in front.items() if tag in files}
        dropped = ids_of(states) - listed_in(made.index).keys()
        endorse_front(self.around.endorsements, self.target, (index.descriptor, named), dropped)
        self._sign({**front, texts.REPOSITORY: index.descriptor}, made)
        pusher.name(index, texts.REPOSITORY)
        return publications

    def _take(self, made: Repository, states: Sequence[State]) -> Pushed:
        """Take over what others have published; returns what images that is."""
        claims = [each for each in states if each is not self.current]
        taken = self._takeover.take(made.index, claims, self._owned())
        self.images |= {tag: taken.images[tag] for tag in taken.images.keys() & self.images.keys()}
        self.taken = taken.images
        return taken.pushed

    def _owned(self) -> Own:
        """Say what was pushed here."""
        return Own(pushed=self.own, packages=self.pushed, moved=self.moved)

    @property
    def _takeover(self) -> Takes:
        around = self.around
        return takes(around.registry, self.target, around.trust, self.signed, around.endorsements)

    def _sign(self, front: Mapping[str, Descriptor], made: Repository) -> None:
        """Sign the index, what was pushed or taken over, and no longer what is not listed."""
        trust = self.around.trust
        if trust is None:
            return
        before = ids_of([self.signed])
        gone = {tag: None for id_ in before - listed_in(made.index).keys() for tag in tags_of(id_)}
        trust.write(front, {**self.images, **self.taken, **gone})

    def _unseen(self, made: Repository, publications: Set[str], tags: Set[str]) -> list[State]:
        """Find what others have published that is not part of `made`."""
        claims = Claims(
            registry=self.around.registry,
            target=self.target,
            folder=self._folder,
            accepts=self._front().accepts,
            report=self.around.report,
        )
        listed = listed_in(made.index)
        states = claims.states(tags, recent_claims(self.around.clock), publications)
        takeover, own = self._takeover, self._owned()
        self.moved = takeover.moved(own, self.images)
        return [
            each for each in states if not (is_part(each, listed) and takeover.holds(each, own))
        ]

    def _lost(self, made: Repository, tags: Set[str]) -> frozenset[PackageId]:
        """Find what is listed and was removed meanwhile, and can be brought up again."""
        around, here = self.around, metadata_files(self.source.artifacts).keys()
        seen = Seen(self.there, self.images, self.said)
        presence = Presence(around.registry, self.target, seen, around.report)
        return presence.lost(made, here, tags)

    def _pusher(self) -> Pusher:
        around, registry = self.around, self.around.registry
        platform, epoch = self.options.platform, self.options.repository.epoch
        others = OtherPlatforms(
            registry, self.target, around.trust, around.endorsements, around.older, around.report
        )
        return Pusher(
            registry, self.target, self.traffic, platform=platform, epoch=epoch, keeps=others.kept
        )
