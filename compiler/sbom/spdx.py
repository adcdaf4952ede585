"""SPDX 2.3 documents (JSON): what an artifact holds, and what it was made of.

The format: spdx.github.io/spdx-spec/v2.3 and its JSON schema. Written by hand, in pieces: the
libraries for it keep and check whole documents, which takes minutes for a root.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping

from compiler.sbom import (
    Contents,
    DistroPackage,
    Input,
    InputKind,
    Inputs,
    SbomFile,
    Subject,
)
from compiler.sbom.document import TOOL, TOOL_VERSION, identity, json_pieces, shown, time_text
from compiler.sbom.licences import expression_of, references_in

_DOCUMENT = "SPDXRef-DOCUMENT"
_SUBJECT = "SPDXRef-Artifact"
_DISTRO = "SPDXRef-Distribution"
_NOTHING = "NOASSERTION"
_NAMESPACE = "https://cos-toolkit.io/spdx"
_ALGORITHMS = {"sha1": "SHA1", "sha256": "SHA256", "sha384": "SHA384", "sha512": "SHA512"}
_PURPOSES = {
    InputKind.BASE_IMAGE: "CONTAINER",
    InputKind.IMAGE: "CONTAINER",
    InputKind.REQUIREMENT: "ARCHIVE",
    InputKind.ARTIFACT: "ARCHIVE",
    InputKind.FILE: "FILE",
    InputKind.SOURCE: "SOURCE",
}
_GENERATED = (InputKind.FILE, InputKind.SOURCE)
"""Inputs that an artifact is generated from; the others are only needed to build it."""
_MAIL = re.compile(r"(?P<name>[^<]*?)\s*<(?P<mail>[^<>@\s]+@[^<>\s]+)>")

_Json = Mapping[str, object]


def spdx_text(subject: Subject, contents: Contents, inputs: Inputs, epoch: int) -> bytes:
    """Write the document at once; see `spdx_pieces`."""
    return b"".join(spdx_pieces(subject, contents, inputs, epoch))


def spdx_pieces(
    subject: Subject, contents: Contents, inputs: Inputs, epoch: int
) -> Iterator[bytes]:
    """Write the document that tells what `subject` holds, in pieces.

    `epoch` is its time in seconds since 1970. Raises `CompilerError` for one that is no time.
    """
    name = shown(f"{subject.title}-{subject.version}")
    created: dict[str, object] = {
        "created": time_text(epoch),
        "creators": [f"Tool: {TOOL}-{TOOL_VERSION}"],
    }
    if contents.unread:
        created["comment"] = shown("; ".join(contents.unread))
    unique = identity(subject, contents, inputs, epoch)
    head = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": _DOCUMENT,
        "name": name,
        "documentNamespace": f"{_NAMESPACE}/{unique}",
        "creationInfo": created,
        "hasExtractedLicensingInfos": _unknown_licences(subject, contents),
    }
    files = {each.path: number for number, each in enumerate(contents.files)}
    lists = {
        "files": (_file(number, each) for number, each in enumerate(contents.files)),
        "packages": _packages(subject, contents, files, inputs),
        "relationships": _relationships(contents, files, inputs),
    }
    yield from json_pieces(head, lists)


def _file(number: int, file: SbomFile) -> _Json:
    """Describe one file (SPDX 2.3, section 8)."""
    return {
        "SPDXID": _file_id(number),
        "fileName": f"./{shown(file.path)}",
        "checksums": [
            {"algorithm": "SHA1", "checksumValue": file.sha1},
            {"algorithm": "SHA256", "checksumValue": file.sha256},
        ],
        "copyrightText": _NOTHING,
        "licenseConcluded": _NOTHING,
    }


def _file_id(number: int) -> str:
    return f"SPDXRef-File-{number}"


def _packages(
    subject: Subject, contents: Contents, files: Mapping[str, int], inputs: Inputs
) -> Iterator[_Json]:
    """Describe the artifact, then the distribution and its packages, then the build's inputs."""
    yield _about(subject, contents)
    if _has_distro(contents):
        yield {
            **_plain(_DISTRO, contents.distro.id, contents.distro.version),
            "primaryPackagePurpose": "OPERATING-SYSTEM",
            "summary": shown(contents.distro.name),
        }
    for number, package in enumerate(contents.packages):
        mine = [contents.files[files[path]] for path in package.files if path in files]
        yield _package(_package_id(number, package), package, mine)
    for number, each in enumerate(_given(inputs)):
        yield _input(_input_id(number), each)


def _about(subject: Subject, contents: Contents) -> _Json:
    """Describe the artifact itself (SPDX 2.3, section 7)."""
    return {
        **_plain(_SUBJECT, subject.title, subject.version),
        "packageFileName": shown(subject.file_name),
        "checksums": [{"algorithm": "SHA256", "checksumValue": subject.sha256}],
        "licenseDeclared": expression_of(shown(subject.license)) or _NOTHING,
        "description": shown(subject.description),
        **_analyzed(contents.files),
    }


