"""How registries are reached: what the environment and the options make of it."""

from pathlib import Path

import pytest

from compiler.registry.settings import RegistrySettings, address_of, is_loopback, settings_from


def test_the_usual_places_are_searched_for_credentials() -> None:
    settings = settings_from({"HOME": "/home/ali", "XDG_RUNTIME_DIR": "/run/user/1"})

    assert settings.auth_files == (
        Path("/home/ali/.docker/config.json"),
        Path("/run/user/1/containers/auth.json"),
    )


def test_a_folder_of_docker_replaces_the_usual_one() -> None:
    settings = settings_from({"HOME": "/home/ali", "DOCKER_CONFIG": "/etc/d"})

    assert settings.auth_files == (Path("/etc/d/config.json"),)


def test_a_file_that_is_named_is_the_only_one() -> None:
    environ = {"HOME": "/home/ali", "DOCKER_CONFIG": "/etc/d", "REGISTRY_AUTH_FILE": "/auth.json"}

    assert settings_from(environ).auth_files == (Path("/auth.json"),)


def test_authorities_come_from_the_environment() -> None:
    both = {"SSL_CERT_FILE": "/a.pem", "REQUESTS_CA_BUNDLE": "/b.pem"}

    assert settings_from(both).authorities == (Path("/a.pem"),)
    assert settings_from({"REQUESTS_CA_BUNDLE": "/b.pem"}).authorities == (Path("/b.pem"),)
    assert settings_from({}).authorities == ()


def test_a_folder_of_certificates_is_searched_before_docker_s() -> None:
    settings = settings_from({}, certificate_folder=Path("/certs"))

    assert settings.certificate_folders == (Path("/certs"), Path("/etc/docker/certs.d"))


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://registry.example/v2/", "http://proxy:1"),
        ("http://registry.example/v2/", "http://proxy:2"),
        ("https://inside.example/v2/", ""),
        ("https://deep.inside.example/v2/", ""),
        ("https://notinside.example/v2/", "http://proxy:1"),
        ("https://10.1.2.3:5000/v2/", ""),
        ("https://11.1.2.3:5000/v2/", "http://proxy:1"),
        ("https://port.example:5000/v2/", ""),
        ("https://port.example/v2/", "http://proxy:1"),
        ("http://localhost:5000/v2/", ""),
        ("http://127.0.0.1:5000/v2/", ""),
    ],
)
def test_proxies_come_from_the_environment(url: str, proxy: str) -> None:
    environ = {
        "HTTPS_PROXY": "http://proxy:1",
        "http_proxy": "http://proxy:2",
        "NO_PROXY": " .inside.example, 10.0.0.0/8,port.example:5000",
    }

    assert settings_from(environ).proxy_for(url) == proxy


def test_no_proxy_may_be_all() -> None:
    settings = RegistrySettings(proxies={"all": "http://proxy", "no": "*"})

    assert settings.proxy_for("https://registry.example/") == ""
    assert RegistrySettings(proxies={"all": "x"}).proxy_for("https://registry.example/") == "x"


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:5000", "a.localhost", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"],
)
def test_this_machine_may_do_without_tls(host: str) -> None:
    assert is_loopback(host)
    assert RegistrySettings().plain_allowed(host)


@pytest.mark.parametrize(
    "host",
    ["registry.example", "localhost.example", "127.0.0.1.example", "10.0.0.1", "[fe80::1]", ""],
)
def test_others_need_tls_unless_they_are_named(host: str) -> None:
    assert not RegistrySettings().plain_allowed(host)
    assert RegistrySettings(insecure=frozenset({host})).plain_allowed(host)
    assert RegistrySettings(insecure=frozenset({"*"})).plain_allowed(host)


def test_docker_hub_listens_elsewhere() -> None:
    assert address_of("docker.io") == "registry-1.docker.io"
    assert address_of("registry.example") == "registry.example"
    settings = settings_from({}, mirrors={"docker.io": ["mirror.example/hub"]})
    assert settings.mirrors_of("docker.io") == ["mirror.example/hub"]
    assert settings.mirrors_of("registry.example") == []
