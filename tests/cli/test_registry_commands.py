"""`cos registry`, with a real registry."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compiler.cli.registry import app
from compiler.cli.settings import Settings
from compiler.oci import INDEX, Descriptor, Reference
from compiler.registry import Registry
from compiler.registry.manifests import referrers_tag
from tests.publish.shop import NOW, Shop
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


def described(client: Registry, target: Reference, tag: str) -> Descriptor:
    """Ask what a tag names."""
    found = client.head(tagged(target, tag))
    assert found is not None
    return found
