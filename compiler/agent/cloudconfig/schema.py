"""The JSON schema of cloud-config, made from the classes of `model.py`."""

import json
from dataclasses import is_dataclass
from typing import Any, get_args, get_origin

from compiler.agent.cloudconfig.model import Config
from compiler.agent.cloudconfig.reader import inner_model, keys_of

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SINGLE: dict[type, dict[str, Any]] = {
    str: {"type": ["string", "number", "boolean", "null"]},
    int: {"type": ["integer", "null"], "minimum": 0, "maximum": 4294967295},
    bool: {"type": ["boolean", "null"]},
}


def schema() -> dict[str, Any]:
    """Describe a file as the reader takes it: unknown keys are allowed, since they are ignored."""
    definitions: dict[str, Any] = {}
    top = _described(Config, definitions)
    return {
        "$schema": _DIALECT,
        "title": "cloud-config",
        **definitions.pop(top["$ref"].rpartition("/")[2]),
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """Write the schema as JSON."""
    return f"{json.dumps(schema(), indent=2)}\n"


def _described(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401  (a type)
    if kind in _SINGLE:
        return _SINGLE[kind]
    origin = get_origin(kind)
    if origin is tuple:
        return {"type": ["array", "null"], "items": _described(get_args(kind)[0], definitions)}
    if origin is dict:
        inner = _described(get_args(kind)[1], definitions)
        return {"type": ["object", "null"], "additionalProperties": inner}
    return _model(inner_model(kind), definitions)


def _model(model: type, definitions: dict[str, Any]) -> dict[str, Any]:
    if not is_dataclass(model):
        raise TypeError(model)
    name = model.__name__
    if name not in definitions:
        definitions[name] = {}
        known = keys_of(model)
        definitions[name] = {
            "description": (model.__doc__ or "").strip(),
            "type": ["object", "null"],
            "properties": {key: _described(each, definitions) for key, (_, each) in known.items()},
        }
    return {"$ref": f"#/$defs/{name}"}
