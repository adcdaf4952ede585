"""Reads a `finalize.yaml`: what a package wants to have run once it came, and before it goes."""

from compiler.spec.fields import Reader
from compiler.spec.package import Definition, Finalizer
from compiler.spec.template import Rendered, Source, Templates
from compiler.spec.written import fault_errors, note_errors
from compiler.spec.yaml import YamlFaults, parse


def parse_finalizer(text: str, definition: Definition, source: str) -> Finalizer:
    """Read the text of a `finalize.yaml`, rendered with the package's fields.

    Raises `SpecError`, which names `source` and the line, for the first fault.
    """
    values = definition.model_dump(exclude_defaults=True)
    return finalizer_of(Templates().render(Source(source, text), values))


def finalizer_of(rendered: Rendered) -> Finalizer:
    """Read a rendered `finalize.yaml`; raises `SpecError` for the first fault."""
    reader = Reader()
    try:
        finalizer = reader.finalizer(parse(rendered.text))
    except YamlFaults as error:
        raise fault_errors(error.faults, rendered)[0] from None
    for fault in note_errors(reader.faults, rendered):
        raise fault
    return finalizer
