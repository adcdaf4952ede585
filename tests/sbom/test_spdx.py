"""SPDX documents, which the project's own tools read and find valid."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from spdx_tools.spdx.model.document import Document
from spdx_tools.spdx.model.relationship import RelationshipType
from spdx_tools.spdx.parser.json.json_parser import parse_from_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from compiler.sbom import Contents, Inputs
from compiler.sbom.spdx import spdx_text
from tests.sbom.lab import BASH, CONTENTS, EPOCH, INPUTS, SUBJECT


def written(place: Path, contents: Contents = CONTENTS, inputs: Inputs = INPUTS) -> Document:
    path = place / "document.spdx.json"
    path.write_bytes(spdx_text(SUBJECT, contents, inputs, EPOCH))
    document: Document = parse_from_file(str(path))
    faults = validate_full_spdx_document(document, "SPDX-2.3")
    assert [each.validation_message for each in faults] == []
    return document


def related(document: Document, kind: RelationshipType) -> list[tuple[str, object]]:
    names = {each.spdx_id: each.name for each in document.packages}
    names |= {each.spdx_id: each.name for each in document.files}
    return [
        (names[each.spdx_element_id], names[str(each.related_spdx_element_id)])
        for each in document.relationships
        if each.relationship_type is kind
    ]


def test_a_document_names_its_artifact_its_tool_and_its_time(tmp_path: Path) -> None:
    document = written(tmp_path)

    info, about = document.creation_info, document.packages[0]
    assert (info.name, f"{info.created}") == ("system/login-1.2+3", "2023-11-14 22:13:20")
    assert [each.name for each in info.creators] == ["cos-toolkit-0.1.0"]
    assert (about.name, about.version, about.file_name) == (
        "system/login",
        "1.2+3",
        "login-system-1.2+3.package.tar.zst",
    )
    assert [each.value for each in about.checksums] == ["a" * 64]
    assert str(about.license_declared) == "GPL-3.0-or-later"


def test_files_have_both_digests_and_belong_to_the_artifact(tmp_path: Path) -> None:
    document = written(tmp_path)

    files = {
        each.name: sorted((sum_.algorithm.name, sum_.value) for sum_ in each.checksums)
        for each in document.files
    }
    motd = next(each for each in CONTENTS.files if each.path == "etc/motd")
    assert files["./etc/motd"] == [("SHA1", motd.sha1), ("SHA256", motd.sha256)]
    assert sorted(files) == sorted(
        [
            "./etc/motd",
            './opt/"quoted"\n',
            "./opt/na\\xefve",
            "./opt/é",
            "./usr/bin/bash",
            "./usr/share/doc/bash/copyright",
        ]
    )
    contained = related(document, RelationshipType.CONTAINS)
    assert {name for owner, name in contained if owner == "system/login"} >= set(files)


def test_the_verification_code_is_the_hash_of_the_sorted_hashes(tmp_path: Path) -> None:
    about = written(tmp_path).packages[0]

    joined = "".join(sorted(each.sha1 for each in CONTENTS.files)).encode()
    code = about.verification_code
    assert code is not None
    assert code.value == hashlib.sha1(joined, usedforsecurity=False).hexdigest()


def test_packages_of_the_distribution_are_in_it_with_their_files(tmp_path: Path) -> None:
    document = written(tmp_path)

    contained = related(document, RelationshipType.CONTAINS)
    assert ("system/login", "bash") in contained
    assert [name for owner, name in contained if owner == "bash"] == [
        f"./{path}" for path in BASH.files
    ]
    bash, odd = (next(e for e in document.packages if e.name == n) for n in ("bash", "libstdc++6"))
    assert bash.external_references[0].locator == BASH.purl
    assert str(bash.license_declared) == BASH.license
    assert str(bash.supplier) == "Person: Matthias Klose (doko@debian.org)"
    assert str(odd.supplier) == "Organization: The small team"
    assert not odd.files_analyzed
    assert related(document, RelationshipType.DEPENDS_ON) == [("system/login", "debian")]


def test_licences_that_spdx_does_not_know_are_declared(tmp_path: Path) -> None:
    document = written(tmp_path)

    assert [each.license_id for each in document.extracted_licensing_info] == [
        "LicenseRef-odd",
        "LicenseRef-permissive",
    ]


def test_the_inputs_of_the_build_are_packages_that_it_came_from(tmp_path: Path) -> None:
    document = written(tmp_path)

    assert [one for one, _ in related(document, RelationshipType.BUILD_DEPENDENCY_OF)] == [
        "debian:trixie",
        "t/base",
        "t/joined",
    ]
    assert [other for _, other in related(document, RelationshipType.GENERATED_FROM)] == [
        "tree",
        "values",
        "files/motd",
        "src.tgz",
    ]
    base = next(each for each in document.packages if each.name == "debian:trixie")
    assert [each.value for each in base.checksums] == ["1" * 64]


def test_a_database_that_could_not_be_read_is_told(tmp_path: Path) -> None:
    document = written(tmp_path, replace(CONTENTS, unread=("one is old", "another too")))

    assert document.creation_info.creator_comment == "one is old; another too"


def test_an_artifact_with_nothing_in_it_has_a_document_too(tmp_path: Path) -> None:
    document = written(tmp_path, Contents(), Inputs())

    assert [each.name for each in document.packages] == ["system/login"]


def test_the_same_content_gives_the_same_bytes_and_another_content_another_name() -> None:
    one = spdx_text(SUBJECT, CONTENTS, INPUTS, EPOCH)
    other = json.loads(spdx_text(replace(SUBJECT, version="2"), CONTENTS, INPUTS, EPOCH))

    assert spdx_text(SUBJECT, CONTENTS, INPUTS, EPOCH) == one
    assert json.loads(one)["documentNamespace"] != other["documentNamespace"]
