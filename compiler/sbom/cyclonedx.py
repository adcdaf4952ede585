"""CycloneDX documents (1.6, JSON): what an artifact holds, and what it was made of.

The library writes all but the files, for which it needs seconds where there are thousands: they are
written beside it, each inside of the package that owns it. The inputs of the build are in the
document's `formulation`, which the library does not know.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import License, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

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
from compiler.sbom.licences import expression_of

_SUBJECT = "artifact"
_DISTRO = "distribution"
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
    head = _by_library(subject, contents, identity(subject, contents, inputs, epoch).urn, epoch)
    written = {each["bom-ref"]: each for each in head.pop("components", ())}
    head["metadata"]["properties"] = [
        {"name": "cos:unread", "value": shown(text)} for text in contents.unread
    ]
    head["formulation"] = [{"bom-ref": "build", "components": list(_inputs(inputs))}]
    yield from json_pieces(head, {"components": _components(written, contents)})


def _by_library(
    subject: Subject, contents: Contents, serial: str, epoch: int
) -> dict[str, "_Json"]:
    """Have the library write everything but files and inputs."""
