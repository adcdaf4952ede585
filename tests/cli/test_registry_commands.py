"""`cos registry`, with a real registry."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compiler.cli.registry import app
from compiler.cli.settings import Settings
from compiler.errors import UsageError
from compiler.oci import INDEX, Descriptor, Reference
from compiler.registry import Registry
from compiler.registry.manifests import referrers_tag
from compiler.repository.trust import target_of_image
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.places import RegistryPlace
from compiler.repository.trust.publisher import Contents, start
from compiler.repository.trust.root import first_root, make_policy, sign_root
from compiler.signing.keys import generate
from tests.publish.shop import AMD64, NOW, Shop
from tests.registry.shelf import client_for, index_of, tagged
from tests.servers.registry import RegistryServer

pytestmark = pytest.mark.registry


@pytest.fixture
def client(registry_server: RegistryServer, tmp_path: Path) -> Iterator[Registry]:
    with client_for(registry_server, tmp_path) as made:
        yield made


@pytest.fixture
def target(registry_server: RegistryServer) -> Reference:
    return registry_server.repository()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.build("a")
    return made


def run(*words: str, settings: Settings | None = None) -> str:
    """Run `cos registry`; returns what it prints."""
    done = CliRunner().invoke(app, list(words), obj=settings or Settings())
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_garbage_is_collected_by_what_the_registry_has_and_not_by_a_mirror_that_lags_behind(
    client: Registry, target: Reference, shop: Shop
) -> None:
    lagging = replace(target, repository=f"mirror/{target.repository}")
    for place in (target, lagging):
        shop.publish(client, target=place)
    shop.build("a", "two", version="2")
    options = replace(shop.options(now=NOW + 60), prune=True)
    shop.publish(client, options, names=["a-2"], target=target)
    settings = Settings(mirrors=(f"{target.registry}={target.registry}/mirror",))

    run("gc", str(target), "--keep", "1", settings=settings)

    tags = client.tags(target)
    assert "a-t-2" in tags
    assert "a-t-1" not in tags
    assert run("check", str(target), settings=settings).endswith("are as they are listed\n")


def test_a_forged_list_of_referrers_makes_nothing_go_that_is_listed(
    client: Registry, target: Reference, shop: Shop
) -> None:
    shop.publish(client, target=target)
    shop.publish(client, shop.options(now=NOW + 60), target=target)
    live = [described(client, target, tag) for tag in ("a-t-1", "repository.yaml")]
    old = next(tag for tag in client.tags(target) if tag.endswith("-repository.yaml"))
    name = referrers_tag(described(client, target, old).digest)
    client.put_manifest(tagged(target, name), index_of(*live), INDEX)

    said = run("gc", str(target), "--keep", "1", "--dry-run")
    run("gc", str(target), "--keep", "1")

    assert f"keep    {live[0].digest}  (is kept, whatever the list of referrers of sha256:" in said
    assert [described(client, target, tag) for tag in ("a-t-1", "repository.yaml")] == live
    assert old not in client.tags(target)


def test_nothing_is_removed_by_signed_metadata_that_nobody_vouches_for(
    client: Registry, target: Reference, shop: Shop, tmp_path: Path
) -> None:
    online, root_key = generate(), generate()
    signing = Signing((online,), datetime.now(UTC))
    root = sign_root(
        first_root(make_policy([root_key.public], [online.public]), signing.now), [root_key]
    )
    shop.publish(client, target=target)
    shop.publish(client, shop.options(now=NOW + 60), target=target)
    index = target_of_image(described(client, target, "repository.yaml"))
    files = start(root, Contents(index={"repository.yaml": index}), signing)
    RegistryPlace(client, target, AMD64, tmp_path).write(files)
    before = set(client.tags(target))
    (tmp_path / "root.json").write_bytes(root)

    explained = run("gc", str(target), "--keep", "0", "--dry-run")
    with pytest.raises(UsageError) as refused:
        run("gc", str(target), "--keep", "0")

    assert "nothing is removed without its root" in str(refused.value)
    assert "-repository.yaml  (a snapshot older than those that are kept)" in explained
    assert "nothing is removed without its root" in explained
    assert set(client.tags(target)) == before
    run("gc", str(target), "--keep", "0", "--root", str(tmp_path / "root.json"))
    assert set(client.tags(target)) < before


def described(client: Registry, target: Reference, tag: str) -> Descriptor:
    """Ask what a tag names."""
    found = client.head(tagged(target, tag))
    assert found is not None
    return found
