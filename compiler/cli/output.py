"""The machine-readable forms of results."""

import importlib
import json

from compiler.errors import UsageError


def dump(value: object, form: str) -> str:
    """Write a result as JSON or YAML; raises `UsageError` for another form."""
    if form == "json":
        return json.dumps(value)
    if form == "yaml":
        yaml = importlib.import_module("yaml")  # start-up time: few calls need it
        return str(yaml.safe_dump(value, sort_keys=False)).rstrip()
    raise UsageError(f"--output is terminal, json or yaml, not {form!r}")
