"""Garbage collection of repositories in registries: what goes, and what must never go."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.errors import RegistryError
from compiler.oci import (
    CONFIG,
    INDEX,
    MANIFEST,
    Descriptor,
    Digest,
    Reference,
    canonical_json,
    descriptor_json,
    digest_of,
    hex_of,
)
from compiler.publish.front import claim_at, recent_claims
from compiler.publish.gc import Line, decide
from compiler.publish.removal import remove, with_referrers
from compiler.publish.state import CLAIM, Window, tagged
from compiler.publish.survey import survey
from compiler.registry import Registry
from compiler.registry.memory import MemoryRegistry
from tests.publish.shop import NOW, TARGET, Shop

FAR = Window(since=claim_at(2**63), until=claim_at(2**63))
"""Later than any claim: all of them are old."""
ALWAYS = Window(since=claim_at(0), until=claim_at(2**63))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.build("a")
    return made


@pytest.fixture
def registry(shop: Shop) -> MemoryRegistry:
    """A registry to which version 1 of a package was published, and then version 2 instead."""
    registry = MemoryRegistry()
    shop.publish(registry)
    shop.build("a", "two", version="2")
    options = replace(shop.options(now=NOW + 60), prune=True)
    shop.publish(registry, options, names=["a-2"])
    return registry


def attach(registry: MemoryRegistry, subject: str, suffix: str = ".sig") -> str:
    """Put something under the tag that cosign uses for what is about an image."""
    config = b"{}"
    described = Descriptor(CONFIG, digest_of(config), len(config))
    registry.put_blob(TARGET, config, described)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor_json(described),
                "layers": [], "annotations": {"about": subject}}  # fmt: skip
    tag = f"sha256-{subject.removeprefix('sha256:')}{suffix}"
    registry.put_manifest(tagged(TARGET, tag), canonical_json(manifest), MANIFEST)
    return tag


def digest(registry: MemoryRegistry, tag: str) -> Digest:
    found = registry.head(tagged(TARGET, tag))
    assert found is not None
    return found.digest


def refer(registry: Registry, subject: Digest, target: Reference = TARGET) -> Digest:
    """Store something about an image that has no tag itself."""
    place = replace(target, digest=subject)
    config = Descriptor(CONFIG, digest_of(b"{}"), 2)
    registry.put_blob(target, b"{}", config)
    about = descriptor_json(registry.manifest(place).descriptor)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor_json(config),
                "layers": [], "subject": about}  # fmt: skip
    return registry.put_referrer(place, canonical_json(manifest), MANIFEST).digest


def collected(
    registry: MemoryRegistry, folder: Path, *, keep: int, window: Window = FAR
) -> dict[str, Line]:
    return {line.tag: line for line in collected_lines(registry, folder, keep=keep, window=window)}


def collected_lines(
    registry: MemoryRegistry, folder: Path, *, keep: int = 1, window: Window = FAR
) -> Sequence[Line]:
    folder.mkdir()
    holdings = survey(registry, TARGET, folder, window)
    decided = decide(holdings, keep=keep, window=window)
    lines = with_referrers(registry, TARGET, holdings, decided)
    remove(registry, TARGET, holdings, lines)
    return lines


def packages(registry: MemoryRegistry) -> list[str]:
    return [tag for tag in registry.tags(TARGET) if tag.startswith("a-t-")]


def test_packages_that_only_old_snapshots_list_go_with_them(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    lines = collected(registry, tmp_path / "gc", keep=1)

    assert packages(registry) == ["a-t-2", "a-t-2.metadata.yaml"]
    assert lines["a-t-1"].reason == "only snapshots that go list it"
    assert lines["20261122232209-repository.yaml"].reason == (
        "a snapshot older than those that are kept"
    )
    assert not [tag for tag in registry.tags(TARGET) if tag.startswith("20261122232209")]


def test_packages_that_a_kept_snapshot_lists_stay(registry: MemoryRegistry, tmp_path: Path) -> None:
    lines = collected(registry, tmp_path / "gc", keep=2)

    assert len(packages(registry)) == 4
    assert lines["a-t-1"].reason == "the index or a snapshot kept names it"


def test_without_snapshots_the_current_index_still_has_all_that_it_lists(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    collected(registry, tmp_path / "gc", keep=0)

    assert packages(registry) == ["a-t-2", "a-t-2.metadata.yaml"]
    again = shop.publish(registry, shop.options(now=NOW + 120), names=["a-2"])
    assert again.pushed == ()


def test_a_package_that_no_index_ever_listed_may_be_on_its_way(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    data = registry.manifest(tagged(TARGET, "a-t-2")).data
    changed = data.replace(b'"schemaVersion":2', b'"schemaVersion":2,"x":"y"')
    registry.put_manifest(tagged(TARGET, "new-t-1"), changed, MANIFEST)

    lines = collected(registry, tmp_path / "gc", keep=1)

    assert not lines["new-t-1"].removed
    assert registry.head(tagged(TARGET, "new-t-1")) is not None


def test_signatures_live_as_long_as_what_they_are_about(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    old = attach(registry, digest(registry, "a-t-1"))
    new = attach(registry, digest(registry, "a-t-2"))
    attested = attach(registry, digest(registry, "a-t-2"), ".att")

    collected(registry, tmp_path / "gc", keep=1)

    left = [tag for tag in registry.tags(TARGET) if tag.startswith("sha256-")]
    assert sorted(left) == sorted([new, attested])
    assert old not in left


def test_a_signature_of_an_image_for_one_platform_stays_with_its_index(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    folder = tmp_path / "look"
    folder.mkdir()
    holdings = survey(registry, TARGET, folder, FAR)
    (part,) = holdings.parts[holdings.tags["a-t-2"]]
    tag = attach(registry, part)

    collected(registry, tmp_path / "gc", keep=1)

    assert registry.head(tagged(TARGET, tag)) is not None
    assert registry.head(replace(TARGET, digest=part)) is not None


def test_referrers_go_with_their_subject(registry: MemoryRegistry, tmp_path: Path) -> None:
    referrer = refer(registry, digest(registry, "a-t-1"))

    collected(registry, tmp_path / "gc", keep=1)

    assert registry.head(replace(TARGET, digest=referrer)) is None


class Listing(MemoryRegistry):
    """A registry whose lists of referrers anybody can write, as where there is no API for them."""

    def __init__(self) -> None:
        super().__init__()
        self.forged: Mapping[Digest, Sequence[Descriptor]] = {}

    def referrers(self, subject: Reference, artifact_type: str = "") -> Sequence[Descriptor]:
        listed = self.forged.get(Digest(subject.digest), ())
        return (*super().referrers(subject, artifact_type), *listed)


def test_what_a_forged_list_of_referrers_names_stays(shop: Shop, tmp_path: Path) -> None:
    registry = Listing()
    shop.publish(registry)
    shop.build("a", "two", version="2")
    options = replace(shop.options(now=NOW + 60), prune=True)
    shop.publish(registry, options, names=["a-2"])
    sbom = refer(registry, digest(registry, "a-t-2"))
    own = refer(registry, digest(registry, "a-t-1"))
    about_own = refer(registry, own)
    victims = [digest(registry, "a-t-2"), digest(registry, "repository.yaml"), sbom]
    found = [registry.manifest(replace(TARGET, digest=each)).descriptor for each in victims]
    registry.forged = {digest(registry, "a-t-1"): found}

    lines = collected_lines(registry, tmp_path / "gc")

    assert all(registry.head(replace(TARGET, digest=each)) for each in victims)
    said = {line.digest: line for line in lines if not line.tag}
    assert not any(said[each].removed for each in victims)
    assert said[victims[0]].reason.startswith("is kept, whatever the list of referrers of sha256:")
    assert said[sbom].reason.startswith("is not about sha256:")
    assert [said[own].removed, said[about_own].removed] == [True, True]
    assert registry.head(replace(TARGET, digest=about_own)) is None


def test_an_index_that_goes_takes_nothing_along_that_is_about_an_image_which_stays(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    sbom = refer(registry, digest(registry, "a-t-2"))
    found = registry.manifest(replace(TARGET, digest=sbom)).descriptor
    for tag in ("a-t-1", f"sha256-{hex_of(digest(registry, 'a-t-1'))}"):
        forged = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor_json(found)],
                  "annotations": {"of": tag}}  # fmt: skip
        registry.put_manifest(tagged(TARGET, tag), canonical_json(forged), INDEX)

    collected(registry, tmp_path / "gc", keep=1)

    assert registry.head(tagged(TARGET, "a-t-1")) is None
    assert registry.head(replace(TARGET, digest=sbom)) is not None


def test_the_signature_of_a_referrer_without_a_tag_lives_as_long_as_it(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    tags = {}
    for name in ("a-t-1", "a-t-2"):
        sbom = refer(registry, digest(registry, name))
        about_it = refer(registry, sbom)
        tags[name] = [attach(registry, sbom), attach(registry, about_it)]

    lines = collected(registry, tmp_path / "gc", keep=1)

    left = [tag for tag in registry.tags(TARGET) if tag.startswith("sha256-")]
    assert sorted(left) == sorted(tags["a-t-2"])
    assert all(lines[tag].removed for tag in tags["a-t-1"])


def test_claims_of_publications_under_way_stay(registry: MemoryRegistry, tmp_path: Path) -> None:
    claims = [tag for tag in registry.tags(TARGET) if tag.startswith(CLAIM)]

    kept = collected(registry, tmp_path / "kept", keep=1, window=ALWAYS)
    assert [kept[claim].removed for claim in claims] == [False, False]

    gone = collected(registry, tmp_path / "gone", keep=1)
    assert gone[claims[0]].removed
    # the current index is the same image, so the name of its claim stays with it
    assert not gone[claims[1]].removed


def test_a_claim_of_a_time_to_come_goes(registry: MemoryRegistry, tmp_path: Path) -> None:
    now = 10**18
    window = recent_claims(lambda: now)
    ahead, soon = claim_at(now + 601 * 10**9, "0" * 16), claim_at(now + 599 * 10**9, "0" * 16)
    for number, name in enumerate((ahead, soon)):
        garbage(registry, name, number)

    lines = collected(registry, tmp_path / "gc", keep=1, window=window)

    assert lines[ahead].removed
    assert lines[ahead].reason == "the claim of a time that is to come"
    assert not lines[soon].removed
    assert registry.head(tagged(TARGET, ahead)) is None


def garbage(registry: MemoryRegistry, tag: str, number: int) -> None:
    """Let a tag name an image of its own that is no repository."""
    data = canonical_json({"schemaVersion": 2, "annotations": {"number": str(number)}})
    registry.put_manifest(tagged(TARGET, tag), data, MANIFEST)


def test_nothing_is_removed_when_somebody_published_meanwhile(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    folder = tmp_path / "gc"
    folder.mkdir()
    holdings = survey(registry, TARGET, folder, FAR)
    lines = decide(holdings, keep=0, window=FAR)
    shop.publish(registry, shop.options(now=NOW + 120), names=["a-1"])

    with pytest.raises(RegistryError, match="was published to meanwhile"):
        remove(registry, TARGET, holdings, lines)

    assert len(packages(registry)) == 4


class Racing(MemoryRegistry):
    """A registry in which something happens after some deletions."""

    def __init__(self) -> None:
        super().__init__()
        self.deleted = 0
        self.after: dict[int, Callable[[], object]] = {}

    def delete(self, reference: Reference) -> None:
        self.deleted += 1
        super().delete(reference)
        happens = self.after.pop(self.deleted, None)
        if happens is not None:
            happens()


def crowded(shop: Shop) -> Racing:
    """Make a registry with twenty packages that only an old snapshot lists."""
    registry = Racing()
    for number in range(20):
        shop.build(f"old{number:02}")
    shop.publish(registry)
    options = replace(shop.options(now=NOW + 60), prune=True)
    shop.publish(registry, options, names=["a-1"])
    return registry


def test_nothing_more_is_removed_once_somebody_publishes(shop: Shop, tmp_path: Path) -> None:
    registry = crowded(shop)
    registry.after[3] = lambda: shop.publish(
        registry, shop.options(now=NOW + 120), names=["old10-1"]
    )

    with pytest.raises(RegistryError, match="was published to meanwhile"):
        collected(registry, tmp_path / "gc", keep=1)

    assert registry.deleted == 20
    assert registry.head(tagged(TARGET, "old10-t-1")) is not None


def test_nothing_more_is_removed_once_somebody_begins_to(shop: Shop, tmp_path: Path) -> None:
    registry = crowded(shop)
    registry.after[3] = lambda: garbage(registry, claim_at(1, "0" * 16), 1)

    with pytest.raises(RegistryError, match="was published to meanwhile"):
        collected(registry, tmp_path / "gc", keep=1)

    assert registry.deleted == 20


def test_what_a_publication_under_way_lists_stays(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    index = registry.manifest(tagged(TARGET, "repository.yaml"))
    shop.build("new")
    shop.publish(registry, shop.options(now=NOW + 120), names=["new-1", "a-1"])
    registry.put_manifest(tagged(TARGET, "repository.yaml"), index.data, MANIFEST)

    lines = collected(registry, tmp_path / "gc", keep=0, window=ALWAYS)

    assert not lines["a-t-1"].removed
    assert registry.head(tagged(TARGET, "new-t-1")) is not None


def test_what_is_no_repository_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        survey(MemoryRegistry(), Reference("registry.test", "other"), tmp_path, FAR)

    assert str(caught.value) == (
        "registry.test/other: has no repository.yaml: it is no repository of packages"
        " (check its name; `cos create-repo --type docker` makes one)"
    )


def test_hex_names_of_attachments_are_those_of_digests(registry: MemoryRegistry) -> None:
    tag = attach(registry, digest(registry, "a-t-1"))

    assert hex_of(digest_of(registry.manifest(tagged(TARGET, "a-t-1")).data)) in tag


OLD, NEW = "20261122232209-repository.yaml", "20261122232309-repository.yaml"


def damage(registry: MemoryRegistry, tag: str) -> None:
    """Put an image that holds something else under the name of a snapshot."""
    found = registry.manifest(tagged(TARGET, "tree.tar.gz"))
    registry.put_manifest(tagged(TARGET, tag), found.data, found.descriptor.media_type)


def test_a_snapshot_that_cannot_be_read_is_named_and_all_that_it_may_need_stays(
    registry: MemoryRegistry, shop: Shop, tmp_path: Path
) -> None:
    shop.publish(registry, shop.options(now=NOW + 120), names=["a-2"])
    damage(registry, NEW)
    before = packages(registry)
    signature = attach(registry, digest_of(b"an image that nobody knows"))

    lines = collected(registry, tmp_path / "gc", keep=0)

    assert len(before) == 4
    assert packages(registry) == before
    assert lines[NEW].reason.startswith("cannot be read: registry.test/team/repo:")
    assert lines["a-t-1"].reason == f"may be listed by {NEW}, which cannot be read"
    assert lines[OLD].reason == f"tells what can go once {NEW} can be read"
    assert lines["20261122232409-repository.yaml"].removed
    assert not lines[signature].removed
    kept = [tag for tag in registry.tags(TARGET) if tag.startswith(NEW.partition("-")[0])]
    assert f"{NEW.partition('-')[0]}-tree.tar.gz" in kept


def test_once_it_is_gone_the_rest_goes_too(registry: MemoryRegistry, tmp_path: Path) -> None:
    registry.put_manifest(tagged(TARGET, "odd-repository.yaml"), canonical_json({}), MANIFEST)
    collected(registry, tmp_path / "one", keep=1)
    assert len(packages(registry)) == 4

    registry.delete(replace(TARGET, digest=digest_of(canonical_json({}))))
    collected(registry, tmp_path / "two", keep=1)

    assert packages(registry) == ["a-t-2", "a-t-2.metadata.yaml"]


def test_an_index_that_cannot_be_read_keeps_what_may_be_in_it(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    registry.put_manifest(tagged(TARGET, "own"), canonical_json(index), INDEX)
    signature = attach(registry, digest_of(b"an image that may be in it"))
    folder = tmp_path / "look"
    folder.mkdir()
    holdings = replace(survey(registry, TARGET, folder, FAR), broken={"own": "it is damaged"})

    lines = {line.tag: line for line in decide(holdings, keep=1, window=FAR)}

    assert not lines["a-t-1"].removed
    assert lines["own"].reason == "cannot be read: it is damaged"
    assert lines[signature].reason.endswith("which may be in own, which cannot be read")


def test_files_of_a_snapshot_whose_name_begins_like_another_stay(
    shop: Shop, tmp_path: Path
) -> None:
    registry = MemoryRegistry()
    for number, name in enumerate(("one", "one-more")):
        named = replace(shop.options().repository, now=NOW + number, snapshot_id=name)
        shop.publish(registry, replace(shop.options(), repository=named))

    collected(registry, tmp_path / "gc", keep=1)

    tags = registry.tags(TARGET)
    assert "one-more-tree.tar.gz" in tags
    assert "one-tree.tar.gz" not in tags
