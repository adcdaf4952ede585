"""Values files, such as those of specs/flavours, and which of them overrides which."""

from collections.abc import Iterable
from pathlib import Path

from compiler.errors import CompilerError, Faults, Location, SpecError
from compiler.spec.load import read_text
from compiler.spec.template import Rendered, Source
from compiler.spec.written import fault_errors
from compiler.spec.yaml import YamlFaults, parse


def load_values(paths: Iterable[Path]) -> dict[str, object]:
    """Read values files; of a key that several have, the last one wins as a whole.

    Empty, zero and false override too, unlike in luet. Raises `Faults` with all that is wrong.
    """
    values: dict[str, object] = {}
    faults: list[CompilerError] = []
    for path in paths:
        try:
            values |= _read(str(path))
        except SpecError as error:
            faults.append(error)
        except Faults as group:
            faults += [error for error in group.exceptions if isinstance(error, CompilerError)]
    if faults:
        raise Faults.of(faults)
    return values


def _read(path: str) -> dict[str, object]:
    text = read_text(path)
    rendered = Rendered(text, Source(path, text))
    try:
        value = parse(text)
    except YamlFaults as error:
        raise Faults.of(fault_errors(error.faults, rendered)) from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        hint = "write one 'name: value' a line"
        raise SpecError("needs to be a map of values", location=Location(path), hint=hint)
    return {str(key): item for key, item in value.items()}
