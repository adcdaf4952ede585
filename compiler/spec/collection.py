"""Several packages from one set of files: the entries of `collection.yaml`."""

from collections.abc import Iterator

from compiler.spec.fields import Note, Reader
from compiler.spec.yaml import KeyPath

_ITEMS = "packages"


def entries(value: object, reader: Reader) -> Iterator[tuple[object, dict[str, object], KeyPath]]:
    """Give each entry, its values for templates, and its path in the file.

    The values are as JSON has them, through which luet reads collections: keys are text and
    numbers floating, so `100000000` prints `1e+08` here, and `100000000` from a definition.
    """
    if not isinstance(value, dict):
        reader.faults.append(Note((), f"needs a list {_ITEMS!r} of packages"))
        return
    found = [key for key in value if str(key).lower() == _ITEMS]
    if not found:
        reader.faults.append(Note((), f"missing field {_ITEMS!r}"))
    for key in found:
        items = value[key]
        if not isinstance(items, list):
            if items is not None:
                message = f"{_ITEMS!r} must be a list of packages"
                reader.faults.append(Note((key,), message, "start each package with '- name: '"))
            continue
        for index, item in enumerate(items):
            values = as_json(item)
            yield item, values if isinstance(values, dict) else {}, (key, index)


def as_json(value: object) -> object:
    """Give a value as Go's JSON decoder makes it: floating numbers, and keys that are text."""
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
