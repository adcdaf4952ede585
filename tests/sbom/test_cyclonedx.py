"""CycloneDX documents, which the library that others read them with finds valid."""

import json
from dataclasses import replace
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from compiler.errors import CompilerError
from compiler.sbom import Contents, Inputs
from compiler.sbom.cyclonedx import cyclonedx_text
from tests.sbom.lab import CONTENTS, EPOCH, INPUTS, SUBJECT


def written(contents: Contents = CONTENTS, inputs: Inputs = INPUTS) -> dict[str, Any]:
    text = cyclonedx_text(SUBJECT, contents, inputs, EPOCH).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    value: dict[str, Any] = json.loads(text)
    return value


def test_a_document_names_its_artifact_its_tool_and_its_time() -> None:
    metadata = json.dumps(written()["metadata"])

    assert '"timestamp": "2023-11-14T22:13:20+00:00"' in metadata
    assert '"name": "login"' in metadata
    assert '"purl": "pkg:generic/system/login@1.2%2B3"' in metadata
    assert f'"content": "{"a" * 64}"' in metadata
    assert '"id": "GPL-3.0-or-later"' in metadata
    assert '"url": "https://example.org/login"' in metadata
    assert "not an address" not in metadata


def test_packages_hold_the_files_that_they_own_and_all_others_stand_alone() -> None:
    components = written()["components"]

    tree = [
        (each["type"], each["name"], [part["name"] for part in each.get("components", ())])
        for each in components
    ]
    assert tree == [
        ("library", "bash", ["usr/bin/bash", "usr/share/doc/bash/copyright"]),
        ("library", "libstdc++6", []),
        ("operating-system", "debian", []),
        ("file", "etc/motd", []),
        ("file", 'opt/"quoted"\n', []),
        ("file", "opt/na\\xefve", []),
        ("file", "opt/é", []),
    ]
    motd = next(each for each in CONTENTS.files if each.path == "etc/motd")
    assert components[3]["hashes"] == [
        {"alg": "SHA-1", "content": motd.sha1},
        {"alg": "SHA-256", "content": motd.sha256},
    ]


def test_the_library_reads_a_document_back_with_its_packages_and_licences() -> None:
    document = written()
    document.pop("formulation")  # of which the library knows nothing

    bom = Bom.from_json(document)  # type: ignore[attr-defined]  # made by a decorator

    bash = next(each for each in bom.components if each.name == "bash")
    assert str(bash.purl) == "pkg:deb/debian/bash@5.2-1%2Bb1?arch=amd64&distro=debian-13"
    assert [each.value for each in bash.licenses] == ["GPL-3.0-or-later AND LicenseRef-permissive"]
    assert len(bash.components) == 2


def test_the_inputs_of_the_build_are_its_formulation() -> None:
    (formula,) = written()["formulation"]

    inputs = {
        each["name"]: (each["type"], [found["content"] for found in each["hashes"]])
        for each in formula["components"]
    }
    assert inputs == {
        "tree": ("file", []),
        "values": ("file", ["d" * 64]),
        "debian:trixie": ("container", ["1" * 64]),
        "t/base": ("container", ["3" * 64]),
        "files/motd": ("file", ["4" * 64]),
        "src.tgz": ("file", []),
        "t/joined": ("file", ["5" * 64]),
    }
    assert {"name": "cos:gitCommit", "value": "c" * 40} in formula["components"][0]["properties"]


def test_a_database_that_could_not_be_read_is_told() -> None:
    metadata = written(replace(CONTENTS, unread=("/var/lib/rpm/Packages is old",)))["metadata"]

    assert {"name": "cos:unread", "value": "/var/lib/rpm/Packages is old"} in metadata["properties"]


def test_an_artifact_with_nothing_in_it_has_a_document_too() -> None:
    assert written(Contents(), Inputs())["components"] == []


def test_the_same_content_gives_the_same_bytes_and_another_content_another_name() -> None:
    one = cyclonedx_text(SUBJECT, CONTENTS, INPUTS, EPOCH)
    other = json.loads(cyclonedx_text(SUBJECT, CONTENTS, INPUTS, EPOCH + 1))

    assert cyclonedx_text(SUBJECT, CONTENTS, INPUTS, EPOCH) == one
    assert json.loads(one)["serialNumber"] != other["serialNumber"]


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(CompilerError) as caught:
        cyclonedx_text(SUBJECT, CONTENTS, INPUTS, 10**20)

    assert str(caught.value) == f"{10**20} is no time in seconds since 1970"