def _package(id_: str, package: DistroPackage, files: Iterable[SbomFile]) -> _Json:
    """Describe a package of the distribution."""
    purl = {
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": package.purl,
    }
    written: dict[str, object] = {
        **_plain(id_, package.name, package.version),
        "licenseDeclared": package.license or _NOTHING,
        "externalRefs": [purl],
        **_analyzed(files),
    }
    if package.supplier:
        written["supplier"] = _supplier(shown(package.supplier))
    if package.source:
        written["sourceInfo"] = f"built from the source package {shown(package.source)}"
    return written


def _plain(id_: str, name: str, version: str) -> dict[str, object]:
    """Write what every package has, and what nothing is known of."""
    return {
        "SPDXID": id_,
        "name": shown(name),
        **({"versionInfo": shown(version)} if version else {}),
        "downloadLocation": _NOTHING,
        "filesAnalyzed": False,
        "licenseConcluded": _NOTHING,
        "licenseDeclared": _NOTHING,
        "copyrightText": _NOTHING,
    }


def _analyzed(files: Iterable[SbomFile]) -> _Json:
    """Add the verification code of a package whose files are in the document (section 7.9)."""
    sums = sorted(each.sha1 for each in files)
    if not sums:
        return {"filesAnalyzed": False}
    code = hashlib.sha1("".join(sums).encode(), usedforsecurity=False).hexdigest()
    return {
        "filesAnalyzed": True,
        "packageVerificationCode": {"packageVerificationCodeValue": code},
    }


def _input(id_: str, each: Input) -> _Json:
    """Describe an input of the build."""
    resource = each.resource
    notes = {"input": each.kind.value, "uri": resource.uri, **resource.notes}
    notes.update((key, text) for key, text in resource.digests.items() if key not in _ALGORITHMS)
    sums = [
        {"algorithm": _ALGORITHMS[key], "checksumValue": text}
        for key, text in sorted(resource.digests.items())
        if key in _ALGORITHMS
    ]
    return {
        **_plain(id_, resource.name, ""),
        "primaryPackagePurpose": _PURPOSES[each.kind],
        "checksums": sums,
        "comment": shown(
            "; ".join(f"{key}: {text}" for key, text in sorted(notes.items()) if text)
        ),
    }


def _relationships(contents: Contents, files: Mapping[str, int], inputs: Inputs) -> Iterator[_Json]:
    """Say what the document describes, what holds what, and what came of what (section 11)."""
    yield _relation(_DOCUMENT, "DESCRIBES", _SUBJECT)
    if _has_distro(contents):
        yield _relation(_SUBJECT, "DEPENDS_ON", _DISTRO)
    for number, package in enumerate(contents.packages):
        id_ = _package_id(number, package)
        yield _relation(_SUBJECT, "CONTAINS", id_)
        for path in package.files:
            if path in files:
                yield _relation(id_, "CONTAINS", _file_id(files[path]))
    for number in range(len(contents.files)):
        yield _relation(_SUBJECT, "CONTAINS", _file_id(number))
    for number, each in enumerate(_given(inputs)):
        if each.kind in _GENERATED:
            yield _relation(_SUBJECT, "GENERATED_FROM", _input_id(number))
        else:
            yield _relation(_input_id(number), "BUILD_DEPENDENCY_OF", _SUBJECT)


def _relation(one: str, kind: str, other: str) -> _Json:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _has_distro(contents: Contents) -> bool:
    """Tell whether there are packages of a known distribution."""
    return bool(contents.packages and contents.distro.id)


def _given(inputs: Inputs) -> tuple[Input, ...]:
    """List all that a build was given, its trees and values among it."""
    people = (Input(InputKind.SOURCE, each) for each in (*inputs.tree, *inputs.values))
    return (*people, *inputs.used)


def _package_id(number: int, package: DistroPackage) -> str:
    """Name a package inside of the document: letters, digits, `.` and `-` only (section 7.2)."""
    plain = re.sub(r"[^A-Za-z0-9.-]", "-", package.name)
    return f"SPDXRef-Package-{number}-{plain}"


def _input_id(number: int) -> str:
    return f"SPDXRef-Input-{number}"


def _supplier(text: str) -> str:
    """Write who made a package as SPDX does: `Person: Name (mail)` (section 7.5)."""
    found = _MAIL.fullmatch(text.strip())
    plain = re.sub(r"[()<>\s]+", " ", found["name"] if found is not None else text).strip()
    if found is None or not plain:
        return f"Organization: {plain}" if plain else _NOTHING
    return f"Person: {plain} ({found['mail']})"


def _unknown_licences(subject: Subject, contents: Contents) -> list[_Json]:
    """Tell of the licences that SPDX has no name for (section 10)."""
    named = [expression_of(shown(subject.license)), *(each.license for each in contents.packages)]
    return [
        {
            "licenseId": name,
            "name": name.removeprefix("LicenseRef-"),
            "extractedText": "Its text is in the documentation of the packages that name it.",
        }
        for name in references_in(named)
    ]
