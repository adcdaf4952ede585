"""SLSA provenance (v1) as an in-toto statement (v1): from what, and how, an artifact was made.

The formats: slsa.dev/provenance/v1 and github.com/in-toto/attestation, spec/v1. What a person gave
are the external parameters, what the builder chose the internal ones. docs/provenance.md describes
the build type.
"""

from collections.abc import Iterable, Mapping

from compiler.oci import canonical_json, parse_object
from compiler.sbom import PROVENANCE, DocumentKind, Inputs, Resource, Subject
from compiler.sbom.document import TOOL, TOOL_VERSION, shown, time_text

STATEMENT = "https://in-toto.io/Statement/v1"
BUILD_TYPE = "https://cos-toolkit.io/build-types/package/v1"

_Json = Mapping[str, object]


def provenance_text(subject: Subject, inputs: Inputs, epoch: int) -> bytes:
    """Write the statement; raises `CompilerError` for an epoch that is no time."""
    time = time_text(epoch)
    statement = {
        "_type": STATEMENT,
        "subject": [_subject(subject.file_name, subject.sha256)],
        "predicateType": PROVENANCE.predicate,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "package": {
                        "category": shown(subject.category),
                        "name": shown(subject.name),
                        "version": shown(subject.version),
                    },
                    "tree": _resources(inputs.tree),
                    "values": _resources(inputs.values),
                },
                "internalParameters": {
                    key: shown(text) for key, text in sorted(inputs.settings.items())
                },
                "resolvedDependencies": [
                    *_resources((*inputs.tree, *inputs.values)),
                    *(_resource(each.resource, {"input": each.kind.value}) for each in inputs.used),
                ],
            },
            "runDetails": {
                "builder": {"id": inputs.builder, "version": {TOOL: TOOL_VERSION}},
                "metadata": {"startedOn": time, "finishedOn": time},
            },
        },
    }
    return canonical_json(statement) + b"\n"


def statement_about(kind: DocumentKind, document: bytes, *, name: str, sha256: str) -> bytes:
    """Turn a document about an artifact into a statement about the image that it became.

    That is what `attest_image` signs and `cosign verify-attestation` reads. Provenance is a
    statement already, and only says the same of one more subject; of every other document the
    statement's predicate is the document itself. Raises `ImageError` for what is no JSON object.
    """
    value = parse_object(document, f"a document *{kind.suffix}")
    if kind != PROVENANCE:
        statement = {"_type": STATEMENT, "predicateType": kind.predicate, "predicate": value}
        return canonical_json({**statement, "subject": [_subject(name, sha256)]}) + b"\n"
    known = value.get("subject")
    others = known if isinstance(known, list) else []
    subject = _subject(name, sha256)
    value["subject"] = [*(each for each in others if each != subject), subject]
    return canonical_json(value) + b"\n"


def _subject(name: str, sha256: str) -> _Json:
    """Name what a statement is about."""
    return {"name": shown(name), "digest": {"sha256": sha256}}


def _resources(resources: Iterable[Resource]) -> list[_Json]:
    """Describe several resources."""
    return [_resource(each, {}) for each in resources]


def _resource(resource: Resource, notes: Mapping[str, str]) -> _Json:
    """Write a resource descriptor (in-toto attestation, spec/v1/resource_descriptor.md)."""
    described = {**notes, **resource.notes}
    written: dict[str, object] = {"name": shown(resource.name)}
    if resource.uri:
        written["uri"] = shown(resource.uri)
    if resource.digests:
        written["digest"] = dict(resource.digests)
    if described:
        written["annotations"] = {key: shown(text) for key, text in described.items()}
    return written
