"""Configurations as YAML again, with what differs from the defaults only."""

from dataclasses import fields, is_dataclass
from typing import Any

import yaml

from compiler.agent.cloudconfig.model import Config
from compiler.agent.cloudconfig.reader import keys_of


def written(config: Config) -> str:
    """Write a configuration; reading it gives the same again."""
    text: str = yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True, width=2**20)
    return text


def plain(value: object) -> Any:  # noqa: ANN401  (what YAML takes)
    """Turn models into maps and lists."""
    if is_dataclass(value):
        return _map(value)
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value


def _map(value: Any) -> dict[str, Any]:  # noqa: ANN401  (a model)
    default = type(value)()
    names = {field: key for key, (field, _) in keys_of(type(value)).items()}
    chosen = (each.name for each in fields(value))
    return {
        names[name]: plain(getattr(value, name))
        for name in chosen
        if getattr(value, name) != getattr(default, name)
    }
