"""The flavours: each brings the libraries that the agent in it loads."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
AGENT = CHECKOUT / "tree/system/cos-agent"
FLAVOURS = ("debian", "fedora", "opensuse", "ubuntu")

NAMES = {
    "cryptography": ("python3-cryptography", "python3-cryptography", "python313-cryptography"),
    "gotpl": ("", "", ""),
    "isal": ("python3-isal", "python3-isal", ""),
    "jsonschema": ("python3-jsonschema", "python3-jsonschema", "python313-jsonschema"),
    "oras": ("", "", ""),
    "pydantic": ("python3-pydantic", "python3-pydantic", "python313-pydantic"),
    "pynacl": ("python3-nacl", "python3-pynacl", "python313-PyNaCl"),
    "pyyaml": ("python3-yaml", "python3-pyyaml", "python313-PyYAML"),
    "requests": ("python3-requests", "python3-requests", "python313-requests"),
    "resolvelib": ("python3-resolvelib", "python3-resolvelib", "python313-resolvelib"),
    "securesystemslib": ("python3-securesystemslib", "", ""),
    "tuf": ("python3-tuf", "", ""),
    "urllib3": ("python3-urllib3", "python3-urllib3", "python313-urllib3"),
    "zstandard": ("python3-zstandard", "python3-zstandard", "python313-zstandard"),
}
"""The agent's libraries: their packages of apt, dnf and zypper, "" where they come as wheels."""
MANAGERS = ("apt", "dnf", "zypper")

LOADED = """
import importlib, json, pkgutil, sys
import compiler.agent, compiler.spec.gotemplate
for each in pkgutil.walk_packages(compiler.agent.__path__, "compiler.agent."):
    if not each.name.endswith(".__main__"):
        importlib.import_module(each.name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
"""Prints the names of all that is loaded once every module of the agent is."""


def flavour(name: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(
        (CHECKOUT / f"specs/flavours/{name}.yaml").read_text()
    )
    return found


def wheels() -> set[str]:
    """Name the libraries of the lock files."""
    lines = [
        line
        for file in ("wheels.lock", "lacking.lock")
        for line in (AGENT / file).read_text().splitlines()
    ]
    return {line.partition("==")[0] for line in lines if not line.startswith("#")}


@pytest.fixture(scope="module")
def libraries() -> set[str]:
    """Name what the modules of the agent need out of what the project requires."""
    argv = [sys.executable, "-c", LOADED]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    required = {
        each.partition(";")[0].partition("[")[0].partition(">")[0].strip().lower()
        for each in importlib.metadata.requires("cos-toolkit") or ()
        if "extra ==" not in each
    } | {"jsonschema"}  # which oras needs
    owners = importlib.metadata.packages_distributions()
    loaded = {
        owner.lower() for module in json.loads(done.stdout) for owner in owners.get(module, ())
    }
    return loaded & required


def test_the_libraries_that_the_agent_loads_are_known_here(libraries: set[str]) -> None:
    assert libraries == set(NAMES)


@pytest.mark.parametrize("name", FLAVOURS)
def test_a_flavour_brings_every_library_that_the_agent_loads(name: str) -> None:
    values = flavour(name)
    packages = str(values["packages"]).split()
    column = MANAGERS.index(str(values["package_manager"]))

    lacking = {
        library
        for library, names in NAMES.items()
        if not (names[column] in packages if names[column] else library in wheels())
    }

    assert lacking == set()


SIGNED = {"shim-signed", "grub-efi-amd64-signed"}
"""Of the same names and places on Ubuntu, where nobody has tried yet what they do in a build."""


@pytest.mark.parametrize("name", FLAVOURS)
def test_a_flavour_names_no_package_twice(name: str) -> None:
    packages = str(flavour(name)["packages"]).split()

    assert sorted(set(packages)) == sorted(packages)


def test_ubuntu_has_the_packages_of_debian_but_for_those_of_secure_boot() -> None:
    ubuntu, debian = (set(str(flavour(each)["packages"]).split()) for each in ("ubuntu", "debian"))

    assert (debian - ubuntu, ubuntu - debian) == (SIGNED, set())


def installed(folder: Path, without: str) -> Path:
    """Lay out the agent and all libraries but one, as an installation has them."""
    site = Path(str(importlib.metadata.distribution("tuf").locate_file(""))).resolve()
    folder.mkdir()
    for each in site.iterdir():
        if each.name != without:
            (folder / each.name).symlink_to(each)
    (folder / "compiler").symlink_to(CHECKOUT / "compiler")
    return folder


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-I", "-S", "-B", str(AGENT / "check.py"), str(folder)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_an_agent_with_all_its_libraries_passes(tmp_path: Path) -> None:
    done = checked(installed(tmp_path / "python", without=""))

    assert (done.returncode, done.stderr) == (0, "")


def test_a_library_that_is_missing_fails_the_build_and_is_named(tmp_path: Path) -> None:
    done = checked(installed(tmp_path / "python", without="tuf"))

    assert done.returncode == 1
    assert "No module named 'tuf'" in done.stderr
    assert done.stderr.endswith(
        "hint: name what has it under `packages` of the flavour, or in lacking.lock\n"
    )
