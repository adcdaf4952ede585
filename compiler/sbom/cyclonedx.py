"""CycloneDX documents (1.6, JSON): what an artifact holds, and what it was made of.

The library writes all but the files, for which it needs seconds where there are thousands: they are
written beside it, each inside of the package that owns it. The inputs of the build are in the
document's `formulation`, which the library does not know.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    Property,
    XsUri,
)
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import DisjunctiveLicense, LicenseAcknowledgement, LicenseExpression
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from compiler.sbom import (
    Contents,
    Distro,
    DistroPackage,
    Input,
    InputKind,
    Inputs,
    SbomFile,
    Subject,
)
from compiler.sbom.document import TOOL, TOOL_VERSION, identity, json_pieces, shown, time_text
from compiler.sbom.licences import expression_of

_SUBJECT = "artifact"
_DISTRO = "distribution"
_HOME = re.compile(r"https?://[!-~]+")
_ALGORITHMS = {"sha1": "SHA-1", "sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}
_TYPES = {
    InputKind.BASE_IMAGE: "container",
    InputKind.IMAGE: "container",
    InputKind.REQUIREMENT: "container",
}


def cyclonedx_text(subject: Subject, contents: Contents, inputs: Inputs, epoch: int) -> bytes:
    """Write the document at once; see `cyclonedx_pieces`."""
    return b"".join(cyclonedx_pieces(subject, contents, inputs, epoch))


def cyclonedx_pieces(
    subject: Subject, contents: Contents, inputs: Inputs, epoch: int
) -> Iterator[bytes]:
    """Write the document that tells what `subject` holds, in pieces.

    `epoch` is its time in seconds since 1970. Raises `CompilerError` for one that is no time.
    """
    time_text(epoch)
    bom = _bom(subject, contents, epoch)
    bom.serial_number = identity(subject, contents, inputs, epoch)
    head: dict[str, object] = json.loads(JsonV1Dot6(bom).output_as_string())
    written = {each["bom-ref"]: each for each in _objects(head.pop("components", ()))}
    head["formulation"] = [{"bom-ref": "build", "components": list(_formula(inputs))}]
    yield from json_pieces(head, {"components": _components(written, contents)})


def _bom(subject: Subject, contents: Contents, epoch: int) -> Bom:
    """Make what the library writes: all but files and inputs."""
    about = _about(subject)
    bom = Bom(
        metadata=BomMetaData(
            component=about,
            timestamp=datetime.fromtimestamp(epoch, UTC),
            tools=ToolRepository(
                components=[
                    Component(
                        name=TOOL,
                        version=TOOL_VERSION,
                        type=ComponentType.APPLICATION,
                        bom_ref=TOOL,
                    )
                ]
            ),
            properties=[Property(name="cos:unread", value=shown(each)) for each in contents.unread],
        )
    )
    parts = [_package(number, each) for number, each in enumerate(contents.packages)]
    if contents.packages and contents.distro.id:
        parts.append(_system(contents.distro))
    bom.components = parts
    bom.register_dependency(about, parts)
    return bom


def _about(subject: Subject) -> Component:
    """Describe the artifact itself."""
    title = shown(subject.title)
    homes = [each for each in subject.home if _HOME.fullmatch(each)]
    return Component(
        type=ComponentType.APPLICATION,
        bom_ref=_SUBJECT,
        group=shown(subject.category) or None,
        name=shown(subject.name),
        version=shown(subject.version),
        description=shown(subject.description) or None,
        purl=PackageURL("generic", subject.category, subject.name, subject.version),
        licenses=_licenses(expression_of(shown(subject.license))),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=subject.sha256)],
        external_references=[
            ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(each)) for each in homes
        ],
        properties=[
            Property(name="cos:file", value=shown(subject.file_name)),
            Property(name="cos:package", value=title),
        ],
    )


def _system(distro: Distro) -> Component:
    """Describe the distribution that the packages are of."""
    return Component(
        type=ComponentType.OPERATING_SYSTEM,
        bom_ref=_DISTRO,
        name=distro.id,
        version=distro.version or None,
        description=distro.name or None,
    )


def _package(number: int, package: DistroPackage) -> Component:
    """Describe a package of the distribution."""
    supplier = OrganizationalEntity(name=shown(package.supplier)) if package.supplier else None
    source = [Property(name="cos:source", value=shown(package.source))] if package.source else []
    return Component(
        type=ComponentType.LIBRARY,
        bom_ref=_reference(number),
        name=shown(package.name),
        version=shown(package.version),
        purl=PackageURL.from_string(package.purl),
        supplier=supplier,
        licenses=_licenses(package.license),
        properties=source,
    )


def _reference(number: int) -> str:
    """Name a package inside of the document."""
    return f"package-{number}"


def _licenses(expression: str) -> list[LicenseExpression | DisjunctiveLicense]:
    """Write an SPDX expression as the library wants it: by its kind."""
    declared = LicenseAcknowledgement.DECLARED
    if not expression:
        return []
    if " " in expression:
        return [LicenseExpression(expression, acknowledgement=declared)]
    if expression.startswith("LicenseRef-"):
        name = expression.removeprefix("LicenseRef-")
        return [DisjunctiveLicense(name=name, acknowledgement=declared)]
    return [DisjunctiveLicense(id=expression, acknowledgement=declared)]


def _components(
    written: Mapping[object, Mapping[str, object]], contents: Contents
) -> Iterator[Mapping[str, object]]:
    """Go through the packages, each with its files in it, and then what belongs to none."""
    files = {each.path: each for each in contents.files}
    owned: set[str] = set()
    for number, package in enumerate(contents.packages):
        mine = [path for path in package.files if path in files and path not in owned]
        owned.update(mine)
        parts = {"components": [_file(files[path]) for path in mine]} if mine else {}
        yield {**written[_reference(number)], **parts}
    if _DISTRO in written:
        yield written[_DISTRO]
    yield from (_file(each) for each in contents.files if each.path not in owned)


def _file(file: SbomFile) -> Mapping[str, object]:
    """Describe one file."""
    return {
        "type": "file",
        "name": shown(file.path),
        "hashes": [
            {"alg": "SHA-1", "content": file.sha1},
            {"alg": "SHA-256", "content": file.sha256},
        ],
    }


def _formula(inputs: Inputs) -> Iterator[Mapping[str, object]]:
    """Go through what the build was given."""
    given = [Input(InputKind.SOURCE, each) for each in (*inputs.tree, *inputs.values)]
    for number, each in enumerate((*given, *inputs.used)):
        yield _input(f"input-{number}", each)


def _input(reference: str, each: Input) -> Mapping[str, object]:
    """Describe one input; digests that CycloneDX has no name for are properties."""
    resource = each.resource
    hashes = {key: text for key, text in resource.digests.items() if key in _ALGORITHMS}
    notes = {key: text for key, text in resource.digests.items() if key not in _ALGORITHMS}
    notes = {"input": each.kind.value, "uri": resource.uri, **notes, **resource.notes}
    return {
        "type": _TYPES.get(each.kind, "file"),
        "bom-ref": reference,
        "name": shown(resource.name),
        "hashes": [
            {"alg": _ALGORITHMS[key], "content": text} for key, text in sorted(hashes.items())
        ],
        "properties": [
            {"name": f"cos:{key}", "value": shown(text)}
            for key, text in sorted(notes.items())
            if text
        ],
    }


def _objects(value: object) -> Iterator[dict[str, object]]:
    """Go through the objects of a JSON list."""
    yield from (each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()
