"""Provenance: SLSA's predicate in an in-toto statement."""

import json

import pytest

from compiler.errors import ImageError
from compiler.sbom import CYCLONEDX, PROVENANCE, SPDX, DocumentKind, Inputs
from compiler.sbom.provenance import provenance_text, statement_about
from tests.sbom.lab import EPOCH, INPUTS, SUBJECT

ABOUT_FILE = {"name": SUBJECT.file_name, "digest": {"sha256": "a" * 64}}
IMAGE = "registry.example.org/repo"


def test_a_statement_says_from_what_how_and_when_an_artifact_was_made() -> None:
    tree = {
        "name": "tree",
        "uri": "git+https://example.org/tree.git@main",
        "digest": {"gitCommit": "c" * 40},
    }
    values = {"name": "values", "digest": {"sha256": "d" * 64}}

    statement = json.loads(provenance_text(SUBJECT, INPUTS, EPOCH))

    assert statement == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [ABOUT_FILE],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://cos-toolkit.io/build-types/package/v1",
                "externalParameters": {
                    "package": {"category": "system", "name": "login", "version": "1.2+3"},
                    "tree": [tree],
                    "values": [values],
                },
                "internalParameters": {"network": "host", "layerKey": "6" * 64},
                "resolvedDependencies": [
                    tree,
                    values,
                    {
                        "name": "debian:trixie",
                        "uri": "docker://docker.io/library/debian:trixie",
                        "digest": {"sha256": "1" * 64},
                        "annotations": {"input": "base image", "content": "sha256:" + "2" * 64},
                    },
                    {
                        "name": "t/base",
                        "digest": {"sha256": "3" * 64},
                        "annotations": {"input": "requirement"},
                    },
                    {
                        "name": "files/motd",
                        "digest": {"sha256": "4" * 64},
                        "annotations": {"input": "file", "mode": "100644"},
                    },
                    {
                        "name": "src.tgz",
                        "uri": "https://example.org/src.tgz",
                        "annotations": {"input": "source"},
                    },
                    {
                        "name": "t/joined",
                        "digest": {"sha256": "5" * 64},
                        "annotations": {"input": "artifact"},
                    },
                ],
            },
            "runDetails": {
                "builder": {
                    "id": "https://example.org/builder",
                    "version": {"cos-toolkit": "0.1.0"},
                },
                "metadata": {
                    "startedOn": "2023-11-14T22:13:20Z",
                    "finishedOn": "2023-11-14T22:13:20Z",
                },
            },
        },
    }


def test_the_same_inputs_give_the_same_bytes() -> None:
    assert provenance_text(SUBJECT, INPUTS, EPOCH) == provenance_text(SUBJECT, INPUTS, EPOCH)


def test_provenance_of_an_artifact_is_said_of_its_image_too_and_only_once() -> None:
    own = provenance_text(SUBJECT, Inputs(), EPOCH)

    once = statement_about(PROVENANCE, own, name=IMAGE, sha256="b" * 64)
    twice = statement_about(PROVENANCE, once, name=IMAGE, sha256="b" * 64)

    assert twice == once
    assert json.loads(once)["subject"] == [
        ABOUT_FILE,
        {"name": IMAGE, "digest": {"sha256": "b" * 64}},
    ]


@pytest.mark.parametrize(
    ("kind", "predicate"),
    [(CYCLONEDX, "https://cyclonedx.org/bom"), (SPDX, "https://spdx.dev/Document")],
)
def test_another_document_becomes_the_predicate_of_a_statement(
    kind: DocumentKind, predicate: str
) -> None:
    statement = statement_about(kind, b'{"some":"document"}', name=IMAGE, sha256="b" * 64)

    assert json.loads(statement) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": IMAGE, "digest": {"sha256": "b" * 64}}],
        "predicateType": predicate,
        "predicate": {"some": "document"},
    }


def test_what_is_no_document_becomes_no_statement() -> None:
    with pytest.raises(ImageError) as caught:
        statement_about(SPDX, b"[]", name=IMAGE, sha256="b" * 64)

    assert str(caught.value) == "a document *.spdx.json is not a JSON object"
