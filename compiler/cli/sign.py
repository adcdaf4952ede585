"""`cos sign` and `cos verify`: signatures of images in registries, in cosign's formats."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import typer

from compiler.cli.key import public_keys, signing_key
from compiler.cli.output import dump
from compiler.cli.registries import open_registry, repository_named
from compiler.cli.settings import Settings
from compiler.errors import CompilerError, Faults, UsageError
from compiler.oci import Reference, parse_reference
from compiler.sbom import CYCLONEDX, PROVENANCE, SPDX
from compiler.signing.attestations import Attestation, verify_described
from compiler.signing.images import Signed, Verified, sign_image, verify_image

_Result = dict[str, object]
"""What `-o json` tells of an image."""

app = typer.Typer(add_completion=False, help="Signatures of images.", no_args_is_help=True)

_DOCUMENTS = {
    "provenance": PROVENANCE.predicate,
    "cyclonedx": CYCLONEDX.predicate,
    "spdx": SPDX.predicate,
    "spdxjson": SPDX.predicate,
    "slsaprovenance1": PROVENANCE.predicate,
}
"""The types of statements that have short names: ours, and those of cosign."""
_SHOWN = ("provenance", "cyclonedx", "spdx")

_Images = Annotated[list[str], typer.Argument(metavar="REF…", help="Images, by tag or digest.")]
_Key = Annotated[str, typer.Option("--key", help="The private key: a file, or env://NAME.")]
_Keys = Annotated[list[str], typer.Option("--key", help="A public key; of several, one is enough.")]
_Annotations = Annotated[
    list[str], typer.Option("-a", "--annotations", help="NAME=VALUE, part of what is signed.")
]
_Wanted = Annotated[
    list[str], typer.Option("-a", "--annotations", help="NAME=VALUE that must be signed.")
]
_SignedAs = Annotated[
    str, typer.Option(help="The repository it was signed in, if this is a copy of it.")
]
_Attestations = Annotated[
    list[str],
    typer.Option(
        "--attestation",
        metavar="TYPE",
        help="Also a signed statement of this type: provenance, cyclonedx, spdx, or a URI; "
        "repeatable.",
    ),
]
_Output = Annotated[str, typer.Option("-o", "--output", help="terminal, json or yaml")]


@app.command("sign")
def sign(
    context: typer.Context,
    images: _Images,
    *,
    key: _Key,
    annotations: _Annotations = [],  # noqa: B006  (read only, and how typer is told a default)
    output: _Output = "terminal",
) -> None:
    """Sign images: the digest that each name stands for now.

    The signatures go into the images' own repositories, where the cosign program finds them too.
    """
    settings: Settings = context.obj
    said = _pairs(annotations)
    secret = signing_key(key)
    with open_registry(replace(settings, mirrors=())) as registry:  # a mirror may lag behind
        _each(images, output, lambda image: _signed(sign_image(registry, image, secret, said)))


@app.command("verify")
def verify(  # noqa: PLR0913  (one parameter for each option)
    context: typer.Context,
    images: _Images,
    *,
    key: _Keys,
    annotations: _Wanted = [],  # noqa: B006  (read only, and how typer is told a default)
    signed_as: _SignedAs = "",
    attestation: _Attestations = [],  # noqa: B006  (read only, and how typer is told a default)
    output: _Output = "terminal",
) -> None:
    """Check that images are signed, and print the digests that are.

    What was signed elsewhere, with another key or with other annotations counts for nothing. With
    --attestation, an image also needs a statement of each type that one of the keys has signed, or
    else, if it is for several platforms, the image for each needs one;
    -o json prints the statements.
    """
    settings: Settings = context.obj
    wanted = _pairs(annotations)
    keys = public_keys(key)
    origin = repository_named(signed_as, "--signed-as") if signed_as else None
    types = [_predicate_type(each) for each in attestation]

    with open_registry(settings) as registry:

        def check(image: Reference) -> _Result:
            found = verify_image(registry, image, keys, annotations=wanted, signed_as=origin)
            said = [
                each
                for kind in types
                for each in verify_described(registry, found.image, keys, predicate_type=kind)
            ]
            return _verified(found) | ({"attestations": [*map(_attested, said)]} if said else {})

        _each(images, output, check)


def _each(images: Sequence[str], form: str, act: Callable[[Reference], _Result]) -> None:
    """Print what comes of each image, then raise the errors of those of which nothing came."""
    _check_form(form)
    done: list[_Result] = []
    faults: list[CompilerError] = []
    for reference in [parse_reference(image) for image in images]:
        try:
            done.append(act(reference))
        except CompilerError as error:
            faults.append(error)
    if form == "terminal":
        for each in done:
            typer.echo(each["image"])
    else:
        typer.echo(dump({"images": done}, form))
    if faults:
        raise Faults.of(faults)


def _signed(signed: Signed) -> _Result:
    """Describe what was signed."""
    return {"image": str(signed.image), "digest": signed.image.digest, "added": signed.added}


def _verified(verified: Verified) -> _Result:
    """Describe what was found to be signed, and by whom."""
    signatures = [
        {
            "identity": each.claim.identity,
            "annotations": dict(each.claim.annotations),
            "key": each.key.fingerprint,
        }
        for each in verified.signatures
    ]
    image = verified.image
    return {"image": str(image), "digest": image.digest, "signatures": signatures}


def _attested(attestation: Attestation) -> _Result:
    """Describe a statement about an image, and who signed it."""
    return {
        "type": attestation.predicate_type,
        "key": attestation.key.fingerprint,
        "statement": json.loads(attestation.statement),
    }


def _predicate_type(word: str) -> str:
    """Read a type of statements: a document's name, or what in-toto calls it."""
    if word in _DOCUMENTS or "://" in word:
        return _DOCUMENTS.get(word, word)
    known = ", ".join(_SHOWN)
    raise UsageError(f"--attestation is {known} or a URI, not {word[:80]!r}")


def _pairs(given: Sequence[str]) -> Mapping[str, str]:
    """Read annotations; raises `UsageError`."""
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(f"--annotations is NAME=VALUE, not {text[:80]!r}")
        pairs[name] = value
    return pairs


def _check_form(form: str) -> None:
    """Refuse an unknown form before anything is done."""
    if form not in {"terminal", "json", "yaml"}:
        raise UsageError(f"--output is terminal, json or yaml, not {form!r}")
