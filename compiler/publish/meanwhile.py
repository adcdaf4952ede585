"""What others did to a repository while it was published here.

Whoever may push can leave tags that look like claims. One that holds no repository must not keep
others from publishing, so it is said and passed over.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import CompilerError, DeniedError, Interrupted, RegistryError
from compiler.events import Noted, Reporter
from compiler.oci import Descriptor, Digest, Reference
from compiler.publish.gc import attached_to
from compiler.publish.state import State, Window, claims_of, read_state, tagged
from compiler.registry import Registry
from compiler.repository import index as texts
from compiler.repository.disk import Repository
from compiler.repository.oci import tag_of, tags_of
from compiler.signing.images import pinned
from compiler.spec.package import PackageId


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Where the claims of others are read: `folder` makes an empty folder for each.

    `accepts` tells of an image whether what it holds may become part of what is published.
    """

    registry: Registry
    target: Reference
    folder: Callable[[], Path]
    accepts: Callable[[Reference], bool]
    report: Reporter

    def states(self, tags: Iterable[str], window: Window, known: Set[str]) -> Iterator[State]:
        """Give what others claim by `tags`, but for the publications that are `known`.

        What does not count is not even read, since anybody may have made it. Nor does an index
        count that says nothing of the claim: anybody may give an older one, which an owner signed,
        the tag of a new claim. Raises `RegistryError` for a registry that does not answer.
        """
        for claim in claims_of(tags, window):
            if claim not in known:
                yield from self._state(tagged(self.target, claim))

    def _state(self, claim: Reference) -> Iterator[State]:
        """Read a claim; gives nothing for one that is gone, that does not count or is damaged."""
        named = self.registry.head(claim)
        if named is None or not self.accepts(pinned(claim, named.digest)):
            return
        try:
            state = read_state(self.registry, pinned(claim, named.digest), self.folder())
        except (Interrupted, DeniedError):
            raise
        except CompilerError as error:
            if self.registry.head(claim) is not None:  # it answers: so it is not the network
                self.report(Noted(f"{claim.tag}: is passed over: {error}", warning=True))
            return
        if state is None:
            return
        if claim.tag in state.publications:
            yield state
        else:
            message = f"{claim.tag}: is passed over: it names the index of another publication"
            self.report(Noted(message, warning=True))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a publication knows of a repository.

    `before` are the tags that were there at the beginning, `pushed` what was brought up, `said`
    the tags of signatures and attestations of it.
    """

    before: Set[str]
    pushed: Mapping[str, Descriptor]
    said: Set[str]


@dataclass(frozen=True, slots=True)
class Presence:
    """Tells whether what is listed is there once the index is named.

    Garbage collection that began before may have removed what only older snapshots listed until
    then. It removes an image after all that is about it and in it, so an image that is there is
    whole, unless it got its tag only after its signature was found to be of nothing and removed.
    """

    registry: Registry
    target: Reference
    seen: Seen
    report: Reporter

    def lost(self, made: Repository, here: Collection[str], tags: Set[str]) -> frozenset[PackageId]:
        """Name the packages that are gone and lie here: `here` are the names of metadata files.

        `tags` are those that were there once the index was named.
        Raises `RegistryError` if others, or files of the index, were removed meanwhile; warns of
        what had been gone before.
        """
        for file in texts.content_named(made.info).repo_files.values():
            if tag_of(file.filename) not in tags:
                raise self._removed(tag_of(file.filename))
        artifacts = made.index.artifacts
        unsaid = {attached_to(tag) for tag in self.seen.said - tags}
        gone = [each for each in artifacts if not self._is_there(each.id, tags, unsaid)]
        for artifact in gone:
            if artifact.file_name not in here:
                if self.seen.before & {*tags_of(artifact.id)}:
                    raise self._removed(tags_of(artifact.id)[0])
                said = f"{artifact.id} is listed, and its images are gone"
                self.report(Noted(f"{self.target}: {said}", warning=True))
        return frozenset(each.id for each in gone if each.file_name in here)

    def _is_there(
        self, package: PackageId, tags: Set[str], unsaid: Collection[Digest | None]
    ) -> bool:
        """Tell whether both images of a package are there, and what was said of them.

        Asks for those that were pushed; `unsaid` are images whose signatures are gone.
        """
        known = self.seen.pushed
        pushed = [known[tag] for tag in tags_of(package) if tag in known]
        return tags >= {*tags_of(package)} and all(
            each.digest not in unsaid
            and self.registry.head(pinned(self.target, each.digest)) is not None
            for each in pushed
        )

    def _removed(self, tag: str) -> RegistryError:
        """Say that something was removed that is listed now."""
        hint = "publish it again from where it was built; is `cos registry gc` running?"
        return RegistryError(f"{tagged(self.target, tag)}: was removed meanwhile", hint=hint)
