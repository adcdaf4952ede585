"""Documents as signed statements about an image, which the `cosign` program verifies."""

import base64
import json
import os
from dataclasses import replace

import pytest

from compiler.oci import Reference, hex_of
from compiler.registry.client import RegistryClient
from compiler.registry.settings import RegistrySettings
from compiler.sbom import CYCLONEDX, PROVENANCE, SPDX, DocumentKind
from compiler.sbom.cyclonedx import cyclonedx_text
from compiler.sbom.provenance import provenance_text, statement_about
from compiler.sbom.spdx import spdx_text
from compiler.signing.attestations import attest_image
from compiler.signing.keys import generate, write_key_pair
from tests.sbom.lab import CONTENTS, EPOCH, INPUTS, SUBJECT
from tests.servers.cosign import LOCAL, Cosign
from tests.signing.lab import by_digest, image

pytestmark = pytest.mark.registry


@pytest.mark.parametrize(
    ("kind", "document", "name"),
    [
        (CYCLONEDX, cyclonedx_text(SUBJECT, CONTENTS, INPUTS, EPOCH), "cyclonedx"),
        (SPDX, spdx_text(SUBJECT, CONTENTS, INPUTS, EPOCH), "spdxjson"),
        (PROVENANCE, provenance_text(SUBJECT, INPUTS, EPOCH), "slsaprovenance1"),
    ],
    ids=["cyclonedx", "spdx", "provenance"],
)
def test_cosign_verifies_what_is_said_of_an_image(
    kind: DocumentKind, document: bytes, name: str, cosign: Cosign, repository: Reference
) -> None:
    key = generate()
    write_key_pair(key, cosign.folder / f"sbom-{name}", password=cosign.password.encode())
    place = replace(repository, tag="1")
    with RegistryClient(RegistrySettings()) as client:
        digest = image(client, place, os.urandom(8).hex())
        said = statement_about(kind, document, name="os/cos", sha256=hex_of(digest))
        attest_image(client, place, said, key)

    envelope = json.loads(
        cosign.do(
            "verify-attestation",
            *LOCAL,
            "--type",
            name,
            "--key",
            f"sbom-{name}.pub",
            str(by_digest(digest, place)),
        )
    )

    verified = json.loads(base64.b64decode(envelope["payload"]))
    assert verified["predicateType"] == kind.predicate
    assert {"name": "os/cos", "digest": {"sha256": hex_of(digest)}} in verified["subject"]
